"""Cleaning rule for what a page has at its head and foot: numbers and running titles that come every so many lines.

In: a text as a PDF or a scanner gave it. Out: an `Edit`: these lines are gone, and the sentence closes over them.

They are known by recurring, the same but for a growing number, at a page's distance; and by standing inside sentences, or at form feeds.
A chapter's number recurs too, but always after the end of a sentence.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from gpt2zh.cleaning.edits import Edit, replace_spans

LONGEST = 40  # characters of such a line
FEWEST, FEWEST_WITHOUT_NUMBER = 3, 5  # pages
SHORTEST_PAGE = 6  # lines with text
NEAR = 0.35  # of the usual distance, that one may differ
LEAST_REGULAR = 0.7  # share of the distances
LEAST_INSIDE = 0.2  # share of the borders that are inside a sentence
LEAST_AT_FEEDS = 0.8  # or at form feeds
BLANK = " \t\u3000\f\r"
_NUMBER = re.compile(r"\d{1,4}")


class _Line:
    """A line with text: where it stands, what it says, and the number of it."""

    __slots__ = ("at_feed", "end", "frame", "number", "start", "text")

    def __init__(self, start: int, line: str, at_feed: bool) -> None:
        self.start, self.end, self.text, self.at_feed = start, start + len(line), line.strip(BLANK), at_feed
        number = _NUMBER.search(self.text) if len(self.text) <= LONGEST else None
        self.number = int(number[0]) if number else None
        self.frame = self.text if number is None else f"{self.text[: number.start()]}\0{self.text[number.end() :]}"


def pages(text: str) -> Edit:
    """Lines at the borders of pages, in the middle of what they part."""
    lines = list(_lines(text))
    groups: dict[str, list[int]] = {}
    for at, line in enumerate(lines):
        if len(line.text) <= LONGEST:
            groups.setdefault(line.frame, []).append(at)
    recurring = [found for found in map(lambda at: _recurring(lines, at), groups.values()) if found]
    furniture = {at for group in recurring for at in group}
    furniture = {at for group in recurring if _parts_sentences(lines, group, furniture) for at in group}
    return replace_spans(text, _gaps(text, lines, furniture)) if furniture else Edit(text)


def _lines(text: str) -> Iterator[_Line]:
    start, feed = 0, False
    for line in text.split("\n"):
        if line.strip(BLANK):
            yield _Line(start, line, feed or line.startswith("\f"))
            feed = False
        feed = feed or "\f" in line
        start += len(line) + 1


def _recurring(lines: Sequence[_Line], group: list[int]) -> list[int]:
    """The lines of a frame that come at a page's distance, their numbers growing; none where they do not."""
    numbered = lines[group[0]].number is not None
    if len(group) < (FEWEST if numbered else FEWEST_WITHOUT_NUMBER):
        return []
    chain = [group[0]]
    for at in group[1:]:
        if not numbered or lines[at].number > lines[chain[-1]].number:  # type: ignore[operator]
            chain.append(at)
    if len(chain) < LEAST_REGULAR * len(group):
        return []
    steps = [
        (later - one) / ((lines[later].number or 0) - (lines[one].number or 0) or 1) for one, later in pairwise(chain)
    ]
    if not steps:
        return []
    usual = median(steps)
    regular = [abs(step - usual) <= NEAR * usual for step in steps]
    if usual < SHORTEST_PAGE or sum(regular) < max(FEWEST - 1, LEAST_REGULAR * len(steps)):
        return []
    regular[0], regular[-1] = regular[0] or steps[0] < usual, regular[-1] or steps[-1] < usual  # a shorter page
    return [
        at for at, before, after in zip(chain, [False, *regular], [*regular, False], strict=True) if before or after
    ]


def _parts_sentences(lines: Sequence[_Line], group: list[int], furniture: set[int]) -> bool:
    """Whether enough of the lines stand inside a sentence, or at form feeds."""
    inside = sum(_is_inside(lines, at, furniture) for at in group)
    at_feeds = sum(lines[at].at_feed or (at + 1 < len(lines) and lines[at + 1].at_feed) for at in group)
    return inside >= LEAST_INSIDE * len(group) or at_feeds >= LEAST_AT_FEEDS * len(group)


def _is_inside(lines: Sequence[_Line], at: int, furniture: set[int]) -> bool:
    while at in furniture:
        at -= 1
    return at >= 0 and (lines[at].text[-1].isalnum() or lines[at].text[-1] in "，、,")


def _gaps(text: str, lines: Sequence[_Line], furniture: set[int]) -> Iterator[tuple[int, int, str]]:
    """What is taken out: from the last line of a page to the first of the next; one line end stays."""
    at = 0
    while at < len(lines):
        if at not in furniture:
            at += 1
            continue
        first = at
        while at in furniture:
            at += 1
        start = lines[first - 1].end if first else 0
        end = lines[at].start if at < len(lines) else len(text)
        while text[end : end + 1] == "\f":
            end += 1
        yield start, end, "\n" if first and at < len(lines) else ""
