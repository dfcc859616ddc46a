"""--pretrained_model: a trained model goes on with another text."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import call
from safetensors.numpy import load_file

from gpt2zh.errors import UserError

Train = Callable[..., list[dict[str, float]]]
NEW = ["--pretrained_model", "model/final_model", "--min_length", 1, "--val_ratio", 0, "--max_steps", 2]


@pytest.fixture
def trained(train: Train) -> Train:
    """A model whose vocabulary has free slots; train.py, to go on from it."""
    with Path("vocab.txt").open("a", encoding="utf-8") as file:
        file.write("".join(f"[unused{n}]\n" for n in range(1, 41)))
    train("--max_steps", 2)
    Path("new.json").write_text(
        json.dumps(["他们去吃𰻞𰻞面，又点了一碗𬎆汤。" * 9], ensure_ascii=False), encoding="utf-8"
    )
    return train


def patch() -> list[str]:
    """patched.txt, with what new.json has and the vocabulary lacks; its lines."""
    call(
        "cache/make_vocab.py",
        "--patch_vocab",
        "vocab.txt",
        "--raw_data_path",
        "new.json",
        "--vocab_file",
        "patched.txt",
    )
    return Path("patched.txt").read_text(encoding="utf-8").splitlines()


def test_a_patched_vocabulary_is_accepted_and_its_entries_are_learned(
    trained: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = patch()
    assert "𰻞" in entries and "𬎆" in entries
    on_new = ["--raw_data_path", "new.json", "--tokenized_data_path", "data/new"]
    trained(*NEW, *on_new, "--tokenizer_path", "patched.txt", output="tuned")
    n_new = sum(not entry.startswith("[unused") for entry in entries[-40:])
    assert f"has {n_new} entries in [unusedN] slots" in capsys.readouterr().out
    before, after = (load_file(f"{run}/final_model/model.safetensors") for run in ("model", "tuned"))
    name, id_ = "transformer.wte.weight", entries.index("𰻞")
    assert before[name].shape == after[name].shape and (before[name][id_] != after[name][id_]).any()
    assert "𰻞" in Path("tuned/final_model/tokenizer.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("change", ["moved", "replaced", "longer"])
def test_a_vocabulary_whose_ids_moved_is_refused(trained: Train, change: str) -> None:
    entries = patch()
    if change == "moved":
        entries[5], entries[6] = entries[6], entries[5]
    elif change == "replaced":
        entries[7] = "龘"
    else:
        entries.append("龘")
    Path("patched.txt").write_text("".join(entry + "\n" for entry in entries), encoding="utf-8")
    with pytest.raises(UserError):
        trained(
            *NEW, "--raw_data_path", "new.json", "--tokenized_data_path", "data/new", "--tokenizer_path", "patched.txt"
        )
