"""JSON larger than memory, value by value.

    [v, v, v …]      the items of one list, however long
    v v v …          values one after the other, as in a JSONL file that is named .json

In: the text of a file in chunks. Out: values, one at a time; memory for one value and one chunk.
Refuses: what is not JSON, with the line, the column and the text around.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from gpt2zh.errors import UserError
from gpt2zh.system.files import EXCERPT, json_beyond_python, json_error
from gpt2zh.text.lines import LONGEST, too_long

BLANKS = re.compile(r"[ \t\r\n]+")
NEAR_END = 20  # characters; a fault this near to the end of what was read may be the cut and not the text


class JsonReader:
    """Iterate over the values of one file."""

    def __init__(self, chunks: Iterator[str], path: Path) -> None:
        self.chunks = chunks
        self.path = path
        self.decoder = json.JSONDecoder(strict=False)
        self.text = ""
        self.position = 0
        self.first_line = 1  # of the text that is held
        self.first_column = 1
        self.saw_text = False

    def __iter__(self) -> Iterator[object]:
        first = self._peek()
        self.saw_text = first != ""
        if first == "[":
            yield from self._items()
        while self._peek():
            yield self._value()

    def _items(self) -> Iterator[object]:
        self.position += 1
        if self._peek() == "]":
            self.position += 1
            return
        while True:
            yield self._value()
            mark = self._peek()
            if mark not in (",", "]"):
                raise self._error("Expecting ',' or ']'", self.position)
            self.position += 1
            if mark == "]":
                return

    def _peek(self) -> str:
        """The next character that is not a blank, "" at the end of the file."""
        while True:
            if blanks := BLANKS.match(self.text, self.position):
                self.position = blanks.end()
            if self.position < len(self.text):
                return self.text[self.position]
            if not self._read_on():
                return ""

    def _value(self) -> object:
        self._peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                may_be_cut = error.pos >= len(self.text) - NEAR_END or error.msg.startswith("Unterminated string")
                if may_be_cut and self._read_on():
                    continue
                raise self._error(error.msg, error.pos) from None
            except (ValueError, RecursionError) as error:
                raise json_beyond_python(self.path, error) from None
            may_go_on = isinstance(value, int | float) and end >= len(self.text) - NEAR_END
            if may_go_on and self._read_on():
                continue
            self.position = end
            return value

    def _read_on(self) -> bool:
        """Hold at least twice as much text from `position` on, so that a long value costs linear time in all."""
        missing = max(1, len(self.text) - self.position)
        if missing > LONGEST:
            raise too_long(self.path, self.first_line + self.text.count("\n", 0, self.position))
        parts = []
        while missing > 0 and (chunk := next(self.chunks, None)) is not None:
            parts.append(chunk)
            missing -= len(chunk)
        if not parts:
            return False
        passed = self.text[: self.position]
        n_lines = passed.count("\n")
        self.first_line += n_lines
        self.first_column = len(passed) - passed.rfind("\n") if n_lines else self.first_column + len(passed)
        self.text = "".join([self.text[self.position :], *parts])
        self.position = 0
        return True

    def _error(self, message: str, position: int) -> UserError:
        before = self.text[:position]
        n_lines = before.count("\n")
        column = len(before) - before.rfind("\n") if n_lines else self.first_column + len(before)
        near = self.text[max(0, position - EXCERPT) : position + EXCERPT]
        return json_error(self.path, self.first_line + n_lines, column, near, message)
