"""Documents and paragraphs that a corpus holds twice: which to drop.

In: documents or paragraphs, streamed in order. Out: for each later copy, the earlier one that is kept; the paragraphs that were not there before.
Refuses: a threshold outside 0.5 .. 1; a Python without rensa.

How alike two documents are is how alike their sets of 4-grams of letters and digits are (Jaccard; blanks, punctuation
and case do not count). Four characters, because 200,000 characters of a Chinese author share at most 3 % of their
4-grams with his next 200,000, those of Shakespeare half, and a changed character spoils only four: a copy with 2 % of
its characters changed is 0.85 alike, with 3 % 0.79, with 5 % 0.69. A chapter inside its book scores its share of the
book, so it is not a duplicate.

Similarity is estimated from MinHash signatures of 128 bytes (rensa's 128 slots, one byte of each): standard error 0.035
at 0.8. A document costs 140 bytes, a short one 8, and one that shares a band with another 200 more (400 below a
threshold of 0.8) while `find` runs: 3 million documents, a tenth of them copies, take 0.66 GB. While its signature is
made, a document takes 30 bytes a character. A paragraph costs 8 bytes, a repeated one 100.
"""

import functools
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from types import ModuleType
from typing import Literal

import numpy as np

from gpt2zh.errors import UserError, say

SLOTS = 128
SHORTEST = 50  # letters; one change in fewer spoils a sixth of the 4-grams, so only the whole text can tell
CHANCE = 1 / 256  # two unlike slots agree in one byte
SEED = 1
ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))
DEFAULT_THRESHOLD = 0.8
LOWEST_THRESHOLD = 0.5  # below it the bands miss more than an eighth of the pairs


@dataclass(frozen=True)
class Duplicate:
    """A document to drop: the kept earlier document that it repeats, and how alike they are."""

    of: int
    kind: Literal["exact", "near"]
    similarity: float


def text_hash(text: str) -> bytes:
    """Eight bytes; among ten million different texts two are equal with a chance of 3 in a million."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


@functools.cache
def _is_letter() -> np.ndarray:
    return np.fromiter(map(str.isalnum, map(chr, range(0x110000))), bool, 0x110000)


def ngrams(text: str) -> np.ndarray:
    """A 64-bit hash of every 4-gram of the letters and digits of `text`, in order."""
    codes = np.frombuffer(text.lower().encode("utf-32-le", "surrogatepass"), np.uint32)
    letters = codes[_is_letter()[codes]].astype(np.uint64)
    pairs = letters[:-1] << np.uint64(21) | letters[1:]
    hashes = pairs[:-2] * ODD[0]
    hashes += pairs[2:]
    hashes ^= hashes >> np.uint64(32)
    hashes *= ODD[1]
    hashes ^= hashes >> np.uint64(32)
    return hashes


def signature(text: str) -> bytes:
    """What `DuplicateFinder` needs to know of a text: its hash and, unless it is short, its MinHash, 8 or 136 bytes.

    A pure function, the same in every process and on every machine.
    """
    grams = ngrams(text)
    if len(grams) + 3 < SHORTEST:
        return text_hash(text)
    rows = np.array([0, len(grams)], np.uint64)
    matrix = _rensa().RMinHash.digest_matrix_from_flat_token_hashes(grams, rows, SLOTS, SEED)
    slots = np.array(matrix.to_rows()[0], np.uint32)
    # The minimum is a small number: a byte of its product is not.
    return text_hash(text) + (slots * np.uint32(0x9E3779B1) >> np.uint32(24)).astype(np.uint8).tobytes()


def estimate(slots: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The Jaccard similarity that rows of slots say, without what bytes agree by chance."""
    return (np.mean(slots == other, axis=-1) - CHANCE) / (1 - CHANCE)


@functools.cache
def _rensa() -> ModuleType:
    try:
        import rensa

        rensa.RMinHash.digest_matrix_from_flat_token_hashes  # noqa: B018  (rensa 0.4 has no such thing)
    except (ImportError, AttributeError):
        raise UserError(
            '查找相似文章要用 rensa：pip install "rensa>=0.5"。',
            'finding near duplicates needs rensa: pip install "rensa>=0.5".',
        ) from None
    return rensa


