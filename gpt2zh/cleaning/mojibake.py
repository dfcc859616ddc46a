"""Cleaning rule for text that was read in a wrong encoding before it was saved: 娓呮櫒鐨勯泦甯 -> 清晨的集市.

In: a text. Out: an `Edit`; the lines of which something is lost for good.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from gpt2zh.cleaning.edits import Edit, replace_spans
from gpt2zh.text.decoder import divide
from gpt2zh.text.encodings import BROKEN, cost_of, is_implausible, odd_lines

# What a line was read as, and what it is.
_MISTAKES = (
    ("gb18030", "utf-8"),
    ("gbk", "utf-8"),  # as Windows has it, with € for 0x80
    ("cp1252", "gb18030"),
    ("cp1252", "utf-8"),
    ("cp1252", "big5hkscs"),
    ("big5hkscs", "utf-8"),
    ("gb18030", "big5hkscs"),
    ("big5hkscs", "gb18030"),
    ("gb18030", "gb18030"),  # of a line that lacks a byte, all that follows is paired wrongly
)
# Of UTF-8 that is read as GBK two kinds of bytes are lost: 0x80, which GBK has not, and the last before a byte of ASCII, if it has no
# partner. Only the first can be told: what follows it is not ASCII.
_WITH_A_LOST = re.compile(rb"[\xe0-\xef](?:\xff[\x80-\xbf]|[\x80-\xbf]\xff(?=[\x80-\xff]))")
USUAL = 9.0  # cost of a character that is guessed
LEAST_GAIN = 0.75  # of the cost, that is to be left
MOST_LOST = 0.1  # share of the characters


class Suspect(NamedTuple):
    """A line that was wrongly decoded: its number in its text, from 1, and how it begins."""

    number: int
    beginning: str


class _Undone(NamedTuple):
    """A line as it was, how many of its characters are lost, and which mistake was made."""

    line: str
    lost: int = 0
    mistake: tuple[str, str] | None = None


def mojibake(text: str) -> Edit:
    """Lines are read as what they were, where hardly anything is lost."""
    lines = _undone_lines(text)
    return replace_spans(text, ((*span, undone.line) for span, undone in sorted(lines.items()) if undone.mistake))


def suspects(text: str) -> list[Suspect]:
    """The lines that look wrongly decoded and cannot be undone without loss."""
    return [
        Suspect(text.count("\n", 0, begin) + 1, undone.line.strip()[:20])
        for (begin, _), undone in sorted(_undone_lines(text).items())
        if undone.lost or is_implausible(undone.line)
    ]


def _undone_lines(text: str) -> dict[tuple[int, int], _Undone]:
    """Where odd lines begin and end, and what they were. Where there are some, the other lines may be of the same mistake."""
    lines = {span: _undo(text[slice(*span)], _MISTAKES, LEAST_GAIN) for span in odd_lines(text)}
    mistakes = Counter(undone.mistake for undone in lines.values() if undone.mistake)
    if mistakes:
        usual = [mistakes.most_common(1)[0][0]]
        for match in re.finditer("[^\n]*[^\x00-\x7f\n][^\n]*", text):
            if match.span() not in lines:
                undone = _undo(match[0], usual, 1.0)
                if undone.mistake:
                    lines[match.span()] = undone
    return lines


def _undo(line: str, mistakes: Sequence[tuple[str, str]], gain: float) -> _Undone:
    """The cheapest reading of a line; itself where none costs less than `gain` of that."""
    best, cost = _Undone(line), gain * cost_of(line)
    for wrong, right in mistakes:
        data = _bytes_of(line, wrong)
        if data is None:
            continue
        if right == "utf-8":
            data = _WITH_A_LOST.sub(_guessed, _ended(data))
        candidate = divide(data, right) if wrong == right else data.decode(right, "gpt2zh.broken")
        candidate = re.sub(f"{BROKEN}+", BROKEN, candidate)
        lost = candidate.count(BROKEN)
        if lost <= MOST_LOST * len(candidate) and cost_of(candidate) < cost:
            best, cost = _Undone(candidate.replace(BROKEN, "\ufffd"), lost, (wrong, right)), cost_of(candidate)
    return best


def _ended(data: bytes) -> bytes:
    """A line of UTF-8 with the mark it ends with, where that lacks its last byte: 。, or ” where no other quotation is open."""
    whole, last = data[:-1], data[-1:]
    if last in (b"\xff", b"?") and whole.endswith(b"\xe3\x80"):
        return whole + b"\x82"
    if last in (b"\xff", b"?") and whole.endswith(b"\xe2\x80") and "‘".encode() not in whole:
        return whole + b"\x9d"
    return data


def _guessed(match: re.Match[bytes]) -> bytes:
    """Three bytes of UTF-8 with 0x80 for the lost one, where this makes a usual character."""
    guess = match[0].replace(b"\xff", b"\x80")
    return guess if cost_of(guess.decode("utf-8", "replace")) <= USUAL else match[0]


def _bytes_of(line: str, encoding: str) -> bytes | None:
    """The bytes that were read as `line`, 0xFF where one is lost; None if these are no such bytes."""
    pieces = []
    for character in line:
        if character == "\ufffd" or (character == "€" and encoding == "gbk"):
            pieces.append(b"\xff")
            continue
        try:
            pieces.append(character.encode(encoding))
        except UnicodeEncodeError:
            if character < "\xa0" and encoding == "cp1252":  # what this code page leaves free is read as Latin-1's
                pieces.append(character.encode("latin-1"))
            else:
                return None
    return b"".join(pieces)
