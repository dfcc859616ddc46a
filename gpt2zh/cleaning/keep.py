"""Prepared pieces -> the corpus: those that are long enough and not copies, without the paragraphs of earlier ones.

In: the pieces in order, which of them are copies and which validate. Out: the corpus' files, and the report's counts.
Refuses: pieces when nothing of them is left.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gpt2zh.cleaning.duplicates import Duplicate, RepeatedParagraphs
from gpt2zh.cleaning.report import Report
from gpt2zh.errors import UserError
from gpt2zh.text.writer import CorpusWriter, HeldPieces

LEAST_KEPT = 0.5  # of a piece; where repeated paragraphs leave less, the rest is shreds


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
        for number, (source, piece) in enumerate(pieces):
            copy = duplicates.get(number)
            if copy and copy.of not in gone:
                report.drop_duplicate(source, piece, copy)
                continue
            lines = piece.split("\n")
            kept = repeats.without(lines)
            text = "\n".join(kept).strip()
            if len(text) < LEAST_KEPT * len(piece):
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
