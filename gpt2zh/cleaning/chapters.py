"""A book -> its chapters.

In: the text of a book, line ends `\\n`.
Out: pieces that begin at chapter headings; joined with nothing between them they are the text, to the character.

A heading is a short line of its own: 第十二回 …, 卷三 …, 上卷 第一回 …, 楔子, 番外 …, Chapter 12. Bare numbers (一 / 3. / 四、) count
only when they run 1, 2, 3 … through the whole text. A line that reads like a sentence (第二回见他时，……) is not one.
"""

import re
from itertools import pairwise
from typing import NamedTuple

NUMERAL = "0-9０-９零〇○一二三四五六七八九十百千万两兩廿卅壹贰叁肆伍陆柒捌玖拾佰仟"
_BLANK = r"[ \t\u3000]"
_GAP = rf"(?:{_BLANK}++(?:[:：·.．、—\-]{_BLANK}*+)?|[:：·.．、—\-]{_BLANK}*+)"  # possessive: a run of blanks is taken once
_VOLUME = rf"(?:第{_BLANK}?[{NUMERAL}]{{1,9}}{_BLANK}?[卷部集编編辑輯册冊]|卷之?[{NUMERAL}]{{1,9}}|[上中下][卷部篇编編册冊]|正文)"
# 第一部分, 第三节课, 第二回合: words that begin like a unit.
_UNIT = r"(?:章|回(?=[ \t\u3000:：·.．、—\-]|$)|节(?![课目车日拍])|節(?![課目車日拍])|折(?!扣)|幕(?!后|後|僚)|话(?!音)|話(?!音)|篇(?!幅))"
_NUMBERED = rf"第{_BLANK}?[{NUMERAL}]{{1,9}}{_BLANK}?"
_NAMED = (
    "楔子|序[章言幕曲]?|[自代原总總]序|引[子言首]|前言|[绪緒][言论論]|[导導]言|[缘緣]起|[后後][记記序]|尾[声聲]|[终終]章|大[结結]局|[结結]语|跋|附[录錄]|"
    "(?i:prologue|epilogue|preface)"
)
_BODY = r"[^\n。；;，,]{0,40}"  # with a gap before it a title may ask or exclaim
_SHORT = r"[^\n。；;，,！？!?：:…“”「」]{0,36}"  # without one it must not read like speech or a sentence
_COUPLET = r"[^\n。；;！？!?：:…“”「」]{6,36}"  # 第一回灵根育孕源流出; 第一回见到她 is a sentence
HEADING = re.compile(
    rf"^{_BLANK}{{0,40}}+(?:"
    rf"(?P<chapter>(?:{_VOLUME}{_GAP})?{_NUMBERED}(?:{_UNIT}(?:{_GAP}{_BODY}|{_SHORT})|回(?![合来來到去家]){_COUPLET}))"
    rf"|(?P<volume>{_VOLUME}(?![分门門队隊落下首上级級中团團体體合市署起])(?:{_GAP}{_BODY}|[^\n。；;，,！？!?：:…“”「」的了是]{{0,14}}))"
    rf"|(?P<named>(?:{_NAMED})(?:(?:{_GAP}|(?=[（(《]))[^\n。；;，,]{{0,30}})?|番外(?!地){_SHORT}|番外{_GAP}{_BODY})"
    rf"|(?P<english>(?i:chapter){_BLANK}++(?:(?:\d{{1,4}}|[IVXLC]{{1,8}})(?:[.:—\- ][^\n]{{0,60}})?|[A-Za-z]+(?:-[a-z]+)?(?:[.:—][^\n]{{0,60}})?))"
    rf"){_BLANK}{{0,40}}$",
    re.MULTILINE,
)
_BARE = re.compile(
    rf"^{_BLANK}{{0,40}}+[（(]?(?P<number>\d{{1,4}}|[一二三四五六七八九十百]{{1,5}})(?:[)）.．、:：]{_BLANK}*+{_BODY}|{_BLANK}++{_SHORT})?{_BLANK}{{0,40}}$",
    re.MULTILINE,
)
MOST_HEADINGS_IN_A_ROW = 4  # more without text between are a table of contents
LONGEST_FRONT = 40  # characters of a title page that go with the first chapter
SHORTEST_SECTION = 200  # characters between bare numbers, on average

_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}


class Heading(NamedTuple):
    """A heading's place: where its line begins and ends, and whether it names a volume."""

    start: int
    end: int
    volume: bool


def is_heading(line: str) -> bool:
    """Say whether `line` reads like a chapter or volume heading."""
    return HEADING.fullmatch(line) is not None


def number(numeral: str) -> int:
    """Read 12 or 一百零二; -1 for what is not a number."""
    if numeral.isdecimal():
        return int(numeral)
    total = unit = 0
    for character in numeral:
        if character in "十百":
            total += (unit or 1) * (10 if character == "十" else 100)
            unit = 0
        elif character in _DIGITS:
            unit = _DIGITS[character]
        else:
            return -1
    return total + unit


def _numbered_sections(text: str) -> list[Heading]:
    """Bare numbers on lines of their own, if they are 1, 2, 3 … through the whole text."""
    found = [(number(match["number"]), match) for match in _BARE.finditer(text)]
    sections: list[Heading] = []
    for value, match in found:
        if value == len(sections) + 1:
            sections.append(Heading(match.start(), match.end(), volume=False))
        elif value <= len(sections):
            return []  # the count begins again: a list inside the text
    through = sections and sections[-1].start > len(text) / 2 and sections[0].start < len(text) / 4
    return sections if len(sections) > 2 and through and len(text) > SHORTEST_SECTION * len(sections) else []


def _headings(text: str) -> list[Heading]:
    matches = list(HEADING.finditer(text))
    headings = [Heading(match.start(), match.end(), bool(match["volume"])) for match in matches]
    if all(match["named"] for match in matches):  # a 自序 alone divides no book
        sections = _numbered_sections(text)
        headings = sorted([*headings, *sections]) if sections else []
    return headings


def heading_runs(text: str) -> list[list[Heading]]:
    """The headings of `text`, those with only blank space between them together."""
    runs: list[list[Heading]] = []
    for heading in _headings(text):
        if runs and not text[runs[-1][-1].end : heading.start].strip():
            runs[-1].append(heading)
        else:
            runs.append([heading])
    return runs


def split_chapters(text: str) -> list[str]:
    """Cut `text` at its headings; `"".join` of the pieces is `text`. Without headings it is one piece; "" gives none.

    A volume's heading stays with the chapter after it, a title page with the first chapter, a table of contents before it.
    """
    cuts = []
    for run in heading_runs(text):
        if len(run) > MOST_HEADINGS_IN_A_ROW:
            run = run[-2:] if run[-2].volume and not run[-1].volume else run[-1:]
        if text[run[-1].end :].strip():  # else the last line of the text only looks like a heading
            cuts.append(run[0].start)
    if cuts and len(text[: cuts[0]].strip()) <= LONGEST_FRONT:
        cuts[0] = 0
    borders = sorted({0, *cuts, len(text)})
    return [text[start:end] for start, end in pairwise(borders)]