def near_threshold(asked: float | None) -> float | None:
    """The similarity from which on documents are duplicates; None where only equal ones are looked for.

    Args:
        asked: what the user wants: 0 for equal documents only, None for what the installed packages allow.
    """
    if asked == 0:
        return None
    try:
        import rensa  # noqa: F401
    except ImportError:
        if asked is not None:
            raise UserError(
                f"--near_duplicates {asked} 需要 rensa。请运行 pip install rensa；或给 0，只查完全相同的。",
                f"--near_duplicates {asked} needs rensa. Run pip install rensa; or give 0, to look for equal documents only.",
            ) from None
        say(
            "没有安装 rensa，只查完全相同的文章；pip install rensa 可查近似的。",
            "rensa is not installed: only equal documents are looked for; pip install rensa finds similar ones too.",
        )
        return None
    return asked or DEFAULT_THRESHOLD


class DuplicateFinder:
    """Exact and near duplicates among documents, which are numbered from 0 in the order of adding."""

    def __init__(self, threshold: float = DEFAULT_THRESHOLD) -> None:
        if not LOWEST_THRESHOLD <= threshold <= 1:
            raise UserError(
                f"相似度阈值应在 {LOWEST_THRESHOLD} 到 1 之间，现在是 {threshold}。",
                f"the similarity threshold must lie between {LOWEST_THRESHOLD} and 1; it is {threshold}.",
            )
        self.threshold = threshold
        self._hashes = bytearray()  # 8 bytes a document
        self._signed = array("I")  # the documents that have a MinHash …
        self._slots = bytearray()  # … and these, 128 bytes each

    def __len__(self) -> int:
        return len(self._hashes) // 8

    def add(self, text: str) -> None:
        """Add the next document."""
        self.add_signature(signature(text))

    def add_signature(self, signature: bytes) -> None:
        """Add the next document by its `signature`, which another process may have made."""
        if len(signature) > 8:
            self._signed.append(len(self))
            self._slots += signature[8:]
        self._hashes += signature[:8]

    def hashes(self) -> np.ndarray:
        """The text hash of every document, (n,), uint64."""
        return np.frombuffer(self._hashes, np.uint64)

    def find(self) -> dict[int, Duplicate]:
        """The documents to drop, in order, each with a kept earlier document that it repeats.

        A document is dropped if a kept earlier one has the same text or, by the signatures, at least the threshold's
        similarity; the most similar is named, of equals the first.
        """
        first = _first_equal(self.hashes())
        near = self._near(first)
        found = {}
        for number in sorted({*near, *np.flatnonzero(first != np.arange(len(first))).tolist()}):
            original = int(first[number])
            # A copy of a dropped document repeats what that one repeats.
            found[number] = near[original] if original in near else Duplicate(original, "exact", 1.0)
        return found

    def _near(self, first: np.ndarray) -> dict[int, Duplicate]:
        """Near duplicates among the documents that are not copies of an earlier one."""
        slots = np.frombuffer(self._slots, np.uint8).reshape(-1, SLOTS)
        signed = np.frombuffer(self._signed, np.uint32)
        # Bands of 8 slots find 95 of 100 pairs that are 0.8 alike, bands of 4 99 of 100 that are 0.6 alike.
        bands = slots.view(np.uint64 if self.threshold >= 0.8 else np.uint32)
        rows = _sharing_a_band(bands, np.flatnonzero(first[signed] == signed))
        kept = _KeptRows(bands, rows)
        found = {}
        for position, row in enumerate(rows.tolist()):
            candidates = kept.sharing_a_band(position)
            if len(candidates):
                similarity = estimate(slots[candidates], slots[row])
                best = int(np.argmax(similarity))
                if similarity[best] >= self.threshold:
                    found[int(signed[row])] = Duplicate(int(signed[candidates[best]]), "near", float(similarity[best]))
                    continue
            kept.add(position)
        return found


def _first_equal(hashes: np.ndarray) -> np.ndarray:
    """For each place the first place that holds the same hash."""
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    return first[group]


