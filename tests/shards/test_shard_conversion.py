"""Shards go out as token files of other tools and come back the same; only what this tool wrote is written over."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from conversions import VOCABULARY, build, convert, convert_in, whole, write_as_the_ancestor

from gpt2zh.errors import UserError
from gpt2zh.shards.convert import import_shards
from gpt2zh.shards.token_files import find_token_files
from tokenizations.loading import load_tokenizer
from tokenizations.tokenizer import Tokenizer

pytest_plugins = ["conversions"]


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


@pytest.mark.slow
def test_training_takes_imported_shards_without_a_corpus(
    train: Callable[..., list[dict[str, float]]], workdir: Path, book: list[str]
) -> None:
    tokenizer = load_tokenizer(workdir / "vocab.txt")
    shortest = sorted(book, key=len)[:12]
    write_as_the_ancestor(workdir / "old", [tokenizer.encode_documents([text]).tolist() for text in shortest], 4)
    (workdir / "data" / "train.json").unlink()
    convert("--input", "old", "--tokenizer_path", "vocab.txt", "--num_pieces", 3, "--output", "data/tokenized")
    metrics = train("--val_ratio", 0.02)
    assert metrics[-1]["step"] > 3 and any("val/loss" in row for row in metrics)
    with pytest.raises(UserError, match="--min_length 128"):
        train("--val_ratio", 0.02, "--min_length", 5)


@pytest.mark.slow
def test_the_command_that_import_prints_trains_on_its_shards_and_leaves_them(
    train: Callable[..., list[dict[str, float]]], workdir: Path, book: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = load_tokenizer(workdir / "vocab.txt")
    write_as_the_ancestor(workdir / "old", [tokenizer.encode_documents([book[0]]).tolist()] * 2, 2)
    convert("--input", "old", "--tokenizer_path", "vocab.txt", "--output", "new", "--min_length", 7,
            "--val_ratio", 0, "--num_pieces", 5)  # fmt: skip
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
    assert first == second and len(first) == 4 + 1 + 1
    (here / "shards" / ".lock").touch()  # as train.py leaves it
    (here / "old" / "tokenized_train_1.txt").write_text("4 200 2 ", encoding="utf-8")
    assert convert_in("old").manifest.settings.corpus_sha256 not in first["manifest.json"].decode()


@pytest.mark.parametrize("form", [None, "nanogpt", "text"])
def test_an_output_that_is_something_else_is_left_alone(
    here: Path, tokenizer: Tokenizer, book: list[str], form: str | None
) -> None:
    build("shards", book[:5], tokenizer)
    convert("--input", "shards", "--export", "nanogpt", "--output", "nano")
    source = "nano" if form is None else "shards"
    to = ["--export", form] if form else ["--tokenizer_path", VOCABULARY, "--num_pieces", 4]
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
def script(here: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "convert_shards.py", *arguments],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONUTF8": "1"},
        )

    return run


@pytest.mark.slow
def test_as_a_script_it_ends_with_one_message_and_code_2(
    script: Callable[..., subprocess.CompletedProcess[str]], here: Path, tokenizer: Tokenizer, book: list[str]
) -> None:
    for arguments in ([], ["--input", "nowhere", "--output", "out"], ["--input", ".", "--export", "text"]):
        failed = script(*arguments)
        assert failed.returncode == 2 and "Traceback" not in failed.stderr and " / " in failed.stderr
    build("shards", book[:5], tokenizer)
    done = script("--input", "shards", "--export", "nanogpt", "--output", "out")
    assert done.returncode == 0 and "train.bin" in done.stdout, done.stderr
    done = script("--input", "out", "--output", "new", "--tokenizer_path", str(VOCABULARY))
    assert done.returncode == 0 and "it begins: " in done.stdout, done.stderr
    assert len(list(here.glob("new/tokenized_train_*.bin"))) == 100
