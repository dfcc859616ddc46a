"""How gradients become new weights.

In: a model, a `Recipe`'s numbers, gradients. Out: an optimiser with every parameter once; its updates.
An update whose gradient is not finite is left out on the device, so that no step waits for a GPU to say whether it is.
"""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from gpt2zh.errors import UserError

MOMENTUM = 0.95  # Muon's
ITERATIONS = 5  # of Newton-Schulz
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SMALLEST_NORM = 1e-7


# ----- a step, after the gradients are there --------------------------------------------------------------------------


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Use `lr` for the next update."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def clip_gradients(model: nn.Module, max_norm: float) -> torch.Tensor:
    """Scale all gradients so that their norm is at most `max_norm`. Returns the norm they had, a scalar."""
    parameters = list(model.parameters())
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if hasattr(norm, "full_tensor"):  # the gradients lie in parts, one a process: what each part's norm adds up to
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def update(optimizer: Optimizer, scaler: torch.amp.GradScaler, grad_norm: torch.Tensor) -> None:
    """One update, left out where the norm of the gradients, a scalar, is not finite.

    fp16's scaler looks for itself. bitsandbytes' optimisers cannot leave out a step: for them the host waits.
    """
    if scaler.is_enabled() or getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = (~torch.isfinite(grad_norm)).float()  # type: ignore[attr-defined] # as GradScaler sets it
        scaler.step(optimizer)
        scaler.update()
    elif math.isfinite(grad_norm):
        optimizer.step()


# ----- optimisers -----------------------------------------------------------------------------------------------------


def build_optimizer(
    model: nn.Module, name: str, lr: float, weight_decay: float, betas: tuple[float, float], eps: float
) -> Optimizer:
    """The optimiser of a run, with every parameter once.

    Args:
        model: a GPT2LMHeadModel.
        name: "adamw" (Loshchilov & Hutter 2019); "adamw8bit", its moments in 8 bits (bitsandbytes); "muon", for the matrices of
            the blocks, and AdamW for the rest.
    """
    if name == "muon":
        return MuonAndAdamW(model, lr, weight_decay, betas, eps)
    groups = parameter_groups([parameter for parameter in model.parameters() if parameter.requires_grad], weight_decay)
    if name == "adamw8bit":
        return adamw8bit()(groups, lr=lr, betas=betas, eps=eps)  # type: ignore[call-arg]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)


def require_moments(model: nn.Module, optimizer: Optimizer, state: Mapping[str, Mapping[str, object]]) -> None:
    """Raise ValueError where a state, by name of parameter, is not what steps of `optimizer` leave: each parameter's moments, of its shape.

    Not asked of 8-bit moments, whose form is bitsandbytes' own.
    """
    if not isinstance(optimizer, MuonAndAdamW | torch.optim.AdamW):
        return
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        wanted = {"momentum_buffer"} if group.get("muon") else {"step", "exp_avg", "exp_avg_sq"}
        for parameter in group["params"]:
            found = state.get(names[parameter], {})
            shapes = {name: getattr(value, "shape", None) for name, value in found.items()}
            if shapes != {name: torch.Size() if name == "step" else parameter.shape for name in wanted}:
                raise ValueError(f"the optimiser's state of {names[parameter]}: {shapes or 'missing'}")


def parameter_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors (biases, layer norms) do not. Every parameter is in exactly one group."""
    return [
        {"params": [parameter for parameter in parameters if parameter.dim() >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.dim() < 2], "weight_decay": 0.0},
    ]


def adamw8bit() -> type[Optimizer]:
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


class MuonAndAdamW(Optimizer):
    """Muon (Jordan 2024) for the matrices of a GPT-2's blocks; AdamW, fused, for embeddings, biases and layer norms.

    Muon's updates are scaled to the size of AdamW's (Liu et al. 2025), so one learning rate serves both. That scale is the same
    for a matrix and its transpose, which matters as GPT-2 keeps its matrices as (in, out). Equal to torch.optim.Muon beside
    torch.optim.AdamW, but for `found_inf` (tests compare them bit for bit).

    Args:
        model: a GPT2LMHeadModel.
    """

    _step_supports_amp_scaling = True  # GradScaler hands over `found_inf`, and need not read it

    def __init__(
        self, model: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float], eps: float
    ) -> None:
        blocks = model.get_submodule("transformer.h")
        matrices = [parameter for parameter in blocks.parameters() if parameter.requires_grad and parameter.dim() == 2]
        taken = set(matrices)
        rest = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter not in taken]
        groups = [
            {"params": matrices, "weight_decay": weight_decay, "muon": True},
            *parameter_groups(rest, weight_decay),
        ]
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "muon": False, "fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override] # there is no closure
        """One update of all parameters that have a gradient; none where `found_inf`, if it was set, is not 0."""
        found_inf: torch.Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["muon"]:
                for parameter in parameters:
                    self._muon(parameter, group["lr"], group["weight_decay"], found_inf)
            else:
                self._adamw(parameters, group, found_inf)

    def _muon(self, weight: nn.Parameter, lr: float, weight_decay: float, found_inf: torch.Tensor | None) -> None:
        """Update one matrix, and its momentum."""
        grad, state = weight.grad, self.state[weight]
        assert grad is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        momentum = state["momentum_buffer"]
        decay: float | torch.Tensor = 1 - lr * weight_decay
        is_finite = None if found_inf is None else found_inf == 0
        if is_finite is not None:  # a gradient to leave out counts as the momentum itself, which then stays as it is
            grad, decay = torch.where(is_finite, grad, momentum), torch.where(is_finite, decay, 1.0)
        momentum.lerp_(grad, 1 - MOMENTUM)
        direction = orthogonal(grad.lerp(momentum, MOMENTUM))  # Nesterov's: one step ahead
        if is_finite is not None:
            direction = torch.where(is_finite, direction, 0.0)
        weight.mul_(decay).add_(direction, alpha=-lr * (0.2 * math.sqrt(max(weight.shape))))

    def _adamw(self, parameters: list[nn.Parameter], group: dict[str, Any], found_inf: torch.Tensor | None) -> None:
        """Update the parameters of a group, and their moments, by torch's fused kernel."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            list[torch.Tensor](parameters),
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            found_inf=found_inf,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with all its singular values near 1, in bf16, by Newton-Schulz iterations (Jordan 2024)."""
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = x.T if is_tall else x  # (n, m), n <= m
    x = x / x.norm().clamp(min=SMALLEST_NORM)
    for _ in range(ITERATIONS):
        gram = x @ x.T  # (n, n)
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
