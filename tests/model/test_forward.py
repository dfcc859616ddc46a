"""Training's forward pass against transformers' own: hidden states, losses, gradients; compiled and in bf16 too."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.device import choose_device
from gpt2zh.model.attention import BlockAttention, causal_attention, query_blocks
from gpt2zh.model.forward import Forward
from gpt2zh.model.loss import CHUNK, LanguageModelLoss
from gpt2zh.training.optim import build_optimizer, set_lr
from gpt2zh.training.throughput import choose_compile, flops_per_token, measured_peak


def gpt2(dropout: float = 0.0, **changes: object) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    shape = {"n_layer": 2, "n_embd": 48, "n_head": 3, "n_positions": 128, "vocab_size": 300, **changes}
    return GPT2LMHeadModel(GPT2Config(**shape, attn_pdrop=dropout, embd_pdrop=dropout, resid_pdrop=dropout))


def book_ids(n_batch: int, n_ctx: int, vocab_size: int) -> torch.Tensor:
    """Real text as ids: the shipped book's characters."""
    text = (ROOT / "data" / "example.json").read_text(encoding="utf-8")[: n_batch * (n_ctx + 1)]
    return torch.tensor([ord(character) % vocab_size for character in text]).view(n_batch, n_ctx + 1)


def loss_and_gradients(loss: LanguageModelLoss, ids: torch.Tensor, precision: str = "fp32") -> list[torch.Tensor]:
    device = choose_device("cpu", precision)
    loss.zero_grad()
    nats, count = device.spread(loss)(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    (nats.sum() / count.sum()).backward()
    return [nats.detach() / count, *(parameter.grad.clone() for parameter in loss.parameters())]


@pytest.mark.parametrize(
    "changes", [{}, {"scale_attn_by_inverse_layer_idx": True}, {"activation_function": "relu"}, {"n_inner": 64}]
)
@pytest.mark.parametrize("n_ctx", [1, 5, 64, 128])
def test_hidden_states_and_gradients_are_those_of_transformers(n_ctx: int, changes: dict[str, object]) -> None:
    model = gpt2(**changes)
    ids = book_ids(3, n_ctx, 300)[:, :-1]
    results = []
    for run in (Forward(model), lambda ids: model.transformer(ids, use_cache=False).last_hidden_state):
        model.zero_grad()
        hidden = run(ids)
        hidden.pow(3).sum().backward()
        results.append([hidden.detach(), *(p.grad for p in model.transformer.parameters() if p.grad is not None)])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


@pytest.mark.parametrize("n_ctx", [1, 63, 64, 65, 200, 256])
def test_attention_in_blocks_is_attention(n_ctx: int) -> None:
    torch.manual_seed(n_ctx)
    qkv = torch.randn(3, 6, n_ctx, 16, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(6, n_ctx, 16, dtype=torch.float64)
    plain = F.scaled_dot_product_attention(*qkv.unsqueeze(1).unbind(0), is_causal=True, scale=0.3).squeeze(0)
    (wanted,) = torch.autograd.grad(plain, qkv, grad)
    ours = causal_attention(qkv, 0.3, 0.0)
    (got,) = torch.autograd.grad(ours, qkv, grad)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)  # scores and softmax are fp32
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_the_blocks_hold_every_query_once_and_are_at_most_four() -> None:
    for n_ctx in (1, 64, 100, 255, 256, 1000, 1024):
        blocks = query_blocks(n_ctx)
        assert [row for start, end in blocks for row in range(start, end)] == list(range(n_ctx)) and len(blocks) <= 4


def test_dropped_attention_has_the_right_gradient_and_mean() -> None:
    qkv = torch.randn(3, 2, 70, 8, dtype=torch.float64, requires_grad=True)

    def run(qkv: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)  # the same places dropped each time
        return BlockAttention.apply(qkv, 0.4, 0.5).sum(0)

    direction = torch.randn_like(qkv)
    step = 1e-3
    with torch.no_grad():
        numeric = (run(qkv + step * direction) - run(qkv - step * direction)).sum() / (2 * step)
    (gradient,) = torch.autograd.grad(run(qkv).sum(), qkv)
    assert (gradient * direction).sum().item() == pytest.approx(numeric.item(), rel=2e-3)
    with torch.no_grad():
        kept = causal_attention(qkv, 0.4, 0.0)
        torch.manual_seed(2)
        mean = sum(BlockAttention.apply(qkv, 0.4, 0.5) for _ in range(400)) / 400
    assert (mean - kept).abs().mean() < 0.1 * kept.abs().mean() + 0.05


def test_checkpointing_changes_no_gradient() -> None:
    model = gpt2(dropout=0.2)  # the same places are dropped when a block is computed again
    ids = book_ids(2, 100, 300)
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        loss = LanguageModelLoss(model, checkpointing=checkpointing)
        loss.train()
        results.append(loss_and_gradients(loss, ids))
    for plain, again in zip(*results):
        torch.testing.assert_close(plain, again)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_step_is_the_step_and_is_compiled_once(precision: str) -> None:
    device = choose_device("cpu", precision)
    can, note = choose_compile("on", device, 0.0, gpt2().config)
    if not can:
        pytest.skip(note)
    torch._dynamo.reset()
    model = gpt2(vocab_size=512)
    ids = book_ids(8, 128, 512)  # 8 x 128 = one chunk of the loss
    assert CHUNK == 1024
    plain = loss_and_gradients(LanguageModelLoss(model), ids, precision)
    loss = LanguageModelLoss(model, compiled=True)
    loss.train()
    compiled = loss_and_gradients(loss, ids, precision)
    exact = loss_and_gradients(LanguageModelLoss(model), ids, "fp32")
    for ours, wanted, truth in zip(compiled, plain, exact):
        size = truth.abs().max().item()
        bound = 1e-4 * size if precision == "fp32" else 2 * (wanted - truth).abs().max().item() + 1e-3 * size
        assert (ours - truth).abs().max().item() <= bound
    built = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    loss_and_gradients(loss, ids[:5], precision)  # the last batch of an epoch
    loss.eval()
    loss_and_gradients(loss, ids, precision)
    loss.train()
    loss_and_gradients(loss, ids, precision)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == built > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_two_hundred_steps_in_bf16_end_where_fp32_ends(name: str) -> None:
    ids = book_ids(8, 32, 300)
    ends = []
    for precision, seed in (("fp32", 0), ("bf16", 0), ("fp32", 1)):
        model = gpt2(n_positions=32)
        torch.manual_seed(seed)
        with torch.no_grad():
            model.transformer.wte.weight.normal_(std=0.02)
        device = choose_device("cpu", precision)
        loss = device.spread(LanguageModelLoss(model))
        optimizer = build_optimizer(model, name, 1e-3, 0.1, (0.9, 0.95), 1e-8)
        for step in range(200):
            set_lr(optimizer, 1e-3 * (1 - step / 200))
            nats, count = loss(ids[:, :-1], ids[:, 1:])
            (nats / count).backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append((nats / count).item())
    fp32, bf16, other = ends
    assert fp32 < math.log(300) - 1 and abs(bf16 - fp32) < max(abs(other - fp32), 0.02)


def test_operations_a_token_follow_the_formula() -> None:
    config = GPT2Config(n_layer=2, n_embd=8, n_head=2, n_positions=16, vocab_size=100)
    weights = sum(
        p.numel() for name, p in GPT2LMHeadModel(config).named_parameters() if p.dim() == 2 and "wpe" not in name
    )
    assert flops_per_token(config) == 6 * weights + 6 * 2 * 8 * 16
    assert measured_peak(choose_device("cpu", "fp32")) > 1e8


def test_a_short_run_is_not_compiled() -> None:
    device = choose_device("cpu", "fp32")
    config = gpt2().config
    assert choose_compile("auto", device, 1e9, config) == (False, None) == choose_compile("off", device, 1e30, config)
    assert choose_compile("auto", device, 1e30, config)[0] == choose_compile("on", device, 0.0, config)[0]
    assert choose_compile("auto", device, 1e30, gpt2(dropout=0.1).config) == (False, None)  # slower on a CPU


@pytest.mark.slow
def test_without_a_compiler_training_says_so_once_and_goes_on(workdir: Path) -> None:
    flags = "--device cpu --model_config tiny.json --tokenizer_path vocab.txt --max_steps 2 --compile on --num_pieces 2"
    environment = {
        **os.environ,
        "CXX": "no-such-compiler",
        "PATH": "",
        "TORCHINDUCTOR_CACHE_DIR": str(workdir / "cache"),
    }
    run = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *flags.split()], env=environment, capture_output=True, encoding="utf-8"
    )
    assert run.returncode == 0 and (workdir / "model" / "final_model").is_dir()
    assert run.stdout.count("not compiled") == 1 and "Traceback" not in run.stderr
