"""Shards are built where they are missing, stale or wanted anew, and after what speaks against them was heard."""

import json
from pathlib import Path

import pytest
from conftest import ROOT

from gpt2zh.errors import UserError
from gpt2zh.shards.ensure import ensure_shards
from gpt2zh.shards.format import ShardSettings, open_shards
from gpt2zh.text import identity
from tokenizations.loading import load_tokenizer
from tokenizations.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(ROOT / "cache" / "vocab_small.txt")


def ensure(folder: Path, tokenizer: Tokenizer, anew: bool = False, min_length: int = 1) -> list[ShardSettings]:
    checked: list[ShardSettings] = []
    ensure_shards(folder / "train.json", folder / "shards", tokenizer, min_length, 0.0, 2, anew, checked.append)
    return checked


def state(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "shards").glob("*.bin")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.json").write_text(json.dumps(["风起云涌", "", "雪落无声"]), encoding="utf-8")
    return tmp_path


def test_shards_are_built_once_and_again_when_the_corpus_or_a_setting_changes(
    folder: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = ensure(folder, tokenizer)
    assert checked == [open_shards(folder / "shards").manifest.settings]
    shown = capsys.readouterr().out
    assert "没有可用的分片" in shown and "另有空白 1 篇" in shown
    built = state(folder)
    ensure(folder, tokenizer)
    assert state(folder) == built and capsys.readouterr().out == ""
    ensure(folder, tokenizer, anew=True)
    assert state(folder).keys() == built.keys() and state(folder) != built
    capsys.readouterr()
    ensure(folder, tokenizer, min_length=2)
    assert "min_length：分片 1，现在 2" in capsys.readouterr().out
    (folder / "train.json").write_text(json.dumps(["风起云涌"]), encoding="utf-8")
    ensure(folder, tokenizer, min_length=2)
    assert "corpus_sha256" in capsys.readouterr().out
    assert open_shards(folder / "shards").manifest.documents.train == 1


def test_without_a_corpus_nothing_happens_unless_it_is_wanted_anew(folder: Path, tokenizer: Tokenizer) -> None:
    (folder / "train.json").unlink()
    assert ensure(folder, tokenizer) == [] and not (folder / "shards").exists()
    with pytest.raises(UserError, match=r"train\.json"):
        ensure(folder, tokenizer, anew=True)


def test_what_the_check_refuses_is_not_built(folder: Path, tokenizer: Tokenizer) -> None:
    def refuse(settings: ShardSettings) -> None:
        raise UserError("另一份文字", "another text")

    with pytest.raises(UserError, match="another text"):
        ensure_shards(folder / "train.json", folder / "shards", tokenizer, 1, 0.0, 2, True, refuse)
    assert not (folder / "shards").exists()


def test_the_identity_of_a_large_corpus_lies_beside_its_shards(
    folder: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "SMALL", 0)
    monkeypatch.setattr(identity, "SETTLED", 0)
    ensure(folder, tokenizer)
    monkeypatch.setattr(identity, "corpus_sha256", lambda path: pytest.fail("the corpus is read again"))
    assert ensure(folder, tokenizer) == [open_shards(folder / "shards").manifest.settings]
