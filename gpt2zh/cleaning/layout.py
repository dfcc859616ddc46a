"""Cleaning rules for the page: wrapped lines, page headers, notes, a table of contents.

In: a text, line ends `\\n`, blanks plain. Out: an `Edit`. Pure functions in linear time. Each acts only on a text whose
statistics leave no doubt, because a wrong deletion is worse than a leftover.
"""

import re
from collections import Counter
from itertools import pairwise, takewhile

from gpt2zh.cleaning.chapters import heading_runs, is_heading
from gpt2zh.cleaning.edits import EXAMPLES, Edit, replace_spans
from gpt2zh.cleaning.markup import is_chinese

ENDS = "。！？；：…”’」』）》】〕.!?:;\"')]—"  # a line that ends so may be a whole paragraph
CLOSING = "，。、；：！？”’」』）》】〕"  # a line cannot begin so

FEWEST_LINES = 10
WRAP_WIDTHS = range(40, 201)  # columns
MOST_BEYOND = 0.05  # share of lines that may be wider than the page
FEWEST_FULL = 0.3  # share of lines as wide as the page
FEWEST_FULL_LATIN = 0.5  # the same without Han; plays alternate wrapped prose and verse
FEWEST_SHORT = 0.05  # share of lines that are shorter
FEWEST_CUT = 0.5  # share of those that do not end a sentence
FEWEST_LOWER = (
    0.6  # without Han: share of lines after a full one that begin with a small letter; verse begins with capitals
)


_LISTED = re.compile(r" {0,20}(?:[（(]?\d{1,3}[)）.．、]|[（(]?[一二三四五六七八九十]{1,3}[)）、．])")


class _Page:
    """The lines of a text and the page they were wrapped to; `width` is 0 where they were not."""

    def __init__(self, text: str) -> None:
        self.chinese = is_chinese(text)
        self.slack = 5 if self.chinese else 12
        self.lines = text.split("\n")
        self.widths = [len(line.encode("gb18030", "replace")) for line in self.lines]  # two bytes, two columns
        self.width = self._find_width()
        self.marked = bool(self.width) and self._starts_are_marked()

    def full(self, at: int) -> bool:
        return self.width - self.slack <= self.widths[at] <= self.width + 2

    def _find_width(self) -> int:
        counts = Counter(width for width in self.widths if width)
        total = sum(counts.values())
        if total < FEWEST_LINES:
            return 0
        beyond, full = total, 0
        best, best_full = 0, 0
        for width in range(WRAP_WIDTHS.stop):
            beyond -= counts[width]
            full += counts[width] - counts[width - self.slack - 1]  # lines of this width, or a little less
            if width in WRAP_WIDTHS and beyond <= MOST_BEYOND * total and full > best_full:
                best, best_full = width, full
        self.width = best
        short = sum(count for width, count in counts.items() if width < best - self.slack)
        wrapped = best_full >= (FEWEST_FULL if self.chinese else FEWEST_FULL_LATIN) * total
        # Paragraphs end in short lines; Chinese lines that are all alike are verse or a list.
        ends = not self.chinese or short >= FEWEST_SHORT * total
        return best if wrapped and ends and self._is_cut() else 0

    def _is_cut(self) -> bool:
        followers = [(line, self.lines[at + 1]) for at, line in enumerate(self.lines[:-1]) if self.full(at)]
        cut = sum(line[-1] not in ENDS for line, _ in followers)
        lower = sum(follower[:1].islower() for _, follower in followers)
        return cut >= FEWEST_CUT * len(followers) and (self.chinese or lower >= FEWEST_LOWER * len(followers))

    def _starts_are_marked(self) -> bool:
        """Paragraphs begin with an indent or after an empty line."""
        starts = [
            at for at, line in enumerate(self.lines) if at and line and not (self.lines[at - 1] and self.full(at - 1))
        ]
        marks = sum(self.lines[at][0] == " " or not self.lines[at - 1] for at in starts)
        return 2 * marks >= len(starts) > 0

    def continues(self, at: int) -> bool:
        """Line `at` goes on in the next."""
        line, follower = self.lines[at], self.lines[at + 1]
        if not line or not follower or is_heading(follower) or _LISTED.match(follower):
            return False
        if follower[0] in CLOSING:
            return True
        if not self.full(at):
            return False
        indented = len(follower) - len(follower.lstrip(" ")) >= 2
        return line[-1] not in ENDS or (self.marked and not indented)


