"""The text of a file in chunks -> its lines.

In: chunks, cut anywhere. Out: lines without their ends. Refuses: a line, or a value, that is longer than any document.
"""

from collections.abc import Iterator
from pathlib import Path

from gpt2zh.errors import UserError

LONGEST = 1 << 25  # characters of a document; it is in memory as a whole, several times over


def lines_of(chunks: Iterator[str], path: Path) -> Iterator[str]:
    """The lines of a text, one at a time; what follows the last line end is one too.

    Raises:
        UserError: a line of more than LONGEST characters.
    """
    held: list[str] = []
    n_held, number = 0, 1
    for chunk in chunks:
        first, *others = chunk.split("\n")
        held.append(first)
        n_held += len(first)
        if n_held > LONGEST:
            raise too_long(path, number)
        if others:
            yield "".join(held)
            yield from others[:-1]
            number += len(others)
            held, n_held = others[-1:], len(others[-1])
    yield "".join(held)


def too_long(path: Path, line: int) -> UserError:
    """The message for one text of more than LONGEST characters, which begins in `line`."""
    most = LONGEST // 10**6
    return UserError(
        f"{path} 第 {line} 行起是一篇超过 {most} 百万字的文字，不像一篇文章，整篇读会占满内存。请按章分成多条；存成 .txt 则会分段读。",
        f"{path} holds one text of more than {most} million characters from line {line} on: no document is so long, and reading it whole would fill memory. Part it by chapters; as a .txt it is read in parts.",
    )
