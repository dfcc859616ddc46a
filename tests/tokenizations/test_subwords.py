"""What the trainers of subwords give: the same each time, likely pieces first."""

import json

import pytest

from tokenizations.subwords import learn_subwords


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_subwords_are_the_same_each_time(book: list[str], kind: str) -> None:
    one, other = (learn_subwords(kind, book[:25], 4000, 0.9995, []).to_str() for _ in range(2))
    assert one == other
    if kind == "unigram":
        pieces = json.loads(one)["model"]["vocab"]
        scores = [score for _, score in pieces if score]
        assert len({piece for piece, _ in pieces}) == len(pieces) == 4000 and scores == sorted(scores, reverse=True)