def _sharing_a_band(bands: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of `rows`, in order, that agree with another of them in a whole band: most documents drop out here."""
    shares = np.zeros(len(rows), bool)
    for band in bands.T:
        order = np.argsort(band[rows])
        values = band[rows[order]]
        equal = values[1:] == values[:-1]
        shares[order[1:][equal]] = True
        shares[order[:-1][equal]] = True
    return rows[shares]


class _KeptRows:
    """The rows kept so far, by the value of each band: a hash table whose places are all counted beforehand."""

    def __init__(self, bands: np.ndarray, rows: np.ndarray) -> None:
        self._rows = rows
        self._bucket = np.empty((len(rows), bands.shape[1]), np.uint32)  # of each row and band
        sizes = [np.zeros(0, np.int64)]
        n_buckets = 0
        for number, band in enumerate(bands.T):
            _, bucket, size = np.unique(band[rows], return_inverse=True, return_counts=True)
            self._bucket[:, number] = bucket + n_buckets
            n_buckets += len(size)
            sizes.append(size)
        ends = np.cumsum(np.concatenate(sizes))
        self._start = np.concatenate([[0], ends]).astype(np.uint32)
        self._end = self._start[:-1].copy()  # behind the last row kept in the bucket
        self._members = np.empty(self._bucket.size, np.uint32)

    def add(self, position: int) -> None:
        """Keep the row at `position`."""
        buckets = self._bucket[position]
        self._members[self._end[buckets]] = self._rows[position]
        self._end[buckets] += 1

    def sharing_a_band(self, position: int) -> np.ndarray:
        """The kept rows that agree in a band with the row at `position`, in order."""
        buckets = self._bucket[position]
        places = zip(self._start[buckets].tolist(), self._end[buckets].tolist())
        members = [self._members[start:end] for start, end in places if start < end]
        return np.unique(np.concatenate(members)) if members else np.zeros(0, np.uint32)


class ParagraphCounter:
    """The first pass over the paragraphs of a corpus: which occur more than once."""

    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, paragraphs: Sequence[str]) -> None:
        """Count the paragraphs of a document; blanks at their ends do not matter."""
        self.add_numbers(paragraph_numbers(paragraphs))

    def add_numbers(self, numbers: bytes) -> None:
        """Count the paragraphs of a document by their `paragraph_numbers`, which another process may have made."""
        self._hashes.frombytes(numbers)

    def repeated(self) -> set[int]:
        """The numbers that were counted more than once."""
        hashes = np.sort(np.frombuffer(self._hashes, np.uint64))
        return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


class RepeatedParagraphs:
    """The second pass: paragraphs that an earlier document of the corpus has: site advertisements, notices, doubled stories.

    What a document repeats of itself, a refrain, is its own. A paragraph shorter than `min_characters` repeats by nature
    ("他笑了。"): it goes only if it, too, was there before and stands among longer repeats, as the dialogue of a story told twice.

    Args:
        repeated: of `ParagraphCounter`.
    """

    def __init__(self, repeated: set[int], min_characters: int = 40) -> None:
        self.min_characters = min_characters
        self._repeated = repeated
        self._seen: set[int] = set()

    def without(self, paragraphs: Sequence[str]) -> list[str]:
        """The paragraphs of a document that no kept document before it has."""
        stripped = [paragraph.strip() for paragraph in paragraphs]
        again = [bool(text) and _number(text) in self._seen for text in stripped]
        is_long = [len(text) >= self.min_characters for text in stripped]
        goes = [repeated and long for repeated, long in zip(again, is_long)]
        repeats = [place for place, going in enumerate(goes) if going]
        for start, end in pairwise(repeats):
            if not any(is_long[start + 1 : end]):
                goes[start + 1 : end] = [again[place] or not stripped[place] for place in range(start + 1, end)]
        return [paragraph for paragraph, going in zip(paragraphs, goes) if not going]

    def keep(self, paragraphs: Sequence[str]) -> None:
        """Remember a document that is kept."""
        self._seen.update(
            number
            for paragraph in paragraphs
            if (text := paragraph.strip()) and (number := _number(text)) in self._repeated
        )


def paragraph_numbers(paragraphs: Sequence[str]) -> bytes:
    """What `ParagraphCounter` needs to know of the paragraphs of a document: 8 bytes for each that is not blank."""
    return array("Q", (_number(stripped) for paragraph in paragraphs if (stripped := paragraph.strip()))).tobytes()


def _number(text: str) -> int:
    return int.from_bytes(text_hash(text), "little")
