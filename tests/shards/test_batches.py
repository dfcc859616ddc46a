"""Windows and steps: every token a target each epoch, counts exact beforehand, order a function of seed and epoch."""

from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import pytest

from gpt2zh.errors import UserError
from gpt2zh.shards.batches import IGNORE, Batch, TrainingBatches, evaluation_batches
from gpt2zh.shards.format import TokenStream
from gpt2zh.shards.prefetch import Prefetch


def random_cases(n: int) -> list[tuple[TokenStream, int, int, int, int]]:
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(n):
        size, n_ctx, batch_size, accumulation = (
            int(rng.integers(low, high)) for low, high in ((2, 200), (1, 30), (1, 6), (1, 4))
        )
        stream = TokenStream(np.split(np.arange(size), sorted(rng.integers(0, size + 1, 3))), size)
        cases.append((stream, n_ctx, int(rng.integers(1, n_ctx + 1)), batch_size, accumulation))
    return cases


@pytest.mark.parametrize("seed", [0, 1])
def test_every_token_is_a_target_each_epoch_and_the_steps_are_as_counted(seed: int) -> None:
    for stream, n_ctx, stride, batch_size, accumulation in random_cases(200):
        batches = TrainingBatches(stream, n_ctx, stride, batch_size, accumulation, seed)
        for epoch in range(2):
            steps = list(batches.epoch(epoch))
            assert len(steps) == batches.steps_per_epoch
            assert sum(len(inputs) for step in steps for inputs, _ in step) == batches.n_windows
            assert all(len(step) == accumulation for step in steps[:-1])
            assert all(len(inputs) == batch_size for step in steps[:-1] for inputs, _ in step)
            seen: set[int] = set()
            for inputs, targets in (batch for step in steps for batch in step):
                counts = targets != IGNORE
                assert ((inputs[counts] + 1) % len(stream) == targets[counts]).all()
                seen |= set(targets[counts].tolist())
            assert seen == set(range(len(stream)))


def test_accumulation_and_batch_size_part_the_same_windows() -> None:
    stream = TokenStream([np.arange(1000)], 1000)
    large = list(TrainingBatches(stream, 16, 16, 8, 1, seed=3).epoch(1))
    small = list(TrainingBatches(stream, 16, 16, 2, 4, seed=3).epoch(1))
    assert len(large) == len(small)
    for one, four in zip(large, small):
        assert np.array_equal(one[0][0], np.concatenate([inputs for inputs, _ in four]))
        assert counted(one) == counted(four)


@pytest.mark.parametrize("length", [5, 20, 1000])  # shorter than a window, about as long, longer
@pytest.mark.parametrize(("batch_size", "accumulation"), [(8, 1), (3, 2), (7, 5)])
def test_the_targets_of_a_step_are_known_beforehand(length: int, batch_size: int, accumulation: int) -> None:
    batches = TrainingBatches(TokenStream([np.arange(length)], length), 16, 11, batch_size, accumulation, seed=0)
    steps = [step for epoch in range(2) for step in batches.epoch(epoch)]
    assert [batches.n_targets(number) for number in range(len(steps))] == [counted(step) for step in steps]


@pytest.mark.parametrize("n_ranks", [2, 3, 4, 9])
def test_processes_share_out_the_rows_of_one(n_ranks: int) -> None:
    stream = TokenStream([np.arange(1000)], 1000)
    alone = list(TrainingBatches(stream, 16, 16, 6, 2, seed=3).epoch(1))
    shares = [list(TrainingBatches(stream, 16, 16, 6, 2, 3, rank, n_ranks).epoch(1)) for rank in range(n_ranks)]
    assert {tuple(map(len, share)) for share in shares} == {tuple(map(len, alone))}  # as many passes in each
    for number, step in enumerate(alone):
        for micro, batch in enumerate(step):
            assert rows(batch) == sorted(row for share in shares for row in rows(share[number][micro]))


