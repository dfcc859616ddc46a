"""Causal self-attention, the fast way for each kind of device.

In: queries, keys and values in one array, (3, G, T, D), G = batch x heads. Out: (G, T, D).
GPUs: torch's scaled_dot_product_attention (flash). CPUs: `BlockAttention`, plain matrix products, because torch's CPU
kernel is slower at the sizes of GPT-2, and because with blocks only what the mask leaves is computed.
"""

import torch
import torch.nn.functional as F

from gpt2zh.model.dropout import kept

N_BLOCKS = 4  # 1: all T x T scores, 4: 5/8 of them; more blocks make the products too small
SMALLEST_BLOCK = 64


class Kept(torch.autograd.function.FunctionCtx):
    """What the backward pass needs of the forward pass."""

    saved_tensors: tuple[torch.Tensor, ...]
    blocks: list[tuple[int, int]]
    scale: float
    dropout: float


class BlockAttention(torch.autograd.Function):
    """softmax(q k' scale + causal mask) v, where a block of queries meets no key that is later than all of them.

    Products in the dtype of the input, scores and softmax in fp32. The probabilities are kept for the backward pass:
    G x T x T x 5/8 numbers. Source: Vaswani et al. 2017; the backward pass as in Dao et al. 2022, appendix B.
    """

    @staticmethod
    def forward(ctx: Kept, qkv: torch.Tensor, scale: float, dropout: float) -> torch.Tensor:
        q, k, v = qkv.unbind(0)
        blocks = query_blocks(q.shape[1])
        outputs, saved = [], []
        for start, end in blocks:
            scores = torch.bmm(q[:, start:end], k[:, :end].transpose(1, 2)).float() * scale  # (G, t, end)
            later = torch.full((end - start, end - start), float("-inf"), device=q.device).triu(1)
            p = torch.softmax(scores + F.pad(later, (start, 0)), -1).to(q.dtype)
            saved.append(p)
            if dropout:
                mask = kept(p, dropout)
                saved.append(mask)
                p = p * mask / (1 - dropout)
            outputs.append(torch.bmm(p, v[:, :end]))
        out = torch.cat(outputs, 1)
        ctx.save_for_backward(qkv, out, *saved)
        ctx.blocks, ctx.scale, ctx.dropout = blocks, scale, dropout
        return out

    @staticmethod
    def backward(ctx: Kept, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        qkv, out, *saved = ctx.saved_tensors
        q, k, v = qkv.unbind(0)
        n_ctx, dtype = q.shape[1], q.dtype
        delta = (grad.float() * out.float()).sum(-1, keepdim=True)  # (G, T, 1)
        grad_q = []
        grad_k = grad_v = torch.zeros((), device=q.device)
        for start, end in ctx.blocks:
            p = saved.pop(0)
            mask = saved.pop(0) / (1 - ctx.dropout) if ctx.dropout else 1.0
            rows, rest = grad[:, start:end], (0, 0, 0, n_ctx - end)
            dropped = (p * mask).to(dtype)
            grad_v = grad_v + F.pad(torch.bmm(dropped.transpose(1, 2), rows).float(), rest)
            grad_p = torch.bmm(rows, v[:, :end].transpose(1, 2)).float() * mask
            grad_scores = ((grad_p - delta[:, start:end]) * p * ctx.scale).to(dtype)  # (G, t, end)
            grad_q.append(torch.bmm(grad_scores, k[:, :end]))
            grad_k = grad_k + F.pad(torch.bmm(grad_scores.transpose(1, 2), q[:, start:end]).float(), rest)
        return torch.stack((torch.cat(grad_q, 1), grad_k.to(dtype), grad_v.to(dtype))), None, None


def query_blocks(n_ctx: int) -> list[tuple[int, int]]:
    """The blocks of queries, as (start, end)."""
    size = max(SMALLEST_BLOCK, -(-n_ctx // N_BLOCKS))
    return [(start, min(start + size, n_ctx)) for start in range(0, n_ctx, size)]


def causal_attention(qkv: torch.Tensor, scale: float, dropout: float) -> torch.Tensor:
    """Attention in which no position sees a later one.

    Args:
        qkv: (3, G, T, D). scale: of the scores. dropout: share of the probabilities that are dropped, 0 when not training.
    Returns:
        (G, T, D).
    """
    if qkv.device.type == "cpu":
        return BlockAttention.apply(qkv, scale, dropout)
    q, k, v = qkv.unsqueeze(1).unbind(0)  # (1, G, T, D): the kernels want four dimensions
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout, scale=scale).squeeze(0)
