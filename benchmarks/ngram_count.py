"""Counting n-grams: gpt2zh.evaluation.ngrams beside nltk's Kneser-Ney, on the shipped book.

    pip install nltk
    python benchmarks/ngram_count.py [--order 3] [--held_out 5000]
    python benchmarks/ngram_count.py --books DIR --megabytes 100          ours alone: time and memory on a large text

Seconds to count and to judge the last documents, and bits per character. nltk is Python dictionaries, with one discount (0.1) for
all; ours is numpy, with Chen and Goodman's three. kenlm, the usual tool, is not compared: what `pip install kenlm` brings only reads
models; its lmplz, which counts, is built apart and wants Boost. A large text is the books over and over, with Han exchanged for
others about as frequent, so that no n-gram of it repeats more than a book's do; its last 100,000 characters are judged.
"""

import argparse
import itertools
import json
import math
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.large_corpus import in_other_han
from benchmarks.peers.launch import ROOT, RUSAGE_UNIT, machine
from gpt2zh.evaluation.ngrams import ngram_nats
from gpt2zh.shards.format import TokenStream
from gpt2zh.text.corpus import Corpus

JUDGED = 100_000  # characters


def with_nltk(train: list[int], held_out: list[int], order: int) -> float:
    """Nats of `held_out` after its first id."""
    from nltk.lm import KneserNeyInterpolated
    from nltk.util import everygrams

    model = KneserNeyInterpolated(order)
    words, judged = list(map(str, train)), list(map(str, held_out))
    model.fit([everygrams(words, max_len=order)], vocabulary_text=words + judged)
    contexts = ((judged[max(0, at - order + 1) : at], judged[at]) for at in range(1, len(judged)))
    return -math.log(2) * sum(model.logscore(word, context) for context, word in contexts)


def with_ours(train: list[int], held_out: list[int], order: int, vocab_size: int) -> float:
    """The same."""
    streams = (TokenStream([np.array(ids, dtype=np.uint16)], vocab_size) for ids in (train, held_out))
    return ngram_nats(*streams, vocab_size, order)[order - 1]


def large(books: Path, megabytes: float) -> tuple[np.ndarray, int]:
    """Ids of so much text (in UTF-8), each copy of the books in other Han, and the number of different ones."""
    text = "\n".join(Corpus(books))
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
    different = np.unique(codes)
    copies = itertools.islice(in_other_han(codes), math.ceil(megabytes * 1e6 / len(text.encode())))
    return np.concatenate([np.searchsorted(different, copy).astype(np.uint16) for copy in copies]), len(different)


def time_large(books: Path, megabytes: float, order: int) -> None:
    """Print how long ours takes on a large text, and its memory at the peak."""
    ids, vocab_size = large(books, megabytes)
    streams = [TokenStream([part], vocab_size) for part in (ids[:-JUDGED], ids[-JUDGED:])]
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    bits = ngram_nats(streams[0], streams[1], vocab_size, order)[order - 1] / math.log(2) / (JUDGED - 1)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{len(ids):,} characters ({megabytes:g} MB), order {order}: {seconds:.1f} s, {bits:.3f} bits per character; "
        f"{after * RUSAGE_UNIT / 1e6:.0f} MB at the peak, {before * RUSAGE_UNIT / 1e6:.0f} before; {machine()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--held_out", type=int, default=5000, help="characters")
    parser.add_argument("--books", type=Path, help="folder of books, for --megabytes")
    parser.add_argument("--megabytes", type=float, default=100)
    flags = parser.parse_args()
    if flags.books:
        time_large(flags.books, flags.megabytes, flags.order)
        return
    text = "\n".join(json.loads((ROOT / "data" / "example.json").read_text(encoding="utf-8")))
    numbers = {character: number for number, character in enumerate(sorted(set(text)))}
    ids = [numbers[character] for character in text]
    train, held_out = ids[: -flags.held_out], ids[-flags.held_out :]
    print(f"{len(train):,} characters counted, {flags.held_out:,} judged, order {flags.order}; {machine()}")
    print("| | seconds | bits per character |\n|---|---|---|")
    for name, count in (
        ("ours", lambda: with_ours(train, held_out, flags.order, len(numbers))),
        ("nltk", lambda: with_nltk(train, held_out, flags.order)),
    ):
        began = time.perf_counter()
        nats = count()
        print(f"| {name} | {time.perf_counter() - began:.2f} | {nats / math.log(2) / (flags.held_out - 1):.3f} |")


if __name__ == "__main__":
    main()
