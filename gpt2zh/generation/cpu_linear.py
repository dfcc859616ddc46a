"""Linear layers in the form that the hardware reads fastest: a decoding step takes as long as its weights take to read.

    fp32, bf16 on a CPU     oneDNN's blocked order: about a half and a third of the time of torch's plain product in fp32
    int8 on a CPU           weights rounded to 8 bits, a scale for each output; inputs to 8 bits, a scale for each row
    anything on a GPU       the weights as they are, in the dtype asked for

In: weights (in, out) and biases of a stock GPT-2. Out: a function of (B, in) that gives (B, out), rows independent of each
other to the last bit on a CPU with oneDNN. Refuses: int8 where there is no kernel. Source of int8: Dettmers et al. 2022 (LLM.int8), section 2.1.
"""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from gpt2zh.errors import UserError

Linear = Callable[[torch.Tensor], torch.Tensor]
ENGINES = ("x86", "fbgemm", "onednn")  # with the kernel that takes fp32 and gives fp32
ONEDNN = ("_reorder_linear_weight", "_linear_pointwise")
INT8 = "linear_with_input_q_dq_qweight_dq_output_fp32"
LEVELS = 127  # of an input's magnitude
LEVELS_WITHOUT_VNNI = 63  # there, two products of 8 bits are added in 16, which overflow above
TINIEST = 1e-30  # a row of zeros is divided by this


def pack(weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, act: nn.Module | None = None) -> Linear:
    """The fastest form of act(x @ weight + bias).

    Args:
        weight: (in, out), fp32, on the device where it is to run. bias: (out,) or None.
        dtype: of the products; torch.int8 quantises.
        act: what follows, element by element.
    """
    if dtype is torch.int8:
        return _followed_by(act, Int8(weight, bias))
    weight, bias = weight.t().to(dtype), None if bias is None else bias.to(dtype)
    if weight.device.type == "cpu" and has_onednn(dtype):
        fused = isinstance(act, nn.GELU) and act.approximate == "tanh"
        return _followed_by(None if fused else act, OneDnn(weight, bias, fused))
    weight = weight.contiguous()
    return _followed_by(act, lambda x: F.linear(x.to(dtype), weight, bias))


def _followed_by(act: nn.Module | None, linear: Linear) -> Linear:
    return linear if act is None else lambda x: act(linear(x))


def has_onednn(dtype: torch.dtype) -> bool:
    """Whether this CPU's torch has oneDNN's kernels for `dtype`; their names are private and may go with any version."""
    operators = torch.ops.mkldnn
    if not (torch.backends.mkldnn.is_available() and all(hasattr(operators, name) for name in ONEDNN)):
        return False
    has_bf16 = getattr(operators, "_is_mkldnn_bf16_supported", lambda: False)
    return dtype is torch.float32 or (dtype is torch.bfloat16 and has_bf16())


class OneDnn:
    """A layer whose weights lie in oneDNN's blocked order."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, gelu: bool) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)  # (out, in), opaque
        self.bias, self.dtype = bias, weight.dtype
        self.post: tuple[str, list[float], str] = ("gelu", [], "tanh") if gelu else ("none", [], "")
        self.run = torch.ops.mkldnn._linear_pointwise.default
        # With one row of fp32 another kernel sums in another order than with several, so one becomes two.
        self.doubles = self.dtype is torch.float32

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.dtype)
        if self.doubles and len(x) == 1:
            return self.run(x.repeat(2, 1), self.weight, self.bias, *self.post)[:1]
        return self.run(x, self.weight, self.bias, *self.post)


class Int8:
    """A layer in 8 bits: round(127 x / max|x|) @ round(127 w / max|w|), summed exactly, times both scales."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        engine = next((one for one in ENGINES if one in torch.backends.quantized.supported_engines), None)
        if engine is None or weight.device.type != "cpu" or not hasattr(torch.ops.quantized, INT8):
            raise UserError(
                f"--quantize int8 只能用于 x86 的 CPU，这里是 {weight.device.type}。请去掉 --quantize，改用 --precision。",
                f"--quantize int8 is for x86 CPUs, this is {weight.device.type}. Leave --quantize out; --precision has what there is.",
            )
        torch.backends.quantized.engine = engine
        levels = LEVELS if getattr(torch.cpu, "_is_vnni_supported", lambda: False)() else LEVELS_WITHOUT_VNNI
        weight = weight.t().float()
        scales = weight.abs().amax(1).clamp(min=TINIEST).double() / 127  # (out,)
        with warnings.catch_warnings():  # torch means to drop these tensors one day
            warnings.simplefilter("ignore")
            quantised = torch.quantize_per_channel(
                weight, scales, torch.zeros(len(scales), dtype=torch.long), 0, torch.qint8
            )
            self.weight = torch.ops.quantized.linear_prepack(quantised, None)
        self.bias, self.step = bias, 1 / levels
        self.run = getattr(torch.ops.quantized, INT8).default

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        largest = x.abs().amax(-1, keepdim=True).clamp_(min=TINIEST)  # (B, 1)
        y = self.run(x / largest, self.step, 128, self.weight)
        return y.mul_(largest) if self.bias is None else torch.addcmul(self.bias, y, largest)
