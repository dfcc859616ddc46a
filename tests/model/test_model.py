"""Configurations, weights, loss and evaluation: each against its definition."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, TINY_CONFIG
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.device import choose_device
from gpt2zh.errors import UserError
from gpt2zh.evaluation.likelihood import Score, evaluate
from gpt2zh.model.loss import CHUNK, LanguageModelLoss, linear_cross_entropy
from gpt2zh.model.stock import ControlIds, load_model, new_model, read_config

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


@pytest.mark.parametrize("compiled", [False, True])
def test_smoothed_targets_change_the_gradients_as_the_plain_formula_says_and_not_the_loss(compiled: bool) -> None:
    """99 entries, which the product fills up to 128: what fills them up gets nothing."""
    n = CHUNK + (0 if compiled else 7)
    torch.manual_seed(n)
    hidden, weight = torch.randn(n, 16, requires_grad=True), torch.randn(99, 16, requires_grad=True)
    targets, smoothing = torch.randint(0, 99, (n,)), torch.rand(99)
    targets[::3] = -100
    smoothing *= 0.1 / smoothing.sum()
    counts = targets >= 0
    plain = F.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    wanted = 0.9 * F.one_hot(targets[counts], 99) + smoothing
    smoothed = F.cross_entropy((hidden @ weight.t())[counts], wanted, reduction="sum")
    grads = torch.autograd.grad(smoothed, [hidden, weight])
    loss = linear_cross_entropy(hidden, weight, targets, compiled, smoothing)
    torch.testing.assert_close(loss, plain, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(torch.autograd.grad(loss, [hidden, weight]), grads):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


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
