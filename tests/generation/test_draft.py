"""A text while it is written: its end, the way out of loops, what penalties count."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_texts import COMMA, END, NEWLINE, QUOTE, STOP, V, Words, draft
from transformers import NoBadWordsLogitsProcessor, SequenceBiasLogitsProcessor

from gpt2zh.generation.draft import LONGEST_DRY, MOST_DRY, MOST_LOOPS, Draft, Meanings
from gpt2zh.generation.requests import Request
from gpt2zh.generation.settings import SamplingSettings
from gpt2zh.generation.wording import Wording, wording_of

# ----- endings --------------------------------------------------------------------------------------------------------


def test_a_sentence_is_finished_with_its_closing_quote() -> None:
    text = draft([5, 6, 7, STOP, QUOTE, 8], length=2, finish_sentence=True)
    assert (text.written, text.ended) == ([6, 7, STOP, QUOTE], "sentence")
    assert draft([5, 6, 7, STOP, NEWLINE], length=2, finish_sentence=True).written == [6, 7, STOP]
    assert draft([5, 6, 7, 8], length=2, finish_sentence=False).written == [6, 7]


def test_a_sentence_that_does_not_end_is_taken_back_to_the_one_before() -> None:
    text = draft([5, 6, STOP, *[7, 8] * 60], length=10, finish_sentence=True, break_loops=False)
    assert (text.written, text.ended) == ([6, STOP], "length")
    none = draft([5, *[7, 8] * 60], length=10, finish_sentence=True, break_loops=False)
    assert len(none.written) == 74


def test_so_many_sentences_are_written_and_no_document_ends_before() -> None:
    text = draft([5, 6, STOP, STOP, 7, COMMA, 8, STOP, QUOTE, 9], sentences=2)
    assert text.written == [6, STOP, STOP, 7, COMMA, 8, STOP, QUOTE] and text.ended == "sentence"
    one = draft([5, 6, STOP, 7], sentences=2)
    assert END in one.forbidden() and not one.ended
    assert END not in draft([5, 6, STOP], sentences=1).forbidden()


# ----- loops ----------------------------------------------------------------------------------------------------------


def test_a_text_that_goes_round_is_taken_back_and_the_way_is_barred() -> None:
    text = draft([5, 6, *[7, 8, 9] * 9])
    assert text.loops == 1 and text.written == [6, 7, 8, 9] and text.forbidden() == [7]
    kept = draft([5, 6, *[7, 8, 9] * 9], break_loops=False)
    assert kept.loops == 0 and len(kept.written) == 28


def test_a_text_without_a_way_out_ends() -> None:
    text = draft([5, 6])
    for _ in range(5000):
        if not text.ended:
            text.add(7)
    assert (text.ended, text.loops) == ("loop", MOST_LOOPS + 1) and text.written[:2] == [6, 7]


# ----- penalties ------------------------------------------------------------------------------------------------------


def test_penalties_count_within_their_window_and_spare_punctuation() -> None:
    ids = [5, 6, 6, COMMA, 7, NEWLINE, 8, 6]
    assert dict(enumerate(draft(ids, presence_penalty=1.0).counts(V))) == {
        **dict.fromkeys(range(V), 0), 5: 1, 6: 3, 7: 1, 8: 1
    }  # fmt: skip
    near = draft(ids, presence_penalty=1.0, penalty_window=3).counts(V)
    assert {id_: n for id_, n in enumerate(near) if n} == {6: 1, 8: 1}
    assert not draft(ids).counts(V).any()


def dry_by_definition(
    ids: list[int], multiplier: float, base: float, allowed: int, apart: set[int]
) -> dict[int, float]:
    """For every earlier place: how long what ends before it equals the text's end (text-generation-webui, pull request 5677)."""
    longest: dict[int, int] = {}
    for place in range(1, len(ids)):
        n = 0
        while n < place and ids[place - 1 - n] == ids[-1 - n] and ids[-1 - n] not in apart:
            n += 1
        if n >= allowed and ids[place] not in apart:
            longest[ids[place]] = max(n, longest.get(ids[place], 0))
    return {id_: multiplier * base ** (n - allowed) for id_, n in longest.items()}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([5, 6, 7, COMMA, NEWLINE]), min_size=1, max_size=40), st.integers(1, 4))
def test_dry_is_its_definition(ids: list[int], allowed: int) -> None:
    asked = {"dry_multiplier": 0.8, "dry_base": 1.5, "dry_allowed_length": allowed, "break_loops": False}
    expected = dry_by_definition(ids, 0.8, 1.5, allowed, {COMMA, NEWLINE, STOP, QUOTE})
    found = draft(ids, penalty_window=0, **asked).dry()
    assert found == pytest.approx(expected)


def test_dry_looks_back_as_far_as_its_window_and_stays_a_number() -> None:
    ids = [5, 6, 7, *range(13, 33), 5, 6]
    asked = {"dry_multiplier": 1.0, "dry_base": 100.0, "break_loops": False}
    assert draft(ids, **asked).dry() == {7: 1.0} and draft(ids, penalty_window=20, **asked).dry() == {}
    assert draft([5] * 400, **asked).dry() == {5: MOST_DRY}
    assert math.isfinite(100.0**LONGEST_DRY) and torch.tensor(MOST_DRY, dtype=torch.float32).isfinite()


# ----- words ----------------------------------------------------------------------------------------------------------


def worded(ids: list[int], wording: Wording, **asked: object) -> Draft:
    """A text to which ids were added after a prefix of one."""
    one = Draft(Request(ids[:1], 0, 1000, 0, SamplingSettings(**asked), wording), Meanings(Words()))
    for id_ in ids[1:]:
        if not one.ended:
            one.add(id_)
    return one


def test_words_are_barred_and_moved_as_transformers_does() -> None:
    words = [(5,), (6, 7), (5, 6, 7), (8, 8)]
    biases = {(5,): 1.5, (6, 7): -2.0, (6, 8): 3.0, (5, 6, 9): 0.5}
    for ids in ([5], [5, 6], [6], [8], [8, 8], [7, 6, 5, 6]):
        wording = Wording(tuple(words), tuple(biases.items()))
        stock = NoBadWordsLogitsProcessor([list(word) for word in words])(torch.tensor([ids]), torch.zeros(1, V))[0]
        assert set(worded(ids, wording).forbidden()) == set(stock.isinf().nonzero().flatten().tolist())
        stock = SequenceBiasLogitsProcessor([[list(word), bias] for word, bias in biases.items()])
        added = torch.zeros(V)
        for id_, bias in wording.added(ids):
            added[id_] += bias
        assert torch.equal(added, stock(torch.tensor([ids]), torch.zeros(1, V))[0])


def test_a_text_ends_before_what_stops_it() -> None:
    vocabulary = Words()
    stops = Wording(stops=("JK", "IX"))  # J is id 9
    text = worded([5, 6, 7, 9, 10, 8], stops)
    assert (text.written, text.ended) == ([6, 7], "stop") and vocabulary.decode([9, 10]) == "JK"
    assert worded([9, 10, 6], stops).ended is None, "what is in the prefix stops nothing"
    assert worded([5, 9], stops).ended is None


def test_words_that_have_no_ids_ask_for_nothing() -> None:
    assert wording_of(lambda word: [], ["x"], [("y", 1.0)], [""]) == Wording()
