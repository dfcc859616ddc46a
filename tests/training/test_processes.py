"""Several processes, as torchrun starts them, with gloo on the CPU: the same run as one process, and one end for all."""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TRAIN, metrics_of, require_same_run
from forked_torchrun import torchrun, wait_for
from launched import Launched
from transformers import AutoModelForCausalLM, AutoTokenizer

pytest_plugins = ["launching"]
pytestmark = pytest.mark.slow

pytestmark = pytest.mark.slow

Launch = Callable[..., Launched]


# ----- the same run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "options"),
    [(2, []), (4, ["--raw", "--tokenized_data_path", "data/own"]), (2, ["--shard_model"])],
    ids=["two", "four, of which two get no row in the last batch", "a model in parts"],
)
def test_several_processes_train_as_one(n: int, options: list[str], place: Path, start: Launch) -> None:
    run = start(place, [*torchrun(n), *TRAIN, *options, "--output_dir", f"run{n}{len(options)}"])
    assert run.wait() == 0, run.text
    output = place / f"run{n}{len(options)}"
    require_same_run(place / "alone", output)
    # The first process writes, and nobody else: one log, one file of events, every line once, the shards built once.
    assert (
        len(list((place / "logs").glob(f"{output.name}-*.log")))
        == len(list((place / "runs" / output.name).iterdir()))
        == 1
    )
    lines = [line for line in run.text.splitlines() if " / " in line]
    assert len(lines) == len(set(lines)) and f"{n} 个进程" in run.text
    assert AutoModelForCausalLM.from_pretrained(output / "final_model").config.n_layer == 2
    assert len(AutoTokenizer.from_pretrained(output / "final_model")) > 900


def test_processes_end_early_together(place: Path, start: Launch) -> None:
    options = ["--epochs", 20, "--lr", 0.3, "--eval_every", 7, "--early_stop", 3, "--output_dir", "early"]
    run = start(place, [*torchrun(2), *TRAIN, *options])
    assert run.wait() == 0, run.text
    assert run.text.count("(--early_stop 3)") == 1
    losses = [row["val/loss"] for row in metrics_of(place / "early") if "val/loss" in row]
    assert len(losses) == losses.index(min(losses)) + 1 + 3
    assert (place / "early" / "final_model").is_dir()


def test_compiled_processes_train_as_one_that_is_not(place: Path, start: Launch) -> None:
    options = ["--compile", "on", "--optimizer", "muon"]
    run = start(place, [*torchrun(2), *TRAIN, *options, "--output_dir", "compiled"])
    assert run.wait(400) == 0, run.text
    run = start(place, [sys.executable, *TRAIN, "--optimizer", "muon", "--output_dir", "muon"])
    assert run.wait() == 0, run.text
    losses = [
        [row["train/loss"] for row in metrics_of(place / name) if "train/loss" in row] for name in ("compiled", "muon")
    ]
    assert len(losses[0]) > 3 and losses[0] == pytest.approx(losses[1], rel=2e-3)  # Muon rounds to bf16


GRADIENTS = """
import json, sys
import numpy as np, torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from transformers import GPT2Config
from pathlib import Path
from gpt2zh.shards.batches import TrainingBatches
from gpt2zh.device import choose_device, seed_everything
from gpt2zh.model.loss import LanguageModelLoss
from gpt2zh.model.stock import ControlIds, new_model
from gpt2zh.training.processes import start_processes
from gpt2zh.shards.format import TokenStream

with start_processes() as processes:
    device = choose_device("cpu", "fp32", processes.place)
    processes.require_same({})
    processes.connect(device, False, 60)
    seed_everything(processes.rank)  # as on machines whose random numbers differ
    config = GPT2Config(**json.loads(Path("plain.json").read_text(encoding="utf-8")))
    model = new_model(config, 50, ControlIds(4, 2, 0))
    processes.seed_apart(0)
    drawn = [torch.rand(1).item() if processes.rank == rank else 0.0 for rank in range(processes.count)]
    module = LanguageModelLoss(model)
    loss = processes.wrap(module, module.run.blocks, device)
    counts = []

    def counting(group, bucket):
        counts[-1] += 1
        return allreduce_hook(group, bucket)

    loss.register_comm_hook(processes.group, counting)
    batches = TrainingBatches(TokenStream([np.arange(700) % 50], 50), 32, 32, 7, 3, 0, processes.rank, processes.count)
    for step, micro_batches in enumerate(batches.epoch(0)):
        for number, (inputs, targets) in enumerate(micro_batches, 1):
            processes.sync_gradients(number == len(micro_batches))
            counts.append(0)
            nats, _ = loss(device.tensor(inputs), device.tensor(targets))
            (nats.sum() * processes.count / batches.n_targets(step)).backward()
        break
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    torch.save({"gradient": gradient, "weights": weights, "counts": counts, "drawn": processes.all_reduce_sum(*drawn)},
               f"gradients{processes.rank}.pt")
"""


