"""Vocabulary files: one entry a line, its id is the line's number minus one. The owner of the control tokens' names.

    [PAD]     fills unequal rows              [MASK]     opens a document
    [UNK]     a character not in the file     [CLS]      closes a document
    [SEP]     a newline                       [SPACE]    a blank (only in vocabularies that keep blanks)
    [unusedN] a free slot                     ##piece    continues a word of Latin letters, kana …
    [标题]    any other name in brackets: a special token of the user's own, never split

In: a path, or entries. Out: checked entries, or a file.
Refuses: blank lines, duplicates, a missing control token; each with its line.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from gpt2zh.errors import UserError, UserErrors
from gpt2zh.system.files import read_text, write_text

PAD, UNK, DOCUMENT_END, NEWLINE, DOCUMENT_START = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
CONTROL_TOKENS = (PAD, UNK, DOCUMENT_END, NEWLINE, DOCUMENT_START)
SPACE = "[SPACE]"
NAMED = {*CONTROL_TOKENS, SPACE}
UNUSED = re.compile(r"\[unused\d+\]")
SPECIAL = re.compile(r"\[[^\[\]\s]+\]")
CONTINUATION = "##"
WORD = re.compile("[\u4e00-\u9fff\u3400-\u4dbf]{2}")  # an entry with two Han characters in a row is a word

MOST_SHOWN = 10  # faults of a file that are listed one by one


def read_vocabulary(path: Path) -> list[str]:
    """Read and check a vocabulary file. Lines end at `\\n` alone: U+2028 stands in published files and is an entry.

    Raises:
        UserError: the file cannot be read, or breaks a rule above; every fault with its line, the first ten of them.
    """
    entries = read_text(path).split("\n")
    if entries[-1] == "":
        entries.pop()
    problems = []
    first_line: dict[str, int] = {}
    for line, entry in enumerate(entries, 1):
        if not entry.strip(" \t"):
            problems.append((f"{path} 第 {line} 行是空行。请删去它", f"{path}, line {line}, is blank. Delete it"))
        elif entry in first_line:
            problems.append(
                (
                    f"{path} 第 {line} 行「{entry}」与第 {first_line[entry]} 行重复。请删去一行",
                    f"{path}, line {line}: {entry!r} repeats line {first_line[entry]}. Delete one of them",
                )
            )
        else:
            first_line[entry] = line
    problems = problems[:MOST_SHOWN]
    for token in CONTROL_TOKENS:
        if token not in first_line:
            problems.append(
                (
                    f"{path}（{len(entries)} 行）没有控制符 {token}。请加一行",
                    f"{path} ({len(entries)} lines) has no control token {token}. Add a line",
                )
            )
    if problems:
        raise UserErrors(problems)
    return entries


def write_vocabulary(path: Path, entries: Sequence[str]) -> None:
    """Write one entry a line, whole or not at all."""
    write_text(path, "".join(entry + "\n" for entry in entries))


def fill(entries: list[str], size: int) -> list[str]:
    """Cut to `size` entries, or fill up with [unusedN] slots, so that the file has exactly `size` lines.

    Raises:
        UserError: the control tokens alone do not fit.
    """
    if size < len(CONTROL_TOKENS) + 1:
        raise UserError(
            f"--vocab_size {size} 太小：{len(CONTROL_TOKENS)} 个控制符之外至少要有 1 个词。",
            f"--vocab_size {size} is too small: besides the {len(CONTROL_TOKENS)} control tokens it needs at least one entry.",
        )
    taken = set(entries)
    free = (slot for slot in (f"[unused{n}]" for n in range(1, size + 1)) if slot not in taken)
    return entries[:size] + [next(free) for _ in range(size - len(entries))]


def special_tokens(entries: Sequence[str]) -> list[str]:
    """The user's own special tokens among the entries."""
    return [
        entry for entry in entries if SPECIAL.fullmatch(entry) and entry not in NAMED and not UNUSED.fullmatch(entry)
    ]


def put_in_slots(entries: Sequence[str], new: Sequence[str]) -> tuple[list[str], list[str]]:
    """Put `new` into free [unusedN] slots, so that no id moves. Returns the entries and those that found no slot."""
    known = set(entries)
    waiting = [entry for entry in dict.fromkeys(new) if entry not in known]
    slots = [position for position, entry in enumerate(entries) if UNUSED.fullmatch(entry)]
    patched = list(entries)
    for position, entry in zip(slots, waiting):
        patched[position] = entry
    return patched, waiting[len(slots) :]


def entries_in_slots(entries: Sequence[str], patched: Sequence[str]) -> int:
    """How many free slots of `entries` hold something in `patched`; 0 where the two differ in anything else."""
    changed = [old for old, new in zip(entries, patched) if old != new]
    only_slots = len(entries) == len(patched) and all(UNUSED.fullmatch(old) for old in changed)
    return len(changed) if only_slots else 0


def first_word(entries: Sequence[str]) -> str | None:
    """An entry that makes this a word vocabulary, or None where there is none: two Han characters in a row, or any
    entry of several characters in a file that keeps blanks (a verbatim vocabulary has single characters only)."""
    keeps_blanks = SPACE in entries
    return next(
        (
            entry
            for entry in entries
            if not SPECIAL.fullmatch(entry) and (WORD.search(entry) or (keeps_blanks and len(entry) > 1))
        ),
        None,
    )
