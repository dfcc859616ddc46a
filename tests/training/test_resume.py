"""A run that stops anywhere and goes on is, bit for bit, the run that never stopped."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import metrics_of, without_times
from safetensors.torch import load_file, save_file

from gpt2zh.errors import UserError
from gpt2zh.system.folders import seal

pytestmark = pytest.mark.slow

Train = Callable[..., list[dict[str, float]]]
# Three epochs of 9 steps of two micro-batches, the last of an epoch ragged; the tiny configuration has dropout.
RUN = [
    "--epochs",
    3,
    "--batch_size",
    9,
    "--gradient_accumulation",
    2,
    "--stride",
    32,
    "--num_pieces",
    3,
    "--log_step",
    4,
]


def same_weights(one: Path, other: Path) -> bool:
    name = "model.safetensors"
    return (one / name).read_bytes() == (other / name).read_bytes()


def restart(run: Path, step: int, other: Path) -> None:
    """Leave in `other` what a kill after the checkpoint of `step` leaves of `run`: that checkpoint, and reports up to a later step."""
    place = other / "checkpoints"
    place.mkdir(parents=True)
    shutil.copytree(run / "checkpoints" / f"step_{step:08d}", place / f"step_{step:08d}")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["step"] <= step + 1]
    (other / "metrics.jsonl").write_text("".join(kept) + '{"step": 9', encoding="utf-8")


@pytest.mark.parametrize(
    ("optimizer", "precision"),
    [("adamw", "fp32"), ("muon", "fp32"), ("adamw8bit", "fp32"), ("adamw", "bf16"), ("muon", "bf16")],
)
def test_any_checkpoint_leads_to_the_same_end(train: Train, optimizer: str, precision: str) -> None:
    flags = [*RUN, "--optimizer", optimizer, "--precision", precision]
    rows = train(*flags, "--save_every", 3, "--keep_last", 99, output="whole")
    whole = Path("whole")
    assert rows[-1]["step"] == 27
    for step in (3, 9, 12, 27):  # between two reports; the end of an epoch; within the second; the end
        other = Path(f"from{step}")
        restart(whole, step, other)
        again = train(*flags, "--resume", output=str(other))
        assert same_weights(whole / "final_model", other / "final_model"), step
        assert without_times(again) == without_times(rows), step


def test_a_compiled_run_goes_on_compiled_to_the_same_end(train: Train) -> None:
    flags = [*RUN, "--epochs", 1, "--precision", "bf16", "--compile", "on"]
    train(*flags, "--save_every", 5, "--keep_last", 9, output="whole")
    restart(Path("whole"), 5, Path("other"))
    train(*flags, "--resume", output="other")
    assert same_weights(Path("whole/final_model"), Path("other/final_model"))


def test_a_checkpoint_is_a_model_folder_without_pickles(train: Train) -> None:
    train(*RUN, "--save_every", 4)
    folder = sorted(Path("model/checkpoints").iterdir())[-1]
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "state.json",
        "state.safetensors",
        "SHA256SUMS",
    } <= names
    assert not [name for name in names if Path(name).suffix in (".pt", ".bin", ".pkl", ".pth")]
    assert os.system(f"cd {folder} && sha256sum --quiet -c SHA256SUMS") == 0


def test_the_newest_are_kept(train: Train) -> None:
    rows = train(*RUN, "--save_every", 2, "--keep_last", 3)
    n_steps = rows[-1]["step"]
    steps = sorted(int(path.name[5:]) for path in Path("model/checkpoints").iterdir())
    assert len(steps) == 3 and steps[-1] == n_steps


def test_resuming_with_nothing_there_starts_and_says_so(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    first = train(*RUN, output="plain")
    again = train(*RUN, "--resume", output="asked")
    assert "there is no checkpoint in" in capsys.readouterr().out
    assert without_times(first) == without_times(again)


def test_what_would_be_another_run_is_refused_with_both_values(train: Train) -> None:
    Path("other.json").write_text(
        Path("tiny.json").read_text(encoding="utf-8").replace('"n_layer": 2', '"n_layer": 3'), encoding="utf-8"
    )
    train(*RUN, "--optimizer", "adamw", "--save_every", 5)
    before = sorted(path.read_bytes() for path in Path("data/tokenized").glob("*.bin"))
    for changed, named in (
        (["--seed", 1], "--seed"),
        (["--stride", 16], "--stride"),
        (["--batch_size", 4], "--batch_size x --gradient_accumulation"),
        (["--optimizer", "adamw8bit"], "--optimizer"),
        (["--val_ratio", 0.2], "--val_ratio"),
        (["--model_config", "other.json"], "--model_config"),
    ):
        with pytest.raises(UserError, match=named):
            train(*RUN, "--optimizer", "adamw", "--resume", *changed)
        assert sorted(path.read_bytes() for path in Path("data/tokenized").glob("*.bin")) == before, named


def test_another_model_is_refused_by_the_name_of_what_differs(train: Train) -> None:
    train(*RUN, "--epochs", 1)
    config = json.loads(Path("tiny.json").read_text(encoding="utf-8"))
    others = {
        "n_embd": 64, "n_head": 1, "resid_pdrop": 0.3, "attn_pdrop": 0.3, "activation_function": "relu", "n_inner": 96,
        "layer_norm_epsilon": 1e-6, "tie_word_embeddings": False, "scale_attn_by_inverse_layer_idx": True,
    }  # fmt: skip
    for name, value in others.items():
        Path("other.json").write_text(json.dumps(config | {name: value}), encoding="utf-8")
        with pytest.raises(UserError, match=rf"--model_config \({name}\).*{value} now"):
            train(*RUN, "--resume", "--model_config", "other.json")


def test_a_kill_before_the_last_model_is_written_costs_it_no_figures(train: Train) -> None:
    train(*RUN, "--epochs", 1)
    before = json.loads(Path("model/final_model/training.json").read_text(encoding="utf-8"))
    shutil.rmtree("model/final_model")
    train(*RUN, "--epochs", 1, "--resume")
    after = json.loads(Path("model/final_model/training.json").read_text(encoding="utf-8"))
    assert after["val"] == before["val"] and after["step"] == before["step"] and after["epoch"] == before["epoch"]


def test_what_may_change_is_said(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train(*RUN, "--epochs", 1)
    train(*RUN, "--epochs", 1, "--resume", "--max_grad_norm", 0.5)
    assert "max_grad_norm: 1.0 then, 0.5 now" in capsys.readouterr().out


def test_another_corpus_is_refused_before_its_shards_are_built(train: Train, book: list[str]) -> None:
    train(*RUN, "--save_every", 5)
    before = Path("data/tokenized/manifest.json").read_bytes()
    Path("data/train.json").write_text(json.dumps(book[:5], ensure_ascii=False), encoding="utf-8")
    with pytest.raises(UserError, match="corpus"):
        train(*RUN, "--resume")
    assert Path("data/tokenized/manifest.json").read_bytes() == before


def test_another_split_of_the_step_goes_on_and_says_so(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*RUN, "--model_config", "plain.json", "--optimizer", "adamw"]
    rows = train(*flags, "--save_every", 7, "--keep_last", 9, output="whole")
    restart(Path("whole"), 7, Path("other"))
    again = train(*flags, "--resume", "--batch_size", 3, "--gradient_accumulation", 6, "--log_step", 12, output="other")
    assert "batch_size: 9 then, 3 now" in capsys.readouterr().out
    assert [row["step"] for row in again] == [row["step"] for row in rows]
    assert again[-1]["val/loss"] == pytest.approx(rows[-1]["val/loss"], rel=1e-4)


def test_a_finished_run_is_made_longer(train: Train) -> None:
    rows = train(*RUN)
    longer = train(*RUN, "--epochs", 4, "--resume")
    assert longer[: len(rows)] == rows and len(longer) > len(rows)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = train(*RUN, "--save_every", 4, "--keep_last", 9, output="whole")
    other = Path("other")
    shutil.copytree("whole", other)
    newest, before = sorted((other / "checkpoints").iterdir())[::-1][:2]
    data = bytearray((newest / "state.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "state.safetensors").write_bytes(data)
    again = train(*RUN, "--save_every", 4, "--resume", output="other")
    printed = capsys.readouterr().out
    assert f"{newest} is damaged" in printed and f"going on from {before}" in printed
    assert same_weights(Path("whole/final_model"), other / "final_model")
    assert without_times(again) == without_times(rows)


def test_an_earlier_run_is_moved_aside_whole(train: Train) -> None:
    train(*RUN, "--seed", 1)
    names = {path.name for path in Path("model").iterdir() if path.name[0] != "."}
    train(*RUN, "--seed", 2)
    (aside,) = Path("model").glob("before-*")
    assert {path.name for path in aside.iterdir()} == names
    assert metrics_of(aside) != metrics_of(Path("model"))


@pytest.mark.parametrize("flags", [[], ["--optimizer", "adamw"]], ids=["muon", "adamw"])
def test_moments_and_generators_that_are_missing_or_of_another_shape_are_refused(
    train: Train, flags: list[str]
) -> None:
    """In a folder that is sealed: another program may have written it."""
    train("--max_steps", 2, "--num_pieces", 2, "--save_every", 1, *flags)
    path = sorted(Path("model/checkpoints").iterdir())[-1] / "state.safetensors"
    tensors = load_file(path)
    for name in [*(one for one in tensors if "h.0.mlp.c_fc" in one or "wpe" in one), "random/0/000"]:
        without = {one: tensor for one, tensor in tensors.items() if one != name}
        another = torch.zeros(3, dtype=tensors[name].dtype)
        variants = [without | {name: another}, without | {f"x{name}": tensors[name]}, without]
        for changed in variants[: 2 if "random" in name else 3]:  # without generators, other devices are supposed
            shutil.rmtree("other", ignore_errors=True)
            shutil.copytree("model", "other")
            file = Path("other") / path.relative_to("model")
            save_file(changed, file)
            (file.parent / "SHA256SUMS").unlink()
            seal(file.parent)
            with pytest.raises(UserError, match=name.split("/")[1] if "random" not in name else "random"):
                train("--max_steps", 4, "--num_pieces", 2, "--resume", *flags, output="other")


@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), -2], ids=["large", "small", "nan", "below 0"])
def test_a_number_of_a_checkpoint_that_can_be_none_is_refused(train: Train, number: float) -> None:
    """In a folder that is sealed: another program may have written it."""
    train("--max_steps", 2, "--num_pieces", 2, "--save_every", 1)
    path = sorted(Path("model/checkpoints").iterdir())[-1] / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    for part in ("progress", "settings", "optimizer"):
        numbers = [key for key, value in state[part].items() if isinstance(value, int | float)]
        assert numbers or part == "optimizer"
        for key in numbers:
            shutil.rmtree("other", ignore_errors=True)
            shutil.copytree("model", "other")
            changed = Path("other") / path.relative_to("model")
            changed.write_text(json.dumps(state | {part: state[part] | {key: number}}), encoding="utf-8")
            (changed.parent / "SHA256SUMS").unlink()
            seal(changed.parent)
            again = ["--max_steps", 4, "--num_pieces", 2, "--max_hours", 1, "--resume"]
            if (part == "progress" and key not in ("best", "last")) or key in ("stride", "batch_size", "n_steps"):
                with pytest.raises(UserError, match=key):
                    train(*again, output="other")
            else:  # not every setting matters to a run that goes on
                with suppress(UserError):
                    train(*again, output="other")
