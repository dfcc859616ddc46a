"""What counting alone knows of a text: interpolated Kneser-Ney n-grams, the yardstick that a model has to beat.

In: the ids of the training part, counted; the ids of a held-out part, judged. Out: nats of the second, for each order up to 5. The counts
are exact and of any vocabulary; no table is kept. Positions are counted in groups that share the id before them: all statistics of a
context lie in one group, so memory is that of a group for each core, whatever the text.

Method: Chen & Goodman 1999, interpolated, three discounts an order, the lowest order mixed with 1 / vocabulary. A stream begins after
four paddings; documents follow each other as in training, their control tokens being tokens like others.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from tqdm import tqdm

from gpt2zh.system.workers import n_cores

HIGHEST = 5
NAMES = (("一元", "unigram"), ("二元", "bigram"), ("三元", "trigram"), ("四元", "4-gram"), ("五元", "5-gram"))
GROUPS, LARGEST_GROUP = 16, 1 << 22  # parts of a text that are counted at a time, a core; positions
MOST_THREADS = 8  # each has a group of up to half a GB
CHUNK = 1 << 22  # ids read at a time


class IdStream(Protocol):
    """What is asked of a stream of ids (gpt2zh.shards.format.TokenStream)."""

    def __len__(self) -> int: ...

    def read_circular(self, start: int, length: int) -> np.ndarray: ...


def ngram_bits(
    train: IdStream, held_out: IdStream, vocab_size: int, n_characters: int, highest: int = HIGHEST
) -> list[tuple[str, str, float]]:
    """Of each n-gram: its names in both languages, and the bits that it needs for each of the `n_characters` of `held_out`."""
    nats = ngram_nats(train, held_out, vocab_size, highest)
    return [(zh, en, value / math.log(2) / n_characters) for (zh, en), value in zip(NAMES, nats)]


def ngram_nats(train: IdStream, held_out: IdStream, vocab_size: int, highest: int = HIGHEST) -> list[float]:
    """Nats of `held_out`, its first id not judged, as counts of `train` give them: by unigrams, bigrams, … up to `highest`."""
    groups = _groups(train, vocab_size)
    threads = min(len(groups), n_cores(), MOST_THREADS)
    count = _Count(train, held_out, vocab_size, highest)
    with ThreadPoolExecutor(threads) as pool:  # numpy's sorts run outside of the interpreter's lock
        counted = list(tqdm(pool.map(count, groups), "n-grams", len(groups), leave=False, delay=2, disable=None))
    discounts = {key: _discounts(sum(group.counts_of_counts[key] for group in counted)) for key in counted[0].found}
    raw, continuation = (sum(getattr(group, name) for group in counted) for name in ("unigrams", "continuations"))
    probabilities = [_lowest(counts, vocab_size) for counts in (raw, continuation)]
    nats = [0.0] * highest
    for group in counted:
        for order in range(1, highest + 1):
            p = probabilities[order > 1][group.words]
            for lower in range(2, order + 1):
                key = (lower, lower == order)
                p = _interpolated(group.found[key], discounts[key], p)
            nats[order - 1] -= float(np.log(p).sum())
    return nats


# ----- counting -------------------------------------------------------------------------------------------------------

Key = tuple[
    int, bool
]  # an order, and whether it is the highest one of a model: raw counts, or else numbers of ids before


@dataclass(frozen=True)
class _Group:
    """What was counted in a group, as far as the held-out text asks for it.

    Args:
        words: the k ids to judge. found: of each, (5, k): its count in its context, the context's total, and how many ids have
            count 1, 2, more there. counts_of_counts: n-grams with count 1, 2, 3, 4.
        unigrams, continuations: of each id (V + 1,): its count, and the number of distinct ids before it.
    """

    words: np.ndarray
    found: dict[Key, np.ndarray]
    counts_of_counts: dict[Key, np.ndarray]
    unigrams: np.ndarray
    continuations: np.ndarray


class _Count:
    """Counts a group: the positions whose id before lies in a range."""

    def __init__(self, train: IdStream, held_out: IdStream, vocab_size: int, highest: int) -> None:
        self.train, self.held_out, self.padding, self.highest = train, held_out, vocab_size, highest
        self.base = vocab_size + 1

    def __call__(self, group: range) -> _Group:
        *before, words = self._columns(self.train, 0, group)
        *held_before, held_words = self._columns(self.held_out, 1, group)
        base, found, counts_of_counts = self.base, {}, {}
        continuations = np.zeros(base, dtype=np.int64)
        # A context is known by its rank among those of the training part; -1 is one that was not seen there.
        contexts, held_contexts = before[-1], held_before[-1]
        inner = np.empty(0, dtype=np.int64)  # of each context, the rank of the one without its first id
        held_inner = held_contexts, held_contexts  # of the order below: what `held` is
        for order in range(2, self.highest + 1):
            grams, counts = _distinct(contexts * base + words)
            held = np.where(held_contexts < 0, -1, held_contexts * base + held_words), held_contexts
            found[order, True], counts_of_counts[order, True] = _look_up(grams, counts, *held, base)
            if order == 2:
                continuations = np.bincount(grams % base, minlength=base)
            else:
                tails, extensions = _distinct(inner[grams // base] * base + grams % base)
                key = order - 1, False
                found[key], counts_of_counts[key] = _look_up(tails, extensions, *held_inner, base)
            if order < self.highest:
                table, contexts = _ranked(contexts * base + before[-order])
                longer = np.where(held_contexts < 0, -1, held_contexts * base + held_before[-order])
                inner, held_inner, held_contexts = table // base, held, _places(table, longer)
        return _Group(held_words, found, counts_of_counts, np.bincount(words, minlength=base), continuations)

    def _columns(self, stream: IdStream, first: int, group: range) -> list[np.ndarray]:
        """Of the positions from `first` on whose id before is in `group`: the ids before them, farthest first, and their own."""
        parts = [
            [ids[places + offset] for offset in range(HIGHEST)]
            for ids in _chunks(stream, first, self.padding)
            for places in [
                np.flatnonzero((ids[HIGHEST - 2 : -1] >= group.start) & (ids[HIGHEST - 2 : -1] < group.stop))
            ]
        ]
        return [np.concatenate(column) for column in zip(*parts)]


def _groups(train: IdStream, vocab_size: int) -> list[range]:
    """Ranges of ids that stand before about as many positions each; the padding, whose id is `vocab_size`, is in the last."""
    counts = sum(np.bincount(ids[HIGHEST - 2 : -1], minlength=vocab_size + 1) for ids in _chunks(train, 0, vocab_size))
    number = np.cumsum(counts) // max(1, min(LARGEST_GROUP, len(train) // GROUPS))
    borders = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), vocab_size + 1]
    return [range(start, stop) for start, stop in pairwise(borders)]


def _chunks(stream: IdStream, first: int, padding: int) -> Iterator[np.ndarray]:
    """The ids from position `first` on, int64, in parts that begin with the four ids before them."""
    before = np.full(HIGHEST - 1, padding, dtype=np.int64)
    if first:
        before = np.concatenate([before, stream.read_circular(0, first)])[first:]
    for start in range(first, max(len(stream), first + 1), CHUNK):
        ids = np.concatenate([before, stream.read_circular(start, min(CHUNK, len(stream) - start))])
        yield ids
        before = ids[1 - HIGHEST :]


def _distinct(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys in order, and how often each occurs."""
    keys = np.sort(keys)
    starts = _first_places(keys)
    return keys[starts], np.diff(starts, append=len(keys))


