"""Work on all cores: in order, few items at a time, and no waiting for a worker that died."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from gpt2zh.errors import UserError
from gpt2zh.system.workers import batches, ordered_map


def adder(added: int, dies: bool = False) -> Callable[[int], int]:
    if dies:
        os._exit(1)

    def add(item: int) -> int:
        time.sleep(0.02 * (item % 3))  # the second may be done before the first
        if item < 0:
            raise ValueError(item)
        return item + added

    return add


@pytest.mark.parametrize("n_workers", [1, 2])
def test_results_come_in_the_order_of_the_items(n_workers: int) -> None:
    assert list(ordered_map(range(30), n_workers, adder, (100,))) == list(range(100, 130))


def test_few_items_are_taken_ahead_of_the_results() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 60:
            taken += 1
            yield taken

    for number, _ in enumerate(ordered_map(items(), 2, adder, (0,)), 1):
        assert taken <= number + 5


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_failure_of_the_work_is_raised_here(n_workers: int) -> None:
    with pytest.raises(ValueError, match="-1"):
        list(ordered_map([1, 2, -1, 3], n_workers, adder, (0,)))


def test_a_worker_that_dies_is_an_error_and_no_waiting() -> None:
    with pytest.raises(UserError, match="内存不足"):
        list(ordered_map(range(9), 2, adder, (0, True)))


def test_workers_that_cannot_start_are_an_error_and_no_waiting(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}, {str(ROOT / "tests" / "system")!r}]
from gpt2zh.errors import UserError
from gpt2zh.system.workers import ordered_map
from test_workers import adder
list(ordered_map(range(9), 2, adder, ("x" * 1_000_000,)))
"""
    # A program read from stdin has no file that a worker could import.
    done = subprocess.run(
        [sys.executable, "-"],
        input=code,
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 1 and "内存不足" in done.stderr


def test_batches_are_runs_of_at_least_the_size() -> None:
    assert list(batches(["a", "bcd", "e", "f", "ghijk", "l"], len, 3)) == [["a", "bcd"], ["e", "f", "ghijk"], ["l"]]
