"""What a document is in a text file: all of it, each line, or each paragraph.

In: the text of a .txt file, line ends `\\n`, and what it is said to hold, or "auto". Out: its documents. A guess never parts what may be
one text: a novel's paragraphs are lines too, a poem's stanzas are parted by blank lines, so both of the others need clear signs.
"""

import re
from typing import Literal

from gpt2zh.cleaning.chapters import is_heading

Unit = Literal["file", "lines", "paragraphs"]
NAMES = {
    "lines": ("每行一篇", "each line is a document"),
    "paragraphs": ("空行隔开的每段一篇", "each block between blank lines is a document"),
}

FEWEST_LINES, SHORTEST = 40, 60  # a corpus of one document a line; a novel of so many paragraphs has a shorter one
SENTENCE_END = re.compile("[。！？…；.!?;~～][”’」』）)】》\"']*$")
FEWEST_BLOCKS, MOST_TURNS, LONGEST_TURN = 20, 20, 60  # dialogues, a turn a line
ALMOST_ALL = 0.95
SPOKEN = re.compile("[？?吗呢吧哈哦嘛啦呀嗯噢哇～~][！!。.…]*$")
FEWEST_SPOKEN = 0.1  # share of the turns that end so; a poem's lines seldom do
NAMED = re.compile(r"\S{1,10}[：:]\s*\S")  # A：你好
QUOTED = ("“", "「", "『", '"', "—")  # so a novel's speech begins
BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


def parted(text: str, unit: Unit) -> list[str]:
    """The documents of a text, without those that are blank."""
    if unit == "file":
        return [text]
    parts = text.split("\n") if unit == "lines" else BLANK_LINE.split(text)
    return [part for part in parts if part.strip()]


def guessed(text: str) -> Unit:
    """What a text most likely holds: "lines" where no line is short, "paragraphs" where all are short dialogues."""
    lines = [line.strip() for line in parted(text, "lines")]
    if len(lines) < FEWEST_LINES:
        return "file"
    if min(map(len, lines)) >= SHORTEST:
        ends = sum(bool(SENTENCE_END.search(line)) for line in lines) >= ALMOST_ALL * len(lines)
        return "lines" if ends else "file"
    return "paragraphs" if _are_dialogues(parted(text, "paragraphs"), lines) else "file"


def _are_dialogues(blocks: list[str], lines: list[str]) -> bool:
    turns = sum(2 <= block.strip().count("\n") + 1 <= MOST_TURNS for block in blocks)
    if len(blocks) < FEWEST_BLOCKS or turns < ALMOST_ALL * len(blocks):
        return False
    if sum(len(line) <= LONGEST_TURN for line in lines) < ALMOST_ALL * len(lines):
        return False
    few = (1 - ALMOST_ALL) * len(lines)
    if sum(line.startswith(QUOTED) or line[0].isdigit() for line in lines) > few or any(map(is_heading, lines)):
        return False
    named = sum(bool(NAMED.match(line)) for line in lines) >= ALMOST_ALL * len(lines)
    return named or sum(bool(SPOKEN.search(line)) for line in lines) >= FEWEST_SPOKEN * len(lines)
