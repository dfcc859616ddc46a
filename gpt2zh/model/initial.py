"""What a new model knows before its first step: where the tokens just before are.

The first layer's heads 0, 1, 2 start by attending to the token 1, 2, 3 positions back ("previous-token heads", Elhage et al. 2021,
transformer-circuits.pub/2021/framework), which training from random weights finds late. They do so by what is
in stock weights: `wpe` is a Fourier code in its last dimensions, and these heads' queries are the code of an earlier position.
docs/log.md, "Starting with previous-token heads", has the measurements.

In: a fresh GPT2LMHeadModel, changed in place.
"""

import math
from typing import cast

import numpy as np
import torch
from transformers import GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

MOST_HEADS, MOST_FREQUENCIES = 3, 16
SCORE = 8.0  # of the position that a head looks for, before the softmax; other positions are near 0


@torch.no_grad()
def add_previous_token_heads(model: GPT2LMHeadModel) -> None:
    """Make heads h = 0, 1, … of the first layer attend from position t to t - h - 1. The last head stays as it was.

    The code of position t is (cos w_k t, sin w_k t), k < K, w_k random in the k-th of K parts of (0, pi): the product of two codes
    is K where the positions are equal and small elsewhere. Its norm is made that of a token's embedding, so that the layer norm
    leaves each half of the variance.
    """
    config, first = model.config, cast(GPT2Block, model.transformer.h[0]).attn
    n_embd, head_dim = config.n_embd, config.n_embd // config.n_head
    n_frequencies = min(MOST_FREQUENCIES, head_dim // 2)
    n_heads = min(MOST_HEADS, config.n_head - 1)
    if not n_frequencies or not n_heads:
        return
    frequencies = torch.from_numpy(np.arange(n_frequencies) + np.random.default_rng(0).random(n_frequencies))
    frequencies = frequencies * math.pi / n_frequencies  # (K,)
    angles = torch.arange(config.n_positions)[:, None] * frequencies  # (T, K)
    code = slice(n_embd - 2 * n_frequencies, n_embd)  # the dimensions of the code
    token_norm = model.transformer.wte.weight.norm(dim=1).mean()
    model.transformer.wpe.weight.zero_()
    model.transformer.wpe.weight[:, code] = (
        torch.cat([angles.cos(), angles.sin()], 1).float() * token_norm / n_frequencies**0.5
    )
    # Behind the layer norm the code's norm is sqrt(n_embd / 2). The two projections share the factor that makes the score SCORE.
    factor = math.sqrt(SCORE * math.sqrt(head_dim) / (n_embd / 2))
    identity = torch.eye(2 * n_frequencies) * factor
    for head in range(n_heads):
        cos, sin = (torch.diag(f(frequencies * (head + 1))).float() * factor for f in (torch.cos, torch.sin))
        turned = torch.cat(
            [torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)]
        )  # the code of t, to that of t - head - 1
        for part, projection in ((0, turned), (n_embd, identity)):  # of queries, of keys
            columns = slice(part + head * head_dim, part + (head + 1) * head_dim)
            first.c_attn.weight[:, columns] = 0
            first.c_attn.weight[code, columns.start : columns.start + 2 * n_frequencies] = projection
