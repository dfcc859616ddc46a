"""Several processes, as torchrun starts them, end as one: a mistake, a bug, a process or a machine that is lost."""

import os
import re
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TORCHRUN, TRAIN, metrics_of
from forked_torchrun import torchrun, wait_for
from launched import Launched

from gpt2zh.errors import UserError

pytest_plugins = ["launching"]
pytestmark = pytest.mark.slow

Launch = Callable[..., Launched]
Train = Callable[..., list[dict[str, float]]]


def exit_codes(printed: str) -> list[int]:
    """Of the processes, in torchrun's report."""
    return [int(code) for code in re.findall(r"exitcode\s+: (-?\d+)", printed)]


def said(printed: str, lost: bool = False) -> str:
    """The one message, after which torchrun's own report follows, with the only traceback there is.

    `lost`: a process was killed. What another was just doing with it may fail at that moment, and say so beside the message.
    """
    (message,) = re.findall(r"错误 / error: (.*)", printed)
    assert (lost or printed.count("Traceback") == 1) and printed.index("错误 / error") < printed.index(
        "ChildFailedError"
    )
    return message


# ----- one end for all -----------------------------------------------------------------------------------------------


def test_a_mistake_of_all_is_told_once(place: Path, start: Launch) -> None:
    run = start(place, [*torchrun(2), *TRAIN, "--batch_size", 0])
    assert run.wait() == 1  # torchrun's own
    assert "--batch_size 0" in said(run.text) and exit_codes(run.text) == [2, 2]


def test_a_mistake_that_the_first_process_finds_ends_the_others(place: Path, start: Launch) -> None:
    run = start(place, [*torchrun(2), *TRAIN, "--tokenized_data_path", "data/none", "--min_length", 10**6])
    assert run.wait() == 1
    assert "--min_length 1000000" in said(run.text) and exit_codes(run.text) == [2, 2]


BUG = """
from gpt2zh.device import choose_device
from gpt2zh.errors import run_script
from gpt2zh.training.processes import start_processes

def main():
    with start_processes() as processes:
        processes.require_same({})
        processes.connect(choose_device("cpu", "fp32", processes.place), False, 60)
        processes.all_reduce_sum(1 / (1 - processes.rank))  # a bug in process 1; process 0 waits for it

run_script(main)
"""


def test_a_bug_keeps_its_traceback_and_the_others_say_where_it_is(place: Path, start: Launch) -> None:
    (place / "bug.py").write_text(BUG, encoding="utf-8")
    run = start(place, [*torchrun(2), "bug.py"], real=True)
    assert run.wait() == 1
    (message,) = re.findall(r"错误 / error: (.*)", run.text)
    assert "process 1 failed" in message and "ZeroDivisionError" in message
    assert run.text.count("Traceback") == 2 and sorted(exit_codes(run.text)) == [1, 3]  # the bug's and torchrun's


def test_parting_the_model_needs_torchrun_and_says_how(train: Train) -> None:
    with pytest.raises(UserError, match="torchrun --nproc_per_node 2"):
        train("--shard_model")
    assert not Path("model").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_ends_the_run_with_what_is_saved(killed: int, place: Path, start: Launch) -> None:
    output = place / f"killed{killed}"
    run = start(place, [*torchrun(2), *TRAIN, "--epochs", 1000, "--output_dir", output.name])
    wait_for(output / "model_epoch1")
    os.kill(run.children()[killed], signal.SIGKILL)
    assert run.wait() == 1
    assert sorted(exit_codes(run.text)) == [-9, 3]
    assert "--resume" in said(run.text, lost=True) and str(Path(output.name) / "checkpoints") in said(
        run.text, lost=True
    )


Machines = Callable[[str], tuple[list[Path], Callable[[int], list[object]]]]


@pytest.fixture
def machines(place: Path, tmp_path: Path) -> Machines:
    """Two folders as of two machines, the second with shards and no corpus; and torchrun's command for each."""

    def make(name: str) -> tuple[list[Path], Callable[[int], list[object]]]:
        folders = [tmp_path / name / "first", tmp_path / name / "second"]
        for folder in folders:
            folder.mkdir(parents=True)
            for file in ("vocab.txt", "plain.json"):
                shutil.copy(place / file, folder)
            shutil.copytree(place / "data" / "tokenized", folder / "data" / "tokenized")
        shutil.copy(place / "data" / "train.json", folders[0] / "data")
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        options = ["--nnodes", 2, "--nproc_per_node", 1, "--master_addr", "127.0.0.1", "--master_port", port]
        return folders, lambda machine: [*TORCHRUN, *options, "--node_rank", machine]

    return make


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_machine_that_stops_ends_the_others_run_and_only_the_first_writes(machines: Machines, start: Launch) -> None:
    folders, command = machines("stopped")
    before = sorted(folders[1].rglob("*"))
    runs = [start(folders[i], [*command(i), *TRAIN, "--epochs", 1000], "torchrun") for i in range(2)]
    wait_for(folders[0] / "model" / "model_epoch1")
    for pid in (runs[0].process.pid, *runs[0].children()):
        os.kill(pid, signal.SIGKILL)
    assert runs[1].wait() == 1
    assert "model/checkpoints (of several machines, on the first)" in said(runs[1].text, lost=True) and exit_codes(
        runs[1].text
    ) == [3]
    assert sorted(folders[1].rglob("*")) == sorted([*before, runs[1].printed])
    assert metrics_of(folders[0] / "model")


def test_machines_with_other_flags_or_without_the_shards_are_refused_on_both(machines: Machines, start: Launch) -> None:
    cases = {
        "flags": (["--lr", 2e-3], ["--lr", "0.001", "0.002"]),
        "shards": (["--tokenized_data_path", "data/nowhere"], ["nowhere", "manifest.json"]),
    }
    runs = {}
    for name, (arguments, _) in cases.items():
        folders, command = machines(name)
        runs[name] = [start(folders[i], [*command(i), *TRAIN, *arguments * i], "torchrun") for i in range(2)]
    for name, (_, words) in cases.items():
        for run in runs[name]:
            assert run.wait() == 1
            assert all(word in said(run.text) for word in words) and exit_codes(run.text) == [2]
