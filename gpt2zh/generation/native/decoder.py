"""The decoder in C++: a step is one call of kernel.cpp, several times as fast as torch's operators on a CPU.

In: weights by their stock names, a `Shape`. Out: logits. Knows nothing of sampling. Refuses: what the kernel does not know.
"""

import math
import time
from collections.abc import Mapping, Sequence
from ctypes import POINTER, Array, Structure, c_float, c_int, c_int64, c_void_p

import numpy as np
import torch
import torch.nn.functional as F

from gpt2zh.generation.native import build as native
from gpt2zh.generation.native.threads import ThreadChoice
from gpt2zh.model.shape import Shape

WHOLE = 16  # sizes are multiples of this: of the numbers in a vector, 8 or 16
GELU = ("gelu_new", "gelu_pytorch_tanh")
TINIEST = 1e-30  # outputs without weights are divided by this


class _Linear(Structure):
    _fields_ = (
        ("weight", c_void_p), ("bias", c_void_p), ("scale", c_void_p), ("sum", c_void_p),
        ("inputs", c_int64), ("outputs", c_int64),
    )  # fmt: skip


class _Layer(Structure):
    _fields_ = (
        ("ln_1", c_void_p * 2), ("ln_2", c_void_p * 2),
        ("c_attn", _Linear), ("attn_proj", _Linear), ("c_fc", _Linear), ("mlp_proj", _Linear),
        ("scale", c_float),
    )  # fmt: skip


class _Model(Structure):
    _fields_ = (
        ("layers", POINTER(_Layer)), ("wte", c_void_p), ("wpe", c_void_p), ("ln_f", c_void_p * 2), ("head", _Linear),
        ("n_layer", c_int64), ("n_embd", c_int64), ("n_head", c_int64), ("epsilon", c_float),
    )  # fmt: skip


class _Cache(Structure):
    _fields_ = (("keys", c_void_p), ("values", c_void_p), ("rows", c_int64), ("capacity", c_int64))


