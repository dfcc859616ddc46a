"""Shards are storage only: the stream is the documents' ids in order, whatever the pieces; a kill leaves the old ones."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from gpt2zh.errors import UserError
from gpt2zh.shards import build as shard_builder
from gpt2zh.shards import format as shards
from gpt2zh.shards.build import build_shards
from gpt2zh.shards.format import (
    ShardSettings,
    TokenStream,
    check_documents,
    check_tokenizer,
    differences,
    open_shards,
    read_manifest,
)
from gpt2zh.shards.plan import VALIDATION, make_plan
from tokenizations.loading import load_tokenizer
from tokenizations.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(ROOT / "cache" / "vocab_small.txt")


def settings_for(tokenizer: Tokenizer, **changes: object) -> ShardSettings:
    values = {
        "corpus_sha256": "0" * 64,
        "tokenizer": tokenizer.fingerprint,
        "vocab_size": len(tokenizer),
        "min_length": 1,
        "val_ratio": 0.0,
        "num_pieces": 4,
    }
    return ShardSettings(**{**values, **changes})


def whole(stream: TokenStream) -> list[int]:
    return stream.read_circular(0, len(stream)).tolist()


@pytest.mark.parametrize("num_pieces", [1, 3, 32, 100])
def test_the_stream_is_every_document_in_order_for_any_number_of_pieces(
    tmp_path: Path, tokenizer: Tokenizer, book: list[str], num_pieces: int
) -> None:
    documents = book[:40]
    build_shards(tmp_path, documents, tokenizer, settings_for(tokenizer, num_pieces=num_pieces))
    assert len(list(tmp_path.glob("tokenized_train_*.bin"))) == num_pieces
    data = open_shards(tmp_path)
    assert whole(data.train) == tokenizer.encode_documents(documents).tolist()
    assert len(data.val) == 0


def test_pieces_are_alike_in_size(tmp_path: Path, tokenizer: Tokenizer, book: list[str]) -> None:
    build_shards(tmp_path, book, tokenizer, settings_for(tokenizer, num_pieces=4))
    sizes = [file.tokens for file in open_shards(tmp_path).manifest.train]
    assert max(sizes) < 1.5 * min(sizes)


def test_wide_vocabularies_get_wide_ids(tmp_path: Path, tokenizer: Tokenizer) -> None:
    class Wide:
        fingerprint, unknown_id = "wide", 1

        def __len__(self) -> int:
            return 70_000

        def encode_documents(self, documents: list[str]) -> np.ndarray:
            return np.array([69_999, 65_536] * len(documents))

        def missing_characters(self, texts: list[str]) -> Counter[str]:
            return Counter()

    build_shards(tmp_path, ["一"], Wide(), settings_for(tokenizer, vocab_size=70_000))
    assert whole(open_shards(tmp_path).train) == [69_999, 65_536]


def held_out(tokenizer: Tokenizer, documents: list[str], val_ratio: float) -> list[str]:
    plan = make_plan(documents, settings_for(tokenizer, val_ratio=val_ratio))
    return [document for document, piece in zip(documents, plan.piece) if piece == VALIDATION]


def test_train_and_validation_part_the_documents(tmp_path: Path, tokenizer: Tokenizer, book: list[str]) -> None:
    build_shards(tmp_path, book, tokenizer, settings_for(tokenizer, val_ratio=0.05))
    data = open_shards(tmp_path)
    held = held_out(tokenizer, book, 0.05)
    assert whole(data.val) == tokenizer.encode_documents(held).tolist()
    assert whole(data.train) == tokenizer.encode_documents([text for text in book if text not in held]).tolist()
    assert 0.03 < data.manifest.characters.val / sum(map(len, book)) <= 0.05


def test_what_validates_does_not_depend_on_the_order(tokenizer: Tokenizer, book: list[str]) -> None:
    assert set(held_out(tokenizer, book, 0.02)) == set(held_out(tokenizer, book[::-1], 0.02))


@pytest.mark.parametrize(
    ("lengths", "ratio", "expected"),
    [([500, 500], 0.02, 0), ([1000] * 20, 0.02, 1), ([1000, 30], 0.02, 1), ([1000], 0.1, 0), ([10] * 100, 0.0, 0)],
)
def test_few_documents_hold_out_one_or_none_but_never_much(
    tokenizer: Tokenizer, lengths: list[int], ratio: float, expected: int
) -> None:
    documents = [chr(0x4E00 + i) * length for i, length in enumerate(lengths)]
    assert len(held_out(tokenizer, documents, ratio)) == expected


def test_a_large_corpus_tokenised_by_workers_gives_the_same_files(
    tmp_path: Path, tokenizer: Tokenizer, book: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tokenizer, val_ratio=0.05, num_pieces=5)
    build_shards(tmp_path / "one", book, tokenizer, settings)
    monkeypatch.setattr(shard_builder, "SMALL_CORPUS", 0)
    monkeypatch.setattr(shard_builder, "BATCH_CHARACTERS", 7000)
    build_shards(tmp_path / "many", book, tokenizer, settings)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes(), path.name


def test_a_killed_build_goes_on_with_the_pieces_it_lacks(
    tmp_path: Path, tokenizer: Tokenizer, book: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(tokenizer, val_ratio=0.05, num_pieces=5)
    build_shards(tmp_path / "whole", book, tokenizer, settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    (tmp_path / "killed" / "manifest.json").unlink()
    files = sorted((tmp_path / "killed").glob("tokenized_train_*"))
    files[0].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-2])
    files[0].with_name(f".{files[0].name}.1234.tmp").write_bytes(b"the piece that was being written")
    kept = {path: path.stat().st_mtime_ns for path in (files[1], files[3], files[4])}
    build_shards(tmp_path / "killed", book, tokenizer, settings, anew=False)
    assert "5 个分片中已有 3 个" in capsys.readouterr().out
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "killed").iterdir()
    }


def sleeper(said: str) -> Callable[[float], None]:
    print(f"{said}\n", end="", flush=True)  # in one write: two processes say it
    return time.sleep


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_workers_end_with_the_process_that_started_them() -> None:
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "shards")!r}, {str(ROOT / "tests")!r}]
from gpt2zh.system.workers import ordered_map
from test_shards import sleeper
list(ordered_map([600] * 2, 2, sleeper, ("started",)))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert [process.stdout.readline() for _ in range(2)] == ["started\n"] * 2
    process.kill()
    process.communicate(timeout=60)  # ends when nobody holds its stdout any more; the workers inherited it


def test_a_corpus_that_changes_between_the_passes_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    class Growing(list):
        def __iter__(self) -> Iterator[str]:
            self.append("又一篇")
            return super().__iter__()

    with pytest.raises(UserError, match="2 篇，第二遍 3 篇"):
        build_shards(tmp_path, Growing(["第一篇"]), tokenizer, settings_for(tokenizer))
    assert not list(tmp_path.glob("*.bin"))


def test_min_length_counts_characters_and_drops_shorter_documents(tmp_path: Path, tokenizer: Tokenizer) -> None:
    build_shards(tmp_path, ["一\n二", "一二三四"], tokenizer, settings_for(tokenizer, min_length=4))
    data = open_shards(tmp_path)
    assert data.manifest.documents.too_short == 1
    assert tokenizer.decode(whole(data.train)) == "一二三四"


def test_nothing_left_is_an_error_that_names_the_flag(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="2 篇.*--min_length 128.*最长的 9 字"):
        build_shards(tmp_path / "x", ["风起", "雪落" * 4 + "了"], tokenizer, settings_for(tokenizer, min_length=128))
    assert not (tmp_path / "x").exists()


def test_changed_settings_are_named_with_both_values(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert differences(tmp_path, settings_for(tokenizer))
    build_shards(tmp_path, ["风起云涌"], tokenizer, settings_for(tokenizer))
    assert differences(tmp_path, settings_for(tokenizer)) == []
    (difference,) = differences(tmp_path, settings_for(tokenizer, min_length=2))
    assert difference == ("min_length：分片 1，现在 2", "min_length: shards 1, now 2")


def test_shards_of_another_vocabulary_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    build_shards(tmp_path, ["风起云涌"], tokenizer, settings_for(tokenizer))
    data = open_shards(tmp_path)
    check_tokenizer(data, tokenizer.fingerprint, Path("same.txt"))
    with pytest.raises(UserError, match=f"{tokenizer.fingerprint[:12]}.*ffffffffffff"):
        check_tokenizer(data, "f" * 64, Path("other.txt"))
    with pytest.raises(UserError, match="--min_length 1 .*现在要 5"):
        check_documents(data, 5, 0.0)


@pytest.mark.parametrize("harm", ["delete", "truncate", "header", "manifest", "no counts", "list", "no manifest"])
def test_damage_is_named(tmp_path: Path, tokenizer: Tokenizer, harm: str) -> None:
    build_shards(tmp_path, ["风起云涌" * 9], tokenizer, settings_for(tokenizer, num_pieces=1))
    (file,) = tmp_path.glob("tokenized_train_0.*.bin")
    {
        "delete": file.unlink,
        "truncate": lambda: file.write_bytes(file.read_bytes()[:-1]),
        "header": lambda: file.write_bytes(b"x" + file.read_bytes()[1:]),
        "no counts": lambda: (tmp_path / "manifest.json").write_text(
            (tmp_path / "manifest.json").read_text(encoding="utf-8").replace("unknown", "?"), encoding="utf-8"
        ),
        "list": lambda: (tmp_path / "manifest.json").write_text("[]", encoding="utf-8"),
        "manifest": lambda: (tmp_path / "manifest.json").write_text("{}", encoding="utf-8"),
        "no manifest": (tmp_path / "manifest.json").unlink,
    }[harm]()
    with pytest.raises(UserError, match="manifest.json" if harm == "list" else "--raw"):
        open_shards(tmp_path)
    build_shards(tmp_path, ["风起云涌" * 9], tokenizer, settings_for(tokenizer, num_pieces=1))
    open_shards(tmp_path)  # --raw mends all of it


def test_a_manifest_with_any_bit_flipped_is_another_or_the_same(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Blanks between its values may change; what it says may not."""
    build_shards(tmp_path, ["风起云涌" * 9, "𠮷𠮷"], tokenizer, settings_for(tokenizer, num_pieces=1))
    path = tmp_path / "manifest.json"
    before, data = read_manifest(tmp_path), path.read_bytes()
    n_passed = 0
    for at in range(len(data)):
        for bit in range(8):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            try:
                assert read_manifest(tmp_path) == before
                n_passed += 1
            except UserError:
                pass
    assert n_passed < len(data) / 2


