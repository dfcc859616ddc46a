"""Which document goes where: validation, a train piece, or nowhere. The first pass over a corpus that may exceed memory.

In: documents; 16 bytes of memory each. Out: a `Plan`. Refuses: documents that are all too short.
"""

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from gpt2zh.errors import UserError
from gpt2zh.shards.format import ShardSettings

LARGEST_SINGLE_HOLDOUT = 0.1  # a lone held-out document may take this share of the characters at most
VALIDATION = -1  # the number of the validation shard among the pieces
LEFT_OUT = -2


@dataclass(frozen=True)
class Plan:
    """Where every document goes: `piece` holds the number of its train piece, VALIDATION or LEFT_OUT."""

    lengths: np.ndarray  # (n,), int64, characters
    piece: np.ndarray  # (n,), int32

    def documents(self, where: np.ndarray) -> int:
        return int(where.sum())

    def characters(self, where: np.ndarray) -> int:
        return int(self.lengths[where].sum())


def make_plan(documents: Iterable[str], settings: ShardSettings) -> Plan:
    """The first pass.

    Raises:
        UserError: no document is left after `min_length`.
    """
    return assign(*measure(documents), settings)


def measure(documents: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Characters, (n,), int64, and hash, (n,), uint64, of every document."""
    lengths, hashes = array("q"), array("Q")
    for document in tqdm(documents, desc="read", unit="doc", unit_scale=True, mininterval=0.5, disable=None):
        lengths.append(len(document))
        digest = hashlib.blake2b(document.encode(), digest_size=16).digest()
        hashes.append(int.from_bytes(digest[:8], "big"))
    return np.array(lengths, dtype=np.int64), np.array(hashes, dtype=np.uint64)


def assign(
    lengths: np.ndarray, hashes: np.ndarray, settings: ShardSettings, validates: np.ndarray | None = None
) -> Plan:
    """The plan for documents that are known by length and hash.

    Args:
        lengths: characters, (n,), int64.
        hashes: of the documents, (n,); not read where none is to be chosen for validation.
        validates: which documents validate, (n,), bool, where that is decided already.

    Raises:
        UserError: no document is left after `min_length`.
    """
    to_train = lengths if validates is None else lengths[~validates]
    if not (to_train >= settings.min_length).any():
        raise UserError(
            f"{len(to_train)} 篇文章全部短于 --min_length {settings.min_length} 字（最长的 {to_train.max()} 字），没有可训练的文字。请减小 --min_length，例如 1。",
            f"all {len(to_train)} documents are shorter than --min_length {settings.min_length} characters (the longest has {to_train.max()}): nothing to train on. Lower --min_length, to 1 for instance.",
        )
    kept = lengths >= settings.min_length
    if validates is None:
        validates = held_out(lengths, hashes, settings.min_length, settings.val_ratio)
    piece = np.full(len(lengths), LEFT_OUT, dtype=np.int32)
    piece[kept & validates] = VALIDATION
    train = np.flatnonzero(kept & ~validates)
    piece[train] = cut(lengths[train], settings.num_pieces)
    return Plan(lengths, piece)


def held_out(lengths: np.ndarray, hashes: np.ndarray, min_length: int, val_ratio: float) -> np.ndarray:
    """Which documents of a corpus validate, (n,), bool: `hold_out` of those that are long enough."""
    kept = lengths >= min_length
    validates = np.zeros(len(lengths), dtype=bool)
    if val_ratio > 0 and kept.any():
        validates[kept] = hold_out(lengths[kept], hashes[kept], val_ratio)
    return validates


def hold_out(lengths: np.ndarray, hashes: np.ndarray, val_ratio: float) -> np.ndarray:
    """Which documents validate: whole ones, chosen by the hash of their text, up to `val_ratio` of all characters.

    The choice does not depend on the documents' order, and adding one moves few others. Where every document is longer
    than that share, the shortest is held out, unless it has more than a tenth of the characters: then none is.

    Args:
        lengths: characters, (n,).
        hashes: of the texts, (n,).

    Returns:
        (n,), bool.
    """
    total = int(lengths.sum())
    budget = val_ratio * total
    chosen = np.zeros(len(lengths), dtype=bool)
    by_hash = np.argsort(hashes, kind="stable")
    shortest = by_hash[np.argmin(lengths[by_hash])]
    for index in by_hash.tolist():
        if lengths[index] <= budget:
            chosen[index] = True
            budget -= lengths[index]
        if budget < lengths[shortest]:
            break
    if not chosen.any() and len(lengths) > 1:
        chosen[shortest] = lengths[shortest] <= LARGEST_SINGLE_HOLDOUT * total
    return chosen


def cut(lengths: np.ndarray, num_pieces: int) -> np.ndarray:
    """The piece of every document: runs of whole documents with about equally many characters; some may be empty."""
    ends = np.cumsum(lengths)
    borders = ends[-1] * np.arange(1, num_pieces) / num_pieces if len(ends) else np.empty(0)
    return np.searchsorted(borders, ends, side="left")
