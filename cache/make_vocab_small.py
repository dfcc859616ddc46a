"""Build cache/vocab_small.txt: 13,317 entries from public character tables. Run it as `python cache/make_vocab_small.py`.

    ids 0-103       [PAD], [unused1] … [unused99], [UNK] [CLS] [SEP] [MASK]: the ids of BERT's Chinese vocabulary
    ASCII           every printable character (upper case is folded by the tokenizer)
    GB2312          all of it: punctuation, numerals, full-width forms, kana, Greek, Cyrillic, pinyin, 6,763 Han
    Big5, level 1   the 5,401 common traditional characters, those that GB2312 lacks
    Latin-1 etc.    accented letters of European names, currency, bullets, corner brackets
    ##x             every character that can stand inside a word, so that no known character becomes [UNK] there
    English         the most frequent words and word endings of data/shakespeare.json

The tables are those of Python's codecs (GB/T 2312-1980 rows 1-87 through GBK, Big5 rows A4-C6), so the file can be
made anew anywhere; a test compares it byte for byte.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import gpt2zh.needs  # noqa: F401

# isort: split

from gpt2zh.errors import run_script, say
from gpt2zh.text.corpus import Corpus
from tokenizations.pipelines import build_characters
from tokenizations.vocabulary import (
    CONTINUATION,
    DOCUMENT_END,
    DOCUMENT_START,
    NEWLINE,
    PAD,
    UNK,
    fill,
    write_vocabulary,
)

SIZE = 13317
EXTRA = "—·―–…‥•′″‖※〇○●□■△▲◆★☆→←↑↓√×÷±≈≠≤≥°℃€£¥￥©®™「」『』【】〈〉《》〔〕﹏～"
ACCENTED = "àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿßœāēīōūǎěǐǒǔǖǘǚǜăąćčďđęěğłńňőřśşšťůűźżž"
ENDINGS = 6  # letters of the longest word ending


def rows(codec: str, leads: range, trails: list[int]) -> Iterator[str]:
    """The characters of a double-byte table, in the order of their codes."""
    for lead in leads:
        for trail in trails:
            try:
                character = bytes([lead, trail]).decode(codec)
            except UnicodeDecodeError:
                continue
            if len(character) == 1 and not "\ue000" <= character <= "\uf8ff":
                yield character


def english(n: int) -> list[str]:
    """The `n` most frequent words and ##endings of the shipped plays; ties in alphabetical order."""
    counts: Counter[str] = Counter()
    splitter = build_characters([PAD, UNK, DOCUMENT_END, NEWLINE, DOCUMENT_START])
    for document in Corpus(ROOT / "data" / "shakespeare.json"):
        for word, _ in splitter.pre_tokenizer.pre_tokenize_str(splitter.normalizer.normalize_str(document)):
            if len(word) > 1 and word.isascii() and word.isalpha():
                counts[word] += 1
                for length in range(2, min(ENDINGS, len(word) - 1) + 1):
                    counts[CONTINUATION + word[-length:]] += 1
    return [piece for piece, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n]]


def entries() -> list[str]:
    """The vocabulary, in the order of its ids."""
    gb2312_trails = list(range(0xA1, 0xFF))
    big5_trails = [*range(0x40, 0x7F), *gb2312_trails]
    characters = [chr(code) for code in range(0x21, 0x7F)]
    characters += rows("gb2312", range(0xA1, 0xF8), gb2312_trails)
    characters += rows("gbk", range(0xA1, 0xAA), gb2312_trails)
    characters += rows("big5", range(0xA4, 0xC7), big5_trails)
    characters += EXTRA + ACCENTED
    # Entries that the tokenizer can never give, blanks and upper case, are left out.
    characters = [
        character
        for character in dict.fromkeys(characters)
        if character == character.lower() and not character.isspace()
    ]

    head = [PAD, *(f"[unused{n}]" for n in range(1, 100)), UNK, DOCUMENT_END, NEWLINE, DOCUMENT_START]
    splits = build_characters([PAD, UNK, DOCUMENT_END, NEWLINE, DOCUMENT_START]).pre_tokenizer
    inside = [
        CONTINUATION + character for character in characters if len(splits.pre_tokenize_str("a" + character)) == 1
    ]
    known = [*head, *characters, *inside]
    pieces = [piece for piece in english(SIZE) if piece not in set(known)]
    return fill([*known, *pieces], SIZE)


def main() -> None:
    path = ROOT / "cache" / "vocab_small.txt"
    write_vocabulary(path, entries())
    say(f"词表已写入 {path}：{SIZE} 行", f"vocabulary written to {path}: {SIZE} lines")


if __name__ == "__main__":
    run_script(main)
