"""Bytes of unknown encoding -> text.

In: bytes as they come from a file, whole or in chunks.
Out: the name of the Python codec that makes the most plausible text of them; the text, and how many characters were broken.
Refuses: PDF, archives, images and other binary files, each by name.

Several codecs often decode the same bytes without an error, so the choice is the likelihood of the text: every character
costs about -log of its probability in Chinese prose (的 little, a rare or private-use character much), and the cheapest
decoding wins. The same costs find the next good character after a damaged byte of GBK or Big5.
"""

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache

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
CANDIDATES = ("utf-8", *TWO_BYTE, "utf-16-le", "utf-16-be")  # the first of equals: ASCII is UTF-8
BINARY = (
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP / DOCX / EPUB"),
    (b"Rar!", "RAR"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\xd0\xcf\x11\xe0", "DOC / XLS"),
    (b"{\\rtf", "RTF"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF", "WAV / WEBP"),
    (b"SQLite", "SQLite"),
    (b"\x7fELF", "ELF"),
)
MOST_CONTROLS = 0.05  # share of control characters above which a file is not text
MOST_MEAN_COST = 12.0  # of a character, above which UTF-16 is not text; prose in any language costs 5 to 10
FEWEST_BYTES = 32  # fewer are never refused

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


def _cost(text: str) -> float:
    costs = _costs()
    return sum(count * costs.get(character, RAREST_COST) for character, count in Counter(text).items())


def _cost_of_bytes(sample: bytes, encoding: str) -> float:
    text = sample.decode(encoding, "gpt2zh.broken")
    cost = _cost(text)
    if encoding.startswith("utf-16") and cost > MOST_MEAN_COST * len(text) > 0:
        return float("inf")  # nearly all bytes are UTF-16
    if encoding in TWO_BYTE:  # the sample may begin inside a character
        cost = min(cost, BROKEN_COST + _cost(sample[1:].decode(encoding, "gpt2zh.broken")))
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
    for magic, kind in BINARY:
        if sample.startswith(magic):
            raise UserError(
                f"这是 {kind} 文件，不是文本。请先用它自己的程序导出为 txt。",
                f"this is a {kind} file, not text. Export it as txt with its own program first.",
            )
    sample = sample[:SAMPLE]
    if b"\0" not in sample and (sample.isascii() or _is_long_utf8(sample)):
        best = "utf-8"  # of ASCII, "[]" say would be rare Han in UTF-16
    else:
        best = min(CANDIDATES, key=lambda encoding: _cost_of_bytes(sample, encoding))
    _require_text(sample, best)
    return best


def decode(data: bytes, encoding: str) -> tuple[str, int]:
    """Decode `data`; return the text, with U+FFFD for every broken character, and the number of those."""
    decoder = Decoder(encoding)
    return decoder.decode(data, final=True), decoder.n_broken


class Decoder:
    """Decode a file chunk by chunk: the same text as `decode`, wherever the chunks are cut.

    A broken byte costs the character it belongs to. UTF-8 shows by itself where the next one begins. In GBK and Big5 a lost
    byte pairs all bytes after it wrongly, often without an error, until the line ends; so a line with an error is read
    again, by the cheapest division into characters and broken bytes. (Big5 pairs rightly again after a few characters by
    itself, because half of its second bytes are ASCII; those few may stay wrong without an error.)
    """

    LONGEST = (
        8192  # bytes of a line that are held back and, if damaged, divided anew; a longer line is decoded as it comes
    )

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.n_broken = 0
        self._held = b""
        self._stream = codecs.getincrementaldecoder(encoding)("gpt2zh.broken")
        self._by_lines = encoding in TWO_BYTE
        self._in_long_line = False
        self._at_start = True

    def decode(self, chunk: bytes, final: bool = False) -> str:
        """Return the text that is certain so far; with `final`, all of it."""
        text = self._decode_lines(chunk, final) if self._by_lines else self._stream.decode(chunk, final)
        if self._at_start and text:
            text, self._at_start = text.removeprefix("\ufeff"), False  # the byte-order mark
        n_broken = text.count(BROKEN)
        self.n_broken += n_broken
        return text.replace(BROKEN, "\ufffd") if n_broken else text

    def _decode_lines(self, chunk: bytes, final: bool) -> str:
        """Decode whole lines and hold back the beginning of the next. A line ends at a byte that no character contains."""
        data = self._held + chunk
        pieces: list[str] = []
        if self._in_long_line:
            data = self._end_long_line(data, pieces, final)
        cut = len(data) if final else max(data.rfind(b"\n"), data.rfind(b"\r"), data.rfind(b" ")) + 1
        pieces.append(self._decode_whole(data[:cut]))
        self._held = data[cut:]
        if len(self._held) > self.LONGEST:
            self._in_long_line = True
            pieces.append(self._stream.decode(self._held))
            self._held = b""
        return "".join(pieces)

    def _end_long_line(self, data: bytes, pieces: list[str], final: bool) -> bytes:
        """Decode up to the end of the long line, if it is in `data`; return what follows."""
        end = re.search(rb"[\n\r ]", data)
        cut = end.start() if end else len(data)
        pieces.append(self._stream.decode(data[:cut], final=bool(end) or final))
        if end:
            self._stream.reset()
            self._in_long_line = False
        return data[cut:]

    def _decode_whole(self, data: bytes) -> str:
        try:
            return data.decode(self.encoding)
        except UnicodeDecodeError:
            return "".join(self._decode_line(line) for line in re.findall(rb"[^\n\r ]+|[\n\r ]+", data))

    def _decode_line(self, line: bytes) -> str:
        try:
            return line.decode(self.encoding)
        except UnicodeDecodeError:
            if len(line) > self.LONGEST:
                return line.decode(self.encoding, "gpt2zh.broken")
            return divide(line, self.encoding)


@lru_cache(maxsize=1 << 17)
def _character(unit: bytes, encoding: str) -> tuple[str, float] | None:
    """The one character that `unit` is, with its cost; None if it is no character, or several."""
    try:
        text = unit.decode(encoding)
    except UnicodeDecodeError:
        return None
    # In HKSCS two bytes may be a letter with a combining mark; else two characters are two units.
    one = len(text) == 1 or (len(unit) == 2 and unit[0] > 0x7F)
    return (text, _cost(text)) if one else None


def divide(line: bytes, encoding: str) -> str:
    """Divide `line` into characters and broken bytes (`BROKEN`) at the least cost: a shortest path over its positions."""
    best = [(0.0, 0, "")] + [(float("inf"), 0, "")] * len(line)  # cost up to here, where the last unit begins, its text
    widths = (1, 2, 4) if encoding == "gb18030" else (1, 2)
    for start in range(len(line)):
        cost = best[start][0]
        if cost + BROKEN_COST < best[start + 1][0]:
            best[start + 1] = (cost + BROKEN_COST, start, BROKEN)
        for width in widths:
            if width == 4 and not line[start + 1 : start + 2].isdigit():
                continue
            if start + width > len(line):
                break
            character = _character(line[start : start + width], encoding)
            if character and cost + character[1] < best[start + width][0]:
                best[start + width] = (cost + character[1], start, character[0])
    units, end = [], len(line)
    while end:
        _, start, text = best[end]
        units.append(text)
        end = start
    return "".join(reversed(units))
