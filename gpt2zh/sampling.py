"""Texts that a model writes: several at a time, each as if it were alone.

    prefix -> read once -> a row of the cache for each text -> a token a step for all -> samples, each as it ends

A row whose text has ended goes to the next one that waits. Past the context window the older half of a text is dropped and the
rest read again, once every n_ctx / 2 tokens (GPT-2's positions are absolute, so cached keys cannot be moved). Each text draws
from a generator of its own, a function of (seed, its number), so it depends neither on the number of rows nor on the others.

In: a `Decoder`, ids, `SamplingSettings`. Out: `Sample`s. In Python:

    from gpt2zh.device import choose_device
    from gpt2zh.model.stock import load_model
    from gpt2zh.sampling import generate_batch, generate_once
    from tokenizations.loading import load_tokenizer

    folder = Path("model_demo/best_model")
    tokenizer, device = load_tokenizer(folder), choose_device(None, "auto")
    model = load_model(folder, len(tokenizer))
    text = generate_once(tokenizer, model, device, prompt="秋天的后半夜", max_new_tokens=100, top_k=30, top_p=0.8)
    texts = generate_batch(tokenizer, model, device, prompt="秋天的后半夜", num_return_sequences=3, top_p=0.8)
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from gpt2zh.device import Device
from gpt2zh.generation.decoder import Cache, Decoder, make_decoder
from gpt2zh.generation.draft import EXTRA_TO_FINISH, Draft, Meanings, Sample, Vocabulary
from gpt2zh.generation.logits import SamplingSettings, choose, penalise
from gpt2zh.model.shape import shape_of

if TYPE_CHECKING:  # generate.py does without transformers, which takes longer to load than a model
    from transformers import GPT2LMHeadModel


def write(
    decoder: Decoder,
    prefix: Sequence[int],
    numbers: Sequence[int],
    length: int,
    seed: int,
    settings: SamplingSettings,
    vocabulary: Vocabulary,
    batch_size: int = 1,
    on_step: Callable[[Sequence[Draft]], None] = lambda drafts: None,
) -> Iterator[Sample]:
    """Write on after `prefix`, one text for each of `numbers`.

    Args:
        prefix: at least one id; only its last n_ctx / 2 are read if it is longer than the window.
        numbers: of the texts; together with the seed they decide what each draws.
        length: new tokens of each, at most.
        batch_size: texts at a time.
        on_step: called after each step with the texts at work.

    Yields:
        The texts in the order in which they end.
    """
    n_ctx, meanings = decoder.shape.n_positions, Meanings(vocabulary)
    never = [*vocabulary.never_sampled, *([vocabulary.document_end_id] if settings.ignore_end else [])]
    never = torch.tensor(never, dtype=torch.long, device=decoder.device)
    rows = min(batch_size, len(numbers))
    cache = decoder.new_cache(rows + 1, len(prefix) + length + EXTRA_TO_FINISH + 1)
    # The last row keeps the prefix for those to come.
    first = read_last(decoder, cache, rows, prefix, len(prefix) if len(prefix) <= n_ctx else half(n_ctx))
    waiting, drafts = iter(numbers), []
    while True:
        while len(drafts) < rows and (number := next(waiting, None)) is not None:
            draft = Draft(number, prefix, length, seed, settings, meanings)
            draft.first = first
            cache.copy_row(rows, len(drafts))
            drafts.append(draft)
        if not drafts:
            return
        logits = decoder.step([draft.ids[-1] for draft in drafts], cache)
        for draft, token in zip(drafts, next_tokens(logits, drafts, settings, never)):
            draft.add(token)
        on_step(drafts)
        for row in reversed(range(len(drafts))):
            if drafts[row].ended:
                yield drafts[row].sample
                last = drafts.pop()
                if row < len(drafts):
                    drafts[row] = last
                    cache.copy_row(len(drafts), row)
            else:
                keep_up(decoder, cache, row, drafts[row])


@torch.inference_mode()
def next_tokens(
    logits: torch.Tensor, drafts: Sequence[Draft], settings: SamplingSettings, never: torch.Tensor
) -> list[int]:
    """The next id of each text. Args: logits (B, V), which are changed; never, ids that no text may hold."""
    logits.index_fill_(1, never, -torch.inf)
    for row, draft in enumerate(drafts):
        if banned := draft.forbidden():
            logits[row, banned] = -torch.inf
    if settings.counts_tokens:
        counts = np.stack([draft.counts(logits.shape[1]) for draft in drafts])
        logits = penalise(logits, torch.from_numpy(counts).to(logits.device), settings)
    uniform = torch.tensor([draft.uniform() for draft in drafts], dtype=torch.float64, device=logits.device)
    return choose(logits, settings, uniform).tolist()


def keep_up(decoder: Decoder, cache: Cache, row: int, draft: Draft) -> None:
    """Have `row` hold all of a text but its last id: shorter where the text was taken back, half a window where it is full."""
    n_ctx = decoder.shape.n_positions
    held = len(draft.ids) - 1 - draft.first
    if 0 <= held < n_ctx:
        cache.lengths[row] = held
    else:
        draft.first = read_last(decoder, cache, row, draft.ids, half(n_ctx))


def read_last(decoder: Decoder, cache: Cache, row: int, ids: Sequence[int], n: int) -> int:
    """Have `row` hold the last n of `ids` but the very last, which the next step takes. Returns the index of the first of them."""
    last = ids[-n:]
    cache.lengths[row] = 0
    if len(last) > 1:
        decoder.read(last[:-1], cache, row)
    return len(ids) - len(last)


def half(n_ctx: int) -> int:
    """Ids that are kept when the window is full."""
    return max(1, n_ctx // 2)


# ----- text in, text out ----------------------------------------------------------------------------------------------


class TextTokenizer(Vocabulary, Protocol):
    """A tokenizer, for text in and text out."""

    def encode_prefix(self, prefix: str) -> list[int]: ...

    def decode_after(self, prefix: str, prefix_ids: Sequence[int], ids: Sequence[int]) -> str: ...


def decoder_of(model: "GPT2LMHeadModel", device: Device) -> Decoder:
    """A decoder with a copy of a model's weights."""
    return make_decoder(model.state_dict(), shape_of(model.config.to_dict()), device)


