"""Previous-token heads: stock transformers itself says where they look."""

import pytest
import torch
from transformers import GPT2Config

from gpt2zh.model.initial import add_previous_token_heads
from gpt2zh.model.stock import ControlIds, new_model

IDS = ControlIds(1, 2, 0)


def fresh(n_embd: int, n_head: int, n_ctx: int):
    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_embd=n_embd, n_head=n_head, n_positions=n_ctx, attn_implementation="eager")
    return new_model(config, 500, IDS).eval()


@pytest.mark.parametrize(("n_embd", "n_head", "n_ctx"), [(192, 3, 128), (256, 4, 512), (384, 6, 256), (768, 12, 1024)])
def test_the_first_heads_of_a_new_model_attend_to_the_tokens_just_before(n_embd, n_head, n_ctx):
    model = fresh(n_embd, n_head, n_ctx)
    add_previous_token_heads(model)
    ids = torch.randint(0, 500, (2, n_ctx), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        attention = model(ids, output_attentions=True).attentions[0].mean(0)  # (heads, T, T)
    for head in range(min(3, n_head - 1)):
        there = attention[head].diagonal(-head - 1)
        assert there.mean() > 0.5
        elsewhere = attention[head].clone()
        elsewhere.diagonal(-head - 1).zero_()
        assert elsewhere[16:].max() < 0.2
    assert attention[-1].diagonal(-1)[16:].max() < 0.2


def test_all_other_weights_are_those_of_gpt2():
    plain, ours = fresh(192, 3, 64), fresh(192, 3, 64)
    add_previous_token_heads(ours)
    changed = {name for name, weight in ours.state_dict().items() if not torch.equal(weight, plain.state_dict()[name])}
    assert changed == {"transformer.wpe.weight", "transformer.h.0.attn.c_attn.weight"}
    names = plain.transformer.h[0].attn.c_attn.weight, ours.transformer.h[0].attn.c_attn.weight
    assert all(
        torch.equal(*(weight[:, columns] for weight in names)) for columns in (slice(128, 192), slice(320, None))
    )


@pytest.mark.parametrize(("n_embd", "n_head"), [(8, 1), (4, 4)])
def test_a_model_too_small_for_them_stays_as_it_is(n_embd, n_head):
    plain, ours = fresh(n_embd, n_head, 16), fresh(n_embd, n_head, 16)
    add_previous_token_heads(ours)
    assert all(torch.equal(weight, plain.state_dict()[name]) for name, weight in ours.state_dict().items())
