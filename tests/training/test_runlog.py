"""Reports of runs that are killed, started again, and go on."""

import json
from pathlib import Path

import pytest
from tensorboard_points import shown

from gpt2zh.training.runlog import RunFiles


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def report(step: int, n_rows: int, last: int, value: float) -> RunFiles:
    """A run from after `step` up to `last`, with a report each step; it is neither closed nor flushed, as if it were killed."""
    files = RunFiles(Path("model"), Path("board"), step, n_rows)
    for at in range(step + 1, last + 1):
        assert files.row(at, {"train/loss": value})
    return files


def rows() -> list[tuple[int, float]]:
    lines = Path("model/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["step"], row["train/loss"]) for row in map(json.loads, lines)]


def test_a_kill_loses_no_point_and_a_run_that_begins_again_shows_only_its_own() -> None:
    killed = report(0, 0, 20, 1.0)
    assert shown(Path("board")) == [("train/loss", at, 1.0) for at in range(1, 21)]
    again = report(0, 0, 5, 2.0)
    assert shown(Path("board")) == [("train/loss", at, 2.0) for at in range(1, 6)]
    assert rows() == [(at, 2.0) for at in range(1, 6)]
    del killed, again


def test_a_run_that_goes_on_shows_each_step_once() -> None:
    killed = report(0, 0, 20, 1.0)
    more = report(12, 12, 30, 2.0)
    expected = [(at, 1.0 if at <= 12 else 2.0) for at in range(1, 31)]
    assert [(step, value) for _, step, value in shown(Path("board"))] == expected
    assert rows() == expected
    del killed, more


@pytest.mark.parametrize("left", ["torn at its end", "torn in the middle", "fewer rows than the checkpoint counts"])
def test_what_a_power_cut_left_of_the_reports_gives_whole_rows_each_once(left: str) -> None:
    killed = report(0, 0, 20, 1.0)
    path = Path("model/metrics.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if left == "torn in the middle":
        lines[7] = lines[7][:9] + "\n"
    elif left == "torn at its end":
        lines[13] = lines[13][:9]
        del lines[14:]
    else:
        del lines[9:]
    path.write_text("".join(lines), encoding="utf-8")
    there = {"torn at its end": 12, "torn in the middle": 11, "fewer rows than the checkpoint counts": 9}[left]
    more = report(12, 12, 14, 2.0)
    assert more.n_rows == there
    assert len(rows()) == there + 2 == len(set(rows())) and rows()[-2:] == [(13, 2.0), (14, 2.0)]
    del killed
