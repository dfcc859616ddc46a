"""Loops are found when a definition that looks at the whole text finds them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.generation.loops import COPIES, FEWEST_REPEATED, LONGEST_PERIOD, LoopWatch


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
            assert watch.push(id_) == repeated_by_definition(ids)


def test_a_watch_goes_on_where_a_text_was_left() -> None:
    ids = [1, 2, 3, *[7, 8, 9] * 8]
    assert [LoopWatch(ids).push(id_) for id_ in (7, 5)] == [0, 0]
    assert LoopWatch([*ids, 7, 8]).push(9) == 24


def test_laughter_is_no_loop_but_a_paragraph_three_times_is() -> None:
    assert not any(map(LoopWatch().push, [5] * 20))
    paragraph = list(range(200))
    watch = LoopWatch()
    found = [watch.push(id_) for id_ in paragraph * 3]
    assert found[-1] == 400 and not any(found[:-1])