def unwrap(text: str) -> Edit:
    """Join lines that were cut at a page's width: many of the same, greatest width, which end inside a sentence."""
    if text.count("\n") < FEWEST_LINES:
        return Edit(text)
    page = _Page(text)
    if not page.width:
        return Edit(text)
    pieces, count = [page.lines[0]], 0
    shown: list[tuple[str, str]] = []
    for at, follower in enumerate(page.lines[1:]):
        if not page.continues(at):
            pieces += "\n", follower
            continue
        line, rest = page.lines[at], follower.lstrip(" ")
        blank = " " if line[-1].isascii() and line[-1] not in "-/" and rest[:1].isascii() else ""
        pieces += blank, rest
        count += 1
        if len(shown) < EXAMPLES:
            shown.append((f"{line[-10:]}⏎{follower[:10]}", f"{line[-10:]}{blank}{rest[:10]}"))
    return Edit("".join(pieces), count, tuple(shown))


FEWEST_PAGES = 3
_PAGE_NUMBER = re.compile(r"[?？](\d{1,4})[?？]")
_TITLE = re.compile("[\u3400-\u9fff]{2,10}\\Z")


def _common_end(one: str, other: str) -> str:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(one), reversed(other), strict=False))
    return "".join(character for character, _ in same)[::-1]


def page_headers(text: str) -> Edit:
    """A running title with a page number inside a sentence: 做个水浒全传?741?庆喜筵席. It must recur, with growing numbers."""
    numbers = list(_PAGE_NUMBER.finditer(text))
    if len({match[1] for match in numbers}) < FEWEST_PAGES:
        return Edit(text)
    before = [text[max(0, match.start() - 10) : match.start()] for match in numbers]
    titles = Counter(_common_end(one, other) for one, other in pairwise(before))
    title = max(titles, key=lambda title: (titles[title], len(title)))
    if not _TITLE.fullmatch(title):
        return Edit(text)
    pages = [int(match[1]) for match, left in zip(numbers, before, strict=True) if left.endswith(title)]
    if len(pages) < FEWEST_PAGES or pages != sorted(pages):
        return Edit(text)
    spans = []
    for match, left in zip(numbers, before, strict=True):
        if left.endswith(title):
            start, end = match.start() - len(title), match.end()
            rest = re.compile(r"\n[ \n]{0,99}(?! )").match(text, end)  # the page ended here, the sentence did not
            spans.append((start, rest.end() if rest and text[start - 1 : start] not in ENDS else end, ""))
    return replace_spans(text, spans)


_NOTE = re.compile(
    r"(?m)^ {0,20}([①-⑳]|[〔\[［]\d{1,3}[〕\]］]) {0,4}([^\n，,：:—。；\s]{1,16})[，,：:—][^\n]{1,600}(?:\n|\Z)"
)
NOTE_REACH = 8000  # characters between a mark and its note


def footnotes(text: str) -> Edit:
    """A note between paragraphs and its mark, when the note begins with the very words that the mark follows."""
    if "①" not in text and "〔1" not in text and "[1" not in text and "［1" not in text:
        return Edit(text)
    spans, last = [], 0
    for note in _NOTE.finditer(text):
        words, mark = note[2], note[1]
        at = text.rfind(words + mark, max(last, note.start() - NOTE_REACH), note.start())
        if at >= 0:
            spans.append((at + len(words), at + len(words) + len(mark), ""))
            spans.append((note.start(), note.end(), ""))
            last = note.end()
    return replace_spans(text, spans)


CONTENTS = re.compile(r"(?m)^ {0,40}[【\[〔]?目 {0,4}[录錄次][】\]〕]?[:：]?$")
FEWEST_LISTED = 5


def _key(line: str) -> str:
    return "".join(character for character in line if character.isalnum())


def contents(text: str) -> Edit:
    """A table of contents: headings in a row, each of which stands again later, above its chapter."""
    runs = heading_runs(text)
    if all(len(run) < FEWEST_LISTED for run in runs):
        return Edit(text)
    last = {_key(text[heading.start : heading.end]): heading.start for run in runs for heading in run}
    spans = []
    for run in runs:
        listed = [heading for heading in run if last[_key(text[heading.start : heading.end])] > heading.start]
        # The first chapter's heading may follow its list directly, and so be the run's last.
        if len(listed) >= max(FEWEST_LISTED, 0.8 * (len(run) - 1)):
            title = CONTENTS.search(text, max(0, run[0].start - 100), run[0].start)
            spans += [(title.start(), title.end() + 1, "")] if title else []
            spans += [(heading.start, min(heading.end + 1, len(text)), "") for heading in listed]
    return replace_spans(text, spans)
