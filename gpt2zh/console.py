"""What people read: a console that may go away while there is work, and text that cannot command a terminal.

In: a stream; a text of any origin. Out: a stream that never fails; the text with its control characters spelled out.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from typing import Any, TextIO

# C0 but tab and line feed, DEL, C1; the marks that turn the direction of writing; lone surrogates, which no console encodes.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """`text` with control characters as \\x1b, directions as \\u202e, and what is no character as �."""
    return _CONTROLS.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xD800 <= code <= 0xDFFF:  # a byte of a file name that is not UTF-8
        return "\ufffd"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def command_line(words: Sequence[object]) -> str:
    """A command as this system's shell reads it."""
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join([str(word) for word in words])


class Lasting:
    """A text stream whose reader may go away: from then on what is written goes nowhere, and work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write `text`, or nothing."""
        try:
            return self.stream.write(text)
        except OSError:
            self.give_up()
            return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            self.stream.flush()
        except OSError:
            self.give_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def give_up(self) -> None:
        """Lead the stream, with what it still holds, and whatever else writes there, to nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)