def up_to(n: int, whole: int) -> int:
    """n, filled up to a multiple."""
    return -(-n // whole) * whole


class NativeCache:
    """Keys, (n_layer, rows, n_head, capacity / lanes, size, lanes), values, (n_layer, rows, n_head, capacity, size), and how full rows are."""

    def __init__(self, decoder: "NativeDecoder", rows: int, capacity: int) -> None:
        shape, dtype, lanes = decoder.shape, decoder.cache_dtype, decoder.lanes
        capacity, size = up_to(capacity, WHOLE), shape.n_embd // shape.n_head
        place = (shape.n_layer, rows, shape.n_head)
        self.decoder = decoder
        self.keys = torch.zeros((*place, capacity // lanes, size, lanes), dtype=dtype)
        self.values = torch.zeros((*place, capacity, size), dtype=dtype)
        self.lengths = [0] * rows
        self.struct = _Cache(self.keys.data_ptr(), self.values.data_ptr(), rows, capacity)

    def read(self, ids: Sequence[int], row: int) -> None:
        """Fill `row` with `ids`, at most n_ctx of them, from position 0."""
        self.lengths[row] = len(ids)
        self.decoder.run(ids, range(len(ids)), [row] * len(ids), self.struct, False)

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append a token to each of the first len(tokens) rows. Returns the logits of what comes next, (B, V), fp32."""
        positions = self.lengths[: len(tokens)]
        self.lengths[: len(tokens)] = [n + 1 for n in positions]
        began = time.perf_counter()
        logits = self.decoder.run(tokens, positions, range(len(tokens)), self.struct, True)
        self.decoder.threads.took(time.perf_counter() - began)
        return logits

    def copy_row(self, source: int, target: int) -> None:
        """Give row `target` what row `source` holds."""
        n = self.lengths[target] = self.lengths[source]
        self.values[:, target, :, :n] = self.values[:, source, :, :n]
        panels = -(-n // self.keys.shape[-1])
        self.keys[:, target, :, :panels] = self.keys[:, source, :, :panels]


class Memory:
    """Room for numbers in the order of their use, in one piece: packing leaves no holes beside them."""

    def __init__(self, size: int) -> None:
        self.free = torch.empty(size, dtype=torch.uint8)  # what is not used of it costs nothing

    def keep(self, values: torch.Tensor, dtype: torch.dtype = torch.float32) -> int:
        """Copy `values` there, one after the other. Returns the address."""
        size = values.numel() * dtype.itemsize
        place, self.free = self.free[:size].view(dtype), self.free[up_to(size, 64) :]
        place.view(values.shape).copy_(values.detach())
        return place.data_ptr()


class NativeDecoder:
    """A model that can only write, on this CPU.

    Args:
        weights: stock names -> tensors; matrices of the layers are (in, out). They are copied.
        dtype: of the weights: fp32, bf16 or int8.

    Raises:
        native.NotBuilt: no compiler, or another model or processor than the kernel knows.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], shape: Shape, dtype: torch.dtype) -> None:
        size, inner = shape.n_embd // shape.n_head, shape.n_inner or 4 * shape.n_embd
        if shape.activation_function not in GELU or size % WHOLE or inner % WHOLE:
            raise native.NotBuilt("not a model that kernel.cpp knows")
        library = native.load("kernel.cpp", BITS=8 * dtype.itemsize)
        self.forward, self.lanes = library.forward, c_int64.in_dll(library, "lanes").value
        self.forward.argtypes = (POINTER(_Model), POINTER(_Cache), c_int64, *[c_void_p] * 4, c_int)
        self.shape, self.device, self.dtype = shape, torch.device("cpu"), dtype
        self.cache_dtype = torch.float32 if dtype is torch.float32 else torch.bfloat16
        self.threads = ThreadChoice()
        self.memory = Memory(self._n_bytes())
        head = weights["transformer.wte.weight" if shape.tie_word_embeddings else "lm_head.weight"]
        layers = (_Layer * shape.n_layer)()
        for number in range(shape.n_layer):
            place = f"transformer.h.{number}"
            inside = [
                self._linear(weights[f"{place}.{name}.weight"], weights[f"{place}.{name}.bias"])
                for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
            ]
            norms = [self._pair(weights, f"{place}.{name}") for name in ("ln_1", "ln_2")]
            layers[number] = _Layer(*norms, *inside, shape.attention_scale(number))
        self.model = _Model(
            layers,
            self.memory.keep(weights["transformer.wte.weight"]),
            self.memory.keep(weights["transformer.wpe.weight"]),
            self._pair(weights, "transformer.ln_f"),
            self._linear(head.t(), torch.zeros(len(head))),
            shape.n_layer,
            shape.n_embd,
            shape.n_head,
            shape.layer_norm_epsilon,
        )

    def _n_bytes(self) -> int:
        """What `_linear`, `_pair` and the embeddings will take of the memory, at most."""
        sizes = self.shape.weight_shapes()
        linears = {name: size for name, size in sizes.items() if ".h." in name and len(size) == 2}
        panels = sum(
            (n * self.dtype.itemsize + 12) * up_to(out, 2 * self.lanes) + 4 * 64
            for n, out in [*linears.values(), (self.shape.n_embd, self.shape.vocab_size)]
        )
        return panels + sum(4 * math.prod(size) + 64 for name, size in sizes.items() if name not in linears)

    def _pair(self, weights: Mapping[str, torch.Tensor], name: str) -> Array[c_void_p]:
        """A layer norm's weight and bias."""
        return (c_void_p * 2)(*(self.memory.keep(weights[f"{name}.{part}"]) for part in ("weight", "bias")))

    def _linear(self, weight: torch.Tensor, bias: torch.Tensor) -> _Linear:
        """Args: weight (in, out), bias (out,)."""
        width = 2 * self.lanes  # of a panel
        inputs, outputs = len(weight), up_to(weight.shape[1], width)
        fill = (0, outputs - weight.shape[1])
        weight, scale, sums = F.pad(weight, fill), None, None
        if self.dtype is torch.int8:
            largest = torch.maximum(weight.amax(0), -weight.amin(0)).clamp_(min=TINIEST)  # (out,)
            weight = (weight * (127 / largest)).round_()
            scale = self.memory.keep(largest / 127)
            sums = self.memory.keep(weight.sum(0), torch.int32)
        group = 4 // self.dtype.itemsize
        panels = weight.view(inputs // group, group, -1, width).permute(2, 0, 3, 1)
        pointers = self.memory.keep(panels, self.dtype), self.memory.keep(F.pad(bias, fill))
        return _Linear(*pointers, scale, sums, inputs, outputs)

    def new_cache(self, rows: int, capacity: int) -> NativeCache:
        """An empty cache for `rows` texts of at most `capacity` ids, and at most n_ctx."""
        return NativeCache(self, rows, min(capacity, self.shape.n_positions))

    def run(
        self, tokens: Sequence[int], positions: Sequence[int], rows: Sequence[int], cache: _Cache, wants_logits: bool
    ) -> torch.Tensor:
        """A token for each place, (rows[i], positions[i]); what stands before it in its row is there or comes along.

        Returns:
            The logits of what comes after each, (n, V), fp32; (0, V) where none are wanted.
        """
        n, outputs = len(tokens), self.model.head.outputs
        if min(tokens) < 0 or max(tokens) >= self.shape.vocab_size or max(positions) >= cache.capacity:
            raise IndexError(f"tokens {tokens} at positions {positions} in a cache of {cache.capacity}")
        arrays = [np.array(one, dtype=np.int64) for one in (tokens, positions, rows)]
        logits = torch.empty(n if wants_logits else 0, outputs)
        pointers = [array.ctypes.data for array in arrays]
        logits_pointer = logits.data_ptr() if wants_logits else None
        n_threads = self.threads.count(torch.get_num_threads())  # not a bit of the result depends on it
        if self.forward(self.model, cache, n, *pointers, logits_pointer, n_threads):
            raise MemoryError(f"{n} tokens")
        return logits[:, : self.shape.vocab_size]
