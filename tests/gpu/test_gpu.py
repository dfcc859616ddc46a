"""What only a card can show: `make gpu`. Each promise is the CPU's, held where torch takes another way."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TORCHRUN, TRAIN, call, metrics_of, require_same_run
from launched import Launched
from safetensors.torch import load_file

from gpt2zh.device import choose_device
from gpt2zh.generation.decoder import make_decoder
from gpt2zh.model.loss import LanguageModelLoss
from gpt2zh.model.shape import read_values, shape_of
from gpt2zh.model.stock import ControlIds, new_model, read_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
Train = Callable[..., list[dict[str, float]]]
CARD = "0"  # --device
EXACT = ["--device", CARD, "--model_config", "plain.json", "--optimizer", "adamw", "--log_step", 1]


def losses(rows: list[dict[str, float]]) -> list[float]:
    return [row["train/loss"] for row in rows if "train/loss" in row]


def small_model(workdir: Path) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A model of 500 entries, and inputs and targets (2, 32) on the card."""
    torch.manual_seed(0)
    model = new_model(read_config(workdir / "plain.json"), 500, ControlIds(2, 3, 0))
    ids = torch.randint(5, 500, (2, 33))
    place = choose_device(CARD, "fp32").main
    return model, ids[:, :-1].contiguous().to(place), ids[:, 1:].contiguous().to(place)


def loss_and_gradients(
    device_flag: str, precision: str, model: torch.nn.Module, *ids: torch.Tensor
) -> list[torch.Tensor]:
    device = choose_device(device_flag, precision)
    loss = device.spread(LanguageModelLoss(model))
    loss.zero_grad()
    nats, count = loss(*(one.to(device.main) for one in ids))
    (nats.sum() / count.sum()).backward()
    return [nats.detach().cpu(), *(parameter.grad.cpu() for parameter in model.parameters())]


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-4), ("bf16", 3e-2)])
def test_loss_and_gradients_are_those_of_the_cpu(workdir: Path, precision: str, within: float) -> None:
    model, inputs, targets = small_model(workdir)
    wanted = loss_and_gradients("cpu", "fp32", model, inputs, targets)
    got = loss_and_gradients(CARD, precision, model, inputs, targets)
    for ours, truth in zip(got, wanted):
        assert (ours - truth).abs().max().item() <= within * truth.abs().max().item() + 1e-6


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_data_parallel_trains_as_one_card(train: Train) -> None:
    one = train(*EXACT, "--precision", "fp32", output="one")
    two = train(*EXACT, "--precision", "fp32", "--device", "0,1", output="two")
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)


def test_fp16_is_scaled_and_ends_where_fp32_ends(train: Train) -> None:
    wanted = losses(train(*EXACT, "--precision", "fp32", output="fp32"))
    rows = train(*EXACT, "--precision", "fp16", "--save_every", 5, output="fp16")
    assert losses(rows)[-1] == pytest.approx(wanted[-1], rel=2e-2)
    newest = max(Path("fp16/checkpoints").iterdir())
    scaler = json.loads((newest / "state.json").read_text(encoding="utf-8"))["scaler"]
    assert scaler["scale"] >= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_run_trains_as_one_that_is_not(
    train: Train, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*EXACT, "--precision", precision]
    plain = losses(train(*flags, "--compile", "off", output="plain"))
    compiled = losses(train(*flags, "--compile", "on", output="compiled"))
    assert "not compiled" not in capsys.readouterr().out
    assert compiled == pytest.approx(plain, rel=1e-3 if precision == "fp32" else 2e-2)


