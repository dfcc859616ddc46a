"""Text that a model writes, in Python.

    from gpt2zh.device import choose_device
    from gpt2zh.model.stock import load_model
    from gpt2zh.sampling import generate_batch, generate_once
    from tokenizations.loading import load_tokenizer

    folder = Path("model_demo/best_model")
    tokenizer, device = load_tokenizer(folder), choose_device(None, "auto")
    model = load_model(folder, len(tokenizer))
    text = generate_once(tokenizer, model, device, prompt="秋天的后半夜", max_new_tokens=100, top_k=30, top_p=0.8)
    texts = generate_batch(tokenizer, model, device, prompt="秋天的后半夜", num_return_sequences=3, top_p=0.8)

In: a tokenizer, a model or a `Decoder`, a prompt. Out: texts. What needs more, requests that come and go or text as it is written,
uses `generation.engine`.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from gpt2zh.device import Device
from gpt2zh.errors import UserError
from gpt2zh.generation.decoder import Decoder, make_decoder
from gpt2zh.generation.draft import Vocabulary
from gpt2zh.generation.engine import write
from gpt2zh.generation.requests import Finished, Request
from gpt2zh.generation.settings import USUAL, SamplingSettings
from gpt2zh.model.shape import shape_of

if TYPE_CHECKING:  # generate.py does without transformers, which takes longer to load than a model
    from transformers import GPT2LMHeadModel


class TextTokenizer(Vocabulary, Protocol):
    """A tokenizer, for text in and text out."""

    def __len__(self) -> int: ...

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
    top_k: int = USUAL.top_k,
    top_p: float = USUAL.top_p,
    temperature: float = USUAL.temperature,
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
    top_k: int = USUAL.top_k,
    top_p: float = USUAL.top_p,
    temperature: float = USUAL.temperature,
    seed: int | None = None,
) -> list[str]:
    """Several texts after `prompt`, written at the same time. A `Decoder` made once saves packing the weights at each call."""
    decoder = decoder_of(model, device) if isinstance(model, torch.nn.Module) else model
    seed = secrets.randbelow(10**9) if seed is None else seed
    settings = replace(USUAL, temperature=temperature, top_k=top_k, top_p=top_p)
    prefix = tokenizer.encode_prefix(prompt)
    requests = [Request(prefix, number, max_new_tokens, seed, settings) for number in range(num_return_sequences)]
    texts = finish(decoder, tokenizer, requests, num_return_sequences)
    return [tokenizer.decode_after(prompt, prefix, text.ids) for text in texts]


def continue_ids(
    tokenizer: Vocabulary,
    model: "GPT2LMHeadModel | Decoder",
    device: Device,
    prefix: Sequence[int],
    length: int,
    seed: int,
    settings: SamplingSettings,
) -> list[int]:
    """At most `length` ids that come after `prefix`, at least one id; without the document's end."""
    decoder = decoder_of(model, device) if isinstance(model, torch.nn.Module) else model
    (text,) = finish(decoder, tokenizer, [Request(prefix, 0, length, seed, settings)], 1)
    return text.ids


def search_most_probable(
    folder: Path,
    tokenizer: TextTokenizer,
    device: Device,
    prefix: Sequence[int],
    length: int,
    num_beams: int,
    settings: SamplingSettings,
) -> list[int]:
    """At most `length` ids after `prefix` (-1: as many as there is room for), the most probable that transformers' beam search finds.

    Raises:
        UserError: prefix and length exceed the context.
    """
    from gpt2zh.model.stock import load_model

    model = load_model(folder, len(tokenizer)).eval()
    model.to(device.main)
    n_ctx = model.config.n_positions
    room = n_ctx - len(prefix)
    wanted = room if length == -1 else length
    if not 1 <= wanted <= room:
        raise UserError(
            f"--num_beams 不能越过上下文：前缀 {len(prefix)} + --length {length} 超过 {n_ctx} 词元。请改短。",
            f"--num_beams cannot go beyond the context: prefix {len(prefix)} + --length {length} exceed {n_ctx} tokens. Make them shorter.",
        )
    with device.autocast():
        found = model.generate(
            torch.tensor([prefix], device=device.main),
            num_beams=num_beams,
            max_new_tokens=wanted,
            do_sample=False,
            suppress_tokens=list(tokenizer.never_sampled),
            repetition_penalty=settings.repetition_penalty,
            no_repeat_ngram_size=settings.no_repeat_ngram,
        )
    return found[0, len(prefix) :].tolist()


def finish(decoder: Decoder, vocabulary: Vocabulary, requests: Sequence[Request], rows: int) -> list[Finished]:
    """The finished texts of `requests`, in their order, `rows` at a time."""
    events = write(decoder, vocabulary, requests, rows)
    found = {place: event.finished for place, event in events if event.finished}
    return [found[place] for place in range(len(requests))]
