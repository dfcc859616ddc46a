"""The lattice gives the library's ids: on books, and on random Unicode under vocabularies that lack much of it."""

import json
import math
import random
from collections import Counter

import numpy as np
import pytest
import tokenizers
from conftest import ROOT
from tokenizers import Regex, models, pre_tokenizers

from tokenizations.fast import lattice
from tokenizations.fast.lattice import Lattice
from tokenizations.pipelines import BYTES, build_bytes, build_characters, build_unigram, build_words
from tokenizations.vocabulary import CONTROL_TOKENS, NEWLINE, SPACE

# Han, rare and compatibility Han, beyond the BMP, kana, Latin with and without accents, İ (two characters in lower
# case), digits of all kinds, stops, brackets, symbols, emoji with joiners, combining marks, blanks, controls, unassigned.
STRANGE = [
    *"的一是不了人我在有他这中大来上国㐀龥豈𠀀𫝀丽かなカナガーé ÀİıßǅΣςAaZzяあ한글ไ",
    *"0129²①Ⅷ٣,.;:!?，。！？「」…—<>[]()$+^`|~#_€©😀👩\u200d💻🏽\u0301\u0323\ufe0f",
    *" \t\u3000\u00a0\u2003\u2028\u2029\u200b\ufeff\x00\x0b\x0c\x1c\x85\u0378\ue000\ufffd\U0010ffff",
    *[
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "  ",
        " a",
        "a b",
        "1 a",
        "[CLS]",
        "[UNK]",
        "[SEP]",
        "<0x0A>",
        "<0xE4>",
        "我们",
        "不是",
    ],
]


def pieces_of(text: str, most: int, flat: bool) -> list[tuple[str, float]]:
    """Frequent strings of 1 to 5 characters as a unigram vocabulary; `flat`: all equally probable, so that paths tie."""
    counts = Counter(text[i : i + n] for n in range(1, 6) for i in range(len(text) - n + 1))
    control = [(token if token != NEWLINE else "\n", 0.0) for token in CONTROL_TOKENS]
    taken = {"\n", *CONTROL_TOKENS}
    frequent = [(piece, count) for piece, count in counts.most_common(most) if piece not in taken]
    total = sum(count for _, count in frequent)
    scored = [(piece, -1.5 if flat else math.log(count / total)) for piece, count in frequent]
    return [*control, *((byte, 0.0) for byte in BYTES), *scored]


KINDS = ["unigram", "unigram, ties", "unigram, few pieces", "words", "words, few"]


@pytest.fixture(scope="module", params=KINDS)
def pipeline(request: pytest.FixtureRequest, book: list[str]) -> tokenizers.Tokenizer:
    text = "".join(book[:12]) + " the these there then" * 50 + "".join(STRANGE[:30])
    if request.param.startswith("unigram"):
        few = "few" in request.param
        return build_unigram(pieces_of(text, 300 if few else 20000, "ties" in request.param))
    few = 200 if "few" in request.param else 20000
    words = [piece.lower() for piece, _ in pieces_of(text, few, True)[len(CONTROL_TOKENS) + len(BYTES) :]]
    return build_words(list(dict.fromkeys([*CONTROL_TOKENS, SPACE, *words, *("a", "b", "[", "]", "一的")])))


def assert_same(lattice: Lattice, texts: list[str]) -> None:
    ids, lengths = lattice.encode_texts(texts)
    assert ids.dtype == np.int32 and lengths.dtype == np.int64 and lengths.sum() == len(ids)
    ours = [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]
    theirs = lattice.pipeline.encode_batch_fast(texts, add_special_tokens=False)
    for text, mine, encoding in zip(texts, ours, theirs):
        assert mine == encoding.ids, repr(text)


@pytest.mark.slow
@pytest.mark.parametrize("step_cost", [0.0, Lattice.step_cost], ids=["all by numpy", "long units by the library"])
def test_ids_are_the_librarys_on_books(pipeline: tokenizers.Tokenizer, book: list[str], step_cost: float) -> None:
    plays = json.loads((ROOT / "data" / "shakespeare.json").read_text(encoding="utf-8"))
    ours = Lattice(pipeline)
    ours.step_cost = step_cost
    assert Lattice.can_encode(pipeline)
    assert_same(ours, book[20:])
    assert_same(ours, [line for text in book[:20] for line in text.split("\n")])
    assert_same(ours, plays[:1] if len(plays) > 1 else [plays[0][:200_000]])


