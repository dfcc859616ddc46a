"""A command line under construction: flags with help in two languages, ranges, and every problem in one message.

In: declarations, then a command line. Out: a namespace whose values are in range. Refuses: names that are none (never
abbreviated), values out of range, text that is none; all of them at once.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from gpt2zh.errors import UserError, UserErrors, bilingual


@dataclass(frozen=True)
class Range:
    """What a number may be; the words stand in the message."""

    holds: Callable[[float], bool]
    zh: str
    en: str


MOST = 10**9  # no count, size or length of a real run comes near

POSITIVE = Range(lambda x: 0 < x <= MOST, "大于 0，不超过 10 亿", "above 0, at most a thousand million")
NOT_NEGATIVE = Range(lambda x: 0 <= x <= MOST, "不小于 0，不超过 10 亿", "0 or more, at most a thousand million")
SHARE = Range(lambda x: 0 <= x <= 1, "在 0 到 1 之间", "between 0 and 1")
BELOW_HALF = Range(lambda x: 0 <= x < 0.5, "不小于 0 且小于 0.5", "at least 0 and below 0.5")
SIMILARITY = Range(lambda x: x == 0 or 0.5 <= x <= 1, "为 0，或在 0.5 到 1 之间", "0, or between 0.5 and 1")
PENALTY = Range(lambda x: -100 <= x <= 100, "在 -100 到 100 之间", "between -100 and 100")
LENGTH = Range(lambda x: x == -1 or 0 < x <= MOST, "大于 0，或 -1", "above 0, or -1")


class Flags:
    """A command line under construction: groups of flags, their ranges, and the flags without effect."""

    def __init__(self, zh: str, en: str) -> None:
        self.parser = _Parser(
            description=bilingual(zh, en), allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.target: argparse._ArgumentGroup = self.parser
        self.ranges: dict[str, Range] = {}
        self.dead: dict[str, str] = {}

    def group(self, zh: str, en: str) -> None:
        """Start a titled group; the flags added from here on stand in it."""
        self.target = self.parser.add_argument_group(bilingual(zh, en))

    def add(
        self,
        name: str,
        default: str | int | float | Path | None,
        zh: str,
        en: str,
        *,
        allowed: Range | None = None,
        choices: Sequence[str] | None = None,
        kind: Callable[[str], object] | None = None,
        aliases: Sequence[str] = (),
        shown_default: str | None = None,
    ) -> None:
        """A flag with a value. `kind` is its type where the default does not tell it; `shown_default` says what None becomes."""
        shown = shown_default if shown_default is not None else (str(default) or "''")
        action = self.target.add_argument(
            name,
            *aliases,
            default=default,
            type=kind or (Path if isinstance(default, Path) else type(default)),
            choices=choices,
            metavar=None if choices else _metavar(kind or type(default)),
            help=f"{bilingual(zh, en)} ({shown})".replace("%", "%%"),
        )
        if allowed is not None:
            self.ranges[action.dest] = allowed

    def optional(self, name: str, zh: str, en: str) -> None:
        """A flag that may have a value: None where it is not given, "" where it is without one."""
        self.target.add_argument(name, nargs="?", const="", metavar="PATH", help=bilingual(zh, en).replace("%", "%%"))

    def inputs(self, name: str, zh: str, en: str) -> None:
        """One or more values without a name in front."""
        self.target.add_argument(name, nargs="+", metavar="INPUT", help=bilingual(zh, en))

    def switch(self, name: str, zh: str, en: str) -> None:
        """A flag that is off unless given."""
        self.target.add_argument(name, action="store_true", help=bilingual(zh, en).replace("%", "%%"))

    def without_effect(self, name: str, reason_zh: str, reason_en: str, *, takes_value: bool) -> None:
        """Accept a flag of the ancestor's that changes nothing here; using it is answered by a line that says so."""
        self.dead[name.removeprefix("--")] = bilingual(
            f"{name} 已不起作用：{reason_zh}", f"{name} has no effect: {reason_en}"
        )
        text = bilingual(f"（不起作用）{reason_zh}", f"(no effect) {reason_en}")
        if takes_value:
            self.target.add_argument(name, default=None, metavar="…", help=text)
        else:
            self.target.add_argument(name, action="store_true", help=text)

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse and check. Raises UserErrors with every value out of its range."""
        flags = self.parser.parse_args(argv)
        problems = [
            (f"--{dest} 里有不是文字的字节", f"--{dest} has bytes that are no text")
            for dest, value in vars(flags).items()
            if any("\ud800" <= character <= "\udfff" for character in str(value))
        ]
        for dest, allowed in self.ranges.items():
            value = getattr(flags, dest)
            if value is not None and not allowed.holds(value):
                problems.append((f"--{dest} {value}：应{allowed.zh}", f"--{dest} {value}: must be {allowed.en}"))
        if problems:
            raise UserErrors(problems)
        for dest, note in self.dead.items():
            if getattr(flags, dest):
                print(note)
        return flags


class _Parser(argparse.ArgumentParser):
    """argparse whose faults are UserErrors, like all the others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(
            f"命令行有误：{message}。运行 {self.prog} --help 看全部参数。",
            f"command line: {message}. {self.prog} --help shows all flags.",
        )


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
                f"{text!r} is not two numbers below 1, as in 0.9,0.95",
            )
        ) from None
    return first, second


METAVARS = {int: "N", float: "X", number_or_auto: "X", whole_or_auto: "N"}


def _metavar(kind: Callable[[str], object]) -> str:
    if isinstance(kind, type) and issubclass(kind, Path):
        return "PATH"
    return METAVARS.get(kind, "TEXT")
