"""GPT-2's forward pass for training, over the weights of a stock GPT2LMHeadModel.

    ids (B, T) -> embeddings (B, T, C) -> n_layer x `block` -> last layer norm -> hidden states (B, T, C)

The same function as transformers' own (tests compare hidden states and gradients), without what training has no use for:
caches, masks, outputs by layer. So it is short enough to be read, and one block can be compiled for all layers.
"""

from typing import cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention, GPT2Block

from gpt2zh.model.attention import causal_attention
from gpt2zh.model.dropout import drop

GELU = 2 * (2 / torch.pi) ** 0.5


class Forward(nn.Module):
    """ids -> hidden states. Holds no weights of its own.

    Args:
        checkpointing: keep only the input of each block and compute the block again in the backward pass.
    """

    def __init__(self, model: GPT2LMHeadModel, checkpointing: bool = False) -> None:
        super().__init__()
        trunk = model.transformer
        self.wte, self.wpe, self.drop, self.ln_f = trunk.wte, trunk.wpe, trunk.drop, trunk.ln_f
        self.blocks = nn.ModuleList(Block(cast(GPT2Block, layer), checkpointing) for layer in trunk.h)

    def forward(self, inputs: torch.Tensor, compiled: bool = False) -> torch.Tensor:
        """Hidden states, (B, T, C), of ids, (B, T). `compiled`: run the blocks as compiled by torch.compile."""
        positions = torch.arange(inputs.shape[1], device=inputs.device)
        x = drop(self.wte(inputs) + self.wpe(positions), self.drop)  # (B, T, C)
        for block in self.blocks:
            x = block(x, compiled)
        return self.ln_f(x)


class Block(nn.Module):
    """One transformer block: a stock layer's weights, and how to run them."""

    def __init__(self, layer: GPT2Block, checkpointing: bool) -> None:
        super().__init__()
        self.layer = layer
        self.checkpointing = checkpointing

    def forward(self, x: torch.Tensor, compiled: bool) -> torch.Tensor:
        run = compiled_block if compiled else block
        if self.checkpointing and self.training:
            return checkpoint(run, x, self.layer, use_reentrant=False)
        return run(x, self.layer)


def block(x: torch.Tensor, layer: GPT2Block) -> torch.Tensor:
    """One pre-norm block. x: (B, T, C), fp32 under autocast. Returns the same shape."""
    x = x + drop(self_attention(layer.ln_1(x), layer.attn), layer.attn.resid_dropout)
    h = activation(layer.mlp.c_fc(layer.ln_2(x)), layer.mlp.act)  # (B, T, 4 C)
    return x + drop(layer.mlp.c_proj(h), layer.mlp.dropout)


compiled_block = torch.compile(block, dynamic=False, fullgraph=True)


def self_attention(x: torch.Tensor, attention: GPT2Attention) -> torch.Tensor:
    """Attention of a stock layer. x: (B, T, C)."""
    n_batch, n_ctx, n_embd = x.shape
    n_head = attention.num_heads
    qkv = attention.c_attn(x).view(n_batch, n_ctx, 3, n_head, n_embd // n_head)
    qkv = qkv.permute(2, 0, 3, 1, 4).reshape(3, n_batch * n_head, n_ctx, n_embd // n_head)
    dropout = attention.attn_dropout.p if attention.training else 0.0
    out = causal_attention(qkv, attention.scaling, dropout)  # (B x heads, T, D)
    out = out.view(n_batch, n_head, n_ctx, -1).transpose(1, 2).reshape(n_batch, n_ctx, n_embd)
    return attention.c_proj(out)


def activation(x: torch.Tensor, act: nn.Module) -> torch.Tensor:
    """gelu_new as x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)) where that is faster: compiled, on a CPU. The same function."""
    if isinstance(act, nn.GELU) and x.device.type == "cpu" and torch.compiler.is_compiling():
        wide = x.float()
        return (wide * torch.sigmoid(GELU * wide * (1 + 0.044715 * wide * wide))).to(x.dtype)
    return act(x)
