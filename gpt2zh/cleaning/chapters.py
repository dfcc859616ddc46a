"""A book -> its chapters.

In: the text of a book, line ends `\\n`.
Out: pieces that begin at chapter headings; joined with nothing between them they are the text, to the character.

A heading is a short line of its own: 第十二回 …, 卷三 …, 上卷 第一回 …, 楔子, 番外 …, Chapter 12. A line that reads like a sentence
(第二回见他时，……) is not one. Other lines with a number (一 / 3. / 四、 / 【第三章】 / ☆、第三章 / Part 3) count only where their numbers grow one
by one through the whole text, in the same frame.
"""

import re
import unicodedata
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
    "楔子|[间間]章|幕[间間]|序[章言幕曲]?|[自代原总總]序|引[子言首]|前言|[绪緒][言论論]|[导導]言|[缘緣]起|[后後][记記序]|尾[声聲]|[终終]章|大[结結]局|[结結]语|跋|附[录錄]|"
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
_CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳㈠㈡㈢㈣㈤㈥㈦㈧㈨㈩"
# A line with a number: Part 3, 【第三章】…, ☆、第三章, ## 3 …, EP03, 三、…. Its frame is what stands around the number.
_FRAMED = re.compile(
    rf"^{_BLANK}{{0,40}}+(?P<before>[^\n。，；{NUMERAL}{_CIRCLED}]{{0,24}}+)(?P<number>\d{{1,4}}+|[{NUMERAL}]{{1,9}}+|[{_CIRCLED}])(?P<after>[^\n。；]{{0,60}})$",
    re.MULTILINE,
)
# 学而第一, 八佾篇第三: the title stands before the number.
_TITLE_FIRST = re.compile(
    rf"^{_BLANK}{{0,40}}+[^\n。，；:：第 \t\u3000]{{1,12}}第(?P<number>[{NUMERAL}]{{1,9}}){_BLANK}{{0,40}}$",
    re.MULTILINE,
)
MOST_HEADINGS_IN_A_ROW = 4  # more without text between are a table of contents
LONGEST_FRONT = 40  # characters of a title page that go with the first chapter
SHORTEST_SECTION = 200  # characters between the headings of a series, on average
FEWEST_IN_A_SERIES = 3
MOST_MISSING = 3  # numbers left out between two headings of a series
LEAST_IN_ORDER = 0.8  # share of the lines of a frame that are in order

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
    if numeral in _CIRCLED:
        return int(unicodedata.numeric(numeral))
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


def _series(text: str) -> list[list[Heading]]:
    """Lines whose numbers grow one by one through the whole text, in the same frame; the longest series first."""
    frames: dict[tuple[str, str], list[tuple[int, Heading]]] = {}
    for match in _FRAMED.finditer(text):
        before, after = match["before"].strip(), match["after"]
        if after.rstrip()[-1:] in ("，", ",", "、"):  # a sentence goes on in the next line
            continue
        frame = "" if after[:1] in ("", " ", "\t", "\u3000") else after[0]
        heading = Heading(match.start(), match.end(), volume=False)
        frames.setdefault((before, frame), []).append((number(match["number"]), heading))
    for match in _TITLE_FIRST.finditer(text):
        heading = Heading(match.start(), match.end(), volume=False)
        frames.setdefault(("", "title first"), []).append((number(match["number"]), heading))
    found = (_in_order(lines, len(text), before.endswith("第")) for (before, _), lines in frames.items())
    return sorted(filter(None, found), key=len, reverse=True)


def _in_order(lines: list[tuple[int, Heading]], length: int, may_begin_again: bool) -> list[Heading]:
    """The lines of a frame that are a series; none where they are a list inside the text. `length`: of the text."""
    series: list[Heading] = []
    last = 0
    for value, heading in lines:
        if last < value <= last + (MOST_MISSING if series else 1) or (series and may_begin_again and value == 1):
            series.append(heading)
            last = value
        elif series and value <= last and not may_begin_again:
            return []  # the count begins again
    if len(series) < max(FEWEST_IN_A_SERIES, LEAST_IN_ORDER * len(lines)):
        return []
    through = series[-1].start > length / 2 and series[0].start < length / 4
    return series if through and length > SHORTEST_SECTION * len(series) else []


def _headings(text: str) -> list[Heading]:
    """Headings that are plain by themselves, with the series they belong to; where there are none, the longest series."""
    matches = list(HEADING.finditer(text))
    plain = {match.start(): Heading(match.start(), match.end(), bool(match["volume"])) for match in matches}
    chapters = {match.start() for match in matches if not match["named"]}
    for series in _series(text):
        if 2 * len(chapters & {heading.start for heading in series}) >= len(chapters):
            return sorted(({heading.start: heading for heading in series} | plain).values())
    names = {text[match.start() : match.end()].strip() for match in matches}
    return list(plain.values()) if chapters or len(names) >= FEWEST_IN_A_SERIES else []  # a 自序 alone divides no book


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
