"""The bytes of a file, in chunks, -> text, and how many characters were broken.

A broken byte costs the character it belongs to; a line that is in another encoding than its file is read in that. Both by the costs of
`encodings`: the cheapest text wins.
"""

import codecs
import re
from collections import Counter
from functools import lru_cache

from gpt2zh.text.encodings import (
    BROKEN,
    BROKEN_COST,
    TWO_BYTE,
    cost_of,
    is_implausible,
    joined_surrogates,
    odd_lines,
)

OF_A_LINE = ("utf-8", *TWO_BYTE)  # a line may be in another of these than its file
# Four characters of U+4000 to U+9FFF and the like, which bytes of GBK and Big5 are not by chance.
_UTF8_RUN = re.compile(rb"(?:[\xe3-\xe9\xef][\x80-\xbf]{2}){4}")


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

    A line with an error, or one that is no language, may also be one of another encoding, and so may one that reads as GBK and as
    UTF-8: the cheapest wins.

    Attributes:
        n_broken: characters that could not be decoded.
        others: lines that were in another encoding than the file, by that.
    """

    LONGEST = 1 << 16  # bytes of a line that are held back; a longer line is decoded as it comes

    def __init__(self, encoding: str) -> None:
        self.encoding = "utf-8" if encoding == "utf-8-sig" else encoding
        self.n_broken = 0
        self.others: Counter[str] = Counter()
        self._held = b""
        self._stream = codecs.getincrementaldecoder(self.encoding)("gpt2zh.broken")
        self._by_lines = self.encoding in OF_A_LINE
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
        cut = len(data) if final else max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        pieces.append(self._decode_whole(data[:cut]))
        self._held = data[cut:]
        if len(self._held) > self.LONGEST:
            self._in_long_line = True
            pieces.append(self._stream.decode(self._held))
            self._held = b""
        return "".join(pieces)

    def _end_long_line(self, data: bytes, pieces: list[str], final: bool) -> bytes:
        """Decode up to the end of the long line, if it is in `data`; return what follows."""
        end = re.search(rb"[\n\r]", data)
        cut = end.start() if end else len(data)
        pieces.append(self._stream.decode(data[:cut], final=bool(end) or final))
        if end:
            self._stream.reset()
            self._in_long_line = False
        return data[cut:]

    def _decode_whole(self, data: bytes) -> str:
        try:
            text = data.decode(self.encoding)
        except UnicodeDecodeError:
            text = None
        if text is None or (self.encoding != "utf-8" and (_UTF8_RUN.search(data) or odd_lines(text))):
            return "".join(self._decode_line(line) for line in re.findall(rb"[^\n\r]+|[\n\r]+", data))
        return text

    def _decode_line(self, line: bytes) -> str:
        if len(line) > self.LONGEST:
            return line.decode(self.encoding, "gpt2zh.broken")
        text = _strictly(line, self.encoding)
        if text is not None and self.encoding == "utf-8":
            return text
        if text is None or is_implausible(text):
            others = [encoding for encoding in OF_A_LINE if encoding != self.encoding]
            text = self._repaired(line)
        elif _UTF8_RUN.search(line):
            others = ["utf-8"]
        else:
            return text
        chosen, cost = "", cost_of(text)
        for encoding in others:
            other = _strictly(line, encoding)
            if other is not None and cost_of(other) < cost:
                chosen, text, cost = encoding, other, cost_of(other)
        if chosen:
            self.others[chosen] += 1
        return text

    def _repaired(self, line: bytes) -> str:
        """A line with an error. In GBK and Big5 a blank is a byte that no character contains."""
        if self.encoding == "utf-8":
            return joined_surrogates(line).decode("utf-8", "gpt2zh.broken")
        return "".join(self._divided(word) for word in re.findall(rb"[^ ]+| +", line))

    def _divided(self, word: bytes) -> str:
        text = _strictly(word, self.encoding)
        return divide(word, self.encoding) if text is None or is_implausible(text) else text


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=1 << 17)
def _character(unit: bytes, encoding: str) -> tuple[str, float] | None:
    """The one character that `unit` is, with its cost; None if it is no character, or several."""
    try:
        text = unit.decode(encoding)
    except UnicodeDecodeError:
        return None
    # In HKSCS two bytes may be a letter with a combining mark; else two characters are two units.
    one = len(text) == 1 or (len(unit) == 2 and unit[0] > 0x7F)
    return (text, cost_of(text)) if one else None


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
