"""What the steps of a run came to: loss, gradient norm, speed; steps that were left out; losses that jump.

The numbers of a step are read when the next one is under way, so that no GPU waits for the host, nor one process for another.

In: a step's numbers, still on the device. Out: rows of the `RunLog`; the counters of `Progress`. Refuses: to go on when the run has
diverged.
"""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpt2zh.errors import Diverged
from gpt2zh.training.processes import SingleProcess
from gpt2zh.training.runlog import RunLog

if TYPE_CHECKING:
    import torch

    from gpt2zh.device import Device
    from gpt2zh.shards.batches import TrainingBatches
    from gpt2zh.training.state import Progress

MOST_SKIPPED = 10  # steps in a row whose gradients are not finite
COMPARED, FEWEST = 128, 32  # losses, of reports, that one is compared with
DEVIATIONS = 6.0


@dataclass(frozen=True)
class Made:
    """A step that was made, its numbers on their way.

    Args:
        step: its number, from 1. lr: its learning rate.
        read: gives the sum of its nats and the norm of its gradients, once they are there.
        closing: where a report ends with it: the seconds since the last one, and how many of these were spent waiting for data.
    """

    step: int
    lr: float
    read: Callable[[], list[float]]
    closing: tuple[float, float] | None


class Meter:
    """The one owner of the counters of `at` that are about loss and skipped steps.

    Args:
        at: counters since the last report; `nats` is of this process.
        flops: operations a token. peak: operations a second at most, of one process.
    """

    def __init__(
        self,
        at: "Progress",
        log: RunLog,
        processes: SingleProcess,
        device: "Device",
        batches: "TrainingBatches",
        scaler: "torch.amp.GradScaler",
        flops: float,
        peak: float,
    ) -> None:
        self.at, self.log, self.processes, self.device, self.batches = at, log, processes, device, batches
        self.scaler, self.share_of_peak = scaler, flops / (peak * processes.count)
        self._last: Made | None = None
        self._losses: deque[float] = deque(maxlen=COMPARED)
        self._waited = 0.0
        self._clock = time.perf_counter()

    def step(self, lr: float, nats: "torch.Tensor", grad_norm: "torch.Tensor", waited: float, report: bool) -> None:
        """Take note of step number `at.step`, and read the numbers of the one before.

        Args:
            nats: sum over the targets of this process, a scalar. grad_norm: before clipping, a scalar.
            waited: seconds that the step waited for its data.
            report: whether a report ends with this step.

        Raises:
            Diverged: the gradients of MOST_SKIPPED steps in a row were not finite.
        """
        self.settle()
        self._waited += waited
        closing = None
        if report:
            now = time.perf_counter()
            closing = now - self._clock, self._waited
            self._clock, self._waited = now, 0.0
        self._last = Made(self.at.step, lr, self.device.start_read(nats, grad_norm), closing)

    def settle(self) -> None:
        """Read the numbers of the last step; afterwards `at` is complete."""
        made, self._last = self._last, None
        if made is None:
            return
        nats, grad_norm = made.read()
        at = self.at
        if math.isfinite(grad_norm):
            at.nats = float(np.float32(at.nats) + np.float32(nats))  # as the device would add them
            at.n_tokens += self.batches.n_targets(made.step - 1)
            at.skipped_in_a_row = 0
        elif not self.scaler.is_enabled() or self.scaler.get_scale() < 1:  # fp16's scale starts too high, and sinks
            self._left_out(made, nats, grad_norm)
        if made.closing:
            self._report(made, grad_norm, *made.closing)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While something else is done than training: all numbers are read before, and its time counts for none."""
        self.settle()
        began = time.perf_counter()
        yield
        self._clock += time.perf_counter() - began

    def _report(self, made: Made, grad_norm: float, seconds: float, waited: float) -> None:
        """Write a row for the steps since the last one."""
        at, step = self.at, made.step
        loss = self.processes.all_reduce_sum(at.nats)[0] / max(1, at.n_tokens)
        if at.n_tokens and math.isfinite(loss):
            if is_spike(loss, self._losses):
                self.log.line(
                    f"注意：第 {step} 步的 loss {loss:.4f} 突然升高。",
                    f"note: the loss rose suddenly at step {step}, to {loss:.4f}.",
                )
            self._losses.append(loss)
        numbers = {
            "loss": loss,
            "lr": made.lr,
            "grad_norm": grad_norm,
            "tokens_per_second": at.n_tokens / seconds,
            "utilisation": at.n_tokens / seconds * self.share_of_peak,
            "data_wait": waited / seconds,
        }
        self.log.report(step, {f"train/{name}": value for name, value in numbers.items()})
        at.nats, at.n_tokens = 0.0, 0

    def _left_out(self, made: Made, nats: float, grad_norm: float) -> None:
        """Say which step was left out; end a run that makes no more."""
        at, batches, step = self.at, self.batches, made.step
        at.skipped += 1
        at.skipped_in_a_row += 1
        epoch, place = divmod(step - 1, batches.steps_per_epoch)
        first = place * batches.windows_per_step
        starts = batches.starts(epoch)[first : first + batches.windows_per_step].tolist()
        loss = self.processes.all_reduce_sum(nats)[0] / batches.n_targets(step - 1)
        self.log.line(
            f"第 {step} 步跳过：loss {loss:.4g}，梯度范数 {grad_norm:.4g}；第 {epoch + 1} 轮，窗口起于词元 {starts}",
            f"step {step} skipped: loss {loss:.4g}, gradient norm {grad_norm:.4g}; epoch {epoch + 1}, windows at tokens {starts}",
        )
        if at.skipped_in_a_row == MOST_SKIPPED:
            raise Diverged(
                f"到第 {step} 步，连续 {MOST_SKIPPED} 步的梯度不是有限数（loss {loss}），训练发散了。请减小 --lr（这一步是 {made.lr:.3g}），从头训练，或用 --resume 从之前的检查点接着训练。",
                f"up to step {step} the gradients of {MOST_SKIPPED} steps in a row were not finite (loss {loss}): the run diverged. Lower --lr (it was {made.lr:.3g} at this step), and train anew or go on from an earlier checkpoint with --resume.",
            )


def is_spike(loss: float, before: Sequence[float]) -> bool:
    """Whether a loss is DEVIATIONS standard deviations above the mean of those before it (OLMo's measure)."""
    return len(before) >= FEWEST and loss > statistics.fmean(before) + DEVIATIONS * statistics.pstdev(before)
