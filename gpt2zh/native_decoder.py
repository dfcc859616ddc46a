"""The decoder in C++: a step is one call of native_decoder.cpp, several times as fast as torch's operators on a CPU.

In: weights by their stock names, a `Shape`. Out: logits. Knows nothing of sampling. Refuses: what the kernel does not know.
"""

import mmap
from collections.abc import Mapping, Sequence
from ctypes import POINTER, Array, Structure, c_float, c_int, c_int64, c_void_p

import numpy as np
import torch
import torch.nn.functional as F

from gpt2zh import native
from gpt2zh.shape import Shape

LANES, WIDTH = 16, 32  # numbers in a vector; outputs computed together
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
    """Keys, (n_layer, rows, n_head, capacity / 16, size, 16), values, (n_layer, rows, n_head, capacity, size), and how full rows are."""

    def __init__(self, shape: Shape, rows: int, capacity: int, dtype: torch.dtype) -> None:
        capacity, size = up_to(capacity, LANES), shape.n_embd // shape.n_head
        place = (shape.n_layer, rows, shape.n_head)
        self.keys = torch.zeros((*place, capacity // LANES, size, LANES), dtype=dtype)
        self.values = torch.zeros((*place, capacity, size), dtype=dtype)
        self.lengths = [0] * rows
        self.struct = _Cache(self.keys.data_ptr(), self.values.data_ptr(), rows, capacity)

    def copy_row(self, source: int, target: int) -> None:
        """Give row `target` what row `source` holds."""
        n = self.lengths[target] = self.lengths[source]
        self.values[:, target, :, :n] = self.values[:, source, :, :n]
        panels = up_to(n, LANES) // LANES
        self.keys[:, target, :, :panels] = self.keys[:, source, :, :panels]


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
        if shape.activation_function not in GELU or size % LANES or inner % LANES:
            raise native.NotBuilt("not a model that native_decoder.cpp knows")
        self.forward = native.load("native_decoder.cpp", BITS=8 * dtype.itemsize).forward
        self.forward.argtypes = (POINTER(_Model), POINTER(_Cache), c_int64, *[c_void_p] * 4, c_int)
        self.shape, self.device, self.dtype = shape, torch.device("cpu"), dtype
        self.cache_dtype = torch.float32 if dtype is torch.float32 else torch.bfloat16
        self.kept: list[torch.Tensor] = []  # what the structures point to

        head = weights["transformer.wte.weight" if shape.tie_word_embeddings else "lm_head.weight"].t()
        places = [f"transformer.h.{number}" for number in range(shape.n_layer)]
        names = "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"
        matrices = [head, *(weights[f"{place}.{name}.weight"] for place in places for name in names)]
        room = huge_pages(sum(len(one) * up_to(one.shape[1], WIDTH) * dtype.itemsize for one in matrices))

        def keep(values: torch.Tensor) -> int:
            self.kept.append(values.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format))
            return self.kept[-1].data_ptr()

        def norm(name: str) -> Array:
            return (c_void_p * 2)(keep(weights[f"{name}.weight"]), keep(weights[f"{name}.bias"]))

        def linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> _Linear:
            nonlocal room
            fill = up_to(weight.shape[1], WIDTH) - weight.shape[1]
            weight = F.pad(weight.detach().float(), (0, fill))
            bias = weight.new_zeros(weight.shape[1]) if bias is None else F.pad(bias.detach(), (0, fill))
            scale = sums = None
            if dtype is torch.int8:
                scale = weight.abs().amax(0).clamp_(min=TINIEST) / 127  # (out,)
                weight = (weight / scale).round_()
                sums = weight.sum(0).int()
            panels, room = room[: weight.numel() * dtype.itemsize].view(dtype), room[weight.numel() * dtype.itemsize :]
            group = 4 // dtype.itemsize
            grouped = weight.view(len(weight) // group, group, -1, LANES).permute(2, 0, 3, 1)
            panels.view(grouped.shape).copy_(grouped)
            self.kept += [panels, *([scale, sums] if sums is not None else [])]
            pointers = (None, None) if sums is None else (scale.data_ptr(), sums.data_ptr())
            return _Linear(panels.data_ptr(), keep(bias), *pointers, *weight.shape)

        layers = (_Layer * shape.n_layer)()
        for number, place in enumerate(places):
            inside = [linear(weights[f"{place}.{name}.weight"], weights[f"{place}.{name}.bias"]) for name in names]
            norms = norm(f"{place}.ln_1"), norm(f"{place}.ln_2")
            layers[number] = _Layer(*norms, *inside, shape.attention_scale(number))
        embeddings = keep(weights["transformer.wte.weight"]), keep(weights["transformer.wpe.weight"])
        sizes = shape.n_layer, shape.n_embd, shape.n_head, shape.layer_norm_epsilon
        self.model = _Model(layers, *embeddings, norm("transformer.ln_f"), linear(head), *sizes)

    def new_cache(self, rows: int, capacity: int) -> NativeCache:
        """An empty cache for `rows` texts of at most `capacity` ids, and at most n_ctx."""
        return NativeCache(self.shape, rows, min(capacity, self.shape.n_positions), self.cache_dtype)

    def read(self, ids: Sequence[int], cache: NativeCache, row: int) -> None:
        """Fill `row` with `ids`, at most n_ctx of them, from position 0."""
        cache.lengths[row] = len(ids)
        self._forward(ids, range(len(ids)), [row] * len(ids), cache, False)

    def step(self, tokens: Sequence[int], cache: NativeCache) -> torch.Tensor:
        """Append a token to each of the first len(tokens) rows. Returns the logits of what comes next, (B, V), fp32."""
        positions = cache.lengths[: len(tokens)]
        cache.lengths[: len(tokens)] = [n + 1 for n in positions]
        return self._forward(tokens, positions, range(len(tokens)), cache, True)

    def all_logits(self, ids: Sequence[int]) -> torch.Tensor:
        """What comes next after each of `ids`, at most n_ctx of them: (T, V), fp32."""
        return self._forward(ids, range(len(ids)), [0] * len(ids), self.new_cache(1, len(ids)), True)

    def _forward(
        self, tokens: Sequence[int], positions: Sequence[int], rows: Sequence[int], cache: NativeCache, logits: bool
    ) -> torch.Tensor:
        """A token for each place, (rows[i], positions[i]); what stands before it in its row is there or comes along."""
        n, outputs = len(tokens), self.model.head.outputs
        if min(tokens) < 0 or max(tokens) >= self.shape.vocab_size or max(positions) >= cache.struct.capacity:
            raise IndexError(f"tokens {tokens} at positions {positions} in a cache of {cache.struct.capacity}")
        arrays = [np.array(one, dtype=np.int64) for one in (tokens, positions, rows)]
        result = torch.empty(n if logits else 0, outputs)
        pointers = [array.ctypes.data for array in arrays]
        result_pointer = result.data_ptr() if logits else None
        if self.forward(self.model, cache.struct, n, *pointers, result_pointer, torch.get_num_threads()):
            raise MemoryError(f"{n} tokens")
        return result[:, : self.shape.vocab_size]


def huge_pages(size: int) -> torch.Tensor:
    """Memory for `size` bytes, uint8, in the largest pages that the system gives: a tenth faster to read than others."""
    memory = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)
