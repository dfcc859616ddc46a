"""Cleaning rules for single characters and markup: line ends, HTML, invisible and private-use characters, blanks, fences.

In: a text. Out: an `Edit`. Pure functions in linear time; each looks for its first case before it does any work.
"""

import html
import re
from collections.abc import Iterator
from html.entities import html5
from itertools import chain, islice

from gpt2zh.cleaning.edits import Edit, in_turn, replace_spans, substitute

_LINE_ENDS = re.compile(
    "\r\n|[\r\x85\u2028\u2029]|(?<=[。！？”’」』…])[\x0b\x0c]"
)  # a form feed also stands inside sentences

_LINE_MARKS = "\r\x0b\x0c\x85\u2028\u2029"

_TAGS = (
    "a abbr address article aside audio b base big blockquote body br button canvas caption center cite code col dd del div dl "
    "dt em embed fieldset figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hr html i iframe img input ins "
    "label legend li link main map meta nav noscript object ol option p param pre q s script section select small span strike "
    "strong style sub sup svg table tbody td textarea tfoot th thead title tr tt u ul var video"
)
_LINE_TAGS = set(
    "address article blockquote body br center dd div dl dt h1 h2 h3 h4 h5 h6 hr li ol p pre table td tr ul".split()
)
# A known name, and attributes only with an equals sign: "a <b and c> d" and <需鬼> are text.
_TAG = re.compile(
    rf"</?({'|'.join(_TAGS.split())})(?:\s[^<>]{{0,800}}=[^<>]{{0,800}})?\s{{0,9}}/?>|<[!?](?i:doctype|xml)\b[^<>]{{0,300}}>",
    re.I,
)
_ENTITY = re.compile(r"&(?:amp;)*(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
# Opening, closing, and the most characters between: a lone "<!--" must not reach for the next one's end.
_NOT_TEXT = (
    (re.compile(r"<!--"), re.compile(r"-->"), 3000),
    (re.compile(r"<script\b", re.I), re.compile(r"</script\s*>", re.I), 100_000),
    (re.compile(r"<style\b", re.I), re.compile(r"</style\s*>", re.I), 100_000),
)
FEWEST_TAGS = 5  # with fewer, "<a>" is what the text says

# Controls, soft hyphen, zero width, direction marks, byte-order mark, variation selectors, U+FFFD, non-characters.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffd\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]+"
)
_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")
_PRIVATE_BLANK = re.compile("(?m)^[^\n]{0,9}第[0-9零〇一二三四五六七八九十百]{1,9}[章回节卷集]([\ue000-\uf8ff])")
_PLACEHOLDER = "□"

_ODD_BLANKS = re.compile("[\t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_TRAILING = re.compile(r"(?<! ) +(?=\n|\Z)")
_INNER = re.compile(r"(?<=[^\s]) {2,}(?=[^\s])")
_INDENT = re.compile(r"(?m)^ +")
_EMPTY = re.compile(r"\A\n+|\n{2,}")
_MANY_EMPTY = re.compile(r"\A\n+|\n{3,}")
_FENCE = re.compile(r"(?m)^ {0,20}(?:```+|~~~+) {0,9}[\w+#-]{0,20} {0,20}$\n?")
_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003347f]+")
SAMPLE = 20_000  # characters, taken evenly, that show whether a text is Chinese


