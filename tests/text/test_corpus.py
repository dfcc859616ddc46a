"""Every shape of corpus file gives the same documents; what is no text is named with its place."""

import json
from pathlib import Path

import pytest

from gpt2zh.errors import UserError
from gpt2zh.text.corpus import Corpus, corpus_sha256

TEXTS = ["第一章\n风起了。", "第二章\n雪落了，“很静”……"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.json", json.dumps(TEXTS, ensure_ascii=False)),
        ("escaped.json", json.dumps(TEXTS)),
        ("bom.json", "\ufeff" + json.dumps(TEXTS)),
        ("crlf.json", json.dumps([text.replace("\n", "\r\n") for text in TEXTS])),
        ("raw_newlines.json", '["' + '", "'.join(TEXTS) + '"]'),
        ("text.json", json.dumps([{"text": text} for text in TEXTS])),
        ("content.json", json.dumps([{"title": 1, "content": text} for text in TEXTS])),
        ("lines.jsonl", "\n".join(json.dumps(text) for text in TEXTS) + "\n\n"),
        ("objects.jsonl", "\r\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS)),
        ("blanks.json", json.dumps(["", *TEXTS, " \n　"])),
    ],
)
def test_every_shape_gives_the_same_documents(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert list(Corpus(tmp_path / name)) == TEXTS


def test_one_text_file_is_one_document_and_a_folder_is_all_of_its_files(tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS):
        (tmp_path / f"书 {number}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8")
    assert list(Corpus(tmp_path / "书 0.txt")) == TEXTS[:1]
    assert list(Corpus(tmp_path)) == TEXTS
    before = corpus_sha256(tmp_path)
    (tmp_path / "书 1.txt").write_text("改了", encoding="utf-8")
    assert corpus_sha256(tmp_path) != before


def test_a_lone_surrogate_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(r'["风\ud800起"]', encoding="utf-8")
    assert list(Corpus(tmp_path / "a.json")) == ["风起"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", '["一",\n "二"\n "三"]', ["第 3 行第 2 列", "line 3, column 2", "二"]),
        ("a.json", '["一", 7]', ["第 2 条", "entry 2", "int '7'", "text / content"]),
        ("a.json", '[{"title": "x"}]', ["entry 1", "object with keys title"]),
        ("a.json", "", ["空文件"]),
        ("a.json", "[]", ["没有文字", "0 "]),
        ("a.json", '["", "  "]', ["2 "]),
        ("a.json", "[" * 100_000, ["嵌套过深"]),
        ("a.jsonl", '"一"\n7\n', ["第 2 行", "line 2", "int '7'"]),
        ("a.txt", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", ["PDF"]),
        ("a.txt.gz", b"\x1f\x8b\x08\x00cut", ["gzip"]),
    ],
)
def test_what_is_no_corpus_is_refused_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, words: list[str]
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        list(Corpus(tmp_path / name))
    assert all(word in str(error.value) for word in [name, *words]), error.value


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nosuch"):
        list(Corpus(tmp_path / "nosuch.json"))
    with pytest.raises(UserError, match="没有 .json"):
        list(Corpus(tmp_path))
