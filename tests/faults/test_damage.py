"""Files that were damaged between a stop and the next start: named, and the run goes on from what is whole, or says why not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Place, require_same_end

pytestmark = pytest.mark.slow

FILES = "config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json training.json state.json state.safetensors SHA256SUMS".split()


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_a_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


HARMS = [delete, truncate, flip_a_bit]


def stopped(alone: Place, hurt: Place) -> list[Path]:
    """Have in `hurt` what the run left alone had when it was stopped near its end. Returns its checkpoints, the newest first."""
    for name in ("model", "data"):
        shutil.rmtree(hurt.folder / name, ignore_errors=True)
        shutil.copytree(alone.folder / name, hurt.folder / name)
    checkpoints = sorted((hurt.folder / "model" / "checkpoints").iterdir(), reverse=True)
    assert len(checkpoints) == 2
    return checkpoints


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    alone: Place, hurt: Place, name: str, harm: Callable[[Path], None]
) -> None:
    newest, before = stopped(alone, hurt)
    harm(newest / name)
    run = hurt.run()
    assert run.code == 0, run.text
    assert f"{newest.name} is damaged" in run.text and name in run.text
    assert f"going on from model/checkpoints/{before.name}" in run.text
    require_same_end(alone, hurt)


def test_checksums_that_lost_a_line_are_not_taken_for_whole(alone: Place, hurt: Place) -> None:
    newest, before = stopped(alone, hurt)
    lose_a_line(newest / "SHA256SUMS")
    run = hurt.run()
    assert run.code == 0 and f"{newest.name} is damaged" in run.text and f"checkpoints/{before.name}" in run.text
    require_same_end(alone, hurt)


def test_where_all_checkpoints_are_damaged_nothing_is_thrown_away(alone: Place, hurt: Place) -> None:
    checkpoints = stopped(alone, hurt)
    for folder in checkpoints:
        truncate(folder / "state.safetensors")
    files = sorted(path for path in (hurt.folder / "model").rglob("*"))
    run = hurt.run()
    assert run.code == 2 and all(folder.name in run.text for folder in checkpoints) and "without --resume" in run.text
    assert sorted(path for path in (hurt.folder / "model").rglob("*")) == files


def test_a_checkpoint_that_is_asked_for_by_name_is_taken_or_refused_never_replaced(alone: Place, hurt: Place) -> None:
    newest, before = stopped(alone, hurt)
    run = hurt.run("--resume", before)
    assert run.code == 0 and f"going on from {before}" in run.text
    require_same_end(alone, hurt)
    assert [path.name.startswith("unused_") for path in sorted(newest.parent.iterdir())].count(True) == 1
    _, before = stopped(alone, hurt)
    flip_a_bit(before / "model.safetensors")
    run = hurt.run("--resume", before)
    assert run.code == 2 and f"{before} is damaged" in run.text
    for name in ("nosuch", "model/final_model", "model/best_model"):
        run = hurt.run("--resume", name)
        assert run.code == 2 and f"{name} is not a checkpoint" in run.text and "damaged" not in run.text
        assert "newest checkpoint is model/checkpoints/step_" in run.text


@pytest.mark.parametrize("name", ["auto", "True", "model", "model/checkpoints"])
def test_words_for_the_newest_checkpoint_are_understood(alone: Place, hurt: Place, name: str) -> None:
    newest, _ = stopped(alone, hurt)
    run = hurt.run("--resume", name)
    assert run.code == 0 and f"going on from model/checkpoints/{newest.name}" in run.text
    require_same_end(alone, hurt)


def test_a_state_that_is_a_pickle_is_refused_and_not_run(alone: Place, hurt: Place, tmp_path: Path) -> None:
    import hashlib
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "ran",)

    newest, before = stopped(alone, hurt)
    for folder in (newest, before):
        (folder / "state.safetensors").write_bytes(pickle.dumps(Bomb()))
        lines = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            for path in sorted(folder.iterdir())
            if path.name != "SHA256SUMS"
        ]
        (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    run = hurt.run()
    assert run.code == 2 and newest.name in run.text and "Traceback" not in run.text
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("harm", [truncate, flip_a_bit], ids=lambda harm: harm.__name__)
def test_damaged_weights_are_not_written_with(alone: Place, hurt: Place, harm: Callable[[Path], None]) -> None:
    stopped(alone, hurt)
    harm(hurt.folder / "model" / "best_model" / "model.safetensors")
    run = hurt.script("generate.py", "--model_path", "model/best_model", "--prefix", "我", "--length", 5)
    assert run.returncode == 2 and "model.safetensors" in run.stderr and "Traceback" not in run.stderr


def test_old_weights_with_code_in_them_are_refused_and_the_code_is_not_run(
    alone: Place, hurt: Place, tmp_path: Path
) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "ran",)

    stopped(alone, hurt)
    model = hurt.folder / "model" / "best_model"
    (model / "model.safetensors").unlink()
    (model / "SHA256SUMS").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({"transformer.wte.weight": Bomb()}))
    run = hurt.script("generate.py", "--model_path", "model/best_model", "--prefix", "我", "--length", 5)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert not (tmp_path / "ran").exists()


# ----- shards ----------------------------------------------------------------------------------------------------------


def shard(hurt: Place) -> Path:
    return sorted((hurt.folder / "data" / "tokenized").glob("tokenized_train_1.*.bin"))[0]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_damaged_shard_is_named_with_the_way_to_mend_it(
    alone: Place, hurt: Place, harm: Callable[[Path], None]
) -> None:
    stopped(alone, hurt)
    harm(shard(hurt))
    run = hurt.run()
    assert run.code == 2 and shard_name(alone) in run.text and "--raw" in run.text and "Traceback" not in run.text
    assert hurt.run("--raw").code == 0
    require_same_end(alone, hurt)


def shard_name(place: Place) -> str:
    return shard(place).name


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_damaged_manifest_is_made_anew_from_the_corpus(
    alone: Place, hurt: Place, harm: Callable[[Path], None]
) -> None:
    stopped(alone, hurt)
    harm(hurt.folder / "data" / "tokenized" / "manifest.json")
    assert hurt.run().code == 0
    require_same_end(alone, hurt)


# ----- what changed between a stop and the next start ---------------------------------------------------------------------


def test_a_corpus_that_changed_is_refused_and_the_shards_stay(alone: Place, hurt: Place) -> None:
    stopped(alone, hurt)
    before = {path.name: path.read_bytes() for path in (hurt.folder / "data" / "tokenized").glob("*.*")}
    corpus = hurt.folder / "data" / "train.json"
    texts = json.loads(corpus.read_text(encoding="utf-8"))
    corpus.write_text(json.dumps(texts[1:], ensure_ascii=False), encoding="utf-8")
    run = hurt.run()
    assert run.code == 2 and "--raw_data_path" in run.text and "Traceback" not in run.text
    assert {path.name: path.read_bytes() for path in (hurt.folder / "data" / "tokenized").glob("*.*")} == before
    shutil.copy(alone.folder / "data" / "train.json", corpus)
    assert hurt.run().code == 0
    require_same_end(alone, hurt)


def test_a_vocabulary_that_changed_is_refused(alone: Place, hurt: Place) -> None:
    stopped(alone, hurt)
    vocabulary = hurt.folder / "vocab.txt"
    entries = vocabulary.read_text(encoding="utf-8").splitlines()
    vocabulary.write_text("\n".join([*entries[:5], *reversed(entries[5:])]) + "\n", encoding="utf-8")
    run = hurt.run()
    assert run.code == 2 and "--tokenizer_path" in run.text and "Traceback" not in run.text


def test_a_model_configuration_that_changed_is_refused(alone: Place, hurt: Place) -> None:
    stopped(alone, hurt)
    config = hurt.folder / "tiny.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"n_layer": 2', '"n_layer": 1'), encoding="utf-8")
    run = hurt.run()
    assert run.code == 2 and "--model_config" in run.text and "(n_layer): 2 in the checkpoint, 1 now" in run.text
