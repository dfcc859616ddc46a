"""Optimiser, parameter groups, learning-rate schedule.

In: a model and numbers. Out: AdamW over every parameter once; a pure function from step to learning-rate factor.
"""

import logging
import math

import torch
from torch import nn

from gpt2zh.errors import UserError

DECAY_SHARE = 0.2  # of the steps, the end of "wsd"


def parameter_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay, vectors (biases, layer norms) do not. Every parameter is in exactly one group."""
    return [
        {"params": [parameter for parameter in parameters if parameter.dim() >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.dim() < 2], "weight_decay": 0.0},
    ]


class MuonAndAdamW:
    """Two optimisers, called as one: a step that is skipped, its gradients not finite, is skipped by both."""

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        self.parts = muon, adamw

    @property
    def param_groups(self) -> list[dict[str, object]]:
        """The groups of both; a state that is loaded replaces them."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """One update by both."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)


def build_optimizer(
    model: nn.Module, name: str, lr: float, weight_decay: float, betas: tuple[float, float], eps: float
) -> torch.optim.Optimizer | MuonAndAdamW:
    """The optimiser of a run, with every parameter once.

    Args:
        name: "adamw" (Loshchilov & Hutter 2019); "adamw8bit", its moments in 8 bits (bitsandbytes); "muon" (Jordan 2024)
            for the matrices of the blocks and AdamW for the rest. Muon's steps are scaled to the size of AdamW's (Liu et
            al. 2025), so one learning rate serves both; that scale is the same for a matrix and its transpose, which
            matters as GPT-2 keeps its matrices as (in, out).
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hidden = [parameter for parameter in model.transformer.h.parameters() if parameter.dim() == 2]
    if name == "adamw8bit":
        return adamw8bit()(parameter_groups(parameters, weight_decay), lr=lr, betas=betas, eps=eps)
    if name == "adamw":
        hidden = []
    taken = {id(parameter) for parameter in hidden}
    rest = [parameter for parameter in parameters if id(parameter) not in taken]
    adamw = torch.optim.AdamW(parameter_groups(rest, weight_decay), lr=lr, betas=betas, eps=eps, fused=True)
    if not hidden:
        return adamw
    muon = torch.optim.Muon(hidden, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return MuonAndAdamW(muon, adamw)


def parts(optimizer: torch.optim.Optimizer | MuonAndAdamW) -> tuple[torch.optim.Optimizer, ...]:
    """The optimisers of torch's own kind."""
    return getattr(optimizer, "parts", (optimizer,))


def forget(optimizer: torch.optim.Optimizer | MuonAndAdamW) -> None:
    """Drop gradients and moments, as if no step had been made."""
    optimizer.zero_grad()
    for part in parts(optimizer):
        part.state.clear()


def adamw8bit() -> type[torch.optim.Optimizer]:
    """bitsandbytes' AdamW8bit, where it is installed: on GPUs, and since its version 0.50 on CPUs."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # what it warns of on a CPU are other kernels
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError(
            '--optimizer adamw8bit 要用 bitsandbytes：pip install "bitsandbytes>=0.50"',
            '--optimizer adamw8bit needs bitsandbytes: pip install "bitsandbytes>=0.50"',
        ) from None
    return AdamW8bit


def lr_factor(step: int, warmup_steps: int, n_steps: int, schedule: str = "linear") -> float:
    """Factor of the peak learning rate for update `step` (from 0): linear up over warmup_steps, then by `schedule` to 0.

    The first update already moves (factor 1 / warmup_steps), and after n_steps updates the factor would be 0.

    Args:
        schedule: "linear"; "cosine", half a wave (Loshchilov & Hutter 2017); "wsd", the peak until the last DECAY_SHARE of
            the run, then linear (warm-up, stable, decay: Hu et al. 2024).
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    left = max(0.0, (n_steps - step) / max(1, n_steps - warmup_steps))  # 1 after the warm-up, 0 at the end
    if schedule == "cosine":
        return (1 - math.cos(math.pi * left)) / 2
    if schedule == "wsd":
        return min(1.0, max(0.0, (n_steps - step) / max(1.0, DECAY_SHARE * n_steps)))
    return left


def clip_gradients(model: nn.Module, max_norm: float) -> torch.Tensor:
    """Scale all gradients so that their norm is at most `max_norm`. Returns the norm they had, a scalar."""
    parameters = list(model.parameters())
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if hasattr(norm, "full_tensor"):  # the gradients lie in parts, one a process: what each part's norm adds up to
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def set_lr(optimizer: torch.optim.Optimizer | MuonAndAdamW, lr: float) -> None:
    """Use `lr` for the next update."""
    for group in optimizer.param_groups:
        group["lr"] = lr
