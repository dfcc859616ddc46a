"""Dropout where torch's own is slow: on a CPU it draws a number of 32 bits for each element, in one thread.

In: an array, and the share of it to drop. Out: the array with that share at zero and the rest made larger by as much (Srivastava et
al. 2014). Four elements share a random number of 64 bits, so a share is met to 2^-16. Draws from torch's generator of the CPU.
"""

import torch
from torch import nn

N_VALUES = 1 << 16  # of an element's random number


class Kept(torch.autograd.function.FunctionCtx):
    """What the backward pass needs of the forward pass."""

    saved_tensors: tuple[torch.Tensor]
    scale: float


class Dropout(torch.autograd.Function):
    """x with elements at zero, and the same ones of the gradient."""

    @staticmethod
    def forward(ctx: Kept, x: torch.Tensor, dropout: float) -> torch.Tensor:
        mask = kept(x, dropout)
        ctx.save_for_backward(mask)
        ctx.scale = 1 / (1 - dropout)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Kept, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (mask,) = ctx.saved_tensors
        return (grad * mask).mul_(ctx.scale), None


def kept(x: torch.Tensor, dropout: float) -> torch.Tensor:
    """Which elements of `x`, on the CPU, are kept: bool of its shape, each with probability 1 - dropout for itself."""
    if torch.compiler.is_compiling():  # into numbers of its own
        return torch.rand_like(x) >= dropout
    n = x.numel()
    bits = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(1 << 63), None)
    n_dropped = min(round(dropout * N_VALUES), N_VALUES - 1)  # of the values
    return bits.view(torch.int16)[:n].view(x.shape) >= n_dropped - N_VALUES // 2


def drop(x: torch.Tensor, module: nn.Dropout) -> torch.Tensor:
    """What a stock model's dropout makes of `x`: on a CPU by `Dropout`, else, and where it is compiled, by torch."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not module.training or not 0 < module.p < 1:
        return module(x)
    return Dropout.apply(x, module.p)
