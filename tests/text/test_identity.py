"""A corpus that did not change is not read again to be hashed; any change, and any doubt, has it hashed again."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt2zh.text import identity
from gpt2zh.text.corpus import corpus_sha256
from gpt2zh.text.identity import SPOT, identify

SIZE = 40 * SPOT


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two files, changed long ago as far as `identify` can tell; even the smallest is large."""
    monkeypatch.setattr(identity, "SMALL", 0)
    monkeypatch.setattr(identity, "SETTLED", 0)
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_bytes(b"text\n" * (SIZE // 5))
    time.sleep(0.02)
    return folder


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The corpora that were read to be hashed, in order."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return corpus_sha256(path)

    monkeypatch.setattr(identity, "corpus_sha256", counted)
    return read


def test_an_unchanged_corpus_is_hashed_once(corpus: Path, hashed: list[Path], tmp_path: Path) -> None:
    memory = tmp_path / "corpus.json"
    for _ in range(3):
        found = identify(corpus, memory)
        found.remember(memory)
        assert found.sha256 == corpus_sha256(corpus)
    assert hashed == [corpus]


def write_at(path: Path, position: int, restores_time: bool) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"T")
    if restores_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte of the sample, the time restored": lambda corpus: write_at(corpus / "b.txt", SIZE - 1, True),
    "a byte beside the sample": lambda corpus: write_at(corpus / "b.txt", 2 * SPOT, False),
    "the time alone": lambda corpus: os.utime(corpus / "b.txt", ns=(1, 1)),
    "a file more": lambda corpus: (corpus / "c.txt").write_bytes(b"more"),
    "a file less": lambda corpus: (corpus / "a.txt").unlink(),
    "another name": lambda corpus: (corpus / "a.txt").rename(corpus / "c.txt"),
    "a byte less": lambda corpus: os.truncate(corpus / "a.txt", SIZE - 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_any_change_it_is_hashed_again(corpus: Path, hashed: list[Path], tmp_path: Path, change: str) -> None:
    memory = tmp_path / "corpus.json"
    identify(corpus, memory).remember(memory)
    CHANGES[change](corpus)
    assert identify(corpus, memory).sha256 == corpus_sha256(corpus)
    assert len(hashed) == 2


def test_a_byte_of_the_sample_shows_even_where_no_time_does(
    corpus: Path, hashed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = identity._traits

    def untimed(path: Path) -> identity.FileTraits:
        return identity.FileTraits(str(path), timed(path).size, 0, 0, timed(path).sample)

    monkeypatch.setattr(identity, "_traits", untimed)
    memory = tmp_path / "corpus.json"
    identify(corpus, memory).remember(memory)
    for position in (0, SIZE // 15 * 7, SIZE - 1):
        write_at(corpus / "a.txt", position, True)
        found = identify(corpus, memory)
        assert found.sha256 == corpus_sha256(corpus)
        found.remember(memory)
    assert len(hashed) == 4


def test_what_was_just_written_is_not_remembered(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "SETTLED", 3_000_000_000)
    identify(corpus, tmp_path / "corpus.json").remember(tmp_path / "corpus.json")
    assert not (tmp_path / "corpus.json").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"sha256": 1, "files": []}', b"\xff\xfe"])
def test_a_memory_that_cannot_be_read_is_none(corpus: Path, hashed: list[Path], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "corpus.json").write_bytes(content)
    found = identify(corpus, tmp_path / "corpus.json")
    assert found.sha256 == corpus_sha256(corpus) and len(hashed) == 1
    found.remember(tmp_path / "corpus.json")
    assert identify(corpus, tmp_path / "corpus.json") == found and len(hashed) == 1


def test_a_small_corpus_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("风起", encoding="utf-8")
    found = identify(tmp_path / "a.txt", tmp_path / "corpus.json")
    found.remember(tmp_path / "corpus.json")
    assert found.sha256 == corpus_sha256(tmp_path / "a.txt") and not (tmp_path / "corpus.json").exists()
