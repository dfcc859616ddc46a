"""Bytes of unknown encoding -> the name of that.

In: the beginning of a file. Out: the name of the Python codec that makes the most plausible text of it.
Refuses: PDF, archives, images and other binary files, each by name.

Several codecs often decode the same bytes without an error, so the choice is the likelihood of the text: every character
costs about -log of its probability in Chinese prose (的 little, a rare or private-use character much), and the cheapest
decoding wins. `decoder` finds the next good character after a damaged byte by the same costs.
"""

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from gpt2zh.errors import UserError

SAMPLE = 1 << 16  # bytes that decide
BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
TWO_BYTE = ("gb18030", "big5hkscs")
ONE_BYTE = ("cp932", "cp1252")  # Shift-JIS too has characters of one byte
CANDIDATES = ("utf-8", *TWO_BYTE, *ONE_BYTE, "utf-16-le", "utf-16-be")  # the first of equals: ASCII is UTF-8
BINARY = (  # where in a file, what stands there, and what the file is
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP / DOCX / EPUB"),
    (0, b"Rar!", "RAR"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ", "xz"),
    (0, b"\xd0\xcf\x11\xe0", "DOC / XLS"),
    (0, b"{\\rtf", "RTF"),
    (0, b"\x89PNG", "PNG"),
    (0, b"GIF8", "GIF"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"RIFF", "WAV / WEBP"),
    (0, b"SQLite", "SQLite"),
    (0, b"\x7fELF", "ELF"),
    (257, b"ustar", "TAR"),
)
MOST_CONTROLS = 0.05  # share of control characters above which a file is not text
MOST_MEAN_COST = 12.0  # of a character, above which UTF-16 is not text; prose in any language costs 5 to 10
FEWEST_BYTES = 32  # fewer are never refused, nor taken for a western language's
LEAST_ASCII = 0.8  # share of characters of a western language
MOST_USUAL = 11.0  # cost of a character above which it is odd
MOST_ODD = 0.4  # share of a line's characters
BORDER_COST = 3.0  # of a Han character beside a small Latin letter: an accent of a western language, read as GBK
_BORDER = re.compile("[a-z][\u4e00-\u9fff]|[\u4e00-\u9fff](?=[a-z])")

BROKEN = "\udfff"  # stands for a broken character until it is counted: no codec gives a lone surrogate
BROKEN_COST = 14.0
PARTICLES = "的了是不一在我他这有這來来说說个個人"
FREQUENT = (
    "你她它们們道着著到大上也就子那得地里裡出去去时時会會自可么麼麽要下看天还還过過好小之没沒为為用生能而以中又然知只起把"
    "样樣心都想对對开開年多后後家事前回儿兒头頭面被从從日何所其此于於与與無无如见見问問些老手很话話已身什事走叫听聽二三十国國"
    "长長己却卻将將因但并並给給使者当當两兩真间間笑做吃最经經气氣点點法发發现現情再外行太实實主动動几幾理本方學学生同"
)
PUNCTUATION = "，。、；：？！“”‘’「」『』《》（）…—·　"


def _mark_broken(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return BROKEN, error.end


codecs.register_error("gpt2zh.broken", _mark_broken)


# Surrogates as if they were characters (CESU-8): what some databases and chats write for an emoji.
_SURROGATES = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")


def joined_surrogates(data: bytes) -> bytes:
    """UTF-8 in place of CESU-8."""

    def joined(match: re.Match[bytes]) -> bytes:
        return (
            match[0].decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()
        )

    return _SURROGATES.sub(joined, data) if b"\xed" in data else data


def _rows(codec: str, leads: Sequence[int], trails: Sequence[int]) -> str:
    return b"".join(bytes((lead, trail)) for lead in leads for trail in trails).decode(codec, "ignore")


@cache
def _costs() -> dict[str, float]:
    """Character -> cost, about -ln of its probability. The levels are those of GB 2312 and Big5: 1 common, 2 rare."""
    costs: dict[str, float] = {}
    trails, trails5 = range(0xA1, 0xFF), (*range(0x40, 0x7F), *range(0xA1, 0xFF))
    for cost, characters in (
        (4.5, "\n\r\t abcdefghijklmnopqrstuvwxyz"),
        (4.5, PUNCTUATION + PARTICLES),
        (6.0, FREQUENT),
        (6.0, "".join(map(chr, range(0x20, 0x7F)))),
        (9.0, _rows("gb2312", range(0xB0, 0xD8), trails) + _rows("big5", range(0xA4, 0xC7), trails5)),
        (10.0, "".join(map(chr, range(0x3041, 0x3100)))),
        (11.0, _rows("gb2312", range(0xA1, 0xA4), trails)),
        (
            8.0,
            "".join(map(chr, range(0xA0, 0x500))),
        ),  # European letters: cheaper than the Han that their UTF-8 is in GBK
        (12.0, "".join(map(chr, range(0xAC00, 0xD7A4)))),
        (12.5, _rows("gb2312", range(0xD8, 0xF8), trails) + _rows("big5", range(0xC9, 0xFA), trails5)),
        (13.0, "".join(map(chr, range(0x2000, 0x2700)))),
        (15.0, "".join(map(chr, range(0x3400, 0xA000)))),
        (BROKEN_COST, BROKEN + "\ufffd"),
    ):
        for character in characters:
            costs.setdefault(character, cost)
    return costs


RAREST_COST = 17.0  # private use, controls, scripts nobody expects


def cost_of(text: str) -> float:
    costs = _costs()
    return sum(count * costs.get(character, RAREST_COST) for character, count in Counter(text).items())


@cache
def _odd() -> str:
    """The class, in a pattern, of characters that are rare in Chinese prose; marks, other alphabets and pictures are not among them."""
    usual = "".join(c for c, cost in _costs().items() if (cost <= MOST_USUAL and c > "\u04ff") or " " <= c <= "~")
    return f"[^\\s{re.escape(usual)}\u0370-\u04ff\u2000-\u206f\u2460-\u27bf\u3000-\u30ff\uac00-\ud7a3\ufe00-\uffef□■\U0001f000-\U0001faff]"


@cache
def _odd_runs() -> re.Pattern[str]:
    """Four odd characters with few others between them, or the two or three that a typographic mark becomes."""
    return re.compile(f"(?:{_odd()}[^\\n]{{0,2}}?){{4}}|[ÃÂâ][\x80-\xbf€‚-›ƒˆ˜œŒšŠžŽŸ™]|锟斤拷|烫烫烫|屯屯屯")


def odd_lines(text: str) -> list[tuple[int, int]]:
    """Where lines begin and end that have a run of characters which are rare in Chinese prose."""
    lines: list[tuple[int, int]] = []
    end = -1
    for match in _odd_runs().finditer(text):
        if match.start() > end:
            end = text.find("\n", match.start())
            end = len(text) if end < 0 else end
            lines.append((text.rfind("\n", 0, match.start()) + 1, end))
    return lines


def is_implausible(line: str) -> bool:
    """Whether a line is most likely no language: the lines of 19 novels have at most half as many odd characters."""
    odd = re.findall(_odd(), line)
    return "锟斤拷" in line or (len(set(odd)) >= 3 and len(odd) > MOST_ODD * len(re.sub(r"\s", "", line)))


def _is_latin(text: str) -> bool:
    """Whether a text is of letters, most of them without an accent, as in the languages of western Europe."""
    return len(text) >= FEWEST_BYTES and sum(map(str.isascii, text)) > LEAST_ASCII * len(text)


def _cost_of_bytes(sample: bytes, encoding: str) -> float:
    text = sample.decode(encoding, "gpt2zh.broken")
    cost = cost_of(text) + BORDER_COST * len(_BORDER.findall(text))
    if encoding.startswith("utf-16") and cost > MOST_MEAN_COST * len(text) > 0:
        return float("inf")  # nearly all bytes are UTF-16
    if encoding == "cp1252" and not _is_latin(text):
        return float("inf")  # all bytes are letters there
    if encoding in TWO_BYTE:  # the sample may begin inside a character
        cost = min(cost, BROKEN_COST + cost_of(sample[1:].decode(encoding, "gpt2zh.broken")))
    return cost


def _require_text(sample: bytes, encoding: str) -> None:
    """Raise UserError when what `encoding` makes of `sample` is full of control characters."""
    text = sample.decode(encoding, "gpt2zh.broken")
    controls = len(re.findall(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", text))
    if controls > MOST_CONTROLS * len(text) and len(sample) > FEWEST_BYTES:
        raise UserError(
            f"这不像文本文件：控制字符占 {controls / len(text):.0%}（程序、图片、压缩文件？）。请先转成 txt。",
            f"this does not look like text: {controls / len(text):.0%} are control characters (a program, an image, an archive?). "
            "Convert it to txt first.",
        )


def _is_long_utf8(sample: bytes) -> bool:
    """Whether a sample is UTF-8 beyond doubt: a dozen characters of three bytes, which no other encoding gives by chance."""
    try:
        text, _ = codecs.utf_8_decode(sample, "strict", False)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return sum(character > "\u07ff" for character in text[:1000]) >= 12


def detect(sample: bytes) -> str:
    """Name the codec of `sample`, the beginning of a file; `utf-8` for an empty or plain ASCII one.

    Raises:
        UserError: the bytes are not text; the message says what they look like.
    """
    for bom, encoding in BOMS:
        if sample.startswith(bom):
            return encoding
    for place, magic, kind in BINARY:
        if sample.startswith(magic, place):
            raise UserError(
                f"这是 {kind} 文件，不是文本。请先解压，或用它自己的程序导出为 txt。",
                f"this is a {kind} file, not text. Unpack it, or export it as txt with its own program first.",
            )
    sample = joined_surrogates(sample[:SAMPLE])
    if b"\0" not in sample and (sample.isascii() or _is_long_utf8(sample)):
        best = "utf-8"  # of ASCII, "[]" say would be rare Han in UTF-16
    else:
        best = min(CANDIDATES, key=lambda encoding: _cost_of_bytes(sample, encoding))
    _require_text(sample, best)
    return best