def test_checkpointing_saves_memory_and_changes_no_loss(train: Train) -> None:
    peaks, curves = [], []
    for more in ([], ["--gradient_checkpointing"]):
        torch.cuda.reset_peak_memory_stats()
        curves.append(losses(train(*EXACT, "--precision", "fp32", *more, output=f"run{len(more)}")))
        peaks.append(torch.cuda.max_memory_allocated())
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    assert peaks[1] <= peaks[0]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_that_stopped_goes_on_to_the_same_end(train: Train, optimizer: str) -> None:
    flags = [*EXACT, "--model_config", "tiny.json", "--optimizer", optimizer, "--precision", "bf16"]
    rows = train(*flags, "--save_every", 5, "--keep_last", 99, output="whole")
    (Path("other") / "checkpoints").mkdir(parents=True)
    shutil.copytree("whole/checkpoints/step_00000005", "other/checkpoints/step_00000005")
    shutil.copy("whole/metrics.jsonl", "other/metrics.jsonl")
    again = train(*flags, "--resume", output="other")
    assert losses(again) == pytest.approx(losses(rows), rel=1e-3)  # a card may sum in another order
    whole, other = (load_file(f"{name}/final_model/model.safetensors") for name in ("whole", "other"))
    assert max((whole[name] - other[name]).abs().max().item() for name in whole) < 1e-3


def test_the_largest_micro_batch_is_found_by_trial(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    given = losses(train(*EXACT, "--precision", "fp32", "--batch_size", 8, output="given"))
    found = losses(train(*EXACT, "--precision", "fp32", "--batch_size", "auto", output="auto"))
    assert found == pytest.approx(given, rel=1e-4)


@pytest.mark.parametrize("more", [[], ["--shard_model"]], ids=["DDP", "FSDP2"])
def test_a_process_of_torchrun_trains_as_one_without(
    workdir: Path, launch_anew: Callable[..., Launched], more: list[str]
) -> None:
    flags = [*TRAIN, "--device", CARD]
    call(*(Path(flags[0]).name, *flags[1:]), "--output_dir", "plain")
    run = launch_anew(
        workdir, [*TORCHRUN, "--standalone", "--nproc_per_node", 1, *flags, *more, "--output_dir", "launched"]
    )
    assert run.wait(300) == 0, run.text
    assert losses(metrics_of(workdir / "launched")) == pytest.approx(losses(metrics_of(workdir / "plain")), rel=1e-4)
    require_same_run(workdir / "plain", workdir / "launched")


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-3), ("bf16", 5e-2)])
def test_the_captured_step_gives_the_logits_of_the_whole_text(workdir: Path, precision: str, within: float) -> None:
    """Rows of different lengths, and one that is copied to another."""
    model, inputs, _ = small_model(workdir)
    device = choose_device(CARD, precision)
    values = {**read_values(workdir / "plain.json"), "vocab_size": 500}
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    decoder = make_decoder(weights, shape_of(values), device)
    ids, lengths = inputs.tolist(), [4, 9]
    cache = decoder.new_cache(2, 32)
    for row, length in enumerate(lengths):
        cache.read(ids[row][:length], row)
    model.to(device.main).eval()
    with torch.no_grad():
        wanted = model(inputs).logits  # (2, T, V)
    for step in range(8):
        places = [length + step for length in lengths]
        logits = cache.step([ids[row][place] for row, place in enumerate(places)])
        for row, place in enumerate(places):
            assert (logits[row] - wanted[row, place]).abs().max().item() <= within * wanted.abs().max().item()
    cache.copy_row(0, 1)
    logits = cache.step([7, 7])
    torch.testing.assert_close(logits[0], logits[1], rtol=within, atol=within)


def test_samples_are_those_of_their_seed_for_any_batch_size(train: Train, workdir: Path) -> None:
    train(*EXACT)
    flags = ["--device", CARD, "--precision", "fp32", "--seed", 1, "--nsamples", 4, "--length", 20, "--prefix", "我"]
    texts = []
    for batch_size in (1, 4):
        place = f"by{batch_size}"
        call("generate.py", *flags, "--batch_size", batch_size, "--save_samples", "--save_samples_path", place)
        texts.append((workdir / place / "samples.txt").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
