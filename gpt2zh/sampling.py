"""Sampling: pure logit filters, a decoding loop with a KV cache, texts.

    prefix ids -> one forward pass -> cache -> one id a step, for all samples of a batch at once

Past the context window the older half of the ids is dropped and the rest is read again, once every n_ctx / 2 tokens
(GPT-2's positions are absolute, so cached keys cannot be moved). Each sample draws from its own generator, a function
of (seed, its number), so it does not depend on the batch it is in.

In: a model, ids, `SamplingSettings`. Out: lists of new ids. Source of nucleus sampling: Holtzman et al. 2020.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, GPT2LMHeadModel

from gpt2zh.errors import UserError


@dataclass(frozen=True)
class SamplingSettings:
    """How to choose a token.

    Args:
        temperature: divides the logits; 0 always takes the most probable token.
        top_k: keep the k most probable; 0 keeps all.
        top_p: keep the most probable tokens whose probabilities reach p; 0 or 1 keep all.
        repetition_penalty: above 1 makes tokens that occurred less probable; 1 changes nothing.
        never: ids that must not come.
        end: the id after which a sample is over; it is not part of the result.
    """

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    never: Sequence[int]
    end: int


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Lower the logits of tokens that occurred: positive ones are divided by the penalty, negative ones multiplied.

    Args:
        logits: (B, V). seen: (B, V), bool.

    Source: Keskar et al. 2019 (CTRL), section 4.1, with the sign put right.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def keep_top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """-inf for all but the k largest logits of each row (ties with the k-th are kept). Args: logits (B, V)."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k).values[:, -1:], -torch.inf)


def keep_top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """-inf for all but the smallest set of most probable tokens whose probabilities sum to p or more. Args: logits (B, V)."""
    if p in (0, 1):
        return logits
    ordered, order = logits.sort(descending=True, stable=True)
    probabilities = ordered.softmax(-1)
    beyond = probabilities.cumsum(-1) - probabilities >= p  # the sum before a token has reached p already
    return logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)


def choose(logits: torch.Tensor, settings: SamplingSettings, seen: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The next token of each row.

    Args:
        logits: (B, V), any float dtype. seen: (B, V), bool, the tokens that occurred.
        uniform: (B,), in [0, 1), the random numbers to choose by.

    Returns:
        Ids, (B,).
    """
    logits = logits.float()
    logits[:, list(settings.never)] = -torch.inf
    if settings.repetition_penalty != 1:
        logits = penalise_repetition(logits, seen, settings.repetition_penalty)
    if settings.temperature == 0:
        return logits.argmax(-1)
    logits = keep_top_p(keep_top_k(logits / settings.temperature, settings.top_k), settings.top_p)
    cumulative = logits.double().softmax(-1).cumsum(-1)  # (B, V)
    if not torch.isfinite(cumulative[:, -1]).all():
        raise UserError(
            f"模型给出的概率不是数：权重已发散，或 --temperature {settings.temperature}、--repetition_penalty {settings.repetition_penalty} 太极端。",
            "the model's probabilities are no numbers: its weights diverged, or these settings are too extreme.",
        )
    # Inverse transform: the first token whose cumulative probability exceeds u. u is scaled by the sum, which rounding
    # leaves a little off 1, and tokens of probability 0 add nothing, so none of them is ever the first.
    return (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)


@torch.inference_mode()
def generate(
    model: GPT2LMHeadModel,
    prefix: Sequence[int],
    length: int,
    samples: Sequence[int],
    seed: int,
    settings: SamplingSettings,
    on_step: Callable[[int], None] = lambda n: None,
) -> list[list[int]]:
    """Write on after `prefix`, one sample for each number in `samples`, all in one batch.

    Args:
        prefix: at least one id; only its last n_ctx / 2 are read if it is longer than the window.
        length: new tokens at most.
        samples: numbers of the samples; together with the seed they decide what each draws.
        on_step: called after each step with the number of samples that went on.

    Returns:
        The new ids of each sample, without the prefix and without the end.
    """
    n_ctx, device = model.config.n_positions, model.device
    draws = [np.random.Generator(np.random.PCG64([seed, number])) for number in samples]
    ids = torch.tensor([list(prefix)] * len(samples), device=device)  # (B, n), all ids so far
    seen = torch.zeros(len(samples), model.config.vocab_size, dtype=torch.bool, device=device).scatter_(1, ids, True)
    alive = torch.ones(len(samples), dtype=torch.bool, device=device)
    unread, cache = shorten(ids, n_ctx), DynamicCache()
    for _ in range(length):
        if cache.get_seq_length() + unread.shape[1] > n_ctx:
            unread, cache = shorten(ids, n_ctx), DynamicCache()
        logits = model(unread, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]  # (B, V)
        uniform = torch.tensor([draw.random() for draw in draws], dtype=torch.float64, device=device)
        chosen = choose(logits, settings, seen, uniform)
        unread = torch.where(alive, chosen, settings.end)[:, None]  # (B, 1)
        ids = torch.cat([ids, unread], dim=1)
        seen.scatter_(1, unread, True)
        alive &= chosen != settings.end
        n_alive = int(alive.sum())
        on_step(n_alive)
        if n_alive == 0:
            break
    new = ids[:, len(prefix) :].tolist()
    return [row[: row.index(settings.end)] if settings.end in row else row for row in new]


def shorten(ids: torch.Tensor, n_ctx: int) -> torch.Tensor:
    """What is read of `ids`, (B, n): all of it while a token more fits the window, else the last half a window."""
    return ids if ids.shape[1] <= n_ctx else ids[:, -max(1, n_ctx // 2) :]
