"""What the values of flags may be: ranges of numbers, and readers of what is more than a number or a text.

In: the text behind a flag. Out: its value. Refuses: a text that is not such a value, with an example of one.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpt2zh.errors import bilingual

Kind = Callable[[str], object]  # a reader of the text behind a flag


@dataclass(frozen=True)
class Range:
    """What a number may be; the words stand in the message."""

    holds: Callable[[float], bool]
    zh: str
    en: str


MOST_BIAS = 100  # of a word's logit: more is as good as never or always
MOST = 10**9  # no count, size or length of a real run comes near

POSITIVE = Range(lambda x: 0 < x <= MOST, "大于 0，不超过 10 亿", "above 0, at most a thousand million")
ENTRIES = Range(lambda x: 0 < x <= 10**6, "大于 0，不超过 100 万", "above 0, at most a million")  # of a vocabulary
FILES = Range(lambda x: 0 < x <= 10**5, "大于 0，不超过 10 万", "above 0, at most a hundred thousand")
NOT_NEGATIVE = Range(lambda x: 0 <= x <= MOST, "不小于 0，不超过 10 亿", "0 or more, at most a thousand million")
BEAMS = Range(lambda x: 0 < x <= 1000, "大于 0，不超过 1000", "above 0, at most a thousand")
SHARE = Range(lambda x: 0 <= x <= 1, "在 0 到 1 之间", "between 0 and 1")
BELOW_HALF = Range(lambda x: 0 <= x < 0.5, "不小于 0 且小于 0.5", "at least 0 and below 0.5")
SIMILARITY = Range(lambda x: x == 0 or 0.5 <= x <= 1, "为 0，或在 0.5 到 1 之间", "0, or between 0.5 and 1")
PENALTY = Range(lambda x: -100 <= x <= 100, "在 -100 到 100 之间", "between -100 and 100")
DRY_BASE = Range(lambda x: 1 <= x <= 100, "在 1 到 100 之间", "between 1 and 100")
NGRAM_ORDER = Range(lambda x: 0 <= x <= 5, "在 0 到 5 之间", "from 0 to 5")
LENGTH = Range(lambda x: x == -1 or 0 < x <= MOST, "大于 0，或 -1", "above 0, or -1")


# ----- readers of text ------------------------------------------------------------------------------------------------


def or_auto(kind: type[int] | type[float], zh: str, en: str) -> Callable[[str], float | None]:
    """A reader of numbers; `auto` is None, as if the flag was not given."""

    def read(text: str) -> float | None:
        try:
            return None if text == "auto" else kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                bilingual(f"{text!r} 不是{zh}，也不是 auto", f"{text!r} is neither {en} nor auto")
            ) from None

    return read


number_or_auto = or_auto(float, "数", "a number")
whole_or_auto = or_auto(int, "整数", "a whole number")


@dataclass(frozen=True)
class Interval:
    """Every so many optimiser steps, or every so many seconds; neither: never."""

    steps: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.seconds:g}s" if self.seconds else str(self.steps or 0)


SECONDS = {"s": 1, "m": 60, "h": 3600}


def interval(text: str) -> Interval:
    """Steps as in `500`, or time as in `90s`, `15m`, `2h`; 0 is never."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in SECONDS else (text, "")
    try:
        value = float(number) if unit else int(number)
        if not 0 <= value <= MOST:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            bilingual(
                f"{text!r} 应是步数，如 500，或时间，如 90s、15m、2h",
                f"{text!r} must be steps, as in 500, or a time, as in 90s, 15m, 2h",
            )
        ) from None
    return Interval(seconds=value * SECONDS[unit] or None) if unit else Interval(steps=int(value) or None)


def two_shares(text: str) -> tuple[float, float]:
    """Two numbers from 0 to below 1, with a comma between."""
    try:
        first, second = (float(part) for part in text.replace("，", ",").split(","))
        if not (0 <= first < 1 and 0 <= second < 1):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            bilingual(
                f"{text!r} 不是两个 0 到 1 之间的数，如 0.9,0.95",
                f"{text!r} is not two numbers from 0 to below 1, as in 0.9,0.95",
            )
        ) from None
    return first, second


def words(text: str) -> tuple[str, ...]:
    """Words with commas between."""
    return tuple(word.strip() for word in text.replace("，", ",").split(",") if word.strip())


def words_apart(text: str) -> tuple[str, ...]:
    """Words with blanks between; \\n in them is a newline."""
    return tuple(word.replace("\\n", "\n") for word in text.split())


def biased_words(text: str) -> tuple[tuple[str, float], ...]:
    """Words with blanks between, each with what is added to its logit, as in 月亮=2 太阳=-1."""
    found = []
    for word, _, number in (part.rpartition("=") for part in text.split()):
        try:
            if not word or not -MOST_BIAS <= float(number) <= MOST_BIAS:
                raise ValueError
        except ValueError:
            raise argparse.ArgumentTypeError(
                bilingual(
                    f"{text!r} 应是词=数，空格分开，数在 -100 到 100 之间，如 月亮=2 太阳=-1",
                    f"{text!r} must be WORD=NUMBER with blanks between, numbers between -100 and 100, as in 月亮=2 太阳=-1",
                )
            ) from None
        found.append((word.replace("\\n", "\n"), float(number)))
    return tuple(found)


def local_path(text: str) -> Path:
    """A path on this machine."""
    return Path(_local(text))


def corpus_source(text: str) -> str:
    """A path on this machine, or a data set of the Hugging Face hub, as hf:owner/name."""
    return _local(text)


def _local(text: str) -> str:
    """`text`, unless it is blank, which Path would take for the current folder, or an address, which it would take for a folder's name."""
    if not text.strip():
        raise argparse.ArgumentTypeError(
            bilingual("路径是空的（变量没有设？）", "the path is empty (a variable that is not set?)")
        )
    if "://" in text:
        raise argparse.ArgumentTypeError(
            bilingual(f"{text} 是网址，这里要本机的路径", f"{text} is an address; a path on this machine is expected")
        )
    return text


# ----- for argparse ---------------------------------------------------------------------------------------------------

READERS: dict[object, Kind] = {
    Interval: interval,
    tuple[float, float]: two_shares,
    tuple[str, ...]: words,
    Path: local_path,
}
METAVARS: dict[Kind, str] = {int: "N", float: "X", number_or_auto: "X", whole_or_auto: "N", local_path: "PATH"}