@pytest.mark.slow
@pytest.mark.parametrize("step_cost", [0.0, Lattice.step_cost], ids=["all by numpy", "long units by the library"])
def test_ids_are_the_librarys_on_random_unicode(pipeline: tokenizers.Tokenizer, step_cost: float) -> None:
    ours = Lattice(pipeline)
    ours.step_cost = step_cost
    chance = random.Random(7)
    for n in range(60):
        some = STRANGE if n % 3 else chance.sample(STRANGE, 6)
        texts = ["".join(chance.choices(some, k=chance.choice((0, 1, 2, 9, 60)))) for _ in range(30)]
        texts.append(
            "".join(
                chr(chance.choice((chance.randrange(0xD800), chance.randrange(0xE000, 0x110000)))) for _ in range(60)
            )
        )
        assert_same(ours, texts)


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["unigram", "words"], indirect=True)  # pieces change nothing in reading
def test_every_character_of_unicode_is_read_as_the_library_reads_it(pipeline: tokenizers.Tokenizer) -> None:
    planes = [*range(0xD800), *range(0xE000, 0x20000, 1 if pipeline.token_to_id(BYTES[0]) is None else 3)]
    assert_same(Lattice(pipeline), ["".join(map(chr, planes[i : i + 512])) for i in range(0, len(planes), 512)])


@pytest.mark.parametrize(("score", "n_ids"), [(-16.9, 2), (-17.1, 4)])
def test_an_unknown_character_costs_ten_more_than_the_worst_piece(score: float, n_ids: int) -> None:
    # 一二 and 三四 score -12 + score; 一, unknown (three bytes), and 二三四 -18 - 10 - 1.
    known = pieces_of("", 0, False)
    pipeline = build_unigram([*known, ("一二", -12.0), ("三四", score), ("二三四", -1.0), ("山", -18.0)])
    assert_same(Lattice(pipeline), ["一二三四"])
    assert Lattice(pipeline).encode_texts(["一二三四"])[1].tolist() == [n_ids]


def test_long_texts_are_cut_at_newlines_only(pipeline: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice, "BLOCK", 50)
    chance = random.Random(8)
    texts = ["".join(chance.choices(STRANGE, k=chance.choice((0, 40, 3000)))) for _ in range(12)]
    assert_same(Lattice(pipeline), ["", *texts, "", "\r", "\n", "x\r", "\ny"])


def test_runs_without_border_and_the_empty_batch(pipeline: tokenizers.Tokenizer) -> None:
    ours = Lattice(pipeline)
    assert_same(ours, ["我们不是" * 2000, "…" * 999, "a" * 999, " " * 99, "１" * 99, "𠀀𠀁" * 300, "", "我"])
    ids, lengths = ours.encode_texts([])
    assert len(ids) == len(lengths) == 0
    assert [array.tolist() for array in ours.encode_texts(["", ""])] == [[], [0, 0]]


def test_other_forms_are_left_to_the_library() -> None:
    entries = [*CONTROL_TOKENS, "我", "们"]
    pieces = pieces_of("我们", 9, False)
    assert Lattice.can_encode(build_words(entries)) and Lattice.can_encode(build_unigram(pieces))
    assert not Lattice.can_encode(build_characters(entries))
    assert not Lattice.can_encode(build_bytes({"a": 0}, []))
    split, bytes_missing, likely = (build_unigram(pieces) for _ in range(3))
    split.pre_tokenizer = pre_tokenizers.Split(Regex(" "), "isolated")
    bytes_missing.model = models.Unigram([*pieces[:20], *pieces[30:]], unk_id=1, byte_fallback=True)
    likely.model = models.Unigram([*pieces, ("了", 0.5)], unk_id=1, byte_fallback=True)
    assert not any(map(Lattice.can_encode, (split, bytes_missing, likely)))