@pytest.mark.parametrize("n_ranks", [2, 4, 9])
def test_processes_share_out_what_is_evaluated(n_ranks: int) -> None:
    stream = TokenStream([np.arange(301)], 301)
    alone = list(evaluation_batches(stream, 16, 7, 4))
    shares = [list(evaluation_batches(stream, 16, 7, 4, rank, n_ranks)) for rank in range(n_ranks)]
    assert {len(share) for share in shares} == {len(alone)}
    for number, batch in enumerate(alone):
        assert rows(batch) == sorted(row for share in shares for row in rows(share[number]))


def test_a_process_reads_no_rows_but_its_own() -> None:
    class Counting(TokenStream):
        n_reads = 0

        def read_circular(self, start: int, length: int) -> np.ndarray:
            self.n_reads += 1
            return super().read_circular(start, length)

    stream = Counting([np.arange(1000)], 1000)
    batches = TrainingBatches(stream, 16, 16, 6, 1, seed=3, rank=1, n_ranks=4)
    own = [row for step in batches.epoch(0) for batch in step for row in rows(batch)]
    assert 0 < stream.n_reads == len(own) < batches.n_windows / 2


def counted(step: list[Batch]) -> int:
    return sum(int((targets != IGNORE).sum()) for _, targets in step)


def rows(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """The rows of a batch that have a target, in a fixed order."""
    return sorted((i.tolist(), t.tolist()) for i, t in zip(*batch) if (t != IGNORE).any())


def test_order_is_a_function_of_seed_and_epoch() -> None:
    stream = TokenStream([np.arange(500)], 500)

    def first(seed: int, epoch: int) -> list[int]:
        return next(TrainingBatches(stream, 8, 8, 4, 1, seed).epoch(epoch))[0][0].ravel().tolist()

    assert first(0, 1) == first(0, 1)
    assert first(0, 0) != first(0, 1) != first(1, 1)


def test_a_corpus_shorter_than_the_window_is_counted_once() -> None:
    ((inputs, targets),) = next(TrainingBatches(TokenStream([np.arange(5)], 5), 16, 16, 8, 1, 0).epoch(0))
    assert inputs.shape == targets.shape == (1, 16)
    assert sorted(targets[targets != IGNORE].tolist()) == [0, 1, 2, 3, 4]


def test_a_stride_above_the_window_says_what_it_skips() -> None:
    stream = TokenStream([np.arange(5000)], 5000)
    batches = TrainingBatches(stream, 512, 768, 8, 1, 0)
    reached = {target for step in batches.epoch(0) for _, targets in step for target in targets.ravel().tolist()}
    assert batches.skipped_share == pytest.approx(1 - len(reached) / 5000)
    assert TrainingBatches(stream, 512, 100, 8, 1, 0).skipped_share == 0
    assert TrainingBatches(TokenStream([np.arange(500)], 500), 512, 768, 8, 1, 0).skipped_share == 0


def test_nothing_to_train_on_is_an_error_that_names_flags() -> None:
    with pytest.raises(UserError, match="训练步数为 0.*--min_length"):
        TrainingBatches(TokenStream([], 1), 8, 8, 8, 1, 0)


def test_evaluation_counts_every_token_but_the_first_once_with_enough_context() -> None:
    for stream, n_ctx, stride, batch_size, _ in random_cases(300):
        targets_seen: list[int] = []
        for inputs, targets in evaluation_batches(stream, n_ctx, stride, batch_size):
            assert inputs.shape == targets.shape and inputs.shape[1] == n_ctx and len(inputs) <= batch_size
            for row, row_targets in zip(inputs, targets):
                (places,) = np.nonzero(row_targets != IGNORE)
                assert (row[places] + 1 == row_targets[places]).all()
                assert row[0] == 0 or places.min() >= n_ctx - stride
                targets_seen += row_targets[places].tolist()
        assert sorted(targets_seen) == list(range(1, len(stream)))


def test_what_a_thread_prepares_comes_in_order_and_an_error_where_it_happened() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("disk")

    seen: list[int] = []
    with pytest.raises(OSError, match="disk"):
        for item in Prefetch(items(), lambda item: item * 2):
            seen.append(item)
    assert seen == [0, 2, 4, 6, 8]
    endless = Prefetch(count(), lambda item: item)
    assert list(islice(endless, 50)) == list(range(50))
    assert endless.take_waited() > 0 == endless.take_waited()
