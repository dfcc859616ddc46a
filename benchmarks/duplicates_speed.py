"""Finding near duplicates: gpt2zh.cleaning.duplicates against datasketch, the same 4-grams, 128 permutations, threshold 0.8.

    python benchmarks/duplicates_speed.py [book.json …]

The books are cut into pieces of 1,000 characters; a copy of every third piece, with 0.5 to 5 % of its characters changed,
is put behind them. Interleaved runs in one process, medians. datasketch runs twice: as its manual says (sha1 of every
4-gram in UTF-8, its own bands), and given our 4-gram hashes and our 16 bands of 8, which leaves its MinHash and index. Both programs take
a pair when the whole signatures say 0.8. Recall: planted copies found, of all whose true similarity is 0.8 or more, and by
share of characters changed. False: dropped pieces less than 0.75 alike (two standard errors) to the piece they are said
to repeat; every pair is checked against the true sets.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpt2zh.cleaning.duplicates import SLOTS, DuplicateFinder, ngrams
from gpt2zh.text.corpus import Corpus

try:
    from datasketch import MinHash, MinHashLSH
except ImportError:
    MinHash = None

PIECE = 1000
THRESHOLD = 0.8
RUNS = 3
RATES = (0.005, 0.01, 0.02, 0.03, 0.05)


def changed(text: str, rate: float, rng: random.Random) -> str:
    """Replace, delete or insert at `rate` of the places."""
    characters = list(text)
    for place in rng.sample(range(len(text)), round(rate * len(text))):
        other = rng.choice(text)
        characters[place] = rng.choice(["", other, characters[place] + other])
    return "".join(characters)


def planted_set(paths: list[Path]) -> tuple[list[str], dict[int, tuple[int, float]]]:
    """The pieces with the copies behind them, and copy -> (original, share of characters changed)."""
    rng = random.Random(1)
    pieces = [
        document[start : start + PIECE]
        for path in paths
        for document in Corpus(path)
        for start in range(0, len(document), PIECE)
        if len(document) - start >= PIECE // 2
    ]
    copies = {}
    for copy, original in enumerate(range(0, len(pieces), 3), len(pieces)):
        rate = RATES[copy % len(RATES)]
        copies[copy] = (original, rate)
        pieces.append(changed(pieces[original], rate, rng))
    return pieces, copies


def ours(pieces: list[str]) -> dict[int, int]:
    finder = DuplicateFinder(THRESHOLD)
    for piece in pieces:
        finder.add(piece)
    return {number: duplicate.of for number, duplicate in finder.find().items()}


def utf8_grams(piece: str) -> set[bytes]:
    letters = "".join(filter(str.isalnum, piece.lower()))
    return {letters[place : place + 4].encode() for place in range(len(letters) - 3)}


def integer_grams(piece: str) -> list[int]:
    return (np.unique(ngrams(piece)) >> np.uint64(32)).tolist()


def theirs(
    pieces: list[str], grams: Callable, bands: tuple[int, int] | None = None, **options: Callable
) -> dict[int, int]:
    index = MinHashLSH(threshold=THRESHOLD, num_perm=SLOTS, params=bands)
    kept: dict[int, MinHash] = {}
    found = {}
    for number, piece in enumerate(pieces):
        minhash = MinHash(num_perm=SLOTS, **options)
        minhash.update_batch(grams(piece))
        alike = [(minhash.jaccard(kept[other]), -other) for other in index.query(minhash)]
        if alike and max(alike)[0] >= THRESHOLD:
            found[number] = -max(alike)[1]
        else:
            kept[number] = minhash
            index.insert(number, minhash)
    return found


def similarity(first: str, second: str) -> float:
    """The true Jaccard similarity of the two sets of 4-grams."""
    a, b = np.unique(ngrams(first)), np.unique(ngrams(second))
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def main() -> None:
    paths = [Path(name) for name in sys.argv[1:]] or [ROOT / "data" / "example.json"]
    pieces, copies = planted_set(paths)
    megabytes = sum(len(piece.encode()) for piece in pieces) / 1e6
    truly = {copy: similarity(pieces[copy], pieces[original]) for copy, (original, _) in copies.items()}
    print(f"{len(pieces)} pieces, {megabytes:.1f} MB, {len(copies)} planted copies")
    finders = {"ours": ours}
    if MinHash is None:
        print("datasketch is not installed: pip install datasketch")
    else:
        finders["datasketch"] = lambda pieces: theirs(pieces, utf8_grams)
        finders["datasketch, fed by us"] = lambda pieces: theirs(pieces, integer_grams, (16, 8), hashfunc=int)
    seconds: dict[str, list[float]] = {name: [] for name in finders}
    results = {}
    ours(pieces[:10])  # loads rensa and the table of letters
    for _ in range(RUNS):
        for name, find in finders.items():
            start = time.perf_counter()
            results[name] = find(pieces)
            seconds[name].append(time.perf_counter() - start)
    for name, found in results.items():
        took = statistics.median(seconds[name])
        alike = [copy for copy in copies if truly[copy] >= THRESHOLD]
        false = sum(similarity(pieces[number], pieces[other]) < 0.75 for number, other in found.items())
        print(
            f"{name:24} {took:7.2f} s  {megabytes / took:6.1f} MB/s  {took / statistics.median(seconds['ours']):5.1f} x ours"
        )
        print(
            f"    dropped {len(found)}, false {false}; recall {sum(copy in found for copy in alike) / len(alike):.4f} of {len(alike)}"
        )
        for rate in RATES:
            group = [copy for copy, (_, share) in copies.items() if share == rate]
            mean = statistics.mean(truly[copy] for copy in group)
            recall = sum(copy in found for copy in group) / len(group)
            print(f"    {100 * rate:3.1f} % changed: similarity {mean:.2f}, found {recall:.3f} of {len(group)}")


if __name__ == "__main__":
    main()