@pytest.mark.parametrize("edit", ['"val": 0', '"train": 1', '"tokens": 3'])
def test_counts_that_were_written_into_a_manifest_are_refused(tmp_path: Path, tokenizer: Tokenizer, edit: str) -> None:
    build_shards(tmp_path, ["风起云涌" * 9] * 9, tokenizer, settings_for(tokenizer, val_ratio=0.2))
    path = tmp_path / "manifest.json"
    name = edit.split(":")[0]
    path.write_text(re.sub(f"{name}: [0-9]+", edit, path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError, match="changed after it was written"):
        open_shards(tmp_path)


def test_ids_that_no_vocabulary_entry_has_are_damage() -> None:
    with pytest.raises(UserError, match="65535.*13317"):
        whole(TokenStream([np.array([5, 65535, 7], dtype=np.uint16)], 13317))


def test_a_rebuild_leaves_no_old_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for num_pieces in (5, 2):
        build_shards(tmp_path, ["风起云涌"] * 9, tokenizer, settings_for(tokenizer, num_pieces=num_pieces))
    assert len(list(tmp_path.iterdir())) == 2 + 1 + 1  # train, validation, manifest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_kill_while_building_leaves_the_old_shards_whole(
    tmp_path: Path, tokenizer: Tokenizer, book: list[str]
) -> None:
    build_shards(tmp_path / "s", book[:9], tokenizer, settings_for(tokenizer))
    before = whole(open_shards(tmp_path / "s").train)
    code = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from gpt2zh.shards.format import ShardSettings
