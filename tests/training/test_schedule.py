"""Losses that jump, and runs that are planned by the clock."""

import pytest

from gpt2zh.training.meter import DEVIATIONS, FEWEST, is_spike
from gpt2zh.training.recipe import Wishes, choose_recipe
from gpt2zh.training.schedule import Schedule

RECIPE = choose_recipe(Wishes(), 384, 1000, fast_bf16=True)


def run(
    pace: float, hours: float, most: int = 10**6, stop_at: int | None = None, spent: float = 0.0
) -> tuple[int, float]:
    """Steps and seconds of a run whose steps take `pace` seconds each."""
    now = [0.0]
    schedule = Schedule(RECIPE, most, 3600 * hours, clock=lambda: now[0])
    schedule.begin(spent)
    step, n_steps = 0, most
    while step < n_steps and step != stop_at:
        now[0] += pace
        step += 1
        n_steps = schedule.affordable(step)
    return step, schedule.seconds()


@pytest.mark.parametrize("pace", [0.01, 0.3, 20.0])
def test_a_run_uses_its_time_and_no_more(pace: float) -> None:
    _, seconds = run(pace, 1)
    assert 0.95 * 3600 - pace <= seconds <= 3600 + pace


def test_steps_never_exceed_what_the_flags_say_and_no_hours_mean_no_limit() -> None:
    assert run(0.01, 1, most=50)[0] == 50
    assert Schedule(RECIPE, 77).affordable(5) == 77


def test_a_run_that_goes_on_has_the_rest_of_the_time() -> None:
    step, seconds = run(1.0, 1, stop_at=1000)
    assert (step, seconds) == (1000, 1000)
    assert run(1.0, 1, spent=seconds)[1] == pytest.approx(0.97 * 3600, abs=2)


def test_the_plan_follows_a_pace_that_changes() -> None:
    now = [0.0]
    schedule = Schedule(RECIPE, 10**6, 1000.0, clock=lambda: now[0])
    step, n_steps = 0, 10**6
    while step < n_steps:
        now[0] += 1.0 if step < 200 else 2.0
        step += 1
        n_steps = schedule.affordable(step)
    assert 900 < now[0] <= 1002


def test_a_run_that_time_makes_shorter_has_a_shorter_warm_up_unless_it_was_given() -> None:
    for follows, lr in ((True, RECIPE.lr), (False, RECIPE.lr * 21 / 100)):
        schedule = Schedule(RECIPE, 1000, 3600.0, warmup_follows=follows)
        assert schedule.lr(20) == RECIPE.lr * 21 / 100
        schedule.n_steps = 200  # a tenth of these, 20, to warm up
        assert schedule.lr(20) == lr


def test_a_loss_far_above_the_ones_before_is_a_spike_and_noise_is_none() -> None:
    noise = [5 + 0.1 * ((i * 37) % 11 - 5) / 5 for i in range(200)]
    assert not any(is_spike(loss, noise[:number]) for number, loss in enumerate(noise))
    assert is_spike(9.0, noise) and not is_spike(5.0, noise) and DEVIATIONS > 3


def test_before_there_is_enough_to_compare_with_nothing_is_a_spike() -> None:
    assert not is_spike(50.0, [5.0] * (FEWEST - 1)) and is_spike(50.0, [5.0] * FEWEST)
