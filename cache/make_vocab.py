"""Corpus -> vocabulary. `python cache/make_vocab.py --type char --raw_data_path data/train.json`

    char      every character                                     a text file, one entry a line
    word      the words of thulac or jieba, on all cores          a text file, one entry a line
    bpe       byte-pair encoding, UTF-8 bytes as the last resort  a tokenizer.json
    unigram   the most probable pieces, bytes likewise            a tokenizer.json

Most frequent first. Every single character of the corpus is in a word vocabulary too (as far as --vocab_size allows), so
that an unknown word is read as its characters and not as [UNK]. --patch_vocab puts what a vocabulary lacks into its free slots.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from pathlib import Path

CACHE = Path(__file__).resolve().parent
sys.path.insert(0, str(CACHE.parent))

import gpt2zh.needs  # noqa: F401

# isort: split

from tqdm import tqdm

from gpt2zh.errors import UserError, run_script, say
from gpt2zh.flags.make_vocab import make_vocab_flags
from gpt2zh.shards.plan import held_out, measure
from gpt2zh.system.files import write_text
from gpt2zh.system.workers import batches
from gpt2zh.text.corpus import Corpus
from tokenizations.entries import BATCH, by_frequency, character_entries, verbatim_entries, word_entries
from tokenizations.loading import load_tokenizer
from tokenizations.pipelines import build_characters
from tokenizations.subwords import learn_subwords
from tokenizations.vocabulary import (
    CONTINUATION,
    CONTROL_TOKENS,
    fill,
    put_in_slots,
    read_vocabulary,
    special_tokens,
    write_vocabulary,
)

MOST_WORDS = 50000  # lines of a word vocabulary where --vocab_size is not given
SUBWORDS = 32000  # entries of a bpe or unigram vocabulary where it is not given
MOST_LISTED = 20  # entries that found no slot


def main(argv: Sequence[str] | None = None) -> None:
    flags = make_vocab_flags(argv)
    path = flags.raw_data_path
    if not path.exists() and not path.is_absolute() and (CACHE / path).exists():
        path = CACHE / path
    target = flags.vocab_file or CACHE / ("vocab_processed.json" if flags.of_subwords else "vocab_processed.txt")
    special = flags.special_tokens
    corpus = Corpus(path)
    check(target, corpus, special)
    lengths, hashes = measure(corpus)
    n_documents, n_characters = len(lengths), int(lengths.sum())
    for note in corpus.notes():
        say(*note)
    say(
        f"语料 {path}：{n_documents} 篇，{n_characters} 字",
        f"corpus {path}: {n_documents} documents, {n_characters} characters",
    )
    if flags.of_subwords:
        learned = ~held_out(lengths, hashes, flags.split.min_length, flags.split.val_ratio)
        texts = sample(compress(corpus, learned), int(lengths[learned].sum()), flags.sample_characters)
        pipeline = learn_subwords(flags.type, texts, flags.vocab_size or SUBWORDS, flags.character_coverage, special)
        write_text(target, pipeline.to_str())
        say(
            f"词表已写入 {target}：{pipeline.get_vocab_size()} 个词条",
            f"vocabulary written to {target}: {pipeline.get_vocab_size()} entries",
        )
        return
    if flags.patch_vocab is not None:
        entries = patched_entries(flags.patch_vocab, corpus, special)
    else:
        if flags.type == "word":
            room = (flags.vocab_size or MOST_WORDS) - len(special)
            found = word_entries(corpus, n_characters, flags.segmenter, room)
        else:
            found = verbatim_entries(corpus) if flags.verbatim else character_entries(corpus)
        entries = list(dict.fromkeys([*CONTROL_TOKENS, *special, *found]))
    if flags.vocab_size is not None:
        if len(entries) > flags.vocab_size:
            left_out = len(entries) - flags.vocab_size
            say(f"注意：最少见的 {left_out} 个字放不下。", f"note: the {left_out} rarest characters do not fit.")
        entries = fill(entries, flags.vocab_size)
    write_vocabulary(target, entries)
    say(f"词表已写入 {target}：{len(entries)} 行", f"vocabulary written to {target}: {len(entries)} lines")


def check(target: Path, corpus: Corpus, special: Sequence[str]) -> None:
    """Refuse to write over the corpus, and special tokens that have a meaning already."""
    if target.resolve() in {file.resolve() for file in corpus.files}:
        raise UserError(
            f"--vocab_file {target} 是语料本身，会被写掉。请换一个名字。",
            f"--vocab_file {target} is the corpus itself and would be overwritten. Give another name.",
        )
    taken = [token for token in special if token not in special_tokens(special)]
    if taken:
        raise UserError(
            f"--special_tokens {' '.join(taken)} 已有别的意思，请换名字。",
            f"--special_tokens {' '.join(taken)} already have another meaning. Give other names.",
        )


def patched_entries(path: Path, corpus: Corpus, special: Sequence[str]) -> list[str]:
    """The vocabulary of `path` with special tokens and the characters that it lacks in its free slots; no id moves."""
    entries = read_vocabulary(path)
    tokenizer = load_tokenizer(path)
    missing: Counter[str] = Counter()
    for batch in batches(tqdm(corpus, desc="read", unit="doc", unit_scale=True), len, BATCH):
        missing += tokenizer.missing_characters(batch)
    splits = build_characters(CONTROL_TOKENS)
    new = list(special)
    for character in by_frequency(missing):
        written = splits.normalizer.normalize_str(character)
        stands_inside = len(splits.pre_tokenizer.pre_tokenize_str("a" + written)) == 1
        new += [written, CONTINUATION + written] if stands_inside else [written]
    patched, without_slot = put_in_slots(entries, [entry for entry in new if entry.strip()])
    n_put = sum(old != now for old, now in zip(entries, patched))
    say(
        f"{path} 的空位放进了 {n_put} 个；没有空位的还有 {len(without_slot)} 个" + listed("：", without_slot),
        f"{n_put} entries were put into free slots of {path}; {len(without_slot)} found none"
        + listed(": ", without_slot),
    )
    unplaced = [token for token in special if token in without_slot]
    if unplaced:
        raise UserError(
            f"{path} 没有空位放 {' '.join(unplaced)}。请换有 [unusedN] 的词表，或重新造词表。",
            f"{path} has no free slot for {' '.join(unplaced)}. Give a vocabulary with [unusedN], or make one anew.",
        )
    return patched


def listed(mark: str, entries: Sequence[str]) -> str:
    """The first of the entries, behind a mark; nothing where there are none."""
    return f"{mark}{' '.join(entries[:MOST_LISTED])}" if entries else ""


def sample(documents: Iterable[str], n_characters: int, limit: int) -> list[str]:
    """The documents, or an even selection of about `limit` characters where there are more."""
    if n_characters <= limit:
        return list(documents)
    say(
        f"从 {n_characters} 字里均匀抽取约 {limit} 字来学（--sample_characters）。",
        f"learning from about {limit} of the {n_characters} characters, evenly picked (--sample_characters).",
    )
    share = limit / n_characters
    return [document for number, document in enumerate(documents) if int((number + 1) * share) > int(number * share)]


if __name__ == "__main__":
    run_script(main)
