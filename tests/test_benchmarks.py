"""The arithmetic behind the benchmarks' tables: curves, ratios, operations; and that all recipes are judged alike."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2LMHeadModel

from benchmarks.curves import (
    curve_of_rows,
    first_reached,
    median_ratio,
    reached,
    start_of_rows,
    steps_that_fit,
    value_at,
)
from benchmarks.train_speed import SHAPES, flops_per_token, speed_of_rows

CURVE = [(10.0, 9.0), (20.0, 8.0), (40.0, 7.0), (60.0, 7.5)]


def rows_of(seconds: list[float], pauses: dict[int, float], tokens: int = 1000) -> list[dict[str, float]]:
    """metrics.jsonl of a run whose steps take `seconds`, with a validation of so many seconds after some of them."""
    now, rows = 1_700_000_000.0, []
    for step, took in enumerate(seconds, start=1):
        now += took
        rows.append({"step": step, "time": now, "train/loss": 5.0, "train/tokens_per_second": tokens / took})
        if step in pauses:
            now += pauses[step]
            bits = {"val/bits_per_character": 10 - 0.1 * step, "val/seconds": pauses[step]}
            rows.append({"step": step, "time": now, **bits})
    return rows


@pytest.mark.parametrize(("level", "seconds"), [(9.5, 10.0), (9.0, 10.0), (8.5, 15.0), (7.25, 35.0), (7.0, 40.0)])
def test_a_level_is_reached_on_the_straight_line_between_two_validations(level: float, seconds: float) -> None:
    assert first_reached(CURVE, level) == pytest.approx(seconds)


def test_a_level_below_the_curve_is_never_reached() -> None:
    assert first_reached(CURVE, 6.9) is None


@given(st.lists(st.floats(1.0, 12.0), min_size=2, max_size=8), st.floats(1.0, 12.0))
def test_the_curve_has_the_level_when_it_first_reaches_it_and_not_before(bits: list[float], level: float) -> None:
    curve = [(10.0 * (i + 1), value) for i, value in enumerate(bits)]
    seconds = first_reached(curve, level)
    if seconds is None:
        assert min(bits) > level
    else:
        assert value_at(curve, seconds) == pytest.approx(min(level, bits[0]))
        assert all(value > level for time, value in curve if time < seconds)


def test_when_seeds_reach_a_level_is_told_as_median_least_and_most_or_as_how_many_do() -> None:
    curves = [[(1.0, 9.0), (seconds, 5.0)] for seconds in (61.0, 125.0, 90.0)]
    assert reached(curves, 5.0) == "1:30 (1:01 - 2:05)"
    assert reached([*curves, [(1.0, 9.0)]], 5.0) == "3 of 4 seeds"


def test_the_clock_starts_with_the_first_step_even_where_compiling_makes_that_one_long() -> None:
    rows = rows_of([40.0, 2.0, 2.0, 2.0, 2.0], {})
    assert start_of_rows(rows) == pytest.approx(1_700_000_000.0)


def test_validation_takes_no_time_on_the_curve() -> None:
    seconds = [9.0, 1.0, 2.0, 1.0, 1.5, 1.0]
    slow = curve_of_rows(rows_of(seconds, {2: 30.0, 4: 70.0, 6: 5.0}))
    quick = curve_of_rows(rows_of(seconds, {2: 0.0, 4: 0.0, 6: 0.0}))
    assert [bits for _, bits in slow] == [bits for _, bits in quick] == pytest.approx([9.8, 9.6, 9.4])
    assert [time for time, _ in slow] == pytest.approx([time for time, _ in quick])
    assert [time for time, _ in slow] == pytest.approx([10.0, 13.0, 15.5])


def test_a_planned_run_takes_the_planned_time_at_the_speed_of_the_short_one() -> None:
    rows = rows_of([20.0] + [0.5] * 29, {})
    assert 20.0 + 0.5 * (steps_that_fit(rows, 60.0) - 1) == pytest.approx(60.0, abs=0.5)


def test_speed_counts_the_time_of_the_steps_after_the_warmup() -> None:
    rows = rows_of([30.0, 10.0, 1.0, 2.0, 5.0], {3: 100.0})
    assert speed_of_rows(rows, warmup=2) == pytest.approx(3 * 1000 / 8.0)


def test_the_ratio_is_of_runs_of_the_same_round() -> None:
    drift = [1.0, 0.5, 2.0]
    assert median_ratio([300 * factor for factor in drift], [100 * factor for factor in drift]) == 3.0


def test_operations_of_a_token_are_six_for_each_weight_and_attention_that_sees_half_of_the_window() -> None:
    shape = SHAPES["10M"]
    width, n_ctx = shape["n_embd"], shape["n_ctx"]
    layer = 2 * (width * 3 * width + width * width + 2 * width * 4 * width)  # forward products, by their sizes
    attention = 2 * 2 * width * n_ctx / 2  # queries by keys, weights by values
    output = 2 * width * shape["vocab_size"]
    assert flops_per_token(shape) == pytest.approx(3 * (shape["n_layer"] * (layer + attention) + output))


def load_peer(name: str) -> ModuleType:
    """A program of benchmarks/peers."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / "peers" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_others_are_judged_as_train_py_judges_itself(workdir: Path, train: Callable[..., list[dict]]) -> None:
    rows = train("--epochs", 2)
    model = GPT2LMHeadModel.from_pretrained(workdir / "model" / "final_model")
    job = {"shards": "data/tokenized", "n_ctx": 32, "device": "cpu", "precision": "fp32", "seconds": 60, "points": 1}
    steps = load_peer("steps").Steps({**job, "result": "result.json"}, lambda model, ids: model(ids).logits)
    steps.run(lambda: steps.begin(model))
    [(_, bits)] = json.loads(Path("result.json").read_text(encoding="utf-8"))["curve"]
    assert bits == pytest.approx(rows[-1]["val/bits_per_character"], rel=1e-4)


def test_what_is_to_be_replaced_in_nanogpt_must_be_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "peers")
    nanogpt = load_peer("nanogpt")
    assert nanogpt.patched("a = 1\nb = 2\n", [("b = 2", "b = 3")]) == "a = 1\nb = 3\n"
    for source in ("a = 1\n", "b = 2\nb = 2\n"):
        with pytest.raises(SystemExit, match="nanoGPT's train.py has changed"):
            nanogpt.patched(source, [("b = 2", "b = 3")])
