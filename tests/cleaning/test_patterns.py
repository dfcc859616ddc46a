"""Every pattern that reads a stranger's text is linear: no text makes it run for minutes.

The texts are made from the patterns: for each part that may repeat, what comes before it once, the part 200,000 characters long, and
then what the pattern does not expect; and the same again and again. A quadratic pattern would take hours over them.
"""

import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

import pytest

import gpt2zh.cleaning
from gpt2zh.cleaning.chapters import split_chapters
from gpt2zh.cleaning.markup import markup
from gpt2zh.cleaning.rules import RULES

LENGTH = 200_000
SECONDS = 240  # for all texts of a module; linear patterns take a few
REPEATS = {c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT}
MODULES = [f"gpt2zh.cleaning.{module.name}" for module in pkgutil.iter_modules(gpt2zh.cleaning.__path__)]


def patterns(module: str) -> list[re.Pattern[str]]:
    values = vars(importlib.import_module(module)).values()
    flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    flat = [part for value in flat for part in (value if isinstance(value, tuple) else (value,))]
    return [value for value in flat if isinstance(value, re.Pattern) and isinstance(value.pattern, str)]


def sample(node: object) -> str:
    """A text that the parsed pattern matches, where that needs no look around."""
    return "".join(sample_of(*part) for part in node)  # type: ignore[attr-defined]


def sample_of(kind: object, value: object) -> str:
    if kind is c.LITERAL:
        return chr(value)  # type: ignore[arg-type]
    if kind is c.NOT_LITERAL or kind is c.ANY:
        return "x"
    if kind is c.IN:
        first, what = value[0]  # type: ignore[index]
        if first is c.NEGATE:
            return "x"
        if first is c.LITERAL:
            return chr(what)
        if first is c.RANGE:
            return chr(what[0])
        return {c.CATEGORY_DIGIT: "1", c.CATEGORY_SPACE: " "}.get(what, "x")
    if kind is c.BRANCH:
        return sample(value[1][0])  # type: ignore[index]
    if kind is c.SUBPATTERN:
        return sample(value[3])  # type: ignore[index]
    if kind is c.ATOMIC_GROUP:
        return sample(value)
    if kind in REPEATS:
        return sample(value[2]) * max(1, value[0])  # type: ignore[index]
    return ""


def attacks(node: object, before: str = "") -> Iterator[str]:
    """Texts for every repeated part of a parsed pattern, with what comes before it."""
    for kind, value in node:  # type: ignore[attr-defined]
        if kind in REPEATS:
            part = sample(value[2]) or "x"
            for unit in (part, " ", part + " "):
                long = unit * (LENGTH // len(unit))
                for after in ("\0", "\n", "，\n"):
                    yield before + long + after
            yield (before + part + "\0\n") * (LENGTH // (len(before + part) + 2))
            yield (before + part) * (LENGTH // max(1, len(before + part)))
            yield from attacks(value[2], before)
        elif kind is c.SUBPATTERN:
            yield from attacks(value[3], before)
        elif kind is c.ATOMIC_GROUP:
            yield from attacks(value, before)
        elif kind is c.BRANCH:
            for branch in value[1]:
                yield from attacks(branch, before)
        before += sample_of(kind, value)


def attack(module: str) -> int:
    """Run every pattern of a module over its texts."""
    n = 0
    for pattern in patterns(module):
        for text in {*attacks(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))}:
            for _ in pattern.finditer(text):
                pass
            n += 1
    return n


@pytest.mark.slow
@pytest.mark.parametrize("module", [module for module in MODULES if patterns(module)])
def test_no_text_makes_a_pattern_hang(module: str) -> None:
    run = f"import sys; sys.path.insert(0, {__file__.rsplit('/', 1)[0]!r}); import test_patterns; print(test_patterns.attack({module!r}))"
    done = subprocess.run([sys.executable, "-c", run], timeout=SECONDS, capture_output=True, encoding="utf-8")
    assert int(done.stdout) > 0, done.stderr


HEADS = ["番外", "楔子", "正文", "第一卷", "第一章", "chapter", "1.", "1", "第一卷 第一章", "（一）"]


@pytest.mark.parametrize("head", HEADS)
def test_a_heading_before_many_blanks_is_read_at_once(head: str) -> None:
    """3.5 KB of it once took minutes."""
    for blank in " \t\u3000":
        text = (head + blank * 3000 + "，\n") * 40
        assert "".join(split_chapters(text)) == text
        for rule in RULES:
            rule.apply("The quick brown fox jumps over it. " * 40 + "\n" + text)


@pytest.mark.parametrize(("opening", "closing"), [("<!--", "-->"), ("<script ", "</script>"), ("<style ", "</style>")])
def test_marks_that_open_and_do_not_close_are_read_at_once(opening: str, closing: str) -> None:
    text = "<b>" * 9 + opening * (800_000 // len(opening)) + "x" * 110_000
    for end in ("", closing, closing + "x" + opening + closing):
        markup(text + end)
    assert markup("<b>" * 9 + f"a{opening}b{closing}c{opening}d{closing}e").text == "ace"
