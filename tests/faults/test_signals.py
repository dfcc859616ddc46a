"""Ctrl-C, SIGTERM and SIGHUP at any moment: the exit code tells, the state is on the disk, and the run goes on bit for bit."""

import signal

import pytest
from conftest import Place, require_same_end

pytestmark = pytest.mark.slow

INTERRUPT, TERMINATE, KILL, HANG_UP = (
    int(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)
)


@pytest.mark.parametrize(
    ("number", "code"), [(INTERRUPT, 130), (TERMINATE, 143), (HANG_UP, 129)], ids=["Ctrl-C", "SIGTERM", "SIGHUP"]
)
@pytest.mark.parametrize("step", [1, 9, 16, 27], ids=["first step", "last of an epoch", "within one", "the last"])
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(
    alone: Place, hurt: Place, number: int, code: int, step: int
) -> None:
    run = hurt.run(faults=[["signal_at", step, number]])
    assert run.code == code, run.text
    assert f"stopped at step {step}, saved" in run.text and "--resume" in run.text and "Traceback" not in run.text
    assert (hurt.folder / "model" / "checkpoints" / f"step_{step:08d}" / "SHA256SUMS").exists()
    assert hurt.run().code == 0
    require_same_end(alone, hurt)


def test_ctrl_c_twice_leaves_at_once_and_what_was_saved_is_whole(alone: Place, hurt: Place) -> None:
    run = hurt.run(faults=[["signal_at", 7, INTERRUPT, 2, 1.2]])
    assert run.code == 130 and "stopped at step" not in run.text and "Traceback" not in run.text
    assert hurt.run().code == 0
    require_same_end(alone, hurt)


@pytest.mark.parametrize("nth", [1, 4, 9, 12])
@pytest.mark.parametrize("number", [INTERRUPT, TERMINATE, KILL], ids=["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_a_signal_while_a_checkpoint_is_written(alone: Place, hurt: Place, number: int, nth: int) -> None:
    hurt.run("--max_steps", 1)  # the shards: what is synced now is of the run
    hurt.forget("model")
    run = hurt.run(faults=[["signal_while_syncing", nth, number]])
    assert run.code == 128 + number, run.text
    assert hurt.run().code == 0
    require_same_end(alone, hurt)


def test_ctrl_c_before_training_leaves_nothing_half_made(alone: Place, hurt: Place) -> None:
    run = hurt.run(faults=[["signal_while_syncing", 1, INTERRUPT]])  # within the first shard
    assert run.code == 130 and "Traceback" not in run.text
    assert (
        not list(hurt.folder.glob("data/tokenized/*.bin"))
        and not (hurt.folder / "data/tokenized/manifest.json").exists()
    )
    assert hurt.run().code == 0
    require_same_end(alone, hurt)


def test_a_signal_that_is_ignored_from_the_start_ends_nothing(alone: Place, hurt: Place) -> None:
    """As under nohup."""
    run = hurt.run(faults=[["ignore", HANG_UP], ["signal_at", 7, HANG_UP]])
    assert run.code == 0
    require_same_end(alone, hurt)


def test_a_console_that_goes_away_ends_nothing(alone: Place, hurt: Place) -> None:
    """The reader of a pipe ends after a line; then comes Ctrl-C, as where a user ends `train.py | tee log`."""
    run = hurt.run(faults=[["reader_goes"], ["signal_at", 7, INTERRUPT]])
    assert run.code == 130
    assert (hurt.folder / "model" / "checkpoints" / "step_00000007").exists()
    assert "stopped at step 7" in "".join(path.read_text(encoding="utf-8") for path in hurt.folder.glob("logs/*.log"))
    assert hurt.run(faults=[["reader_goes"]]).code == 0
    require_same_end(alone, hurt)
