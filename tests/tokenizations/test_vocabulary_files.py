"""Vocabulary files: what is wrong is named with its line; lines end at newlines alone; a vocabulary is filled to its size."""

import json
from pathlib import Path

import pytest
from conftest import ROOT

from gpt2zh.errors import UserError
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
