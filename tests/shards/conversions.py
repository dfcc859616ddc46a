"""Shards, and token files as other tools leave them, for the tests of convert_shards.py: a plugin of pytest, for `pytest_plugins`."""

from pathlib import Path

import pytest
from conftest import ROOT, call

from gpt2zh.shards import convert as shard_conversion
from gpt2zh.shards import token_files
from gpt2zh.shards.build import build_shards
from gpt2zh.shards.format import Shards, ShardSettings, TokenStream, open_shards
from tokenizations.loading import load_tokenizer
from tokenizations.tokenizer import Tokenizer

VOCABULARY = ROOT / "cache" / "vocab_small.txt"


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
    defaults = ["--tokenizer_path", VOCABULARY, "--min_length", 0, "--num_pieces", 4]
    convert("--input", source, "--output", output, *defaults, *arguments)
    return open_shards(Path(output))


def write_as_the_ancestor(folder: Path, documents: list[list[int]], num_pieces: int) -> None:
    """The files that GPT2-Chinese's build_files leaves for documents of framed ids."""
    folder.mkdir()
    share = len(documents) // num_pieces
    for i in range(num_pieces):
        piece = documents[share * i : share * (i + 1)] + (documents[share * (i + 1) :] if i == num_pieces - 1 else [])
        text = "".join(f"{id_} " for document in piece for id_ in document)
        (folder / f"tokenized_train_{i}.txt").write_text(text, encoding="utf-8")


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 1,000 bytes and parts of 300 ids: numbers, documents and files lie across their borders."""
    monkeypatch.setattr(token_files, "BLOCK", 1000)
    monkeypatch.setattr(token_files, "LONGEST_PART", 300)
    monkeypatch.setattr(shard_conversion, "BATCH", 700)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(VOCABULARY)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=["blocks of 8 MB", "blocks of 1 kB"])
def block_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "blocks of 1 kB":
        small_blocks(monkeypatch)
