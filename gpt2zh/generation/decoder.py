"""GPT-2's forward pass for writing: a cache of keys and values, a token a step for several texts of any length.

    ids of a text -> `Cache.read`        tokens (B,) -> `Cache.step` -> logits (B, V)

On a CPU it runs in C++ (`native`) where that can be compiled; elsewhere in torch's operators (`torch_decoder`).

In: a model folder or weights by their stock names, a `Device`. Out: a `Decoder`. Knows nothing of sampling.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch

from gpt2zh.device import Device
from gpt2zh.errors import UserError, bilingual
from gpt2zh.generation.native.build import NotBuilt
from gpt2zh.generation.native.decoder import NativeDecoder
from gpt2zh.generation.torch_decoder import TorchDecoder
from gpt2zh.model.shape import Shape, read_values, shape_of
from gpt2zh.model.weights import read_weights
from gpt2zh.system.folders import require_model_folder


class Cache(Protocol):
    """Keys and values of some rows; `lengths` says how many positions of each are filled, and may be set to fewer."""

    lengths: list[int]

    def read(self, ids: Sequence[int], row: int) -> None:
        """Fill `row` with `ids`, at most n_ctx of them, from position 0."""

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append a token to each of the first len(tokens) rows. Returns the logits of what comes next, (B, V), fp32."""

    def copy_row(self, source: int, target: int) -> None:
        """Give row `target` what row `source` holds."""


class Decoder(Protocol):
    """A model that can only write."""

    shape: Shape
    device: torch.device

    def new_cache(self, rows: int, capacity: int) -> Cache:
        """An empty cache for `rows` texts of at most `capacity` ids, and at most n_ctx."""


def make_decoder(
    weights: Mapping[str, torch.Tensor], shape: Shape, device: Device, quantize: bool = False, compile: str = "auto"
) -> Decoder:
    """A decoder with a copy of `weights`.

    Args:
        weights: stock names -> tensors; matrices of the layers are (in, out).
        quantize: 8-bit weights and products instead of those of `device.dtype`; CPUs only.
        compile: "on", "off", or "auto": C++ where it can be compiled; why it could not is added to the device's notes.

    Raises:
        UserError: "on" where it cannot be compiled; what `TorchDecoder` refuses.
    """
    if device.main.type == "cpu" and compile != "off":
        try:
            return NativeDecoder(weights, shape, torch.int8 if quantize else device.dtype)
        except NotBuilt as reason:
            if compile == "on":
                raise UserError(
                    f"--compile on：编译不了 C++ 内核：{reason}。",
                    f"--compile on: the C++ kernel cannot be compiled: {reason}.",
                ) from None
            device.notes.append(
                bilingual(
                    f"没有 C++ 内核（{reason}）：用 torch 的算子写，慢一半。",
                    f"no C++ kernel ({reason}): writing by torch's operators, half as fast.",
                )
            )
    return TorchDecoder(weights, shape, device, quantize)


def load_decoder(
    folder: Path, vocab_size: int, device: Device, quantize: bool = False, compile: str = "auto"
) -> Decoder:
    """The model in `folder`, to be used with a vocabulary of `vocab_size` entries, without transformers.

    Raises:
        UserError: what `read_values`, `read_weights` and `make_decoder` refuse.
    """
    require_model_folder(folder)
    shape = shape_of(read_values(folder / "config.json"))
    return make_decoder(read_weights(folder, shape, vocab_size), shape, device, quantize, compile)
