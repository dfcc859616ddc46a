"""How long a run is, and the learning rate of each of its steps.

In: a recipe, the number of steps, the time that the run may take. Out: a learning rate for each step; the length as time goes by.
"""

import math
import time
from collections.abc import Callable

from gpt2zh.training.recipe import WARMUP_SHARE, Recipe

DECAY_SHARE = 0.2  # of the steps, the end of "wsd"
PACE_AFTER = 10  # steps, before a run with --max_hours is planned by its pace
RESERVE = 0.03  # of the time, for what the pace does not show: the end's validation and saving


class Schedule:
    """The one owner of a run's length and learning rate. `n_steps` is the length, in optimiser steps, as far as is known.

    Args:
        most: steps of the run if time were no matter.
        max_seconds: that the run may take in all, validation included; None: as long as it takes.
        warmup_follows: a run that time makes shorter has a shorter warm-up too.
        clock: seconds, from anywhere.
    """

    def __init__(
        self,
        recipe: Recipe,
        most: int,
        max_seconds: float | None = None,
        warmup_follows: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recipe, self.most, self.n_steps = recipe, most, most
        self.max_seconds, self.warmup_follows, self.clock = max_seconds, warmup_follows, clock
        self.begin(0.0)

    def lr(self, step: int) -> float:
        """The learning rate of step number `step` (from 0)."""
        warmup = self.recipe.warmup_steps
        if self.n_steps < self.most and self.warmup_follows:
            warmup = min(warmup, math.ceil(WARMUP_SHARE * self.n_steps))
        return self.recipe.lr * lr_factor(step, warmup, self.n_steps, self.recipe.schedule)

    def begin(self, spent: float) -> None:
        """The loop begins, or goes on, after `spent` seconds."""
        self._spent, self._began = spent, self.clock()
        self._first: tuple[int, float] | None = None  # a step, and the seconds spent when it was done

    def end(self, step: int) -> None:
        """Make `step` the last one."""
        self.most = self.n_steps = min(self.n_steps, step)

    def seconds(self) -> float:
        """Spent on the run so far."""
        return self._spent + self.clock() - self._began

    def affordable(self, step: int) -> int:
        """Steps of the whole run, after `step` of them, at the pace since this process's first ones."""
        now = self.seconds()
        if self.max_seconds is None:
            return self.most
        if now >= self.max_seconds:
            return min(self.most, step)
        if self._first is None:
            self._first = step, now
        begun, since = self._first
        if step - begun < PACE_AFTER:
            return self.most
        pace = (now - since) / (step - begun)
        return min(self.most, step + max(0, int(((1 - RESERVE) * self.max_seconds - now) / pace)))


def lr_factor(step: int, warmup_steps: int, n_steps: int, schedule: str = "linear") -> float:
    """Factor of the peak learning rate for update `step` (from 0): linear up over warmup_steps, then by `schedule` to 0.

    The first update already moves (factor 1 / warmup_steps), and after n_steps updates the factor would be 0.

    Args:
        schedule: "linear"; "cosine", half a wave (Loshchilov & Hutter 2017); "wsd", the peak until the last DECAY_SHARE of
            the run, then linear (warm-up, stable, decay: Hu et al. 2024).
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    left = max(0.0, (n_steps - step) / max(1, n_steps - warmup_steps))  # 1 after the warm-up, 0 at the end
    if schedule == "cosine":
        return (1 - math.cos(math.pi * left)) / 2
    if schedule == "wsd":
        return min(1.0, max(0.0, (n_steps - step) / max(1.0, DECAY_SHARE * n_steps)))
    return left
