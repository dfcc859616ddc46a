"""The machine in the way: a full disk, permissions, a second run, bad numbers, a clock that jumps."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Place, metrics_of, require_same_end, without_times
from tensorboard_points import shown

from gpt2zh.system.lock import only_owner

pytestmark = pytest.mark.slow


def fill(filler: Path) -> None:
    """Take all the room there is on a disk; again, what has become free since."""
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with pytest.raises(OSError, match="No space"):
        while True:
            os.write(handle, bytes(4096))
    os.close(handle)


@pytest.fixture
def small_disk(hurt: Place) -> Iterator[Path]:
    """A disk of 4 MB of its own at model/; needs the right to mount."""
    disk = hurt.folder / "model"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_on_a_full_disk_training_goes_on_the_old_checkpoint_stays_and_saving_is_tried_again(
    alone: Place, hurt: Place, small_disk: Path
) -> None:
    run = hurt.start(faults=[["retry_soon"], ["slow_steps", 0.4]])
    wait_until(lambda: len(list(small_disk.glob("checkpoints/step_*/SHA256SUMS"))) == 2)
    old = {path: path.read_bytes() for path in small_disk.glob("checkpoints/step_*/*")}
    filler = small_disk / "filler"
    fill(filler)
    wait_until(lambda: "could not be written" in run.text)
    n_steps = run.text.count("\nstep ")
    wait_until(lambda: run.text.count("\nstep ") > n_steps)  # it trains on
    assert all(path.read_bytes() == data for path, data in old.items() if path.exists())
    assert len(list(small_disk.glob("checkpoints/step_*/SHA256SUMS"))) == 2
    filler.unlink()
    assert run.wait() == 0, run.text
    assert "Traceback" not in run.text
    require_same_end(alone, hurt)


def test_a_full_disk_under_the_logs_ends_nothing(alone: Place, hurt: Place, small_disk: Path) -> None:
    """TensorBoard's file and the reports find no room from step 2 on; there is some again before the end."""
    checkpoints = hurt.folder / "checkpoints"
    checkpoints.mkdir()
    (small_disk / "checkpoints").symlink_to(checkpoints)
    run = hurt.start("--writer_dir", "model/events", "--log_step", 1, faults=[["slow_steps", 0.2]])
    wait_until(lambda: "\nstep 2/" in run.text)
    wait_until(lambda: fill(small_disk / "filler") or "the disk refuses metrics.jsonl" in run.text)
    n_steps = run.text.count("\nstep ")
    wait_until(lambda: run.text.count("\nstep ") > n_steps + 1)
    (small_disk / "filler").unlink()
    assert run.wait() == 0, run.text
    rows = metrics_of(small_disk)
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, 28))
    assert without_times(rows)[-1] == without_times(metrics_of(alone.folder / "model"))[-1]
    drawn = [step for _, step, _ in shown(small_disk / "events")]
    assert max(drawn) == 27  # points are written again where there is room


def test_a_disk_that_is_full_at_the_end_ends_with_3_and_the_run_can_be_finished(
    alone: Place, hurt: Place, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,size=700k", str(small_disk)], check=True)
    run = hurt.run()
    assert run.code == 3 and "Traceback" not in run.text, run.text
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert hurt.run().code == 0
    weights = [(place.folder / "model/final_model/model.safetensors").read_bytes() for place in (alone, hurt)]
    assert weights[0] == weights[1]


def test_a_folder_that_may_not_be_written_is_refused_before_any_work(hurt: Place, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    started = time.monotonic()
    run = hurt.run()
    assert run.code == 3 and "model" in run.text and "Traceback" not in run.text
    assert time.monotonic() - started < 60 and not (hurt.folder / "data" / "tokenized").exists()


def test_a_disk_that_becomes_read_only_ends_nothing_until_it_must(alone: Place, hurt: Place, small_disk: Path) -> None:
    run = hurt.start(faults=[["retry_soon"], ["slow_steps", 0.2]])
    wait_until(lambda: len(list(small_disk.glob("checkpoints/step_*/SHA256SUMS"))) == 2)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], capture_output=True)
    code = run.wait()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    if code:  # metrics.jsonl, which is open, may keep the disk writable
        assert code == 3 and "Traceback" not in run.text, run.text
    assert hurt.run().code == 0
    require_same_end(alone, hurt)


