"""Token files of other tools: the ids that went out come in, documents and all; what is wrong is named; nothing is half-written."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, call

from gpt2zh.errors import UserError
from gpt2zh.shards import convert as shard_conversion
from gpt2zh.shards import token_files
from gpt2zh.shards.build import build_shards
from gpt2zh.shards.convert import import_shards
from gpt2zh.shards.format import Shards, ShardSettings, TokenStream, open_shards
from gpt2zh.shards.token_files import find_token_files
from tokenizations.loading import load_tokenizer
from tokenizations.tokenizer import Tokenizer

VOCABULARY = ROOT / "cache" / "vocab_small.txt"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(VOCABULARY)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def whole(stream: TokenStream) -> list[int]:
    return stream.read_circular(0, len(stream)).tolist()


def build(folder: str, documents: list[str], tokenizer: Tokenizer, **changes: object) -> Shards:
    values = {"corpus_sha256": "0" * 64, "tokenizer": tokenizer.fingerprint, "vocab_size": len(tokenizer)}
    settings = ShardSettings(**{**values, "min_length": 1, "val_ratio": 0.05, "num_pieces": 4, **changes})
    build_shards(Path(folder), documents, tokenizer, settings)
    return open_shards(Path(folder))


def convert(*arguments: object) -> None:
    call("convert_shards.py", *arguments)


def convert_in(source: str, output: str = "shards", *arguments: object) -> Shards:
    convert("--input", source, "--output", output, "--tokenizer_path", VOCABULARY, "--min_length", 0, *arguments)
    return open_shards(Path(output))


def write_as_the_ancestor(folder: Path, documents: list[list[int]], num_pieces: int) -> None:
    """The files that GPT2-Chinese's build_files leaves for documents of framed ids."""
    folder.mkdir()
    share = len(documents) // num_pieces
    for i in range(num_pieces):
        piece = documents[share * i : share * (i + 1)] + (documents[share * (i + 1) :] if i == num_pieces - 1 else [])
        text = "".join(f"{id_} " for document in piece for id_ in document)
        (folder / f"tokenized_train_{i}.txt").write_text(text, encoding="utf-8")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 1,000 bytes and parts of 300 ids: numbers, documents and files lie across their borders."""
    monkeypatch.setattr(token_files, "BLOCK", 1000)
    monkeypatch.setattr(token_files, "LONGEST_PART", 300)
    monkeypatch.setattr(shard_conversion, "BATCH", 700)


@pytest.fixture(params=["blocks of 8 MB", "blocks of 1 kB"])
def block_size(request: pytest.FixtureRequest) -> None:
    if request.param == "blocks of 1 kB":
        request.getfixturevalue("small_blocks")


@pytest.mark.parametrize("form", ["nanogpt", "text"])
def test_what_is_exported_comes_back(
    here: Path, tokenizer: Tokenizer, book: list[str], form: str, block_size: None
) -> None:
    old = build("old", book, tokenizer)
    convert("--input", "old", "--export", form, "--output", "out")
    new = convert_in("out", "new", "--num_pieces", 7)
    assert whole(new.train) == whole(old.train) and whole(new.val) == whole(old.val)
    counts = ("read", "train", "val")
    assert [getattr(new.manifest.documents, name) for name in counts] == [
        getattr(old.manifest.documents, name) for name in counts
    ]
    assert len(new.manifest.train) == 7
    for split in ("train", "val"):
        for shards in (old, new):
            assert getattr(shards.manifest.characters, split) == pytest.approx(
                getattr(old.manifest.characters, split), rel=1e-3
            )
        assert sum(file.unknown for file in getattr(new.manifest, split)) == sum(
            file.unknown for file in getattr(old.manifest, split)
        )


def test_nanogpts_files_are_bare_uint16(here: Path, tokenizer: Tokenizer, book: list[str]) -> None:
    old = build("old", book[:30], tokenizer)
    convert("--input", "old", "--export", "nanogpt", "--output", "out")
    assert np.fromfile("out/train.bin", "<u2").tolist() == whole(old.train)
    assert np.fromfile("out/val.bin", "<u2").tolist() == whole(old.val)
    about = json.loads(Path("out/meta.json").read_text(encoding="utf-8"))
    assert (about["vocab_size"], about["tokenizer"]) == (len(tokenizer), tokenizer.fingerprint)


def test_text_files_are_the_ancestors(here: Path, tokenizer: Tokenizer, book: list[str]) -> None:
    old = build("old", book[:9], tokenizer, val_ratio=0.0, num_pieces=3)
    convert("--input", "old", "--export", "text", "--output", "out")
    assert sorted(os.listdir("out")) == ["meta.json", *(f"tokenized_train_{i}.txt" for i in range(3))]
    for i, piece in enumerate(old.train.pieces):
        text = Path(f"out/tokenized_train_{i}.txt").read_text(encoding="utf-8")
        assert text == "".join(f"{id_} " for id_ in piece.tolist())


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


def test_large_files_go_through_worker_processes_to_the_same_shards(
    here: Path, tokenizer: Tokenizer, book: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_as_the_ancestor(here / "old", [tokenizer.encode_documents([text]).tolist() for text in book], 3)
    alone = convert_in("old", "alone").manifest
    monkeypatch.setattr(shard_conversion, "SMALL", 0)
    monkeypatch.setattr(shard_conversion, "BATCH", 50_000)
    monkeypatch.setattr(shard_conversion, "n_cores", lambda: 2)
    assert convert_in("old", "together").manifest == alone


def test_training_takes_imported_shards_without_a_corpus(
    train: Callable[..., list[dict[str, float]]], workdir: Path, book: list[str]
) -> None:
    tokenizer = load_tokenizer(workdir / "vocab.txt")
    shortest = sorted(book, key=len)[:12]
    write_as_the_ancestor(workdir / "old", [tokenizer.encode_documents([text]).tolist() for text in shortest], 4)
    (workdir / "data" / "train.json").unlink()
    convert("--input", "old", "--tokenizer_path", "vocab.txt", "--output", "data/tokenized")
    metrics = train("--val_ratio", 0.02)
    assert metrics[-1]["step"] > 3 and any("val/loss" in row for row in metrics)
    with pytest.raises(UserError, match="--min_length 128"):
        train("--val_ratio", 0.02, "--min_length", 5)


def test_the_command_that_import_prints_trains_on_its_shards_and_leaves_them(
    train: Callable[..., list[dict[str, float]]], workdir: Path, book: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = load_tokenizer(workdir / "vocab.txt")
    write_as_the_ancestor(workdir / "old", [tokenizer.encode_documents([book[0]]).tolist()] * 2, 2)
    convert("--input", "old", "--tokenizer_path", "vocab.txt", "--output", "new", "--min_length", 7, "--val_ratio", 0)
    manifest = Path("new/manifest.json").read_bytes()
    printed = next(line for line in capsys.readouterr().out.splitlines() if "train.py" in line)
    command = shlex.split(printed[printed.index("python train.py") :])[2:]
    assert Path("data/train.json").exists() and train(*command)[-1]["step"] > 3
    assert Path("new/manifest.json").read_bytes() == manifest


def test_shards_are_the_same_each_time_and_replace_those_of_before(
    here: Path, tokenizer: Tokenizer, book: list[str]
) -> None:
    build("shards", book[:5], tokenizer)
    write_as_the_ancestor(here / "old", [tokenizer.encode_documents([text]).tolist() for text in book[:9]], 2)
    first = {path.name: path.read_bytes() for path in convert_in("old").folder.iterdir()}
    second = {path.name: path.read_bytes() for path in convert_in("old").folder.iterdir()}
    assert first == second and len(first) == 100 + 1 + 1
    (here / "old" / "tokenized_train_1.txt").write_text("4 200 2 ", encoding="utf-8")
    assert convert_in("old").manifest.settings.corpus_sha256 not in first["manifest.json"].decode()


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


@pytest.mark.parametrize("n_ids", [299, 300, 301, 600])
def test_a_document_ends_with_its_file_whatever_its_length(
    here: Path, tokenizer: Tokenizer, small_blocks: None, n_ids: int
) -> None:
    Path("nano").mkdir()
    for name in ("train", "val"):
        np.full(n_ids, 300, "<u2").tofile(f"nano/{name}.bin")
    data = convert_in("nano")
    assert whole(data.train) == whole(data.val) == [300] * n_ids
    assert asdict(data.manifest.documents) == {"read": 2, "too_short": 0, "train": 1, "val": 1}


@pytest.mark.parametrize("fault", sorted(BAD))
def test_bad_input_is_named_and_leaves_nothing(here: Path, tokenizer: Tokenizer, fault: str) -> None:
    write_as_the_ancestor(here / "old", [tokenizer.encode_documents(["风起云涌"]).tolist()] * 3, 3)
    harm, message = BAD[fault]
    harm(here / "old")
    with pytest.raises(UserError, match=message):
        convert_in("old")
    assert [path for path in os.listdir() if path != "old"] == []


def test_a_bad_id_far_in_is_found_at_its_place(here: Path, small_blocks: None) -> None:
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


@pytest.mark.parametrize("form", [None, "nanogpt", "text"])
def test_an_output_that_is_something_else_is_left_alone(
    here: Path, tokenizer: Tokenizer, book: list[str], form: str | None
) -> None:
    build("shards", book[:5], tokenizer)
    convert("--input", "shards", "--export", "nanogpt", "--output", "nano")
    source = "nano" if form is None else "shards"
    to = ["--export", form] if form else ["--tokenizer_path", VOCABULARY]
    Path("mine").mkdir()
    Path("mine/train.bin").write_bytes(b"mine")
    Path("file").write_bytes(b"mine")
    for output in ("mine", "file", source, "."):
        before = contents(here)
        with pytest.raises(UserError, match=re.escape(str(Path(output).resolve()))):
            convert("--input", source, *to, "--output", output)
        assert contents(here) == before
    for _ in range(2):  # into nothing, and over what it wrote itself
        convert("--input", source, *to, "--output", "deep/out/")
    (here / "deep/out/notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="notes.txt"):
        convert("--input", source, *to, "--output", "deep/out/")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_vocabulary_than_the_recorded_one_is_refused(
    here: Path, tokenizer: Tokenizer, book: list[str], book_vocabulary: str
) -> None:
    build("shards", book[:5], tokenizer)
    convert("--input", "shards", "--export", "text", "--output", "out")
    Path("vocab.txt").write_text(book_vocabulary, encoding="utf-8")
    with pytest.raises(UserError, match=tokenizer.fingerprint[:12]):
        convert("--input", "out", "--output", "new", "--tokenizer_path", "vocab.txt")
    Path("out/meta.json").write_text('{"vocab_size": 99}', encoding="utf-8")  # another tool's: says nothing
    convert_in("out")


def test_a_vocabulary_too_large_for_uint16_is_refused_by_nanogpt_and_goes_as_text(here: Path) -> None:
    class Wide:
        fingerprint, unknown_id, document_end_id = "wide", 1, 2

        def __len__(self) -> int:
            return 70_000

        def decode(self, ids: list[int]) -> str:
            return "字" * len(ids)

    write_as_the_ancestor(here / "old", [[4, 69_999, 2], [4, 65_536, 2]], 2)
    import_shards(find_token_files(here / "old"), here / "shards", Wide(), 0, 0.0, 2)
    with pytest.raises(UserError, match="65536.*70000"):
        convert("--input", "shards", "--export", "nanogpt", "--output", "out")
    assert not Path("out").exists()
    convert("--input", "shards", "--export", "text", "--output", "out")
    assert Path("out/tokenized_train_1.txt").read_text(encoding="utf-8") == "4 65536 2 "


@pytest.fixture
def script(here: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "convert_shards.py", *arguments],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONUTF8": "1"},
        )

    yield run


def test_as_a_script_it_ends_with_one_message_and_code_2(
    script: Callable[..., subprocess.CompletedProcess[str]], tokenizer: Tokenizer, book: list[str]
) -> None:
    for arguments in ([], ["--input", "nowhere", "--output", "out"], ["--input", ".", "--export", "text"]):
        failed = script(*arguments)
        assert failed.returncode == 2 and "Traceback" not in failed.stderr and " / " in failed.stderr
    build("shards", book[:5], tokenizer)
    done = script("--input", "shards", "--export", "nanogpt", "--output", "out")
    assert done.returncode == 0 and "train.bin" in done.stdout, done.stderr
    done = script("--input", "out", "--output", "new", "--tokenizer_path", str(VOCABULARY))
    assert done.returncode == 0 and "it begins: " in done.stdout, done.stderr