def is_chinese(text: str) -> bool:
    """Say whether a text is mostly Chinese, by the share of Han characters."""
    sample = text[:: len(text) // SAMPLE + 1]
    return sum(map(len, _HAN.findall(sample))) * 5 > len(sample) - sample.count(" ")


def line_ends(text: str) -> Edit:
    """CRLF, CR, Unicode's own line ends and form feeds after a sentence -> LF."""
    return substitute(_LINE_ENDS, "\n", text) if any(mark in text for mark in _LINE_MARKS) else Edit(text)


def _between(
    text: str, opening: re.Pattern[str], closing: re.Pattern[str], longest: int
) -> Iterator[tuple[int, int, str]]:
    position, end = 0, None
    while start := opening.search(text, position):
        if end is None or end.start() < start.end():  # else the one found before is still the next
            end = closing.search(text, start.end())
            if end is None:
                return
        position = start.end()
        if end.start() - position <= longest:
            yield start.start(), end.end(), ""
            position = end.end()


def markup(text: str) -> Edit:
    """Comments, scripts and styles go with their content, tags without it; a tag that ends a line leaves a line end."""
    if "<" not in text or ">" not in text:
        return Edit(text)
    tags = chain(_TAG.finditer(text), re.finditer("<!--", text))
    if sum(1 for _ in islice(tags, FEWEST_TAGS)) < FEWEST_TAGS:
        return Edit(text)
    blocks = [lambda text, block=block: replace_spans(text, _between(text, *block)) for block in _NOT_TEXT]
    return in_turn(text, *blocks, lambda text: substitute(_TAG, _tag, text))


def _tag(match: re.Match[str]) -> str:
    return "\n" if (match[1] or "").lower() in _LINE_TAGS else ""


def entities(text: str) -> Edit:
    """&nbsp; &times; &#8220; -> the character; unknown names stay."""
    if "&" not in text or ";" not in text:
        return Edit(text)
    spans = (
        (*match.span(), html.unescape(f"&{match[1]};")) for match in _ENTITY.finditer(text) if _is_entity(match[1])
    )
    return replace_spans(text, spans)


def _is_entity(name: str) -> bool:
    return name[0] == "#" or f"{name};" in html5


def invisible(text: str) -> Edit:
    """Control, zero-width and broken characters are removed."""
    return substitute(_INVISIBLE, "", text)


def private_use(text: str) -> Edit:
    """A private-use character is one that the text's font had and Unicode lacks: □, as for other lost characters.

    One that follows 第一回 is that font's blank.
    """
    if _PRIVATE.search(text) is None:
        return Edit(text)
    blanks = set(_PRIVATE_BLANK.findall(text))
    return substitute(_PRIVATE, lambda match: " " if match[0] in blanks else _PLACEHOLDER, text)


def blanks(text: str) -> Edit:
    """Tabs, no-break, full-width and other blanks -> plain ones; none at the end of a line; in Chinese not two inside it."""
    return in_turn(text, _plain_blanks, _no_trailing_blanks, _single_blanks)


def _plain_blanks(text: str) -> Edit:
    return substitute(_ODD_BLANKS, lambda match: " " * len(match[0]), text)


def _no_trailing_blanks(text: str) -> Edit:
    return substitute(_TRAILING, "", text) if " \n" in text or text.endswith(" ") else Edit(text)


def _single_blanks(text: str) -> Edit:
    return substitute(_INNER, " ", text) if "  " in text and is_chinese(text) else Edit(text)


def fences(text: str) -> Edit:
    """Markdown's code fences (```), not what is between them."""
    return substitute(_FENCE, "", text) if "```" in text or "~~~" in text else Edit(text)


def indents(text: str) -> Edit:
    """The blanks that a Chinese paragraph begins with. Verse and code in other languages keep theirs."""
    if (not text.startswith(" ") and "\n " not in text) or not is_chinese(text):
        return Edit(text)
    return substitute(_INDENT, "", text)


def empty_lines(text: str) -> Edit:
    """No empty lines in Chinese, where every line is a paragraph; elsewhere never two together."""
    if not text.startswith("\n") and "\n\n" not in text:
        return Edit(text)
    if is_chinese(text):
        return substitute(_EMPTY, _line_end, text)
    return substitute(_MANY_EMPTY, _line_end, text) if text.startswith("\n") or "\n\n\n" in text else Edit(text)


def _line_end(match: re.Match[str]) -> str:
    return "" if match.start() == 0 else "\n" if match.re is _EMPTY else "\n\n"
