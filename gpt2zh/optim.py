"""Optimiser, parameter groups, learning-rate schedule.

In: a model and numbers. Out: AdamW over every parameter once; a pure function from step to learning-rate factor.
"""

import math

import torch
from torch import nn

DECAY_SHARE = 0.2  # of the steps, the end of "wsd"


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay, vectors (biases, layer norms) do not. Every parameter is in exactly one group."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.dim() >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.dim() < 2], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW with the betas usual for GPT. Source: Loshchilov & Hutter 2019; Brown et al. 2020, appendix B."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=lr, betas=(0.9, 0.95), eps=1e-8, fused=True)


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


def default_warmup(n_steps: int) -> int:
    """Steps of warm-up where none are given: 2,000, the ancestor's, and a tenth of a short run."""
    return min(2000, n_steps // 10)


def clip_gradients(model: nn.Module, max_norm: float) -> torch.Tensor:
    """Scale all gradients so that their norm is at most `max_norm`. Returns the norm they had, a scalar."""
    parameters = list(model.parameters())
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if hasattr(norm, "full_tensor"):  # the gradients lie in parts, one a process: what each part's norm adds up to
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` for the next update."""
    for group in optimizer.param_groups:
        group["lr"] = lr
