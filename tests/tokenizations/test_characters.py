"""The shipped vocabulary of characters: what its script makes, with what novels need; its ids are the ancestor's."""

import importlib.util
import random
import unicodedata
from pathlib import Path

import pytest
from conftest import ROOT

from tokenizations.loading import load_tokenizer
from tokenizations.pipelines import DIGITS
from tokenizations.tokenizer import Tokenizer
from tokenizations.vocabulary import write_vocabulary

SMALL = ROOT / "cache" / "vocab_small.txt"


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return load_tokenizer(SMALL)


@pytest.mark.slow
def test_shipped_vocabulary_is_what_its_script_makes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_vocab_small", ROOT / "cache" / "make_vocab_small.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    write_vocabulary(tmp_path / "vocab_small.txt", script.entries())
    assert (tmp_path / "vocab_small.txt").read_bytes() == SMALL.read_bytes()


def test_shipped_vocabulary_has_13317_entries_and_what_novels_need(small: Tokenizer) -> None:
    assert len(small) == len(SMALL.read_text(encoding="utf-8").splitlines()) == 13317
    gb2312 = [
        bytes([lead, trail]).decode("gb2312", "ignore") for lead in range(0xB0, 0xF8) for trail in range(0xA1, 0xFF)
    ]
    needed = (
        "…—–―“”‘’「」『』《》·0123456789!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~！？，。；：（）"
        + "".join(gb2312)
        + "們說國東風龍"
    )
    assert small.unknown_in_prefix(needed) == []


def ancestor_tokens(text: str, vocabulary: set[str]) -> list[str]:
    """The ancestor's algorithm from its description: clean, split, lower, longest pieces first. Accents are kept."""
    cleaned = ""
    for character in text:
        category = unicodedata.category(character)
        if character in "\t\r\n" or category == "Zs":
            cleaned += " "
        elif category[0] == "C" or character == "\ufffd":
            continue
        elif character.isdigit() or is_han(ord(character)):
            cleaned += f" {character} "
        elif category[0] == "P" or (ord(character) < 128 and not character.isalnum()):
            cleaned += f" {character} "
        else:
            cleaned += character.lower()
    tokens = []
    for word in cleaned.split():
        pieces, start = [], 0
        while start < len(word):
            end = next(
                (end for end in range(len(word), start, -1) if ("##" if start else "") + word[start:end] in vocabulary),
                None,
            )
            if end is None or len(word) > 100:
                pieces = ["[UNK]"]
                break
            pieces.append(("##" if start else "") + word[start:end])
            start = end
        tokens += pieces
    return tokens


def is_han(code: int) -> bool:
    blocks = [
        (0x4E00, 0x9FFF),
        (0x3400, 0x4DBF),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F),
        (0x2B820, 0x2CEAF),
        (0x2CEB0, 0x2EE5F),  # extensions F to J, which the ancestor does not know
        (0x30000, 0x3347F),
        (0xF900, 0xFAFF),
        (0x2F800, 0x2FA1F),
    ]
    return any(first <= code <= last for first, last in blocks)


def test_ids_are_the_ancestors_on_the_book_and_on_hard_text(small: Tokenizer, book: list[str]) -> None:
    vocabulary = set(small.tokens)
    hard = [
        "Hello, World's  playing-games 3.14％ ＡＢＣ！ iPhone2019①②ⅧⅡ ½",
        "かな カナ ガラス Ωμέγα café",
        "a" * 101,
        "[CLS][SEP] [unused1]",
        "\u200b零\ufeff宽\u2028行 \x00控制\ufffd",
        "𠮷野家㐀豈",
    ]
    for text in [line for document in book for line in document.split("\n")] + hard:
        assert [small.tokens[id_] for id_ in small.encode(text)] == ancestor_tokens(text, vocabulary), text


def test_ids_are_the_ancestors_on_random_unicode(small: Tokenizer) -> None:
    rng = random.Random(0)
    vocabulary = set(small.tokens)
    pool = [chr(code) for code in range(0x20, 0x30000) if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co")]
    # Characters whose lower case or category the two Unicode tables (Python's, the library's) may see differently are few;
    # those below are stable in both.
    stable = [c for c in pool if len(c.lower()) == 1 and c not in "\n\r\u2028\u2029"]
    for _ in range(300):
        text = "".join(
            rng.choice(stable)
            if rng.random() < 0.3
            else rng.choice(stable[:0x250])
            if rng.random() < 0.5
            else chr(rng.randrange(0x4E00, 0x9FA5))
            for _ in range(40)
        )
        assert [small.tokens[id_] for id_ in small.encode(text)] == ancestor_tokens(text, vocabulary), ascii(text)


def test_the_digit_class_is_pythons_isdigit() -> None:
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(f"[{DIGITS}]"), "removed")
    characters = [
        chr(code) for code in range(0x30000) if unicodedata.category(chr(code)) in ("Nd", "No", "Nl", "Lo", "Ll")
    ]
    isolated = {character for character in characters if not split.pre_tokenize_str(character)}
    assert {c for c in characters if c.isdigit()} == isolated


def test_kana_and_accents_are_kept(small: Tokenizer) -> None:
    assert small.decode(small.encode("が ガ é")) == "がガé"
