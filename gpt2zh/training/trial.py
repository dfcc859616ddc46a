"""Steps that change nothing: the largest micro-batch that fits into memory, for --batch_size auto; what a run will take, for --dry_run.

In: a training loss, its optimiser, and the windows of an optimiser step. Out: a divisor of these; seconds and bytes.

GPUs say when memory runs out, so sizes are tried, the largest first. On a CPU the system would end the process instead, so
the growth with 1 and with 2 windows is measured, and the line through them tells the rest. Weights, random numbers,
gradients and moments are afterwards as they were: the run is the one that the same size given by hand makes.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gpt2zh.device import Device
from gpt2zh.errors import UserError, bilingual
from gpt2zh.system import memory
from gpt2zh.training.optim import set_lr

USUAL = 8  # windows a step where nothing is accumulated, as without --batch_size
SHARE = 0.8  # of a CPU's free memory: samples, validation and other programs want some
MB = 1e6
FEWEST, LONG_ENOUGH = 3, 5.0  # steps, and seconds, that a rehearsal times


@dataclass(frozen=True)
class Trial:
    """A training step that changes nothing but the learning rate, which each step of a run sets.

    Args:
        loss: (inputs, targets), each (B, n_ctx), to sum of nats and number of targets. Not compiled: sizes differ here.
    """

    loss: nn.Module
    optimizer: torch.optim.Optimizer
    device: Device
    n_ctx: int

    def micro_batch(self, n_windows: int) -> None:
        """Forward and backward pass; the gradients are added to those that are there."""
        ids = self.device.tensor(np.zeros((n_windows, self.n_ctx), dtype=np.int64))
        self.loss(ids, ids)[0].sum().backward()

    def fill(self) -> None:
        """Have gradients and moments in memory, as a run has from its second step on. All are 0, and so is the update."""
        self.micro_batch(1)
        for parameter in self.loss.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
        set_lr(self.optimizer, 0.0)
        self.optimizer.step()

    def step(self, n_windows: int, n_micro_batches: int) -> None:
        """All of an optimiser step."""
        for _ in range(n_micro_batches):
            self.micro_batch(n_windows)
        set_lr(self.optimizer, 0.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def clear(self) -> None:
        """Forget gradients and moments."""
        self.optimizer.zero_grad()
        self.optimizer.state.clear()


def choose_micro_batch(trial: Trial, n_windows: int, root: Path = memory.ROOT) -> tuple[int, str]:
    """Windows a micro-batch, of the `n_windows` of a step, and what to tell the user.

    Args:
        root: of the system's files on memory.
    Raises:
        UserError: not even one window fits.
    """
    sizes = [size for size in range(n_windows, 0, -1) if n_windows % size == 0]
    trial.loss.train()
    with torch.random.fork_rng(trial.device.gpus):
        try:
            size, figures = try_sizes(trial, sizes) if trial.device.gpus else extrapolate(trial, sizes, root)
        finally:
            trial.clear()
    if size is None:
        raise UserError(
            f"内存放不下一个 {trial.n_ctx} 词元的窗口（{trial.device}；{figures}）。请加 --gradient_checkpointing，用 --optimizer adamw8bit，或把模型配置里的 n_ctx 减到 {trial.n_ctx // 2}。",
            f"a window of {trial.n_ctx} tokens does not fit. Give --gradient_checkpointing or --optimizer adamw8bit, or lower n_ctx in the model's configuration to {trial.n_ctx // 2}.",
        )
    return size, bilingual(
        f"--batch_size auto：每次更新的 {n_windows} 个窗口分为 {n_windows // size} 个小批，每个 {size} 个窗口（{figures}）。",
        f"the {n_windows} windows of a step go in {n_windows // size} micro-batches of {size}",
    )


def try_sizes(trial: Trial, sizes: list[int]) -> tuple[int | None, str]:
    """The first of `sizes` that the GPUs have memory for, None where none is; and the figures behind it."""
    if trial.device.fits(trial.fill):
        for size in sizes:
            if trial.device.fits(partial(trial.micro_batch, size)):
                return size, bilingual("已试过", "tried")
    return None, bilingual("已试过", "tried")


def extrapolate(trial: Trial, sizes: list[int], root: Path) -> tuple[int | None, str]:
    """The same from what 1 and 2 windows take; USUAL where the system does not say."""
    trial.fill()
    memory.give_back_freed()
    room = memory.available(root)
    one, two = (memory.growth(partial(trial.micro_batch, n_windows)) for n_windows in (1, 2))
    if room is None or one is None or two is None:
        return USUAL, bilingual("这个系统量不出内存", "no measure of memory on this system")
    figures = bilingual(
        f"一个窗口 {one / MB:.0f} MB，每多一个加 {(two - one) / MB:.0f} MB，可用内存的 {SHARE:.0%} 是 {SHARE * room / MB:.0f} MB",
        f"{one / MB:.0f} MB for a window, {(two - one) / MB:.0f} MB for each more, {SHARE * room / MB:.0f} MB to use",
    )
    return largest_below(sizes, one, two, SHARE * room), figures


def largest_below(sizes: list[int], one: float, two: float, room: float) -> int | None:
    """The first of `sizes` that stays within `room` on the line through (1, one) and (2, two); None where none does."""
    return next((size for size in sizes if one + (size - 1) * max(0, two - one) <= room), None)


# ----- a rehearsal ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rehearsal:
    """`seconds` a step; `peak` bytes of memory, None where the system does not tell."""

    seconds: float
    peak: int | None


def rehearse(trial: Trial, n_windows: int, n_micro_batches: int) -> Rehearsal:
    """Time optimiser steps, after one that is not timed: compilation and first allocations are in that."""

    def step() -> None:
        trial.step(n_windows, n_micro_batches)
        trial.device.wait()

    step()
    n_steps, started = 0, time.perf_counter()
    while n_steps < FEWEST or time.perf_counter() - started < LONG_ENOUGH:
        step()
        n_steps += 1
    return Rehearsal((time.perf_counter() - started) / n_steps, trial.device.peak_memory())
