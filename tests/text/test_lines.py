"""Lines of a text that comes in chunks, and texts that are too long to be documents."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2zh.errors import UserError
from gpt2zh.text import entries, lines, tables
from gpt2zh.text.json_stream import JsonReader
from gpt2zh.text.lines import lines_of

HERE = Path("a file")


@given(st.lists(st.text("风\nab\r")))
def test_lines_do_not_depend_on_the_chunks(chunks: list[str]) -> None:
    assert list(lines_of(iter(chunks), HERE)) == "".join(chunks).split("\n")


@pytest.mark.parametrize(
    ("read", "head", "line"),
    [
        (lambda chunks: lines_of(chunks, HERE), "一行\n", 2),
        (lambda chunks: JsonReader(chunks, HERE), '["短",\n\n"', 3),
        (lambda chunks: entries.lines(chunks, HERE, []), '{"text": "短"}\n{"text": "', 2),
        (lambda chunks: tables.rows(chunks, HERE, ",", None), 'text\n"', 2),
        (lambda chunks: tables.rows(chunks, HERE, "\t", None), "text\n", 2),
    ],
)
def test_a_text_that_is_no_document_is_refused_before_it_fills_memory(
    read: Callable[[Iterator[str]], Iterator[object]], head: str, line: int
) -> None:
    taken = 0

    def chunks() -> Iterator[str]:
        nonlocal taken
        yield head
        while True:
            taken += 1
            yield "我们在秋天的后半夜里走着，" * 80000

    with pytest.raises(UserError, match=f"million characters from line {line} on"):
        list(read(chunks()))
    assert taken * 80000 * 13 < 3 * lines.LONGEST
