"""Optimisers, recipes and schedules, each against its definition."""

import math
from itertools import pairwise

import pytest
import torch
from conftest import TINY_CONFIG
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.model.loss import LanguageModelLoss
from gpt2zh.model.stock import ControlIds, new_model
from gpt2zh.training.optim import build_optimizer, clip_gradients, parameter_groups, set_lr
from gpt2zh.training.recipe import Recipe, Wishes, choose_recipe
from gpt2zh.training.schedule import lr_factor


def tiny(vocab_size: int = 50) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    plain = {**TINY_CONFIG, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    return new_model(GPT2Config(**plain), vocab_size, ControlIds(document_start=4, document_end=2, pad=0))


def test_the_groups_hold_every_parameter_once_and_only_matrices_decay() -> None:
    model = tiny()
    decayed, not_decayed = parameter_groups(list(model.parameters()), 0.1)
    assert sorted(map(id, decayed["params"] + not_decayed["params"])) == sorted(map(id, model.parameters()))
    assert all(p.dim() == 2 for p in decayed["params"]) and all(p.dim() == 1 for p in not_decayed["params"])
    assert not_decayed["weight_decay"] == 0


@pytest.mark.parametrize("name", ["adamw", "muon", "adamw8bit"])
def test_the_optimisers_hold_every_parameter_once(name: str) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    model = tiny()
    optimizer = build_optimizer(model, name, 1e-3, 0.1, (0.9, 0.95), 1e-8)
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    set_lr(optimizer, 0.5)
    before = [parameter.clone() for parameter in held]
    for parameter in held:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert not any(torch.equal(old, new) for old, new in zip(before, held))
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in held)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_that_is_not_finite_is_skipped_whole(name: str) -> None:
    """fp16's order: unscale, clip, step. One gradient overflows; no parameter may move, nor the optimiser's state."""
    model = tiny()
    optimizer = build_optimizer(model, name, 1e-2, 0.1, (0.9, 0.95), 1e-8)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for overflow in (True, False):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1024.0)
        if overflow:
            model.transformer.h[0].mlp.c_fc.weight.grad[0, 0] = math.inf
        scaler.scale(torch.zeros(1))
        scaler.unscale_(optimizer)
        norm = clip_gradients(model, 1.0)
        scaler.step(optimizer)
        scaler.update()
        moved = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
        assert math.isfinite(norm.item()) is not overflow and bool(moved) is not overflow
        assert scaler.get_scale() == 512.0
    n = sum(parameter.numel() for parameter in model.parameters())
    assert norm.item() == pytest.approx(math.sqrt(n) * 1024 / 512)


def test_moments_in_8_bits_take_a_quarter_of_the_memory_and_learn_alike() -> None:
    pytest.importorskip("bitsandbytes")
    ids = torch.randint(0, 50, (20, 4, 33), generator=torch.Generator().manual_seed(0))
    bytes_per_weight, steps = {}, {}
    for name in ("adamw", "adamw8bit"):
        model = tiny(vocab_size=2000)
        start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        optimizer = build_optimizer(model, name, 1e-3, 0.1, (0.9, 0.95), 1e-8)
        for batch in ids:
            nats, count = LanguageModelLoss(model)(batch[:, :-1], batch[:, 1:])
            (nats / count).backward()
            optimizer.step()
            optimizer.zero_grad()
        moments = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
        bytes_per_weight[name] = sum(moment.numel() * moment.element_size() for moment in moments) / len(start)
        steps[name] = nn.utils.parameters_to_vector(model.parameters()).detach() - start
    assert bytes_per_weight["adamw"] > 8 and bytes_per_weight["adamw8bit"] < 3.5
    # 20 steps from zero moments to the same place: what is lost in 8 bits is a small part of the way
    assert (steps["adamw8bit"] - steps["adamw"]).norm() < 0.1 * steps["adamw"].norm()


