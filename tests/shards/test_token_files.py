"""Token files of other tools come in: ids, documents and order as they are there; what is wrong is named; nothing is half-written."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conversions import convert_in, small_blocks, whole, write_as_the_ancestor

from gpt2zh.errors import UserError
from gpt2zh.shards import convert as shard_conversion
from gpt2zh.shards.convert import import_shards
from gpt2zh.shards.format import TokenStream
from gpt2zh.shards.token_files import find_token_files
from tokenizations.tokenizer import Tokenizer

pytest_plugins = ["conversions"]


@pytest.mark.parametrize("num_pieces", [1, 12, 100])
def test_the_ancestors_files_are_read_in_the_order_of_their_numbers(
    here: Path, tokenizer: Tokenizer, book: list[str], num_pieces: int, block_size: None
) -> None:
    write_as_the_ancestor(here / "old", [tokenizer.encode_documents([text]).tolist() for text in book], num_pieces)
    data = convert_in("old", "shards", "--val_ratio", 0, "--num_pieces", 5)
    assert whole(data.train) == tokenizer.encode_documents(book).tolist()
    assert asdict(data.manifest.documents) == {"read": len(book), "too_short": 0, "train": len(book), "val": 0}
    assert data.manifest.characters.train == pytest.approx(sum(map(len, book)), rel=1e-3)


def test_whole_documents_are_held_out_as_of_a_corpus(
    here: Path, tokenizer: Tokenizer, book: list[str], block_size: None
) -> None:
    documents = [tokenizer.encode_documents([text]).tolist() for text in book]
    write_as_the_ancestor(here / "old", documents, 10)
    data = convert_in("old", "shards", "--val_ratio", 0.05)
    held, trained = documents_of(data.val, tokenizer), documents_of(data.train, tokenizer)
    assert held and [document for document in documents if document in held] == held
    assert trained == [document for document in documents if document not in held]
    assert 0.03 < data.manifest.characters.val / sum(map(len, book)) <= 0.05
    write_as_the_ancestor(here / "reversed", documents[::-1], 10)
    assert documents_of(convert_in("reversed", "other", "--val_ratio", 0.05).val, tokenizer) == held[::-1]


def documents_of(stream: TokenStream, tokenizer: Tokenizer) -> list[list[int]]:
    ids = np.array(whole(stream))
    return [part.tolist() for part in np.split(ids, np.flatnonzero(ids == tokenizer.document_end_id) + 1)][:-1]


def test_short_documents_are_left_out_by_their_characters(
    here: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["一二三四五六", "一二\n三四", "𠮷𠮷𠮷𠮷𠮷𠮷"]  # [UNK] is one character
    write_as_the_ancestor(here / "old", [tokenizer.encode_documents([text]).tolist() for text in texts], 1)
    data = convert_in("old", "shards", "--min_length", 6)
    assert whole(data.train) == tokenizer.encode_documents([texts[0], texts[2]]).tolist()
    assert asdict(data.manifest.characters) == {"train": 12, "val": 0, "too_short": 5}
    shown = capsys.readouterr().out
    assert "一二三四五六" in shown and "不收 1" in shown
    with pytest.raises(UserError, match="--min_length 100"):
        convert_in("old", "other", "--min_length", 100)
    assert not Path("other").exists()


def test_a_stream_without_documents_is_stored_as_it_is(
    here: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str], block_size: None
) -> None:
    ids = np.random.default_rng(0).integers(200, len(tokenizer), 5000)
    Path("nano").mkdir()
    ids.astype("<u2").tofile("nano/train.bin")
    Path("nano/meta.pkl").write_bytes(b"never read")
    data = convert_in("nano")
    assert whole(data.train) == ids.tolist() and len(data.val) == 0
    assert data.manifest.documents.read == 1
    assert "没有 [CLS]" in capsys.readouterr().out


@pytest.mark.parametrize("n_ids", [299, 300, 301, 600])
def test_a_document_ends_with_its_file_whatever_its_length(
    here: Path, monkeypatch: pytest.MonkeyPatch, n_ids: int
) -> None:
    small_blocks(monkeypatch)
    Path("nano").mkdir()
    for name in ("train", "val"):
        np.full(n_ids, 300, "<u2").tofile(f"nano/{name}.bin")
    data = convert_in("nano")
    assert whole(data.train) == whole(data.val) == [300] * n_ids
    assert asdict(data.manifest.documents) == {"read": 2, "too_short": 0, "train": 1, "val": 1}


def test_large_files_go_through_worker_processes_to_the_same_shards(
    here: Path, tokenizer: Tokenizer, book: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_as_the_ancestor(here / "old", [tokenizer.encode_documents([text]).tolist() for text in book], 3)
    alone = convert_in("old", "alone").manifest
    monkeypatch.setattr(shard_conversion, "SMALL", 0)
    monkeypatch.setattr(shard_conversion, "BATCH", 50_000)
    monkeypatch.setattr(shard_conversion, "n_cores", lambda: 2)
    assert convert_in("old", "together").manifest == alone


def missing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def only(name: str, data: bytes) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        (folder / name).write_bytes(data)

    return change


BAD = {
    "no folder": (missing, "找不到文件夹 old"),
    "no such files": (only("notes.txt", b"1 2 "), "两种都没有"),
    "both": (lambda folder: (folder / "train.bin").write_bytes(b"12"), "两种都有"),
    "gap": (lambda folder: (folder / "tokenized_train_1.txt").unlink(), "缺 tokenized_train_1.txt（最大的是 2）"),
    "empty": (only("tokenized_train_0.txt", b""), "没有编号"),
    "blank": (only("tokenized_train_0.txt", b" \n "), "没有编号"),
    "empty bin": (only("train.bin", b""), "train.bin 有 0 字节"),
    "odd bin": (only("train.bin", b"123"), "train.bin 有 3 字节"),
    "letter": (only("tokenized_train_0.txt", b"4 200 3x0 2 "), "tokenized_train_0.txt 第 7 字节.*「4 200 3x0 2 」"),
    "minus": (only("tokenized_train_0.txt", b"4 -1 2 "), "第 2 字节"),
    "endless": (only("tokenized_train_0.txt", b"1" * 5000), "第 4999 字节"),
    "large id": (only("tokenized_train_0.txt", b"4 200 13317 2 "), "第 3 个编号是 13317，而词表只有 13317"),
    "huge id": (only("tokenized_train_0.txt", b"4 " + b"9" * 30), "第 2 个编号"),
    "large id in bin": (only("train.bin", b"\4\0\xff\xff"), "train.bin 的第 2 个编号是 65535"),
}


@pytest.mark.parametrize("fault", sorted(BAD))
def test_bad_input_is_named_and_leaves_nothing(here: Path, tokenizer: Tokenizer, fault: str) -> None:
    write_as_the_ancestor(here / "old", [tokenizer.encode_documents(["风起云涌"]).tolist()] * 3, 3)
    harm, message = BAD[fault]
    harm(here / "old")
    with pytest.raises(UserError, match=message):
        convert_in("old")
    assert [path for path in os.listdir() if path != "old"] == []


def test_a_bad_id_far_in_is_found_at_its_place(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    ids = np.full(4000, 300)
    ids[3210] = 20_000
    Path("nano").mkdir()
    ids.astype("<u2").tofile("nano/train.bin")
    Path("text").mkdir()
    text = "".join(f"{id_} " for id_ in ids.tolist())
    Path("text/tokenized_train_0.txt").write_text(text, encoding="utf-8")
    for source in ("nano", "text"):
        with pytest.raises(UserError, match="第 3211 个编号是 20000"):
            convert_in(source)
    Path("text/tokenized_train_0.txt").write_text(text.replace("20000", "2o000"), encoding="utf-8")
    with pytest.raises(UserError, match=f"第 {3210 * 4 + 1} 字节"):
        convert_in("text")


def test_files_that_change_between_the_passes_are_refused(
    here: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_as_the_ancestor(here / "old", [tokenizer.encode_documents(["风起云涌"]).tolist()] * 3, 1)
    path = here / "old" / "tokenized_train_0.txt"
    files = find_token_files(here / "old")
    first_pass = shard_conversion.survey

    def survey_then_change(*arguments: object) -> object:
        found = first_pass(*arguments)
        path.write_text(path.read_text(encoding="utf-8") + "4 300 2 ", encoding="utf-8")
        return found

    monkeypatch.setattr(shard_conversion, "survey", survey_then_change)
    with pytest.raises(UserError, match="第一遍 18 个编号，第二遍 21 个"):
        import_shards(files, here / "shards", tokenizer, 0, 0.0, 3)
    assert os.listdir() == ["old"]
