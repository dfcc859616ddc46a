"""A text while it is written: its end, the way out of loops, what penalties count."""

from tiny_texts import COMMA, END, NEWLINE, QUOTE, STOP, V, draft

from gpt2zh.generation.draft import MOST_LOOPS

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
