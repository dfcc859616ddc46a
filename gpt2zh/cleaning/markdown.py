"""Texts as Markdown shows them: tables, excerpts, examples with invisible characters named.

In: texts of any kind. Out: lines of Markdown.
"""

import re
from collections.abc import Sequence

from gpt2zh.console import visible

EXCERPT = 60  # characters of an example


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]


def plain(value: object) -> str:
    """A value as Markdown shows it: no tags, no table's borders, no control characters."""
    text = visible(str(value)).replace("|", "¦").replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return re.sub(r"([\\`*_\[\]])", r"\\\1", text)


def excerpt(text: str) -> str:
    """The beginning of a text on one line."""
    line = text[: EXCERPT + 1].replace("\n", " ⏎ ")
    return line if len(text) <= EXCERPT else line[:EXCERPT] + "…"


def code(text: str) -> str:
    """An example as it stands, on one line; invisible characters are named."""
    shown = "".join(
        character if character.isprintable() else "⏎" if character == "\n" else f"<U+{ord(character):04X}>"
        for character in text[: 2 * EXCERPT]
    )
    return f"`{shown}`".replace("``", "` `") if shown else "∅"
