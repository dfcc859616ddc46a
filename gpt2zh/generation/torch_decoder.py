"""The decoder in torch's operators: for GPUs, and for CPUs without a compiler.

The same function as transformers' own (tests compare logits), with weights in the form that is fastest to read (`packed`).
On a CPU each text is computed as if it were alone: not a bit depends on the others.

In: weights by their stock names, a `Shape`, a `Device`. Out: logits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import nn

from gpt2zh.device import Device
from gpt2zh.errors import UserError
from gpt2zh.generation.cpu_linear import Linear, pack
from gpt2zh.model.shape import Shape

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
ACTIVATIONS: dict[str, nn.Module] = {
    "gelu_new": nn.GELU(approximate="tanh"),
    "gelu_pytorch_tanh": nn.GELU(approximate="tanh"),
    "gelu": nn.GELU(),
    "relu": nn.ReLU(),
    "silu": nn.SiLU(),
    "swish": nn.SiLU(),
    "tanh": nn.Tanh(),
}


@dataclass(frozen=True)
class Layer:
    """One block, ready to run."""

    ln_1: Linear
    c_attn: Linear
    attn_proj: Linear
    ln_2: Linear
    c_fc: Linear
    mlp_proj: Linear
    scale: float


class TorchDecoder:
    """A model that can only write.

    Args:
        weights: stock names -> tensors; matrices of the layers are (in, out).
        quantize: 8-bit weights and products instead of those of `device.dtype`; CPUs only.

    Raises:
        UserError: an activation function that is not known here; int8 where no kernel is.
    """

    def __init__(
        self, weights: Mapping[str, torch.Tensor], shape: Shape, device: Device, quantize: bool = False
    ) -> None:
        if shape.activation_function not in ACTIVATIONS:
            raise UserError(
                f"config.json 的 activation_function 是 {shape.activation_function!r}；续写认得的有：{' '.join(ACTIVATIONS)}。",
                f"activation_function in config.json is {shape.activation_function!r}; writing knows: {' '.join(ACTIVATIONS)}.",
            )
        self.shape, self.device = shape, device.main
        self.capture = device.capture
        dtype = torch.int8 if quantize else device.dtype
        # A CPU's attention is best in fp32.
        self.cache_dtype = torch.float32 if self.device.type == "cpu" else device.dtype

        def get(name: str) -> torch.Tensor:
            return weights[name].detach().to(self.device, torch.float32)

        def norm(name: str) -> Linear:
            weight, bias, size = get(f"{name}.weight"), get(f"{name}.bias"), (shape.n_embd,)
            return lambda x: torch.layer_norm(x, size, weight, bias, shape.layer_norm_epsilon)

        def linear(name: str, act: nn.Module | None = None) -> Linear:
            return pack(get(f"{name}.weight"), get(f"{name}.bias"), dtype, act)

        self.wte, self.wpe = get("transformer.wte.weight"), get("transformer.wpe.weight")
        self.layers = [
            Layer(
                norm(f"{place}.ln_1"),
                linear(f"{place}.attn.c_attn"),
                linear(f"{place}.attn.c_proj"),
                norm(f"{place}.ln_2"),
                linear(f"{place}.mlp.c_fc", ACTIVATIONS[shape.activation_function]),
                linear(f"{place}.mlp.c_proj"),
                shape.attention_scale(number),
            )
            for number in range(shape.n_layer)
            for place in [f"transformer.h.{number}"]
        ]
        self.ln_f = norm("transformer.ln_f")
        head = self.wte if shape.tie_word_embeddings else get("lm_head.weight")
        self.head = pack(head.t(), None, dtype)

    def new_cache(self, rows: int, capacity: int) -> "TorchCache":
        """An empty cache for `rows` texts of at most `capacity` ids, and at most n_ctx."""
        return TorchCache(self, rows, min(capacity, self.shape.n_positions))

    def hidden(self, tokens: torch.Tensor, positions: torch.Tensor, attend: Attend) -> torch.Tensor:
        """tokens, positions: (B,). Returns the last layer norm's, (B, n_embd)."""
        n_head, n_embd = self.shape.n_head, self.shape.n_embd
        x = self.wte[tokens] + self.wpe[positions]  # (B, C), fp32 throughout
        for number, layer in enumerate(self.layers):
            qkv = layer.c_attn(layer.ln_1(x)).to(self.cache_dtype).view(len(x), 3, n_head, 1, n_embd // n_head)
            y = attend(number, *qkv.unbind(1))  # (B, H, 1, D)
            x = x + layer.attn_proj(y.reshape(len(x), n_embd))
            x = x + layer.mlp_proj(layer.c_fc(layer.ln_2(x)))
        return self.ln_f(x)

    def logits(self, tokens: torch.Tensor, positions: torch.Tensor, attend: Attend) -> torch.Tensor:
        """tokens, positions: (B,). Returns what comes next, (B, V), fp32."""
        return self.head(self.hidden(tokens, positions, attend)).float()


@dataclass(frozen=True)
class Replay:
    """A step of a fixed number of rows whose inputs are always in the same place."""

    tokens: torch.Tensor
    positions: torch.Tensor
    run: Callable[[], torch.Tensor]


class TorchCache:
    """Keys and values, each (n_layer, rows, n_head, capacity, head size), and how many positions of each row are filled."""

    def __init__(self, decoder: TorchDecoder, rows: int, capacity: int) -> None:
        shape, self.decoder, self.device = decoder.shape, decoder, decoder.device
        size = (shape.n_layer, rows, shape.n_head, capacity, shape.n_embd // shape.n_head)
        self.keys = torch.zeros(size, dtype=decoder.cache_dtype, device=self.device)
        self.values = torch.zeros(size, dtype=decoder.cache_dtype, device=self.device)
        self.lengths = [0] * rows
        self.replays: dict[int, Replay] = {}  # by the number of rows

    @torch.inference_mode()
    def read(self, ids: Sequence[int], row: int) -> None:
        """Fill `row` with `ids`, at most n_ctx of them, from position 0."""

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            q, k, v = (one.permute(2, 1, 0, 3) for one in (q, k, v))  # (1, H, T, D)
            self._write(layer, slice(row, row + 1), 0, k, v)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.decoder.layers[layer].scale)
            return y.permute(2, 1, 0, 3)

        self.lengths[row] = len(ids)
        tokens = torch.tensor([*ids], device=self.device)
        self.decoder.hidden(tokens, torch.arange(len(ids), device=self.device), attend)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append a token to each of the first len(tokens) rows. Returns the logits of what comes next, (B, V), fp32."""
        positions = self.lengths[: len(tokens)]
        self.lengths[: len(tokens)] = [n + 1 for n in positions]
        arrays = torch.tensor([*tokens]), torch.tensor(positions)
        if self.device.type == "cpu":
            return self.decoder.logits(*arrays, self._attention_by_length(positions))
        replay = self.replays.get(len(tokens)) or self._replay(len(tokens))
        replay.tokens.copy_(arrays[0])
        replay.positions.copy_(arrays[1])
        return replay.run().clone()

    def copy_row(self, source: int, target: int) -> None:
        """Give row `target` what row `source` holds."""
        n = self.lengths[target] = self.lengths[source]
        for held in (self.keys, self.values):
            held[:, target, :, :n] = held[:, source, :, :n]

    def _write(self, layer: int, rows: slice, start: int, k: torch.Tensor, v: torch.Tensor) -> None:
        """Put keys and values, (rows, n_head, T, head size), at positions `start` and after."""
        self.keys[layer, rows, :, start : start + k.shape[2]] = k
        self.values[layer, rows, :, start : start + v.shape[2]] = v

    def _attention_by_length(self, positions: list[int]) -> Attend:
        """Rows of one length, where they lie together, in one call; nothing is computed for what a row has not.

        Plain products: torch's own attention sums a single row in another order than several.
        """
        parts, start = [], 0
        for n, group in groupby(positions):
            stop = start + len(list(group))
            parts.append((slice(start, stop), n))
            start = stop

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values, scale = self.keys[layer], self.values[layer], self.decoder.layers[layer].scale
            outputs = []
            for rows, n in parts:
                self._write(layer, rows, n, k[rows], v[rows])
                scores = torch.matmul(q[rows] * scale, keys[rows, :, : n + 1].transpose(2, 3))  # (b, H, 1, n + 1)
                outputs.append(torch.matmul(scores.softmax(-1), values[rows, :, : n + 1]))
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

        return attend

    def _attention_by_mask(self, positions: torch.Tensor) -> Attend:
        """All rows over all positions, those not filled masked: the same kernels at every step, as a captured graph needs."""
        rows = torch.arange(len(positions), device=self.device)
        filled = torch.arange(self.keys.shape[3], device=self.device) <= positions[:, None]  # (B, T)
        mask = filled[:, None, None]  # (B, 1, 1, T)

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values = self.keys[layer], self.values[layer]
            keys[rows, :, positions], values[rows, :, positions] = k[:, :, 0], v[:, :, 0]
            held = keys[: len(rows)], values[: len(rows)]
            return F.scaled_dot_product_attention(q, *held, attn_mask=mask, scale=self.decoder.layers[layer].scale)

        return attend

    def _replay(self, rows: int) -> Replay:
        """A step of `rows` rows, captured where the device can."""
        tokens, positions = torch.zeros(2, rows, dtype=torch.long, device=self.device).unbind(0)
        # What warming up writes is written over by the first step.
        positions.copy_(torch.tensor(self.lengths[:rows]) - 1)

        def run() -> torch.Tensor:
            return self.decoder.logits(tokens, positions, self._attention_by_mask(positions))

        replay = self.replays[rows] = Replay(tokens, positions, self.decoder.capture(run))
        return replay
