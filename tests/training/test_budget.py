"""Losses that jump, and runs that are planned by the clock."""

import pytest

from gpt2zh.training.recipe import Budget
from gpt2zh.training.spikes import DEVIATIONS, FEWEST, Spikes


def run(
    pace: float, hours: float, most: int = 10**6, stop_at: int | None = None, spent: float = 0.0
) -> tuple[int, float]:
    """Steps and seconds of a run whose steps take `pace` seconds each."""
    now = [0.0]
    budget = Budget(3600 * hours, most, spent, lambda: now[0])
    step, n_steps = 0, most
    while step < n_steps and step != stop_at:
        now[0] += pace
        step += 1
        n_steps = budget.steps(step)
    return step, budget.so_far()


@pytest.mark.parametrize("pace", [0.01, 0.3, 20.0])
def test_a_run_uses_its_time_and_no_more(pace: float) -> None:
    _, seconds = run(pace, 1)
    assert 0.95 * 3600 - pace <= seconds <= 3600 + pace


def test_steps_never_exceed_what_the_flags_say_and_no_hours_mean_no_limit() -> None:
    assert run(0.01, 1, most=50)[0] == 50
    assert Budget(None, 77, 0.0, lambda: 0.0).steps(5) == 77


def test_a_run_that_goes_on_has_the_rest_of_the_time() -> None:
    step, seconds = run(1.0, 1, stop_at=1000)
    assert (step, seconds) == (1000, 1000)
    assert run(1.0, 1, spent=seconds)[1] == pytest.approx(0.97 * 3600, abs=2)


def test_the_plan_follows_a_pace_that_changes() -> None:
    now = [0.0]
    budget = Budget(1000.0, 10**6, 0.0, lambda: now[0])
    step, n_steps = 0, 10**6
    while step < n_steps:
        now[0] += 1.0 if step < 200 else 2.0
        step += 1
        n_steps = budget.steps(step)
    assert 900 < now[0] <= 1002


def test_a_loss_far_above_the_ones_before_is_a_spike_and_noise_is_none() -> None:
    spikes = Spikes()
    noise = [5 + 0.1 * ((i * 37) % 11 - 5) / 5 for i in range(200)]
    assert not any(map(spikes.is_spike, noise))
    assert spikes.is_spike(9.0) and not spikes.is_spike(float("nan")) and not spikes.is_spike(5.0)


def test_before_there_is_enough_to_compare_with_nothing_is_a_spike() -> None:
    spikes = Spikes()
    assert not any(spikes.is_spike(5.0) for _ in range(FEWEST - 1)) and DEVIATIONS > 3
    assert not spikes.is_spike(50.0)
