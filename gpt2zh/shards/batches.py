"""Token stream -> windows -> micro-batches -> optimiser steps.

    stream of N ids, a circle  ->  windows of n_ctx + 1 ids, every `stride` ids  ->  shuffled  ->  (B, T) inputs, (B, T) targets

The start of the first window and the order of the windows are a function of (seed, epoch) alone, so any epoch can be
made again without the ones before it. The number of windows is ceil(N / stride) in every epoch: as the stream is a
circle, every token is a target at least once an epoch if stride <= n_ctx, whatever the batch size.

Where several processes share the work, each reads its own rows of every batch: row r goes to process r mod n. The order is
the same for any n, and so is the number of batches: a process without a row in a ragged last one gets `idle_row`.

In: a `TokenStream`. Out: int64 arrays; targets that do not count are IGNORE. Refuses: a stream without ids.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpt2zh.errors import UserError
from gpt2zh.shards.format import TokenStream
from gpt2zh.shards.noise import InputNoise

IGNORE = -100  # a target that does not count; torch's default ignore_index
Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TrainingBatches:
    """The optimiser steps of a run.

    Args:
        n_ctx: tokens a window, the model's context length.
        stride: distance between the starts of windows; tokens.
        batch_size: windows a micro-batch, over all devices and processes.
        accumulation: micro-batches an optimiser step.
        rank: this process, of `n_ranks`.
        noise: on the inputs; None: they are the text's.
    """

    stream: TokenStream
    n_ctx: int
    stride: int
    batch_size: int
    accumulation: int
    seed: int
    rank: int = 0
    n_ranks: int = 1
    noise: InputNoise | None = None

    def __post_init__(self) -> None:
        if len(self.stream) < 2:
            raise UserError(
                f"训练步数为 0：分片里只有 {len(self.stream)} 个训练词元。请给更多的文字，或减小 --min_length、--val_ratio。",
                f"zero training steps: the shards hold {len(self.stream)} training tokens. Give more text, or lower --min_length or --val_ratio.",
            )

    @property
    def n_windows(self) -> int:
        """Windows an epoch."""
        return math.ceil(len(self.stream) / self.stride)

    @property
    def windows_per_step(self) -> int:
        """Windows of a full step, over all processes."""
        return self.batch_size * self.accumulation

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch; the last one may have fewer windows."""
        return math.ceil(self.n_windows / self.windows_per_step)

    @property
    def tokens_per_step(self) -> int:
        """Targets of a full step."""
        return self.windows_per_step * self.n_ctx

    @property
    def skipped_share(self) -> float:
        """Share of the tokens that no window of an epoch reaches: above 0 only if stride > n_ctx."""
        last_gap = len(self.stream) - (self.n_windows - 1) * self.stride  # back to the first window, round the circle
        reached = (self.n_windows - 1) * min(self.n_ctx, self.stride) + min(self.n_ctx, last_gap)
        return 1 - reached / len(self.stream)

    def n_targets(self, step: int) -> int:
        """Targets that count in step number `step` (from 0) of the run, over all processes."""
        first = step % self.steps_per_epoch * self.windows_per_step
        return min(self.windows_per_step, self.n_windows - first) * min(self.n_ctx, len(self.stream))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[list[Batch]]:
        """The steps of epoch number `epoch` (from 0), from its step number `first_step` on.

        Yields:
            At most `accumulation` micro-batches, this process's rows.
        """
        starts = self.starts(epoch)
        for i in range(first_step * self.windows_per_step, len(starts), self.windows_per_step):
            step = starts[i : i + self.windows_per_step]
            micro_batches = [step[j : j + self.batch_size] for j in range(0, len(step), self.batch_size)]
            yield [self.windows(epoch, starts[self.rank :: self.n_ranks]) for starts in micro_batches]

    def starts(self, epoch: int) -> np.ndarray:
        """Where each window of an epoch begins in the stream, in their order, (n_windows,)."""
        rng = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        offset = int(rng.integers(self.stride))
        return offset + self.stride * rng.permutation(self.n_windows)

    def windows(self, epoch: int, starts: np.ndarray) -> Batch:
        """Inputs and targets, each (B, T), of the windows of an epoch that begin at `starts`; the idle row where there are none."""
        if not len(starts):
            return idle_row(self.n_ctx)
        rows = np.stack([self.stream.read_circular(int(start), self.n_ctx + 1) for start in starts])  # (B, T + 1)
        targets = rows[:, 1:].copy()
        targets[:, len(self.stream) :] = IGNORE  # a corpus shorter than the window comes round: count it once
        inputs = rows[:, :-1]
        if self.noise is not None:  # a window's is its own: the same for any number of processes, and after --resume
            generators = (np.random.Generator(np.random.PCG64([self.seed, epoch, int(start)])) for start in starts)
            inputs = np.stack([self.noise(row, rng) for row, rng in zip(inputs, generators, strict=True)])
        return inputs, targets


def idle_row(n_ctx: int) -> Batch:
    """A batch of one row, (1, n_ctx), of which no target counts: for a process that has no row of its own but must take part."""
    return np.zeros((1, n_ctx), dtype=np.int64), np.full((1, n_ctx), IGNORE, dtype=np.int64)


def evaluation_stride(n_ctx: int, stride: int | None) -> int:
    """The step of evaluation's windows: at most n_ctx, as every token counts; half of it where none is given."""
    return min(stride or max(1, n_ctx // 2), n_ctx)


def evaluation_starts(n_tokens: int, n_ctx: int, stride: int | None) -> range:
    """Where evaluation's windows begin."""
    stride = evaluation_stride(n_ctx, stride)
    return range(0, max(1, n_tokens - 1 - n_ctx + stride), stride)


def evaluation_batches(
    stream: TokenStream, n_ctx: int, stride: int | None, batch_size: int, rank: int = 0, n_ranks: int = 1
) -> Iterator[Batch]:
    """Windows over `stream` in which every id but the first is a target exactly once.

    A window starts every `stride` ids; from the second one on only its last `stride` targets count, so each is
    predicted from at least n_ctx - stride ids before it. No stride given is half a window.

    Yields:
        Inputs and targets, (B, n_ctx): the rows of process `rank` of `n_ranks`.
    """
    stride = evaluation_stride(n_ctx, stride)
    starts = evaluation_starts(len(stream), n_ctx, stride)
    for i in range(0, len(starts), batch_size):
        own = starts[i : i + batch_size][rank::n_ranks]
        rows = [_evaluation_row(stream, n_ctx, stride, start) for start in own] or [idle_row(n_ctx)]
        yield np.concatenate([inputs for inputs, _ in rows]), np.concatenate([targets for _, targets in rows])


def _evaluation_row(stream: TokenStream, n_ctx: int, stride: int, start: int) -> Batch:
    """Evaluation's window at `start`, (1, n_ctx)."""
    inputs, targets = idle_row(n_ctx)
    length = min(n_ctx, len(stream) - 1 - start)
    ids = stream.read_circular(start, length + 1)
    inputs[0, :length] = ids[:-1]
    first = 0 if start == 0 else n_ctx - stride
    targets[0, first:length] = ids[1 + first :]
    return inputs, targets
