"""Entries of JSON files: which key has the text, lines that are broken, values over several lines."""

import json
from pathlib import Path

import pytest

from gpt2zh.errors import UserError
from gpt2zh.text.corpus import Corpus

TEXTS = [f"第{i}条。清晨的集市刚刚开张，卖豆腐的老汉推着车慢慢走过石板路。" for i in range(6)]


def read(path: Path, text: str) -> tuple[list[str], list[tuple[str, str]]]:
    path.write_text(text, encoding="utf-8")
    corpus = Corpus(path)
    return list(corpus), corpus.notes()


@pytest.mark.parametrize("bad", ['{"text": "没有收尾', "garbage", '{"text": "a"} b', "{'text': 'a'}", "[", "\\"])
@pytest.mark.parametrize("at", [0, 3, 6])
def test_a_line_that_is_no_json_costs_itself_and_is_named(bad: str, at: int, tmp_path: Path) -> None:
    entries = [json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS]
    documents, notes = read(tmp_path / "a.jsonl", "\n".join([*entries[:at], bad, *entries[at:]]) + "\n")
    assert documents == TEXTS
    assert f"1 lines that are no JSON are left out (line {at + 1})" in notes[0][1]


def test_a_file_of_broken_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.jsonl"):
        read(tmp_path / "a.jsonl", '{"text": "没有收尾\n' * 5)


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    "form",
    ["a line", "indented", "side by side", "a list", "an indented list", "blank lines between"],
)
def test_values_are_read_however_they_are_laid_out(form: str, suffix: str, tmp_path: Path) -> None:
    entries = [{"text": text} for text in TEXTS]
    lines = [json.dumps(entry, ensure_ascii=False) for entry in entries]
    text = {
        "a line": "\n".join(lines),
        "indented": "\n".join(json.dumps(entry, ensure_ascii=False, indent=2) for entry in entries),
        "side by side": "".join(lines),
        "a list": json.dumps(TEXTS, ensure_ascii=False),
        "an indented list": json.dumps(entries, ensure_ascii=False, indent=1),
        "blank lines between": "\n\n" + "\n \n".join(lines),
    }[form]
    assert read(tmp_path / f"a{suffix}", text) == (TEXTS, [])


def test_the_key_that_has_text_is_taken(tmp_path: Path) -> None:
    entries = [{"text": None, "content": TEXTS[0]}, {"text": " ", "content": TEXTS[1]}, {"text": TEXTS[2], "content": ""},
               {"content": TEXTS[3], "text": 5}, {"text": TEXTS[4], "content": TEXTS[5]}]  # fmt: skip
    assert read(tmp_path / "a.json", json.dumps(entries))[0] == TEXTS[:5]
    nothing = [{"text": None}, {"text": "", "content": None}, {"content": " "}, {"text": "一"}]
    assert read(tmp_path / "b.json", json.dumps(nothing))[0] == ["一"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"text": 12345}, "text is int '12345'"),
        ({"text": ["a"]}, "text is list"),
        ({"text": {"0": "a"}}, "text is dict"),
        ({"body": "a"}, "object with keys body"),
        (7, "int '7'"),
    ],
)
def test_a_message_says_what_is_there_in_place_of_a_text(entry: object, said: str, tmp_path: Path) -> None:
    for name, text in (("a.json", json.dumps([entry])), ("a.jsonl", json.dumps(entry))):
        with pytest.raises(UserError) as error:
            read(tmp_path / name, text)
        assert said in error.value.en


def test_columns_of_parquet_are_taken_likewise(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"text": [None, TEXTS[1], ""], "content": [TEXTS[0], None, None], "id": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert list(Corpus(tmp_path / "a.parquet")) == TEXTS[:2]