def test_gradients_are_those_of_one_process_and_exchanged_once_a_step(place: Path, start: Launch) -> None:
    import numpy as np
    from transformers import GPT2Config

    from gpt2zh.model.loss import LanguageModelLoss
    from gpt2zh.model.stock import ControlIds, new_model
    from gpt2zh.shards.batches import TrainingBatches
    from gpt2zh.shards.format import TokenStream

    (place / "gradients.py").write_text(GRADIENTS, encoding="utf-8")
    run = start(place, [*torchrun(2), "gradients.py"])
    assert run.wait() == 0, run.text
    first, second = (torch.load(place / f"gradients{rank}.pt") for rank in range(2))
    assert torch.equal(first["weights"], second["weights"]) and torch.equal(first["gradient"], second["gradient"])
    assert first["counts"][:2] == [0, 0] and first["counts"][2] > 0 and len(first["counts"]) == 3
    assert len(set(first["drawn"])) == 2  # dropout of its own in each

    config = GPT2Config(**json.loads((place / "plain.json").read_text(encoding="utf-8")))
    model = new_model(config, 50, ControlIds(4, 2, 0))
    torch.nn.utils.vector_to_parameters(first["weights"], model.parameters())
    batches = TrainingBatches(TokenStream([np.arange(700) % 50], 50), 32, 32, 21, 1, 0)
    ((inputs, targets),) = next(batches.epoch(0))
    nats, _ = LanguageModelLoss(model)(torch.from_numpy(inputs), torch.from_numpy(targets))
    (nats.sum() / (targets >= 0).sum()).backward()
    whole = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert (first["gradient"] - whole).norm() < 1e-6 * whole.norm()


INFINITE = """
import json
from pathlib import Path
import torch
from transformers import GPT2Config
from gpt2zh.device import choose_device
from gpt2zh.model.loss import LanguageModelLoss
from gpt2zh.model.stock import ControlIds, new_model
from gpt2zh.training.optim import build_optimizer, clip_gradients
from gpt2zh.training.processes import start_processes

with start_processes() as processes:
    device = choose_device("cpu", "fp32", processes.place)
    processes.require_same({})
    processes.connect(device, True, 60)
    config = GPT2Config(**json.loads(Path("plain.json").read_text(encoding="utf-8")))
    model = new_model(config, 50, ControlIds(4, 2, 0))
    module = LanguageModelLoss(model)
    loss = processes.wrap(module, module.run.blocks, device)
    optimizer = build_optimizer(model, "adamw", 1e-3, 0.1, (0.9, 0.95), 1e-8)
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    ids, seen = torch.arange(64).reshape(2, 32) % 50, []
    for infinite in (False, True, False):
        nats, _ = loss(ids, ids)
        scaler.scale(nats.sum()).backward()
        weight = model.transformer.h[0].mlp.c_fc.weight
        if infinite and processes.rank == 1:
            weight.grad.to_local()[0] = torch.inf
        before = weight.to_local().clone()
        scaler.unscale_(optimizer)
        norm = clip_gradients(model, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        seen.append((not torch.equal(weight.to_local(), before), norm.item(), scaler.get_scale()))
    Path(f"seen{processes.rank}.json").write_text(json.dumps(seen), encoding="utf-8")
"""


def test_a_gradient_that_is_infinite_in_one_part_is_skipped_by_all(place: Path, start: Launch) -> None:
    (place / "infinite.py").write_text(INFINITE, encoding="utf-8")
    run = start(place, [*torchrun(2), "infinite.py"])
    assert run.wait() == 0, run.text
    first, second = (json.loads((place / f"seen{rank}.json").read_text(encoding="utf-8")) for rank in range(2))
    assert first == second  # moved or not, norm, scale
    assert [moved for moved, _, _ in first] == [True, False, True]
    assert [scale for _, _, scale in first] == [2**16, 2**15, 2**15]


# ----- stopped, and gone on with -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--shard_model"]], ids=["two", "a model in parts"])
def test_a_run_of_one_process_goes_on_in_two(options: list[str], place: Path, start: Launch) -> None:
    output = place / f"on{len(options)}"
    shutil.copytree(place / "alone", output)
    for later in ("step_00000010", "step_00000014"):
        shutil.rmtree(output / "checkpoints" / later)
    run = start(place, [*torchrun(2), *TRAIN, *options, "--output_dir", output.name, "--resume"])
    assert run.wait() == 0, run.text
    assert "processes: 1 then, 2 now" in run.text
    require_same_run(place / "alone", output)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("options", [[], ["--shard_model"]], ids=["two", "a model in parts"])
def test_two_processes_that_are_stopped_save_and_go_on_bit_for_bit(
    options: list[str], place: Path, start: Launch
) -> None:
    """With dropout: each process has its own random numbers."""
    flags = [*TRAIN, "--model_config", "tiny.json", "--epochs", 5, *options]
    whole, parts = place / f"whole{len(options)}", place / f"parts{len(options)}"
    run = start(place, [*torchrun(2), *flags, "--output_dir", whole.name])
    assert run.wait() == 0, run.text
    run = start(place, [*torchrun(2), *flags, "--output_dir", parts.name])
    wait_for(parts / "model_epoch1")
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() != 0
    assert len(re.findall(r"error: .*stopped at step \d+, saved. Go on: torchrun", run.text)) == 1, run.text
    (step,) = [int(path.name[len("step_") :]) for path in (parts / "checkpoints").glob("step_*")]
    assert 14 <= step < 5 * 14
    run = start(place, [*torchrun(2), *flags, "--output_dir", parts.name, "--resume"])
    assert run.wait() == 0, run.text
    files = [folder / "final_model" / "model.safetensors" for folder in (whole, parts)]
    assert files[0].read_bytes() == files[1].read_bytes()
