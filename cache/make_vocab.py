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
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(__file__).resolve().parent
sys.path.insert(0, str(CACHE.parent))

from tqdm import tqdm

from gpt2zh.errors import UserError, run_script, say
from gpt2zh.flags.make_vocab import make_vocab_flags
from gpt2zh.system.files import write_text
from gpt2zh.system.workers import batches, n_cores, ordered_map
from gpt2zh.text.corpus import Corpus
from tokenizations.fast.character_table import CharacterTable
from tokenizations.loading import load_tokenizer
from tokenizations.pipelines import build_characters, build_verbatim
from tokenizations.subwords import learn_subwords
from tokenizations.vocabulary import (
    CONTINUATION,
    CONTROL_TOKENS,
    SPACE,
    fill,
    put_in_slots,
    read_vocabulary,
    special_tokens,
    write_vocabulary,
)
from tokenizations.words import load_segmenter, word_counter

MOST_WORDS = 50000  # lines of a word vocabulary where --vocab_size is not given
SUBWORDS = 32000  # entries of a bpe or unigram vocabulary where it is not given
BATCH = 1_000_000  # characters counted at a time
MOST_LISTED = 20  # entries that found no slot
CHUNK = 50_000  # characters a task of a segmenting worker


def main(argv: Sequence[str] | None = None) -> None:
    flags = make_vocab_flags(argv)
    path = flags.raw_data_path
    if not path.exists() and not path.is_absolute() and (CACHE / path).exists():
        path = CACHE / path
    target = flags.vocab_file or CACHE / ("vocab_processed.json" if flags.of_subwords else "vocab_processed.txt")
    special = flags.special_tokens
    corpus = Corpus(path)
    check(target, corpus, special)
    n_documents = n_characters = 0
    for document in corpus:
        n_documents += 1
        n_characters += len(document)
    for note in corpus.notes():
        say(*note)
    say(
        f"语料 {path}：{n_documents} 篇，{n_characters} 字",
        f"corpus {path}: {n_documents} documents, {n_characters} characters",
    )
    if flags.of_subwords:
        texts = sample(corpus, n_characters, flags.sample_characters)
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


def by_frequency(counts: Counter[str]) -> list[str]:
    """Keys of `counts`, most frequent first, ties in code order, so that a corpus always gives the same file."""
    return [key for key, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def counted(corpus: Corpus, table: CharacterTable) -> tuple[Counter[str], Counter[str]]:
    """Characters that stand alone and words, over the whole corpus."""
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for batch in batches(tqdm(corpus, desc="char", unit="doc", unit_scale=True), len, BATCH):
        of_batch = table.count(batch)
        characters += of_batch[0]
        words += of_batch[1]
    return characters, words


def character_entries(corpus: Corpus) -> list[str]:
    """Characters; one that stands inside a Latin word or a kana run also as ##continuation."""
    counts, words = counted(corpus, CharacterTable(build_characters(CONTROL_TOKENS)))
    for word, n in words.items():
        counts[word[0]] += n
        for character in word[1:]:
            counts[CONTINUATION + character] += n
        # Either form of a letter comes with the other, so that no order of known letters is [UNK].
        if len(word) > 1:
            counts.update(dict.fromkeys([*word[1:], CONTINUATION + word[0]], 0))
    del counts["\n"]
    return by_frequency(counts)


def verbatim_entries(corpus: Corpus) -> list[str]:
    """The blank, then every other character as it stands."""
    counts, _ = counted(corpus, CharacterTable(build_verbatim(CONTROL_TOKENS)))
    for written_by_name in ("\n", " "):
        del counts[written_by_name]
    return [SPACE, *by_frequency(counts)]


def word_entries(corpus: Corpus, n_characters: int, segmenter: str, size: int) -> list[str]:
    """The blank, the most frequent words, and all single characters; with the control tokens at most `size`."""
    words: Counter[str] = Counter()
    load_segmenter(segmenter)  # a missing package is found here, not in a worker
    chunks = batches((line for document in corpus for line in document.split("\n")), len, CHUNK)
    n_workers = min(n_cores(), 1 + n_characters // CHUNK)
    with tqdm(total=n_characters, desc=segmenter, unit="char", unit_scale=True) as bar:
        for n_read, counts in ordered_map(chunks, n_workers, word_counter, (segmenter,)):
            words += counts
            bar.update(n_read)
    characters: Counter[str] = Counter()
    for word, n in words.items():
        for character in word:
            characters[character] += n
    for written_by_name in ("\n", " "):
        del words[written_by_name], characters[written_by_name]
    needed = len(CONTROL_TOKENS) + 1 + len(characters)
    if size < needed:
        raise UserError(
            f"--vocab_size {size} 放不下：控制符与空格 {needed - len(characters)} 个，单字 {len(characters)} 个。请至少给 {needed}。",
            f"--vocab_size {size} is too small for {needed - len(characters)} control tokens and the space and {len(characters)} single characters. Give at least {needed}.",
        )
    ranked = by_frequency(words)
    longer = [word for word in ranked if len(word) > 1]
    kept = {*characters, *longer[: size - needed]}
    only_inside_words = [character for character in by_frequency(characters) if character not in words]
    return [SPACE, *(word for word in ranked if word in kept), *only_inside_words]


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


def sample(corpus: Corpus, n_characters: int, limit: int) -> list[str]:
    """The documents, or an even selection of about `limit` characters where there are more."""
    if n_characters <= limit:
        return list(corpus)
    say(
        f"从 {n_characters} 字里均匀抽取约 {limit} 字来学（--sample_characters）。",
        f"learning from about {limit} of the {n_characters} characters, evenly picked (--sample_characters).",
    )
    share = limit / n_characters
    return [document for number, document in enumerate(corpus) if int((number + 1) * share) > int(number * share)]


if __name__ == "__main__":
    run_script(main)
