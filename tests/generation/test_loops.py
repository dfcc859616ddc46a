"""Loops are found when a definition that looks at the whole text finds them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.generation.loops import COPIES, FEWEST_REPEATED, LONGEST_PERIOD, LoopWatch, Repeats


def pushed(watch: LoopWatch, id_: int) -> int:
    watch.push(id_)
    return watch.loop()


def repeated_by_definition(ids: list[int]) -> int:
    for period in range(1, LONGEST_PERIOD + 1):
        n = 0
        while n + period < len(ids) and ids[-1 - n] == ids[-1 - n - period]:
            n += 1
        if n >= max(COPIES * period, FEWEST_REPEATED):
            return n
    return 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 30)), max_size=6))
def test_a_loop_is_found_when_the_definition_finds_it(parts: list[tuple[list[int], int]]) -> None:
    watch, ids = LoopWatch(), []
    for unit, times in parts:
        for id_ in unit * times:
            ids.append(id_)
            assert pushed(watch, id_) == repeated_by_definition(ids)


def test_a_watch_goes_on_where_a_text_was_left() -> None:
    ids = [1, 2, 3, *[7, 8, 9] * 8]
    assert [pushed(LoopWatch(ids), id_) for id_ in (7, 5)] == [0, 0]
    assert pushed(LoopWatch([*ids, 7, 8]), 9) == 24


def test_laughter_is_no_loop_but_a_paragraph_three_times_is() -> None:
    assert LoopWatch([5] * 20).loop() == 0
    paragraph = list(range(200))
    watch = LoopWatch()
    found = [pushed(watch, id_) for id_ in paragraph * 3]
    assert found[-1] == 400 and not any(found[:-1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=60), st.integers(0, 30))
def test_repeats_are_runs_by_their_definition(ids: list[int], longest: int) -> None:
    """With 0 for what parts a text."""
    repeats = Repeats(longest, {0})
    for id_ in ids:
        repeats.push(id_)
    expected = {}
    for period in range(1, min(longest or len(ids), len(ids)) + 1):
        n = 0
        while n + period < len(ids) and ids[-1 - n] == ids[-1 - n - period] != 0:
            n += 1
        if n:
            expected[period] = n
    assert repeats.runs == expected
