"""Values of a JSON file one at a time: the same as json.loads, wherever the chunks are cut; faults keep their place."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.errors import UserError
from gpt2zh.text.json_stream import JsonReader

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def read(text: str, size: int) -> list[object]:
    return list(JsonReader(cut(text, size), Path("a.json")))


def cut(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


@settings(deadline=None)
@given(st.lists(VALUES, max_size=5), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_a_list_gives_its_items_for_any_chunks(values: list, size: int, indent: int | None, ascii_only: bool) -> None:
    text = " \n" + json.dumps(values, indent=indent, ensure_ascii=ascii_only) + "\n "
    assert read(text, size) == json.loads(text)


@settings(deadline=None)
@given(st.lists(VALUES.filter(lambda value: not isinstance(value, list)), min_size=1, max_size=5), st.integers(1, 40))
def test_values_one_after_the_other_are_read_too(values: list, size: int) -> None:
    assert read("\n".join(map(json.dumps, values)), size) == values


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('["风",\n "雪"\n "月"]', 3, 2),
        ('["风", 雪]', 1, 7),
        ('["风",\n\n "雪', 3, 2),
        ('["风" "雪"]', 1, 6),
        ('["风", ]', 1, 7),
        ('["风",', 1, 6),
        ('{"text": "风"', 1, 13),
        ('["风"] 雪', 1, 7),
    ],
)
def test_a_fault_is_named_with_its_place_for_any_chunks(text: str, size: int, line: int, column: int) -> None:
    with pytest.raises(UserError, match=f"a.json 不是合法的 JSON：第 {line} 行第 {column} 列"):
        read(text, size)


def test_a_fault_early_in_a_large_file_is_found_before_the_rest_is_read() -> None:
    n_read = 0

    def chunks() -> Iterator[str]:
        nonlocal n_read
        yield '["风", 雪, "'
        while True:
            n_read += 1
            assert n_read < 10
            yield "月" * 1000

    with pytest.raises(UserError, match="第 1 行第 7 列"):
        list(JsonReader(chunks(), Path("a.json")))
