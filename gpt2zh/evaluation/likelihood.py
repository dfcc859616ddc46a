"""Loss of a model over batches, in the units people compare.

In: batches of (inputs, targets). Out: `Score`: nats a token, perplexity, bits a character.
Bits a character are comparable across vocabularies; perplexity is not.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from gpt2zh.device import Device


@dataclass(frozen=True)
class Score:
    """Sums over a text. `nats`: of all targets; `n_characters`: of the text behind them, as the model reads it."""

    nats: float
    n_tokens: int
    n_characters: int

    @property
    def loss(self) -> float:
        """Mean nats a token."""
        return self.nats / self.n_tokens

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700))

    @property
    def bits_per_character(self) -> float:
        return self.nats / math.log(2) / max(1, self.n_characters)

    def metrics(self) -> dict[str, float]:
        """The three figures by name."""
        return {"loss": self.loss, "perplexity": self.perplexity, "bits_per_character": self.bits_per_character}


@torch.inference_mode()
def evaluate(
    loss: nn.Module,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    n_characters: int,
    device: Device,
    total: Callable[..., list[float]] = lambda *numbers: list(numbers),
) -> Score:
    """Sum the loss over `batches`, without dropout. Leaves the module in the mode it was in.

    Args:
        loss: (inputs, targets), each (B, T), to sum of nats and number of targets (gpt2zh.model.loss.LanguageModelLoss).
        n_characters: of the text that the batches hold, without what the tokenizer drops of it.
        total: the sums of numbers over the processes that share the text out; one process alone has them.
    """
    was_training = loss.training
    loss.eval()
    nats, n_tokens = 0.0, 0
    for inputs, targets in batches:
        batch_nats, batch_tokens = loss(device.tensor(inputs), device.tensor(targets))
        nats += batch_nats.double().sum().item()
        n_tokens += int(batch_tokens.sum())
    loss.train(was_training)
    all_nats, all_tokens = total(nats, n_tokens)
    return Score(all_nats, int(all_tokens), n_characters)
