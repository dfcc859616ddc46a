"""A folder as a corpus: what is read, what is left out, and that a person is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from gpt2zh.errors import UserError
from gpt2zh.text.corpus import Corpus

TEXT = "清晨的集市刚刚开张，卖豆腐的老汉推着车慢慢走过石板路。"


def write(path: Path, text: str = TEXT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def names_read(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in Corpus(folder).files]


@pytest.mark.parametrize(
    "name",
    [".hidden.txt", "._book.txt", "~$book.txt", ".hidden/a/b.txt", "__MACOSX/AA/book.txt", ".ipynb_checkpoints/a.txt"],
)
def test_hidden_and_temporary_names_are_left_out_and_named(name: str, tmp_path: Path) -> None:
    write(tmp_path / "book.txt")
    write(tmp_path / name)
    assert names_read(tmp_path) == ["book.txt"]
    (zh, en), *more = Corpus(tmp_path).notes()
    assert not more and "hidden or temporary (1)" in en and name.split("/")[0] in zh


def test_files_of_other_kinds_are_counted(tmp_path: Path) -> None:
    for name in ("book.txt", "book.txt.bak", "book.txt~", "a.jpg", "b.jpg"):
        write(tmp_path / name)
    assert names_read(tmp_path) == ["book.txt"]
    assert ".jpg 2" in Corpus(tmp_path).notes()[0][1]


def test_what_the_scripts_wrote_into_a_folder_is_no_corpus(tmp_path: Path) -> None:
    """prepare_data.py's validation file and report, shards, a run and its models; and the corpus itself is."""
    documents = json.loads((ROOT / "data" / "example.json").read_text(encoding="utf-8"))
    write(tmp_path / "raw.json", json.dumps(documents[:12], ensure_ascii=False))
    data = tmp_path / "data"

    def script(*words: object) -> None:
        done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr

    script("prepare_data.py", tmp_path / "raw.json", "--output", data / "train.json", "--val_ratio", 0.2)
    script(
        "cache/make_vocab.py",
        "--type",
        "char",
        "--raw_data_path",
        data / "train.json",
        "--vocab_file",
        data / "v" / "vocab.bin",
    )
    shape = {"n_layer": 1, "n_embd": 8, "n_head": 1, "n_ctx": 8, "n_positions": 8, "vocab_size": 9}
    write(tmp_path / "tiny.json", json.dumps(shape))
    script(
        "train.py", "--device", "cpu", "--model_config", tmp_path / "tiny.json", "--tokenizer_path", data / "v" / "vocab.bin",
        "--raw_data_path", data / "train.json", "--tokenized_data_path", data / "tokenized", "--num_pieces", 1,
        "--max_steps", 2, "--min_length", 1, "--output_dir", data / "model", "--writer_dir", tmp_path / "runs", "--save_every", 1,
    )  # fmt: skip
    assert {path.name for path in data.iterdir()} >= {
        "train.json",
        "train_val.json",
        "train_report.md",
        "tokenized",
        "model",
    }
    assert names_read(data) == ["train.json"]
    note = " ".join(en for _, en in Corpus(data).notes())
    assert all(name in note for name in ("train_val.json", "train_report.md", "tokenized", "model"))
    held_out = set(json.loads((data / "train_val.json").read_text(encoding="utf-8")))
    assert held_out and not held_out & set(Corpus(data))


def test_a_validation_file_alone_is_a_corpus(tmp_path: Path) -> None:
    write(tmp_path / "a_val.json", json.dumps([TEXT]))
    assert names_read(tmp_path) == ["a_val.json"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_linked_folders_are_read_once_and_broken_links_are_named(tmp_path: Path) -> None:
    write(tmp_path / "disk" / "books" / "1.txt")
    mine = tmp_path / "mine"
    write(mine / "own.txt")
    (mine / "books").symlink_to(tmp_path / "disk" / "books")
    (mine / "again").symlink_to(tmp_path / "disk" / "books")
    (mine / "round").symlink_to(mine)
    (mine / "broken.txt").symlink_to(tmp_path / "nowhere.txt")
    assert names_read(mine) == ["again/1.txt", "own.txt"]
    assert "broken links (1): broken.txt" in Corpus(mine).notes()[0][1]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    write(tmp_path / "locked" / "b.txt")
    (tmp_path / "locked").chmod(0)
    try:
        assert "cannot be opened (1): locked" in Corpus(tmp_path).notes()[0][1]
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_a_folder_with_nothing_to_read_says_what_it_has(tmp_path: Path) -> None:
    write(tmp_path / "._a.txt")
    with pytest.raises(UserError, match=r"\._a\.txt"):
        Corpus(tmp_path)