from gpt2zh.shards.build import build_shards
from tokenizations.loading import load_tokenizer
tokenizer = load_tokenizer(Path({str(ROOT / "cache/vocab_small.txt")!r}))
book = json.loads(Path({str(ROOT / "data/example.json")!r}).read_text(encoding="utf-8"))
print("start", flush=True)
while True:
    for n in range(2, 40):
        build_shards(Path({str(tmp_path / "s")!r}), book, tokenizer, ShardSettings("1" * 64, tokenizer.fingerprint, len(tokenizer), 1, 0.0, n))
"""
    for delay in (0.05, 0.15, 0.4):
        (tmp_path / "copy").mkdir(exist_ok=True)
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        stream = whole(open_shards(tmp_path / "s").train)
        assert stream in (before, tokenizer.encode_documents(book).tolist())


def test_reading_wraps_round_and_crosses_pieces() -> None:
    stream = TokenStream([np.arange(3), np.empty(0, int), np.arange(3, 7)], 7)
    assert stream.read_circular(2, 4).tolist() == [2, 3, 4, 5]
    assert stream.read_circular(5, 9).tolist() == [5, 6, 0, 1, 2, 3, 4, 5, 6]


def test_the_manifest_is_json_that_counts_every_token(tmp_path: Path, tokenizer: Tokenizer, book: list[str]) -> None:
    build_shards(tmp_path, [*book[:5], "𠮷𠮷"], tokenizer, settings_for(tokenizer))
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert sum(entry["tokens"] for entry in manifest["train"]) == len(open_shards(tmp_path).train)
    assert sum(entry["unknown"] for entry in manifest["train"]) >= 2
    assert manifest["missing"]["𠮷"] == 2
    assert shards.HEADER_BYTES == 1024
