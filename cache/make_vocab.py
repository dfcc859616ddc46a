"""Corpus -> vocabulary file. `python cache/make_vocab.py --type char --raw_data_path data/train.json`

1 read the corpus  2 count characters, or the words of a segmenter, on all cores  3 write, most frequent first.
Every single character of the corpus is in a word vocabulary too (as far as --vocab_size allows), so that an unknown
word is read as its characters and not as [UNK].
"""

import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path

CACHE = Path(__file__).resolve().parent
sys.path.insert(0, str(CACHE.parent))

from tqdm import tqdm

from gpt2zh.corpus import Corpus, read_corpus
from gpt2zh.errors import UserError, run_script, say
from gpt2zh.flags import make_vocab_flags
from gpt2zh.shard_builder import groups
from tokenizations.pipelines import build_characters, build_verbatim, build_words
from tokenizations.vocabulary import CONTINUATION, CONTROL_TOKENS, SPACE, fill, write_vocabulary
from tokenizations.words import load_segmenter

MOST_WORDS = 50000  # lines of a word vocabulary where --vocab_size is not given
CHUNK = 50_000  # characters a task of a worker
MOST_WORKERS = 61  # Windows allows no more; thulac takes 250 MB in each


def main() -> None:
    flags = make_vocab_flags()
    path = flags.raw_data_path
    if not path.exists() and not path.is_absolute() and (CACHE / path).exists():
        path = CACHE / path
    corpus = read_corpus(path)
    say(
        f"语料 {path}：{len(corpus.documents)} 篇，{corpus.n_characters} 字",
        f"corpus: {len(corpus.documents)} documents, {corpus.n_characters} characters",
    )
    if flags.type == "char":
        entries = verbatim_entries(corpus) if flags.verbatim else character_entries(corpus)
    else:
        entries = word_entries(corpus, flags.segmenter, flags.vocab_size or MOST_WORDS)
    if flags.vocab_size is not None:
        if len(entries) > flags.vocab_size:
            left_out = len(entries) - flags.vocab_size
            say(f"注意：最少见的 {left_out} 个字放不下。", f"note: the {left_out} rarest characters do not fit.")
        entries = fill(entries, flags.vocab_size)
    target = flags.vocab_file or CACHE / "vocab_processed.txt"
    write_vocabulary(target, entries)
    say(f"词表已写入 {target}：{len(entries)} 行", f"vocabulary written: {len(entries)} lines")


def by_frequency(counts: Counter[str]) -> list[str]:
    """Keys of `counts`, most frequent first, ties in code order, so that a corpus always gives the same file."""
    return [key for key, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def character_entries(corpus: Corpus) -> list[str]:
    """Control tokens, then characters; one that stands inside a Latin word or a kana run also as ##continuation."""
    pipeline = build_characters(CONTROL_TOKENS)
    counts: Counter[str] = Counter()
    for document in tqdm(corpus.documents, desc="char", unit="doc"):
        for word, _ in pipeline.pre_tokenizer.pre_tokenize_str(pipeline.normalizer.normalize_str(document)):
            counts[word[0]] += 1
            if len(word) > 1:
                counts.update(CONTINUATION + character for character in word[1:])
                # Either form of a letter comes with the other, so that no order of known letters is [UNK].
                counts.update(dict.fromkeys([*word[1:], CONTINUATION + word[0]], 0))
    del counts["\n"]
    return [*CONTROL_TOKENS, *by_frequency(counts)]


def verbatim_entries(corpus: Corpus) -> list[str]:
    """Control tokens, the blank, then every other character as it stands."""
    normalizer = build_verbatim(CONTROL_TOKENS).normalizer
    counts = Counter("".join(normalizer.normalize_str(document) for document in corpus.documents))
    for written_by_name in ("\n", " "):
        del counts[written_by_name]
    return [*CONTROL_TOKENS, SPACE, *by_frequency(counts)]


def word_entries(corpus: Corpus, segmenter: str, size: int) -> list[str]:
    """At most `size` entries: control tokens, the blank, the most frequent words, and all single characters."""
    words: Counter[str] = Counter()
    lines = (line for document in corpus.documents for line in document.split("\n"))
    chunks = list(groups(lines, CHUNK))
    load_segmenter(segmenter)  # a missing package is found here, not in a worker
    workers = min(os.cpu_count() or 1, len(chunks), MOST_WORKERS)
    with (
        ProcessPoolExecutor(workers, initializer=start_worker, initargs=(segmenter,)) as pool,
        tqdm(total=corpus.n_characters, desc=segmenter, unit="char", unit_scale=True) as bar,
    ):
        for chunk, counted in zip(chunks, pool.map(count_words, chunks)):
            words.update(counted)
            bar.update(sum(map(len, chunk)) + len(chunk))
    characters: Counter[str] = Counter()
    for word, n in words.items():
        for character in word:
            characters[character] += n
    for written_by_name in ("\n", " "):
        del words[written_by_name], characters[written_by_name]
    head = [*CONTROL_TOKENS, SPACE]
    needed = len(head) + len(characters)
    if size < needed:
        raise UserError(
            f"--vocab_size {size} 放不下：控制符 {len(head)} 个，单字 {len(characters)} 个。请至少给 {needed}。",
            f"--vocab_size {size} does not hold {len(head)} control tokens and {len(characters)} single characters. Give {needed} at least.",
        )
    ranked = by_frequency(words)
    longer = [word for word in ranked if len(word) > 1]
    kept = {*characters, *longer[: size - needed]}
    only_inside_words = [character for character in by_frequency(characters) if character not in words]
    return [*head, *(word for word in ranked if word in kept), *only_inside_words]


def start_worker(segmenter: str) -> None:
    """Load the segmenter and the tokenizer's own rules once a process."""
    global cut, pipeline
    cut = load_segmenter(segmenter)
    pipeline = build_words(CONTROL_TOKENS)


def count_words(lines: list[str]) -> Counter[str]:
    """Words of normalised lines, split further where the tokenizer always splits (punctuation, digits)."""
    words = Counter(chain.from_iterable(cut([pipeline.normalizer.normalize_str(line) for line in lines])))
    counts: Counter[str] = Counter()
    for word, n in words.items():
        for piece, _ in pipeline.pre_tokenizer.pre_tokenize_str(word):
            counts[piece] += n
    return counts


if __name__ == "__main__":
    run_script(main)