def test_muon_moves_a_matrix_and_its_transpose_alike() -> None:
    """GPT-2 keeps its matrices as (in, out), Muon was made for (out, in): the step must not depend on that."""
    torch.manual_seed(0)
    weight, grad = torch.randn(8, 24), torch.randn(8, 24)
    steps = []
    for turn in (lambda matrix: matrix, torch.t):
        model = tiny()
        parameter = model.transformer.h[0].mlp.c_fc.weight
        parameter.data, parameter.grad = turn(weight).clone(), turn(grad).clone()
        build_optimizer(model, "muon", 1e-2, 0.0, (0.9, 0.95), 1e-8).step()
        steps.append(turn(parameter.data) - weight)
    torch.testing.assert_close(steps[0], steps[1], rtol=0, atol=3e-3 * steps[0].abs().max().item() * 10)
    # the size that AdamW's step would have: 0.2 lr each number (Liu et al. 2025)
    assert steps[0].pow(2).mean().sqrt().item() == pytest.approx(0.2e-2, rel=0.3)


def test_what_is_given_is_obeyed_and_the_rest_is_chosen() -> None:
    chosen = choose_recipe(Wishes(), 384, 1000, fast_bf16=True)
    assert (chosen.optimizer, chosen.warmup_steps) == ("muon", 100)
    assert choose_recipe(Wishes(), 384, 1000, fast_bf16=False).optimizer == "adamw"
    wider = choose_recipe(Wishes(), 4 * 384, 1000, fast_bf16=True)
    assert wider.lr == pytest.approx(chosen.lr / 2)
    tuned = choose_recipe(Wishes(), 384, 1000, fast_bf16=True, pretrained=True)
    assert tuned.optimizer == "adamw" and tuned.lr < chosen.lr / 10
    assert choose_recipe(Wishes("classic"), 384, 9, True, pretrained=True) == choose_recipe(
        Wishes("classic"), 384, 9, True
    )
    wishes = {
        "optimizer": "adamw",
        "lr": 3e-4,
        "betas": (0.8, 0.9),
        "weight_decay": 0.0,
        "schedule": "cosine",
        "warmup_steps": 0.05,
    }
    for name in ("tuned", "classic"):
        given = choose_recipe(Wishes(name, **wishes), 384, 1000, fast_bf16=True)
        assert given == Recipe("adamw", 3e-4, (0.8, 0.9), given.eps, 0.0, "cosine", 50)


def test_the_classic_recipe_is_the_ancestors() -> None:
    for n_steps in (10, 10**6):
        classic = choose_recipe(Wishes("classic"), 768, n_steps, fast_bf16=True)
        assert classic == Recipe("adamw", 1.5e-4, (0.9, 0.999), 1e-6, 0.0, "linear", 2000)


def test_the_schedule_rises_to_the_peak_and_falls_to_zero() -> None:
    factors = [lr_factor(step, 10, 110) for step in range(111)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1 and factors[10] == 1
    assert factors[60] == pytest.approx(0.5) and factors[109] == pytest.approx(0.01) and factors[110] == 0
    assert lr_factor(0, 0, 10) == 1 and lr_factor(5, 3000, 264) == pytest.approx(6 / 3000)


def test_schedules_have_their_closed_forms_and_end_at_zero() -> None:
    for schedule in ("linear", "cosine", "wsd"):
        factors = [lr_factor(step, 10, 110, schedule) for step in range(111)]
        assert factors[:10] == [(step + 1) / 10 for step in range(10)]
        assert factors[10] == 1 and factors[110] == 0
        assert all(later <= earlier for earlier, later in pairwise(factors[10:]))
        assert lr_factor(0, 0, 1, schedule) == 1  # a run of one step
    assert lr_factor(60, 10, 110, "cosine") == pytest.approx(0.5)
    assert lr_factor(35, 10, 110, "cosine") == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert [lr_factor(step, 10, 110, "wsd") for step in (50, 88, 99)] == [1, 1, 0.5]
