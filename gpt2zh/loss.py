"""Cross-entropy that never holds (B, T, V) logits, and the module whose forward pass is a training loss.

In: ids and targets, (B, T). Out: the sum of the nats over the targets that count, and their number, each of shape (1,).
A sum and a number, not a mean: devices and micro-batches of different size then add up to exactly the large batch.
"""

import torch
from torch import nn
from transformers import GPT2LMHeadModel

CHUNK = 512  # positions whose logits exist at one time


class LinearCrossEntropy(torch.autograd.Function):
    """Sum of -log softmax(hidden @ weight.T)[target], chunk by chunk; the gradients are made in the forward pass.

    Matrix products run in the autocast dtype, softmax and sums in fp32. Measured against
    torch.nn.functional.linear_cross_entropy in benchmarks/loss_speed.py.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        hidden_, weight_ = hidden.to(dtype), weight.to(dtype)
        needs_grad = any(ctx.needs_input_grad)
        grad_hidden = torch.empty_like(hidden_) if needs_grad else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad else None
        nats = torch.zeros((), dtype=torch.float32, device=hidden.device)
        with torch.autocast(device, enabled=False):
            for rows in range(0, len(hidden), CHUNK):
                part = slice(rows, rows + CHUNK)
                target = targets[part]
                counts = (target >= 0).float()  # (n,)
                index = target.clamp(min=0)[:, None]  # (n, 1)
                logits = (hidden_[part] @ weight_.t()).float()  # (n, V)
                log_sum = logits.logsumexp(-1)  # (n,)
                nats += ((log_sum - logits.gather(1, index).squeeze(1)) * counts).sum()
                if needs_grad:
                    # d nats / d logits = softmax - one-hot, 0 where the target does not count
                    grad = logits.sub_(log_sum[:, None]).exp_().scatter_add_(1, index, -torch.ones_like(logits[:, :1]))
                    grad = grad.mul_(counts[:, None]).to(dtype)
                    grad_hidden[part] = grad @ weight_
                    grad_weight += grad.t() @ hidden_[part]
        if needs_grad:
            ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = hidden.dtype, weight.dtype
        return nats

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, scale: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return (grad_hidden * scale).to(ctx.dtypes[0]), (grad_weight * scale).to(ctx.dtypes[1]), None


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum of nats, a scalar in fp32.

    Args:
        hidden: (N, C). weight: (V, C). targets: (N,), int64; a negative one does not count.
    """
    if not torch.is_grad_enabled():
        hidden, weight = hidden.detach(), weight.detach()  # else the gradients would be made, and thrown away
    return LinearCrossEntropy.apply(hidden, weight, targets)


class LanguageModelLoss(nn.Module):
    """Wraps a model so that only two numbers leave each device: DataParallel then gathers no logits and no cache."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of nats and number of targets, each (1,). Args: inputs and targets, (B, T)."""
        hidden = self.model.transformer(inputs, use_cache=False).last_hidden_state  # (B, T, C)
        nats = linear_cross_entropy(hidden.flatten(0, 1), self.model.lm_head.weight, targets.flatten())
        return torch.stack([nats]), (targets >= 0).sum().reshape(1)  # no view: FSDP2 hooks into what is returned