# ----- two at once -----------------------------------------------------------------------------------------------------


def test_a_second_run_in_the_same_folder_is_refused_with_the_firsts_pid(
    alone: Place, hurt: Place, second_zygote: subprocess.Popen
) -> None:
    first = hurt.start(faults=[["slow_steps", 0.3]])
    wait_until(lambda: (hurt.folder / "model" / "metrics.jsonl").exists())
    own, hurt.zygote = hurt.zygote, second_zygote
    second = hurt.run()
    hurt.zygote = own
    assert second.code == 3 and f"pid {first.pid}" in second.text and "Traceback" not in second.text
    assert first.wait() == 0
    require_same_end(alone, hurt)


def test_the_lock_of_a_killed_run_is_not_in_the_way(alone: Place, hurt: Place) -> None:
    first = hurt.start(faults=[["slow_steps", 0.3]])
    wait_until(lambda: (hurt.folder / "model" / "metrics.jsonl").exists())
    first.kill(signal.SIGKILL)
    assert first.wait() == 137 and (hurt.folder / "model" / ".owner.json").exists()
    assert hurt.run().code == 0
    require_same_end(alone, hurt)


def test_a_second_build_in_the_same_shard_folder_is_refused(alone: Place, hurt: Place) -> None:
    with only_owner(hurt.folder / "data" / "tokenized"):
        run = hurt.run()
        assert run.code == 3 and "tokenized" in run.text and f"pid {os.getpid()}" in run.text, run.text
    assert hurt.run().code == 0
    require_same_end(alone, hurt)


# ----- numbers -----------------------------------------------------------------------------------------------------------


def test_a_step_whose_gradient_is_not_finite_is_skipped_counted_and_named(hurt: Place) -> None:
    run = hurt.run(faults=[["bad_gradients", 3, 7, 8]])
    assert run.code == 0
    for step in (3, 7, 8):
        assert f"step {step} skipped" in run.text
    assert "3 of them were skipped" in run.text
    from safetensors.torch import load_file

    assert all(
        tensor.isfinite().all() for tensor in load_file(hurt.folder / "model/final_model/model.safetensors").values()
    )


def test_too_many_bad_steps_in_a_row_end_the_run_and_the_good_checkpoint_stays(alone: Place, hurt: Place) -> None:
    run = hurt.run(faults=[["bad_gradients", *range(12, 28)]])
    assert run.code == 4 and "--lr" in run.text and "Traceback" not in run.text
    newest = max(path.name for path in (hurt.folder / "model" / "checkpoints").glob("step_*"))
    assert newest == "step_00000010"
    assert hurt.run().code == 0  # the GPU was exchanged
    require_same_end(alone, hurt)


def test_a_skipped_step_is_skipped_again_by_the_run_that_goes_on(hurt: Place) -> None:
    """12 steps, of which one is skipped, stopped and gone on with: the count is kept."""
    run = hurt.run(faults=[["bad_gradients", 3], ["signal_at", 6, int(signal.SIGTERM)]])
    assert run.code == 143
    run = hurt.run()
    assert run.code == 0 and "1 of them were skipped" in run.text


def test_a_clock_that_jumps_changes_nothing(alone: Place, hurt: Place) -> None:
    run = hurt.run(faults=[["clock_jumps"]])
    assert run.code == 0 and "Traceback" not in run.text
    require_same_end(alone, hurt)


# ----- exit codes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--tokenizer_path", "nosuch.txt"], 2),
        (["--no_such_flag"], 2),
        (["--batch_size", "-1"], 2),
        (["--save_every", "soon"], 2),
        (["--model_config", "vocab.txt"], 2),
        (["--raw_data_path", "nosuch.json", "--raw"], 2),
    ],
)
def test_what_the_user_can_mend_exits_with_2(hurt: Place, arguments: list[str], code: int) -> None:
    run = hurt.run(*arguments)
    assert run.code == code and "Traceback" not in run.text and "error" in run.text