def generate_once(
    tokenizer: TextTokenizer,
    model: "GPT2LMHeadModel | Decoder",
    device: Device,
    prompt: str,
    max_new_tokens: int = 100,
    top_k: int = 8,
    top_p: float = 0.0,
    temperature: float = 1.0,
    seed: int | None = None,
) -> str:
    """One text after `prompt`, which it includes. Without a seed another each time."""
    return generate_batch(tokenizer, model, device, prompt, max_new_tokens, 1, top_k, top_p, temperature, seed)[0]


def generate_batch(
    tokenizer: TextTokenizer,
    model: "GPT2LMHeadModel | Decoder",
    device: Device,
    prompt: str,
    max_new_tokens: int = 100,
    num_return_sequences: int = 1,
    top_k: int = 8,
    top_p: float = 0.0,
    temperature: float = 1.0,
    seed: int | None = None,
) -> list[str]:
    """Several texts after `prompt`, written at the same time. A `Decoder` made once saves packing the weights at each call."""
    decoder = decoder_of(model, device) if isinstance(model, torch.nn.Module) else model
    seed = secrets.randbelow(10**9) if seed is None else seed
    settings = SamplingSettings(temperature, top_k, top_p)
    prefix, numbers = tokenizer.encode_prefix(prompt), range(num_return_sequences)
    samples = write(decoder, prefix, numbers, max_new_tokens, seed, settings, tokenizer, num_return_sequences)
    texts = {sample.number: tokenizer.decode_after(prompt, prefix, sample.ids) for sample in samples}
    return [texts[number] for number in numbers]
