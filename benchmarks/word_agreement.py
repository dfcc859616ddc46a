"""How far the word tokenizer cuts text as thulac does, and how fast each is (thulac itself: segmentation_speed.py).

    python benchmarks/word_agreement.py [corpus.json …]

A vocabulary is made with thulac from 3/4 of the lines (every fourth line is held out). Boundaries of the held-out lines are compared:
precision, recall and F1 of word ends, once with a vocabulary that holds the held-out words too, once without.
"""

import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpt2zh.text.corpus import Corpus
from tokenizations.pipelines import build_words
from tokenizations.vocabulary import CONTROL_TOKENS, SPACE
from tokenizations.words import load_segmenter


def word_ends(words: list[str]) -> set[int]:
    ends, end = set(), 0
    for word in words:
        end += len(word)
        ends.add(end)
    return ends


def main() -> None:
    paths = [Path(name) for name in sys.argv[1:]] or [ROOT / "data" / "example.json"]
    normalizer = build_words(CONTROL_TOKENS).normalizer
    splitter = build_words(CONTROL_TOKENS).pre_tokenizer
    lines = [
        normalizer.normalize_str(line)
        for path in paths
        for document in Corpus(path)
        for line in document.split("\n")
        if line
    ]
    cut = load_segmenter("thulac")
    start = time.perf_counter()
    by_thulac = [[piece for word in words for piece, _ in splitter.pre_tokenize_str(word)] for words in cut(lines)]
    thulac_seconds = time.perf_counter() - start
    held_out = range(0, len(lines), 4)
    rest = [index for index in range(len(lines)) if index % 4]
    for name, sources in (("held-out words in the vocabulary", range(len(lines))), ("held-out words unseen", rest)):
        counts = Counter(word for index in sources for word in by_thulac[index])
        known = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
        characters = sorted(set("".join(lines)) - set(known))
        pipeline = build_words(
            [
                *CONTROL_TOKENS,
                SPACE,
                *(word for word in known if word not in ("\n", " ")),
                *(c for c in characters if c != " "),
            ]
        )
        both = ours = theirs = 0
        for index in held_out:
            a, b = word_ends(pipeline.encode(lines[index]).tokens), word_ends(by_thulac[index])
            both, ours, theirs = both + len(a & b), ours + len(a), theirs + len(b)
        precision, recall = both / ours, both / theirs
        print(
            f"{name}: precision {precision:.4f}  recall {recall:.4f}  F1 {2 * precision * recall / (precision + recall):.4f}"
        )
    n_characters = sum(map(len, lines))
    start = time.perf_counter()
    pipeline.encode_batch_fast(lines)
    seconds = time.perf_counter() - start
    print(
        f"thulac's words (tokenizations/thulac_decoder.py), one core: {n_characters / thulac_seconds / 1e3:.0f} k characters/s; the tokenizer, all cores: {n_characters / seconds / 1e3:.0f} k characters/s ({thulac_seconds / seconds:.0f} x)"
    )


if __name__ == "__main__":
    main()
