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
from gpt2zh.shards import ShardSettings

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
    lengths, hashes = array("q"), array("Q")
    for document in tqdm(documents, desc="read", unit="doc", unit_scale=True, mininterval=0.5, disable=None):
        lengths.append(len(document))
        if settings.val_ratio > 0:
            digest = hashlib.blake2b(document.encode(), digest_size=16).digest()
            hashes.append(int.from_bytes(digest[:8], "big"))
    n_characters = np.array(lengths, dtype=np.int64)
    kept = n_characters >= settings.min_length
    if not kept.any():
        raise UserError(
            f"{len(kept)} 篇文章全部短于 --min_length {settings.min_length} 字（最长的 {n_characters.max()} 字），没有可训练的文字。请减小 --min_length，例如 1。",
            f"all {len(kept)} documents are shorter than --min_length {settings.min_length} characters (the longest has {n_characters.max()}): nothing to train on. Lower --min_length, to 1 for instance.",
        )
    piece = np.full(len(kept), LEFT_OUT, dtype=np.int32)
    if settings.val_ratio > 0:
        held = hold_out(n_characters[kept], np.array(hashes, dtype=np.uint64)[kept], settings.val_ratio)
    else:
        held = np.zeros(kept.sum(), dtype=bool)
    piece[np.flatnonzero(kept)[held]] = VALIDATION
    train = np.flatnonzero(kept)[~held]
    piece[train] = cut(n_characters[train], settings.num_pieces)
    return Plan(n_characters, piece)


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
