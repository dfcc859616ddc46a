"""Cross-entropy that never holds (B, T, V) logits, and the module whose forward pass is a training loss.

In: ids and targets, (B, T). Out: the sum of the nats over the targets that count, and their number, each of shape (1,).
A sum and a number, not a mean: devices and micro-batches of different size then add up to exactly the large batch.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2LMHeadModel

from gpt2zh.model.forward import Forward

ALIGNED = 64  # the vocabulary is filled up to a multiple inside the product, which GPUs' tensor cores want
CHUNK = 1024  # positions whose logits exist at one time


class Gradients(torch.autograd.function.FunctionCtx):
    """What the backward pass multiplies."""

    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[torch.Tensor, ...]
    dtypes: tuple[torch.dtype, torch.dtype]


class LinearCrossEntropy(torch.autograd.Function):
    """Sum of -log softmax(hidden @ weight.T)[target], chunk by chunk; the gradients are made in the forward pass.

    With `smoothing` the gradients are those of smoothed targets, while the sum stays that of the targets themselves. Matrix products run in
    the autocast dtype, softmax and sums in fp32. Measured against torch.nn.functional.linear_cross_entropy in benchmarks/loss_speed.py.
    """

    @staticmethod
    def forward(
        ctx: Gradients,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        compiled: bool,
        smoothing: torch.Tensor | None,
    ) -> torch.Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        n_vocab = len(weight)
        hidden_, weight_ = hidden.to(dtype), F.pad(weight.to(dtype), (0, 0, 0, -n_vocab % ALIGNED))
        grads = None
        if any(ctx.needs_input_grad):
            grads = torch.empty_like(hidden_), torch.zeros_like(weight_, dtype=torch.float32)
        smoothing_ = None if smoothing is None else F.pad(smoothing.float(), (0, len(weight_) - n_vocab))
        nats = torch.zeros((), dtype=torch.float32, device=hidden.device)
        run = compiled_cross_entropy if compiled and len(hidden) % CHUNK == 0 else cross_entropy
        counts = (targets >= 0).to(dtype)[:, None]  # (N, 1)
        with torch.autocast(device, enabled=False):
            for rows in range(0, len(hidden), CHUNK):
                part = slice(rows, rows + CHUNK)
                logits = hidden_[part] @ weight_.t()  # (n, V and what fills it up)
                logits[:, n_vocab:] = -torch.inf
                chunk_nats, grad = run(logits, targets[part], grads is not None, smoothing_)
                nats += chunk_nats
                if grads is not None:
                    grads[0][part] = (grad @ weight_) * counts[part]
                    grads[1].add_(grad.t() @ (hidden_[part] * counts[part]))
        if grads is not None:
            ctx.save_for_backward(grads[0], grads[1][:n_vocab])
        ctx.dtypes = hidden.dtype, weight.dtype
        return nats

    @staticmethod
    def backward(ctx: Gradients, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return (grad_hidden * scale).to(ctx.dtypes[0]), (grad_weight * scale).to(ctx.dtypes[1]), None, None, None


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, needs_grad: bool, smoothing: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of nats, in fp32, of the targets that count, and for every row the gradient: softmax - target distribution.

    Args:
        logits: (n, V). targets: (n,); where one does not count, its row of the gradient means nothing.
        needs_grad: without it the second result means nothing.
        smoothing: (V,), what the target distribution takes from the target and gives to other tokens; None is one-hot.
    """
    index = targets.clamp(min=0)[:, None]
    p = torch.softmax(logits, -1, dtype=torch.float32)  # (n, V), the largest array of all: few passes
    # The largest logit less the logarithm of its probability is the logarithm of the sum that softmax divides by.
    log_total = logits.amax(-1, keepdim=True).float() - p.amax(-1, keepdim=True).log()  # (n, 1)
    nats = ((log_total - logits.gather(1, index).float()) * (targets >= 0)[:, None]).sum()
    if needs_grad:
        target = torch.ones_like(log_total) if smoothing is None else (1 - smoothing.sum()).expand_as(log_total)
        p.scatter_add_(1, index, -target)
        if smoothing is not None:
            p.sub_(smoothing)
    return nats, p.to(logits.dtype)


compiled_cross_entropy = torch.compile(cross_entropy, dynamic=False, fullgraph=True)


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    compiled: bool = False,
    smoothing: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum of nats, a scalar in fp32.

    Args:
        hidden: (N, C). weight: (V, C). targets: (N,), int64; a negative one does not count.
        smoothing: (V,), probabilities of a sum below 1: gradients are those of (1 - sum) one-hot + smoothing as the target.
    """
    if not torch.is_grad_enabled():
        hidden, weight = hidden.detach(), weight.detach()  # else the gradients would be made, and thrown away
    return LinearCrossEntropy.apply(hidden, weight, targets, compiled, smoothing)


class LanguageModelLoss(nn.Module):
    """Wraps a model so that only two numbers leave each device: DataParallel then gathers no logits and no cache.

    Args:
        compiled: run training batches of the first one's shape through torch.compile. Others (the last of an epoch,
            validation) run as written, so nothing is compiled twice.
        checkpointing: see gpt2zh.model.forward.
        smoothing: (V,), what training's targets give to all tokens (see `linear_cross_entropy`); the loss stays that of the text.
    """

    smoothing: torch.Tensor | None

    def __init__(
        self,
        model: GPT2LMHeadModel,
        compiled: bool = False,
        checkpointing: bool = False,
        smoothing: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.run = Forward(model, checkpointing)  # the model's weights are here once: FSDP2 wants each in one place
        self.lm_head = model.lm_head
        self.compiled = compiled
        self.compiled_shape: torch.Size | None = None
        self.register_buffer("smoothing", smoothing, persistent=False)

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of nats and number of targets, each (1,). Args: inputs and targets, (B, T)."""
        if self.compiled and self.training and self.compiled_shape is None:
            self.compiled_shape = inputs.shape
        compiled = self.training and inputs.shape == self.compiled_shape
        hidden = self.run(inputs, compiled)  # (B, T, C)
        hidden, targets_ = hidden.flatten(0, 1), targets.flatten()
        nats = linear_cross_entropy(hidden, self.lm_head.weight, targets_, compiled, self.smoothing)
        return torch.stack([nats]), (targets >= 0).sum().reshape(1)  # no view: FSDP2 hooks into what is returned