def wait_until(holds: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ----- memory and time -------------------------------------------------------------------------------------------------------

LARGE = [
    "--model_config",
    "large.json",
    "--stride",
    8,
    "--gradient_accumulation",
    1,
    "--batch_size",
    256,
    "--save_every",
    0,
]
LARGE += ["--optimizer", "adamw", "--max_steps", 1]


def large(place: Place, **shape: int) -> Place:
    """A model whose steps want some hundred MB."""
    config = {"n_ctx": 64, "n_embd": 256, "n_head": 4, "n_layer": 4, "vocab_size": 956, **shape}
    config |= {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    (place.folder / "large.json").write_text(json.dumps(config), encoding="utf-8")
    return place


def test_where_memory_runs_out_micro_batches_are_halved_and_steps_stay_the_same(hurt: Place) -> None:
    large(hurt)
    assert hurt.run(*LARGE, "--output_dir", "enough").code == 0
    run = hurt.run(*LARGE, "--output_dir", "little", faults=[["little_memory", 700]])
    assert run.code == 0, run.text
    assert "256 windows: 128 at a time from here on" in run.text
    one, other = (without_times(metrics_of(hurt.folder / name)) for name in ("enough", "little"))
    assert len(one) == len(other)
    for first, second in zip(one, other):
        assert second == pytest.approx(first, rel=1e-4)


def test_where_not_even_one_window_fits_the_run_ends_with_3_and_says_what_to_try(hurt: Place) -> None:
    run = large(hurt, n_embd=1024, n_layer=2).run(*LARGE, "--batch_size", 4, faults=[["little_memory", 400]])
    assert run.code == 3 and "--gradient_checkpointing" in run.text and "Traceback" not in run.text, run.text


def test_a_run_with_max_hours_ends_in_time_with_a_learning_rate_near_0(hurt: Place) -> None:
    started = time.monotonic()
    run = hurt.run("--epochs", 1000, "--max_hours", 6 / 3600, "--save_every", 0)
    assert run.code == 0, run.text
    assert time.monotonic() - started < 30
    rows = [row for row in metrics_of(hurt.folder / "model") if "train/lr" in row]
    assert rows[-1]["train/lr"] < 0.2 * max(row["train/lr"] for row in rows)
    assert 10 < rows[-1]["step"] < 9000 and (hurt.folder / "model" / "final_model" / "SHA256SUMS").exists()


def test_a_run_that_came_to_its_end_in_time_is_complete_and_stays_as_it_is(hurt: Place) -> None:
    hours = ["--epochs", 1000, "--max_hours", 5 / 3600, "--save_every", 50]
    assert hurt.run(*hours).code == 0
    final = (hurt.folder / "model" / "final_model" / "model.safetensors").read_bytes()
    n_rows = len(metrics_of(hurt.folder / "model"))
    for _ in range(2):
        run = hurt.run(*hours)
        assert run.code == 0 and "the run is complete" in run.text, run.text
        assert (hurt.folder / "model" / "final_model" / "model.safetensors").read_bytes() == final
        assert len(metrics_of(hurt.folder / "model")) == n_rows
    run = hurt.run(*hours, "--max_hours", 9 / 3600)
    assert run.code == 0 and "max_hours: " in run.text and "the run is complete" not in run.text
    assert len(metrics_of(hurt.folder / "model")) > n_rows


def test_a_rehearsal_tells_time_and_memory_and_trains_nothing(hurt: Place) -> None:
    run = hurt.run("--dry_run")
    assert run.code == 0 and "27 steps" in run.text and "Nothing was trained" in run.text
    assert re.search(r"内存最多 [1-9]\d* MB", run.text) and re.search(r"[1-9]\d* 词元/秒", run.text)
    assert not (hurt.folder / "model").exists() and not (hurt.folder / "logs").exists()
