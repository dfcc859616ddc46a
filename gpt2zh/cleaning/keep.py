"""Prepared pieces -> the corpus: those that are long enough and not copies, without the paragraphs of earlier ones.

In: the pieces in order, which of them are copies and which validate. Out: the corpus' files, and the report's counts.
Refuses: pieces when nothing of them is left.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gpt2zh.cleaning.duplicates import Duplicate, RepeatedParagraphs
from gpt2zh.cleaning.report import Report
from gpt2zh.errors import UserError
from gpt2zh.text.writer import CorpusWriter, HeldPieces

LEAST_KEPT = 0.5  # of a piece; where repeated paragraphs leave less, the rest is shreds
MOST_HOLES = 0.1  # share of a piece: an advertisement. Where more is repeated, it stays whole, or goes with its book
MOSTLY_THERE = 0.5  # share of a book that earlier files have: then what is left of it are shreds
LARGEST_GROUP = 1 << 24  # characters of a file that are looked at together

Piece = tuple[int, int, str]  # number, source, text


def write_kept(
    output: Path,
    val_path: Path,
    held: HeldPieces,
    duplicates: Mapping[int, Duplicate],
    repeats: RepeatedParagraphs,
    validates: np.ndarray,
    min_length: int,
    report: Report,
) -> int:
    """Write the pieces that are kept.

    Args:
        held: the pieces, with the numbers of their sources.
        duplicates: of the pieces' numbers, those that repeat an earlier one.
        validates: which pieces go to `val_path`, (n,), bool.
        min_length: characters; shorter pieces are left out.

    Returns:
        How many validate.

    Raises:
        UserError: no piece is kept.
    """
    gone: set[int] = set()  # left out, but not as copies: then their own copies are not copies
    with CorpusWriter(output) as train, CorpusWriter(val_path) as val:
        pieces = tqdm(held, total=held.n_pieces, desc="write", unit="doc", unit_scale=True)
        numbered = ((number, source, piece) for number, (source, piece) in enumerate(pieces))
        for group in _by_source(numbered):
            there = _share_there(group, duplicates, repeats)
            most_holes = MOST_HOLES if there > MOSTLY_THERE else 1 - LEAST_KEPT
            report.note_share(group[0][1], there, len(group))
            for number, source, piece in group:
                copy = duplicates.get(number)
                if copy and copy.of not in gone:
                    report.drop_duplicate(source, piece, copy)
                    continue
                lines = piece.split("\n")
                kept, text = _without_repeats(piece, lines, repeats, most_holes)
                if len(piece) - len(text) > most_holes * len(piece):
                    gone.add(number)
                    report.drop_repeated(source, piece, text)
                    continue
                report.drop_paragraphs(source, lines, kept, len(piece) - len(text))
                if len(text) < max(1, min_length):
                    gone.add(number)
                    report.drop_short(source, text)
                    continue
                if copy:
                    gone.discard(copy.of)  # this one stands in for it
                repeats.keep(lines)
                (val if validates[number] else train).write(text)
                report.keep(number, source, text, bool(validates[number]))
        if not train.n_written:
            zh, en = report.totals()
            raise UserError(f"没有留下任何文字：{zh}。", f"no text is left: {en}.")
    return val.n_written


def _without_repeats(
    piece: str, lines: list[str], repeats: RepeatedParagraphs, most_holes: float
) -> tuple[list[str], str]:
    """The lines of a piece that no earlier one has, and their text; all of them where that is whole rather than full of holes."""
    kept = repeats.without(lines)
    text = "\n".join(kept).strip()
    holes = 1 - len(text) / len(piece)
    return (lines, piece) if MOST_HOLES < holes <= most_holes else (kept, text)


def _by_source(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """The pieces of each file together; a very large one in parts."""
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        if group and (piece[1] != group[0][1] or size > LARGEST_GROUP):
            yield group
            group, size = [], 0
        group.append(piece)
        size += len(piece[2])
    if group:
        yield group


def _share_there(group: Sequence[Piece], duplicates: Mapping[int, Duplicate], repeats: RepeatedParagraphs) -> float:
    """How much of a file earlier ones have: whole pieces, and long paragraphs of others."""
    left, first = 0, group[0][0]
    for number, _, piece in group:
        copy = duplicates.get(number)
        if copy is None:
            left += sum(map(len, repeats.without(piece.split("\n"))))
        elif copy.of >= first:  # of its own file
            left += len(piece)
    return 1 - left / max(1, sum(len(piece) for _, _, piece in group))