def _ranked(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys in order, and the rank of each key among them."""
    order = np.argsort(keys)
    keys = keys[order]
    starts = _first_places(keys)
    ranks = np.empty_like(keys)
    ranks[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(keys)))
    return keys[starts], ranks


def _first_places(ordered: np.ndarray) -> np.ndarray:
    """Where each distinct value begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(ordered)), dtype=bool), ordered[1:] != ordered[:-1]]))


def _places(table: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Where each key stands in an ordered table; -1 where it does not."""
    if not len(table):
        return np.full(len(keys), -1)
    places = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.where(table[places] == keys, places, -1)


def _look_up(
    grams: np.ndarray, counts: np.ndarray, held: np.ndarray, held_contexts: np.ndarray, base: int
) -> tuple[np.ndarray, np.ndarray]:
    """`_Group.found` and `counts_of_counts` of one order. `grams`: distinct, in order, context * base + id."""
    contexts = grams // base
    starts = _first_places(contexts)
    found = np.zeros((5, len(held)), dtype=np.int32)
    if len(grams):
        places = _places(grams, held)
        found[0] = np.where(places < 0, 0, counts[places])
        places = _places(contexts[starts], held_contexts)
        for row, values in enumerate((counts, counts == 1, counts == 2, counts > 2), 1):
            found[row] = np.where(places < 0, 0, np.add.reduceat(values, starts, dtype=np.int64)[places])
    return found, np.bincount(np.minimum(counts, 5), minlength=6)[1:5]


# ----- probabilities --------------------------------------------------------------------------------------------------


def _discounts(n: np.ndarray) -> np.ndarray:
    """What is taken off counts of 0, 1, 2, more, from the numbers of n-grams with count 1, 2, 3, 4 (Chen & Goodman 1999, eq. 26).

    A text too small to tell has the same discount for all, and half a count where it tells nothing.
    """
    n1, n2, n3, n4 = (float(number) for number in n)
    if not n1 or not n2:
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    three = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3 if n3 else 0.0]
    return np.array([0.0, *(three if all(0 < value < i for i, value in enumerate(three, 1)) else [y] * 3)])


def _interpolated(found: np.ndarray, discounts: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Probabilities, (k,), from counts and those of the order below, which stand alone where the context is new."""
    count, total, *spared = found
    rest = sum(number * discount for number, discount in zip(spared, discounts[1:]))
    return np.where(total > 0, (count - discounts[np.minimum(count, 3)] + rest * lower) / np.maximum(total, 1), lower)


def _lowest(counts: np.ndarray, vocab_size: int) -> np.ndarray:
    """Probabilities of unigrams, (V,), mixed with equal ones."""
    counts = counts[:vocab_size]
    discounts = _discounts(np.bincount(np.minimum(counts, 5), minlength=6)[1:5])
    found = np.stack([counts, *(np.full_like(counts, number) for number in (
        counts.sum(), (counts == 1).sum(), (counts == 2).sum(), (counts > 2).sum()))])  # fmt: skip
    return _interpolated(found, discounts, np.full(vocab_size, 1 / vocab_size))
