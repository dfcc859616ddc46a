"""What a cleaning rule hands back: the new text, how many places it changed, and a few of them to show.

In: a text and what to change in it. Out: an `Edit`.
"""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

EXAMPLES = 5  # shown per rule and text
CONTEXT = 10  # characters shown on each side of a change
LONGEST_EXAMPLE = 80


class Edit(NamedTuple):
    """A text after one rule, the number of places it changed, and excerpts of some of them (before, after)."""

    text: str
    n_places: int = 0
    examples: tuple[tuple[str, str], ...] = ()


def _short(excerpt: str) -> str:
    return excerpt if len(excerpt) <= LONGEST_EXAMPLE else excerpt[: LONGEST_EXAMPLE - 1] + "…"


def example(text: str, start: int, end: int, replacement: str) -> tuple[str, str]:
    """The change of text[start:end] with what stands around it."""
    left, right = text[max(0, start - CONTEXT) : start], text[end : end + CONTEXT]
    return _short(left + text[start : min(end, start + LONGEST_EXAMPLE)] + right), _short(left + replacement + right)


def substitute(pattern: re.Pattern[str], replacement: str | Callable[[re.Match[str]], str], text: str) -> Edit:
    """`pattern.sub`, counted and with examples."""
    if pattern.search(text) is None:
        return Edit(text)
    expand = replacement if callable(replacement) else lambda match: match.expand(replacement)
    shown = tuple(example(text, *match.span(), expand(match)) for match in islice(pattern.finditer(text), EXAMPLES))
    new, count = pattern.subn(replacement, text)
    return Edit(new, count, shown)


def replace_spans(text: str, spans: Iterable[tuple[int, int, str]]) -> Edit:
    """Put a replacement in the place of every span (start, end, replacement); spans are in order and do not overlap."""
    pieces: list[str] = []
    shown: list[tuple[str, str]] = []
    count = last = 0
    for start, end, replacement in spans:
        pieces += text[last:start], replacement
        last, count = end, count + 1
        if len(shown) < EXAMPLES:
            shown.append(example(text, start, end, replacement))
    return Edit("".join([*pieces, text[last:]]), count, tuple(shown)) if count else Edit(text)


def in_turn(text: str, *rules: Callable[[str], Edit]) -> Edit:
    """Several edits as one."""
    count = 0
    shown: tuple[tuple[str, str], ...] = ()
    for rule in rules:
        text, more, examples = rule(text)
        count, shown = count + more, (shown + examples)[:EXAMPLES]
    return Edit(text, count, shown)
