"""Configurations, weights, loss and optimiser: each against its definition."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, TINY_CONFIG
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.device import choose_device, choose_gpus, own_gpu
from gpt2zh.errors import UserError
from gpt2zh.evaluation.likelihood import Score, evaluate
from gpt2zh.model.loss import CHUNK, LanguageModelLoss, linear_cross_entropy
from gpt2zh.model.stock import ControlIds, load_model, new_model, read_config
from gpt2zh.training.optim import build_optimizer, clip_gradients, lr_factor, parameter_groups, set_lr
from gpt2zh.training.recipe import Recipe, Wishes, choose_recipe

IDS = ControlIds(document_start=4, document_end=2, pad=0)


def tiny(vocab_size: int = 50, dropout: float = 0.0, **changes: int) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return new_model(
        GPT2Config(**{**TINY_CONFIG, **changes, "attn_pdrop": dropout, "embd_pdrop": dropout, "resid_pdrop": dropout}),
        vocab_size,
        IDS,
    )


# ----- configurations and weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("small", (10, 768, 8, 512, 13317)),
        ("", (12, 768, 12, 1024, 13317)),
        ("test", (1, 128, 2, 64, 13317)),
        ("demo", None),
        ("10mb", (6, 384, 6, 256, 13317)),
        ("100mb", (8, 512, 8, 512, 13317)),
        ("shakespeare_char", (6, 384, 6, 256, 65)),
    ],
)
def test_every_shipped_configuration_loads(name: str, shape: tuple[int, ...] | None) -> None:
    config = read_config(ROOT / "config" / f"model_config{'_' * bool(name)}{name}.json")
    assert config.n_ctx == config.n_positions
    assert shape in (None, (config.n_layer, config.n_embd, config.n_head, config.n_positions, config.vocab_size))


def test_seed_003_has_its_dropout_and_its_size() -> None:
    config = read_config(ROOT / "config" / "model_config_shakespeare_char.json")
    assert config.resid_pdrop == config.embd_pdrop == config.attn_pdrop == 0.2
    assert sum(p.numel() for p in new_model(config, 65, IDS).parameters()) == pytest.approx(
        10_738_229, rel=0.01
    )  # its README; biases differ


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_head": 5}, ["n_embd", "32", "n_head 5"]),
        ({"n_ctx": 64}, ["n_ctx", "64", "n_positions 32"]),
        ({"n_layer": 0, "vocab_size": "many"}, ["n_layer", "0", "vocab_size", "'many'"]),
        ({"model_type": "llama"}, ["llama", "gpt2"]),
        ({"n_layer": True}, ["n_layer", "True"]),
        ({"resid_pdrop": 2}, ["resid_pdrop", "2"]),
        ({"layer_norm_epsilon": "x"}, ["layer_norm_epsilon", "'x'"]),
        ({"initializer_range": -1}, ["initializer_range", "-1"]),
    ],
)
def test_a_shape_that_cannot_be_is_refused_with_both_values(tmp_path: Path, change: dict, words: list[str]) -> None:
    (tmp_path / "c.json").write_text(json.dumps({**TINY_CONFIG, **change}), encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_config(tmp_path / "c.json")
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    "change",
    [{"activation_function": "foo"}, {"n_inner": -5}, {"n_embd": 2**40}, {"_attn_implementation": "flash_attention_2"}],
)
def test_a_model_that_cannot_be_made_is_an_error_of_the_configuration(tmp_path: Path, change: dict) -> None:
    (tmp_path / "c.json").write_text(json.dumps({**TINY_CONFIG, **change}), encoding="utf-8")
    with pytest.raises(UserError, match="GPT-2"):
        new_model(read_config(tmp_path / "c.json"), 50, IDS)


def test_integers_stand_for_floats(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({**TINY_CONFIG, "resid_pdrop": 0}), encoding="utf-8")
    assert read_config(tmp_path / "c.json").resid_pdrop == 0.0


def test_the_model_follows_the_vocabulary_and_knows_where_documents_end() -> None:
    model = tiny(vocab_size=77)
    assert model.config.vocab_size == 77 == model.transformer.wte.num_embeddings
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (4, 2, 0)
    assert model.generation_config.eos_token_id == 2


def test_weights_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    tiny(50).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="51 个词条.*vocab_size 是 50"):
        load_model(tmp_path, 51)
    assert load_model(tmp_path, 50).config.vocab_size == 50


@pytest.mark.parametrize("harm", ["truncated", "text", "more layers", "fewer layers", "width", "pickle"])
def test_broken_weights_are_named(tmp_path: Path, harm: str) -> None:
    tiny(50).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    change = {"more layers": {"n_layer": 3}, "fewer layers": {"n_layer": 1}, "width": {"n_embd": 64}}.get(harm)
    if change:
        config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}), encoding="utf-8")
    elif harm == "pickle":
        weights.unlink()
        (tmp_path / "pytorch_model.bin").write_bytes(b"")
    else:
        weights.write_bytes(weights.read_bytes()[:1000] if harm == "truncated" else b"<html>not found</html>")
    with pytest.raises(UserError, match=re.escape(str(tmp_path))):
        load_model(tmp_path, 50)


def test_an_old_folder_of_the_ancestor_loads(tmp_path: Path) -> None:
    """pytorch_model.bin and a config without model_type, as transformers 2.1 wrote them."""
    model = tiny(50)
    state = {name: value for name, value in model.state_dict().items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({**TINY_CONFIG, "vocab_size": 50}), encoding="utf-8")
    loaded = load_model(tmp_path, 50)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters()))


def test_the_fused_gelu_is_gelu_new() -> None:
    from transformers.activations import ACT2FN

    x = torch.linspace(-9, 9, 1001)
    assert torch.allclose(tiny().transformer.h[0].mlp.act(x), ACT2FN["gelu_new"](x), atol=1e-6)


def test_fresh_weights_are_gpt2s() -> None:
    """Normal with initializer_range; what is added to the residual stream smaller by sqrt(2 n_layer) (Radford et al. 2019)."""
    torch.manual_seed(0)
    model = tiny(n_layer=8, n_embd=64)
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            wanted = 0.02 / math.sqrt(2 * 8) if name.endswith("c_proj.weight") else 0.02
            assert weight.std().item() == pytest.approx(wanted, rel=0.1), name


# ----- loss ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, CHUNK - 1, CHUNK, 2 * CHUNK + 7])
def test_the_chunked_loss_and_its_gradients_equal_the_plain_formula(n: int) -> None:
    torch.manual_seed(n)
    hidden, weight = torch.randn(n, 16, requires_grad=True), torch.randn(99, 16, requires_grad=True)
    targets = torch.randint(0, 99, (n,))
    targets[::3] = -100
    results = []
    for function in (linear_cross_entropy, lambda h, w, t: F.cross_entropy(h @ w.t(), t, reduction="sum")):
        hidden.grad = weight.grad = None
        loss = function(hidden, weight, targets)
        (loss * 0.37).backward()
        results.append((loss.detach(), hidden.grad, weight.grad))
    for ours, plain in zip(*results):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)  # sums of up to 1,031 fp32 terms


def test_no_gradient_is_made_where_none_is_wanted() -> None:
    hidden, weight = torch.randn(4, 16), torch.nn.Parameter(torch.randn(99, 16))
    targets = torch.randint(0, 99, (4,))
    wanted = linear_cross_entropy(hidden, weight, targets)
    assert wanted.requires_grad
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert linear_cross_entropy(hidden, weight, targets).item() == wanted.item()
            with torch.profiler.profile() as profile:
                linear_cross_entropy(hidden, weight, targets)
    assert not any(event.key == "aten::scatter_add_" for event in profile.key_averages())  # only the gradient has one


def test_the_training_loss_is_the_models_own_and_nothing_else_leaves_the_device() -> None:
    model = tiny()
    ids = torch.randint(0, 50, (3, 17))
    nats, count = LanguageModelLoss(model)(ids[:, :-1], ids[:, 1:])
    assert nats.shape == count.shape == (1,) and count.item() == 48
    assert (nats / count).item() == pytest.approx(model(ids, labels=ids).loss.item(), rel=1e-5)


def test_two_halves_of_a_batch_add_up_to_the_whole() -> None:
    """What DataParallel does: each replica gets rows, sums and counts are added."""
    loss = LanguageModelLoss(tiny())
    ids = torch.randint(0, 50, (5, 17))
    whole = loss(ids[:, :-1], ids[:, 1:])
    parts = [loss(part[:, :-1], part[:, 1:]) for part in ids.split([3, 2])]
    for index in (0, 1):
        assert sum(part[index].item() for part in parts) == pytest.approx(whole[index].item(), rel=1e-6)


def test_a_fresh_model_knows_nothing() -> None:
    loss = LanguageModelLoss(tiny(vocab_size=5000))
    ids = torch.randint(0, 5000, (8, 33))
    nats, count = loss(ids[:, :-1], ids[:, 1:])
    assert (nats / count).item() == pytest.approx(math.log(5000), rel=0.02)


def test_bf16_stays_close_to_fp32() -> None:
    model = tiny()
    ids = torch.randint(0, 50, (4, 33)).numpy()
    scores = [
        evaluate(
            choose_device("cpu", precision).spread(LanguageModelLoss(model)),
            [(ids[:, :-1], ids[:, 1:])],
            128,
            choose_device("cpu", precision),
        )
        for precision in ("fp32", "bf16")
    ]
    assert scores[1].loss == pytest.approx(scores[0].loss, rel=5e-3)


# ----- evaluation ----------------------------------------------------------------------------------------------------


def test_scores_follow_their_definitions() -> None:
    score = Score(nats=20 * math.log(8), n_tokens=20, n_characters=30)
    assert score.perplexity == pytest.approx(8)
    assert score.bits_per_character == pytest.approx(2)  # 20 tokens x 3 bits / 30 characters


def test_a_uniform_model_has_the_vocabulary_as_perplexity() -> None:
    model = tiny()
    with torch.no_grad():
        model.transformer.wte.weight.zero_()
    ids = torch.randint(0, 50, (2, 9)).numpy()
    device = choose_device("cpu", "fp32")
    score = evaluate(device.spread(LanguageModelLoss(model)), [(ids[:, :-1], ids[:, 1:])], 16, device)
    assert score.perplexity == pytest.approx(50) and score.n_tokens == 16


def test_evaluation_has_no_dropout_and_leaves_the_mode_alone() -> None:
    device = choose_device("cpu", "fp32")
    loss = device.spread(LanguageModelLoss(tiny(dropout=0.5)))
    loss.train()
    ids = torch.randint(0, 50, (2, 9)).numpy()
    first, second = (evaluate(loss, [(ids[:, :-1], ids[:, 1:])], 16, device).nats for _ in range(2))
    assert first == second and loss.training


# ----- optimiser -----------------------------------------------------------------------------------------------------


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
    chosen = choose_recipe("tuned", Wishes(), 384, 1000, fast_bf16=True)
    assert (chosen.optimizer, chosen.warmup_steps) == ("muon", 100)
    assert choose_recipe("tuned", Wishes(), 384, 1000, fast_bf16=False).optimizer == "adamw"
    wider = choose_recipe("tuned", Wishes(), 4 * 384, 1000, fast_bf16=True)
    assert wider.lr == pytest.approx(chosen.lr / 2)
    wishes = Wishes("adamw", 3e-4, (0.8, 0.9), 0.0, "cosine", warmup=0.05)
    for name in ("tuned", "classic"):
        given = choose_recipe(name, wishes, 384, 1000, fast_bf16=True)
        assert given == Recipe("adamw", 3e-4, (0.8, 0.9), given.eps, 0.0, "cosine", 50)


def test_the_classic_recipe_is_the_ancestors() -> None:
    for n_steps in (10, 10**6):
        classic = choose_recipe("classic", Wishes(), 768, n_steps, fast_bf16=True)
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


# ----- devices -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "n_gpus", "gpus", "said"),
    [
        ("0,1", 2, [0, 1], False),
        ("1", 2, [1], False),
        ("2,3", 4, [2, 3], False),
        ("0,1,2,3", 2, [0, 1], True),
        (None, 3, [0, 1, 2], False),
        ("cpu", 2, [], False),
        ("0,1", 0, [], True),
        (None, 0, [], False),
        ("1,1", 2, [1], False),
    ],
)
def test_the_gpus_that_are_wished_and_there_are_used(
    wish: str | None, n_gpus: int, gpus: list[int], said: bool
) -> None:
    notes: list[str] = []
    assert choose_gpus(wish, n_gpus, notes) == gpus
    assert len(notes) == said


@pytest.mark.parametrize(("wish", "n_gpus"), [("first", 1), ("0;1", 1), ("4,5", 2)])
def test_a_wish_for_no_gpu_at_all_is_refused(wish: str, n_gpus: int) -> None:
    with pytest.raises(UserError, match="--device"):
        choose_gpus(wish, n_gpus, [])


def test_each_process_of_a_machine_takes_one_of_the_gpus_and_too_many_are_refused() -> None:
    assert [own_gpu([1, 3], process, 2) for process in range(2)] == [1, 3]
    for process in range(3):  # by all of them, the first ones too
        with pytest.raises(UserError, match="--nproc_per_node 3.*2 GPUs"):
            own_gpu([1, 3], process, 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_fp16_on_a_cpu_falls_back_and_says_so() -> None:
    device = choose_device("cpu", "fp16")
    assert device.dtype in (torch.bfloat16, torch.float32) and len(device.notes) == 1
    assert not device.scaler().is_enabled()
