"""A corpus -> the entries of a character or word vocabulary, most frequent first.

In: documents, iterated as often as needed. Out: entries, without control tokens. Refuses: a size that does not hold the characters.
"""

from collections import Counter
from collections.abc import Iterable

from tqdm import tqdm

from gpt2zh.errors import UserError
from gpt2zh.system.workers import batches, n_cores, ordered_map
from tokenizations.fast.character_table import CharacterTable
from tokenizations.pipelines import build_characters, build_verbatim
from tokenizations.vocabulary import CONTINUATION, CONTROL_TOKENS, SPACE
from tokenizations.words import load_segmenter, word_counter

BATCH = 1_000_000  # characters counted at a time
CHUNK = 50_000  # characters a task of a segmenting worker


def by_frequency(counts: Counter[str]) -> list[str]:
    """Keys of `counts`, most frequent first, ties in code order, so that a corpus always gives the same file."""
    return [key for key, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def counted(corpus: Iterable[str], table: CharacterTable) -> tuple[Counter[str], Counter[str]]:
    """Characters that stand alone and words, over the whole corpus."""
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for batch in batches(tqdm(corpus, desc="char", unit="doc", unit_scale=True), len, BATCH):
        of_batch = table.count(batch)
        characters += of_batch[0]
        words += of_batch[1]
    return characters, words


def character_entries(corpus: Iterable[str]) -> list[str]:
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


def verbatim_entries(corpus: Iterable[str]) -> list[str]:
    """The blank, then every other character as it stands."""
    counts, _ = counted(corpus, CharacterTable(build_verbatim(CONTROL_TOKENS)))
    for written_by_name in ("\n", " "):
        del counts[written_by_name]
    return [SPACE, *by_frequency(counts)]


def word_entries(corpus: Iterable[str], n_characters: int, segmenter: str, size: int) -> list[str]:
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
