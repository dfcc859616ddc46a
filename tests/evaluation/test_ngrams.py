"""Counts by sorted arrays against the definition of interpolated Kneser-Ney, spelled out with dictionaries."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

import gpt2zh.evaluation.ngrams as ngrams
from gpt2zh.evaluation.ngrams import HIGHEST, ngram_nats
from gpt2zh.shards.format import TokenStream

Gram = tuple[int, ...]


def stream(ids: list[int], vocab_size: int) -> TokenStream:
    """A stream in two files."""
    middle = len(ids) // 2
    return TokenStream([np.array(part, dtype=np.uint16) for part in (ids[:middle], ids[middle:])], vocab_size)


class KneserNey:
    """The model whose highest order is `order`, as Chen & Goodman (1999) write it."""

    def __init__(self, ids: list[int], vocab_size: int, order: int) -> None:
        padded = [vocab_size] * (HIGHEST - 1) + ids
        places = range(HIGHEST - 1, len(padded))
        raw = {n: Counter(tuple(padded[p - n + 1 : p + 1]) for p in places) for n in range(1, order + 1)}
        before = {n: Counter(gram[1:] for gram in raw[n + 1]) for n in range(1, order)}
        self.vocab_size, self.counts = vocab_size, {**before, order: raw[order]}
        self.discounts = {n: self.three(counts) for n, counts in self.counts.items()}
        self.of_context: dict[Gram, list[int]] = defaultdict(list)
        for counts in self.counts.values():
            for gram, count in counts.items():
                self.of_context[gram[:-1]].append(count)

    @staticmethod
    def three(counts: Counter[Gram]) -> list[float]:
        """Discounts of counts 0, 1, 2, more."""
        n1, n2, n3, n4 = (sum(count == i for count in counts.values()) for i in range(1, 5))
        if not n1 or not n2:
            return [0.0, 0.5, 0.5, 0.5]
        y = n1 / (n1 + 2 * n2)
        three = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3 if n3 else 0.0]
        return [0.0, *(three if 0 < three[0] < 1 and 0 < three[1] < 2 and 0 < three[2] < 3 else [y] * 3)]

    def probability(self, gram: Gram) -> float:
        order = len(gram)
        lower = self.probability(gram[1:]) if order > 1 else 1 / self.vocab_size
        seen = self.of_context.get(gram[:-1])
        if not seen:
            return lower
        discounts, count = self.discounts[order], self.counts[order][gram]
        rest = sum(discounts[min(other, 3)] for other in seen)
        return (count - discounts[min(count, 3)] + rest * lower) / sum(seen)


@pytest.mark.parametrize("pieces", [(16, 1 << 22, 1 << 22), (1, 1 << 22, 11), (7, 20, 5)])  # groups, their size, chunks
@pytest.mark.parametrize(
    "vocab_size, n_train, n_held_out", [(5, 300, 60), (50, 2000, 200), (40000, 500, 100), (7, 2, 5), (9, 30, 2)]
)
def test_the_nats_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, vocab_size: int, n_train: int, n_held_out: int, pieces: tuple[int, int, int]
) -> None:
    for name, value in zip(("GROUPS", "LARGEST_GROUP", "CHUNK"), pieces):
        monkeypatch.setattr(ngrams, name, value)
    rng = np.random.default_rng(vocab_size)
    train, held_out = ((rng.zipf(1.4, n) % vocab_size).tolist() for n in (n_train, n_held_out))
    padded = [vocab_size] * (HIGHEST - 1) + held_out
    wanted = []
    for order in range(1, HIGHEST + 1):
        model = KneserNey(train, vocab_size, order)
        judged = (tuple(padded[p - order + 1 : p + 1]) for p in range(HIGHEST, len(padded)))  # all but the first id
        wanted.append(-sum(math.log(model.probability(gram)) for gram in judged))
    found = ngram_nats(stream(train, vocab_size), stream(held_out, vocab_size), vocab_size)
    assert found == pytest.approx(wanted, rel=1e-12)


def test_the_probabilities_after_a_context_sum_to_one() -> None:
    rng = np.random.default_rng(1)
    train = stream((rng.zipf(1.5, 400) % 12).tolist(), 12)
    for context in ([3, 1, 0, 1, 2], [11, 11, 10, 9], [0, 0]):
        of_context = ngram_nats(train, stream(context, 12), 12)
        after = [ngram_nats(train, stream([*context, word], 12), 12) for word in range(12)]
        for order in range(HIGHEST):
            total = sum(math.exp(of_context[order] - one[order]) for one in after)
            assert total == pytest.approx(1, abs=1e-9)


def test_fewer_orders_are_the_first_of_all() -> None:
    ids = (np.arange(500) ** 2 % 23).tolist()
    train, held_out = stream(ids, 23), stream(ids[:60], 23)
    every = ngram_nats(train, held_out, 23)
    assert [ngram_nats(train, held_out, 23, n) for n in (1, 3)] == [every[:1], every[:3]]
