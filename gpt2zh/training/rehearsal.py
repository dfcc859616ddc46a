"""What a run will take, from a few steps that change nothing.

In: a step to try. Out: seconds a step, memory at the peak.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from gpt2zh.device import Device

FEWEST, LONG_ENOUGH = 3, 5.0  # steps, and seconds, that are timed


@dataclass(frozen=True)
class Rehearsal:
    """`seconds` a step; `peak` bytes of memory, None where the system does not tell."""

    seconds: float
    peak: int | None


def rehearse(step: Callable[[], None], device: Device) -> Rehearsal:
    """Time `step`, after once without: compilation and first allocations are in that."""
    step()
    device.wait()
    n_steps, started = 0, time.perf_counter()
    while n_steps < FEWEST or time.perf_counter() - started < LONG_ENOUGH:
        step()
        device.wait()
        n_steps += 1
    return Rehearsal((time.perf_counter() - started) / n_steps, device.peak_memory())
