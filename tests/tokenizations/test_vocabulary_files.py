"""Vocabulary files: what is wrong is named with its line; lines end at newlines alone; a vocabulary is filled to its size."""

import json
from pathlib import Path

import pytest
from conftest import ROOT, call

from gpt2zh.errors import UserError
from gpt2zh.shards.ensure import ensure_shards
from gpt2zh.shards.format import open_shards
from tokenizations.loading import load_model_tokenizer, load_tokenizer
from tokenizations.vocabulary import CONTROL_TOKENS, fill, first_word, read_vocabulary

SMALL = ROOT / "cache" / "vocab_small.txt"


def write(path: Path, *entries: str) -> Path:
    path.write_text("\n".join(entries) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([*CONTROL_TOKENS, "我", "", "们"], "第 7 行是空行"),
        ([*CONTROL_TOKENS, "我", "们", "我"], "第 8 行「我」与第 6 行重复"),
        ([*CONTROL_TOKENS[:-1], "我"], r"5 行）没有控制符 \[MASK\]"),
    ],
)
def test_faults_of_a_vocabulary_name_the_line(tmp_path: Path, entries: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_vocabulary(write(tmp_path / "v.txt", *entries))


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_vocabulary(write(tmp_path / "v.txt", "我", "我", "", "们"))
    assert str(error.value).count("\n- ") + 1 == 2 + len(CONTROL_TOKENS)


def test_lines_end_at_newline_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "v.txt", *CONTROL_TOKENS, "\u2028", "\x85", "我")
    assert load_tokenizer(path).encode("我").tolist() == [7]
    path.write_bytes(("\ufeff" + "\r\n".join([*CONTROL_TOKENS, "我"])).encode())
    assert load_tokenizer(path).encode("我").tolist() == [5]


def test_a_vocabulary_tells_whether_it_is_of_words_or_characters(tmp_path: Path) -> None:
    assert first_word(read_vocabulary(SMALL)) is None  # its English words are pieces between characters
    characters = load_tokenizer(write(tmp_path / "c.txt", *CONTROL_TOKENS, "我", "们"))
    words = load_tokenizer(write(tmp_path / "w.txt", *CONTROL_TOKENS, "我", "们", "我们"))
    assert characters.encode("我们").tolist() == [5, 6] and words.encode("我们").tolist() == [7]


def test_fill_gives_exactly_the_size_and_moves_no_id() -> None:
    entries = [*CONTROL_TOKENS, "[unused1]", "我", "们"]
    assert fill(entries, 7) == entries[:7]
    assert fill(entries, 10) == [*entries, "[unused2]", "[unused3]"]
    with pytest.raises(UserError, match="--vocab_size 5"):
        fill(entries, 5)


def test_tokenizer_json_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}), encoding="utf-8"
    )
    with pytest.raises(UserError, match="tokenizer.json"):
        load_model_tokenizer(tmp_path)


@pytest.mark.parametrize(("val_ratio", "is_learned"), [("0.2", False), ("0", True)])
def test_subwords_are_not_learned_from_what_train_py_holds_out(
    tmp_path: Path, book: list[str], val_ratio: str, is_learned: bool
) -> None:
    corpus, vocabulary = tmp_path / "train.json", tmp_path / "unigram.json"
    # One mark in each document, as a word that stands nowhere else; which of them are held out the shards tell.
    marks = [chr(0x3400 + 40 * number) + chr(0x3401 + 40 * number) for number in range(12)]
    documents = [mark.join(text[i : i + 40] for i in range(0, 2000, 40)) for text, mark in zip(book, marks)]
    corpus.write_text(json.dumps(documents), encoding="utf-8")
    flags = ["--type", "unigram", "--vocab_size", 3500, "--character_coverage", "1", "--val_ratio", val_ratio]
    call("cache/make_vocab.py", *flags, "--raw_data_path", corpus, "--vocab_file", vocabulary)
    tokenizer = load_tokenizer(vocabulary)
    ensure_shards(corpus, tmp_path / "shards", tokenizer, 128, 0.2, 1, True, lambda _: None)
    held_out = tokenizer.decode(open_shards(tmp_path / "shards").val.pieces[0])
    held_out_marks = [mark for mark in marks if mark in held_out]
    assert held_out_marks
    pieces = set(tokenizer.pipeline.get_vocab())
    assert {any(mark in piece for piece in pieces) for mark in held_out_marks} == {is_learned}
