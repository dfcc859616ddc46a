"""train.py, whole runs of a tiny model on the shipped book, in this process."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY_CONFIG, call
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from gpt2zh.errors import Diverged, UserError

Train = Callable[..., list[dict[str, float]]]


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def train_losses(metrics: list[dict[str, float]]) -> list[float]:
    return [row["train/loss"] for row in metrics if "train/loss" in row]


def with_dropout(share: float) -> str:
    Path("dropout.json").write_text(
        json.dumps({**TINY_CONFIG, "attn_pdrop": share, "embd_pdrop": share, "resid_pdrop": share}), encoding="utf-8"
    )
    return "dropout.json"


def test_the_same_seed_gives_the_same_run_bit_by_bit(train: Train) -> None:
    config = with_dropout(0.1)
    runs = [train("--model_config", config, "--seed", seed, output=f"run{i}") for i, seed in enumerate((7, 7, 8))]
    assert train_losses(runs[0]) == train_losses(runs[1]) != train_losses(runs[2])
    first, second = weights("run0/final_model"), weights("run1/final_model")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_is_reproducible_too(train: Train, precision: str) -> None:
    assert train_losses(train("--precision", precision, output="a")) == train_losses(
        train("--precision", precision, output="b")
    )


def test_accumulation_equals_the_large_batch(train: Train) -> None:
    config = with_dropout(0)
    exact = ["--model_config", config, "--optimizer", "adamw"]  # Muon rounds to bf16
    large = train(*exact, "--batch_size", 8, output="large")
    small = train(*exact, "--batch_size", 2, "--gradient_accumulation", 4, "--log_step", 4, output="small")
    assert len(train_losses(large)) == len(train_losses(small)) > 5
    assert train_losses(small) == pytest.approx(train_losses(large), rel=1e-4)  # fp32 rounding over 20-odd steps
    one, four = weights("large/final_model"), weights("small/final_model")
    assert max((one[name] - four[name]).abs().max().item() for name in one) < 1e-4


def test_texts_come_to_the_screen_from_the_first_steps_on(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = train("--epochs", 2)
    steps = [int(step) for step in re.findall(r"sample at step (\d+)：\n    \S", capsys.readouterr().out)]
    n_steps = metrics[-1]["step"]
    assert (
        steps[0] == math.ceil(0.01 * n_steps) and steps[-2:] == [n_steps // 2, n_steps] and steps == sorted(set(steps))
    )


def test_the_number_of_steps_is_the_one_announced(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = train("--epochs", 2, "--batch_size", 5, "--gradient_accumulation", 3, "--stride", 20)
    announced = int(capsys.readouterr().out.split("步，共 ")[1].split(" 步")[0])
    assert metrics[-1]["step"] == announced
    manifest = json.loads(Path("data/tokenized/manifest.json").read_text(encoding="utf-8"))
    n_tokens = sum(entry["tokens"] for entry in manifest["train"])
    assert announced == 2 * math.ceil(math.ceil(n_tokens / 20) / 15)


def test_the_loss_falls_and_a_page_is_learned_by_heart(train: Train, workdir: Path, book: list[str]) -> None:
    page = min(book, key=len)[:200]
    (workdir / "page.txt").write_text("\n".join([page] * 200), encoding="utf-8")
    losses = train_losses(
        train("--raw_data_path", "page.txt", "--epochs", 1, "--lr", 1e-2, "--min_length", 1, "--val_ratio", 0)
    )
    assert losses[0] > 6 and losses[-1] < 0.5


def test_a_run_leaves_whole_model_folders_a_log_metrics_and_events(train: Train) -> None:
    metrics = train("--epochs", 2, "--writer_dir", "runs/here")
    for name in ("model_epoch1", "model_epoch2", "best_model", "final_model"):
        found = {path.name for path in (Path("model") / name).iterdir()}
        assert found == {
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "training.json",
            "SHA256SUMS",
        }
    (log,) = Path("logs").glob("model-*.log")
    text = log.read_text(encoding="utf-8")
    assert "sample:" in text and "val/bits_per_character" in text
    assert {"val/loss", "val/bits_per_character", "val/perplexity"} <= {key for row in metrics for key in row}
    (events,) = Path("runs/here").glob("events.out.tfevents.*")
    assert b"train/loss" in events.read_bytes() and b"sample" in events.read_bytes()
    best = json.loads(Path("model/best_model/training.json").read_text(encoding="utf-8"))
    assert best["val"]["loss"] == min(row["val/loss"] for row in metrics if "val/loss" in row)


def test_stock_transformers_loads_the_folder_and_ends_documents(train: Train, book: list[str]) -> None:
    train()
    model = AutoModelForCausalLM.from_pretrained("model/final_model")
    tokenizer = AutoTokenizer.from_pretrained("model/final_model")
    assert model.config.model_type == "gpt2" and model.config.n_ctx == 32
    assert len(tokenizer) == model.config.vocab_size == len(Path("vocab.txt").read_text(encoding="utf-8").splitlines())
    assert model.config.eos_token_id == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("[CLS]")
    ids = model.generate(**tokenizer("我在年青时候", return_tensors="pt"), max_new_tokens=8, do_sample=False)
    assert " " not in tokenizer.decode(ids[0], skip_special_tokens=True)
    assert not any(name.startswith(("module.", "_orig_mod.")) for name in weights("model/final_model"))


def test_training_goes_on_from_given_weights(train: Train) -> None:
    first = train_losses(train("--epochs", 3, "--warmup_steps", 0, "--lr", 5e-3))
    second = train_losses(train("--pretrained_model", "model/final_model", "--warmup_steps", 0, output="second"))
    assert second[0] < first[0] - 1


def test_weights_are_not_trained_on_with_another_vocabulary_of_their_size(train: Train) -> None:
    train()
    entries = Path("vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    Path("turned.txt").write_text("\n".join(entries[:5] + entries[:4:-1]), encoding="utf-8")
    with pytest.raises(UserError, match="turned.txt.*第 6 行"):
        train("--pretrained_model", "model/final_model", "--tokenizer_path", "turned.txt", output="second")


# ----- shards: reused, rebuilt, refused ------------------------------------------------------------------------------


def test_fresh_shards_are_reused_and_stale_ones_rebuilt_with_a_notice(
    train: Train, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train()
    assert "built anew" in capsys.readouterr().out  # none were there
    train()
    assert "built anew" not in capsys.readouterr().out
    train("--min_length", 200)
    said = capsys.readouterr().out
    assert "min_length" in said and "128" in said and "200" in said
    corpus = json.loads(Path("data/train.json").read_text(encoding="utf-8"))
    Path("data/train.json").write_text(json.dumps(corpus[1:]), encoding="utf-8")
    train("--min_length", 200)
    assert "corpus_sha256" in capsys.readouterr().out


def test_shards_train_without_the_corpus_but_not_with_another_vocabulary(train: Train, workdir: Path) -> None:
    train()
    Path("data/train.json").unlink()
    train()
    (workdir / "other.txt").write_text(
        "\n".join(reversed(Path("vocab.txt").read_text(encoding="utf-8").split())), encoding="utf-8"
    )
    with pytest.raises(UserError, match="other.txt"):
        train("--tokenizer_path", "other.txt")
    with pytest.raises(UserError, match="--min_length 128"):
        train("--min_length", 5)


def test_one_long_text_trains_without_validation(
    train: Train, workdir: Path, book: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the ancestor's train_single.py was for."""
    (workdir / "一本书.txt").write_text("\n".join(book[:3]), encoding="utf-8")
    metrics = train("--raw_data_path", "一本书.txt")
    assert "没有验证集" in capsys.readouterr().out
    assert not any("val/loss" in row for row in metrics) and not Path("model/best_model").exists()


# ----- what is refused before work, and what is warned of ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--min_length", "1000000"], ["--min_length 1000000", "12 篇"]),
        (["--raw_data_path", "nosuch.json", "--raw"], ["nosuch.json"]),
        (["--tokenizer_path", "nosuch.txt"], ["nosuch.txt"]),
        (["--model_config", "nosuch.json"], ["nosuch.json"]),
        (["--model_config", "data"], ["文件夹"]),
        (["--pretrained_model", "nosuch"], ["nosuch"]),
        (["--bpe_token"], ["encoder.json"]),
        (["--device", "gpu"], ["--device gpu"]),
        (["--device", ""], ["--device"]),
        (["--seed", 2**64], ["--seed"]),
        (["--stride", 10**19], ["--stride"]),
        (["--num_pieces", 10**12], ["--num_pieces"]),
        (["--lr", "inf"], ["--lr inf"]),
        (["--lr", "nan"], ["--lr nan"]),
        (["--fp16", "--precision", "bf16"], ["--fp16", "bf16"]),
        (["--output_dir", "tiny.json/model"], ["tiny.json"]),
        (["--prefix", "x"], ["--prefix"]),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(
    train: Train, workdir: Path, arguments: list[str], words: list[str]
) -> None:
    before = sorted(workdir.rglob("*"))
    with pytest.raises(UserError) as error:
        train(*arguments)
    assert all(word in str(error.value) for word in words), error.value
    assert sorted(workdir.rglob("*")) == before


def test_a_package_that_is_not_installed_is_named_before_any_work(
    train: Train, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # import then fails as where it is not installed
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    before = sorted(workdir.rglob("*"))
    with pytest.raises(UserError, match="pip install"):
        train("--optimizer", "adamw8bit")
    assert sorted(workdir.rglob("*")) == before


def test_training_with_moments_in_8_bits_ends_close_to_adamw(train: Train) -> None:
    pytest.importorskip("bitsandbytes")
    eight, full = (train_losses(train("--optimizer", name, "--epochs", 2)) for name in ("adamw8bit", "adamw"))
    assert eight[0] == full[0] and eight[-1] < full[0] - 0.3
    assert eight[-1] == pytest.approx(full[-1], abs=0.05)


def test_a_run_that_diverges_ends_with_the_step_and_the_flag(train: Train) -> None:
    with pytest.raises(Diverged, match="--lr"):
        train("--lr", 1e9, "--warmup_steps", 0, "--epochs", 4)


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (["--stride", "48"], "33%"),
        (["--warmup_steps", "100000"], "学习率最高只到"),
        (["--log_step", "3", "--gradient_accumulation", "2"], "向上取整"),
    ],
)
def test_settings_that_look_wrong_are_obeyed_and_said(
    train: Train, arguments: list[str], note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train(*arguments)
    assert note in capsys.readouterr().out


def test_a_vocabulary_that_does_not_know_the_text_is_said(
    train: Train, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "poor.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n的\n我\n", encoding="utf-8")
    train("--tokenizer_path", "poor.txt")
    said = capsys.readouterr().out
    assert "词元是 [UNK]" in said and "7" in said  # and the model follows the vocabulary


# ----- other tokenizers end to end -----------------------------------------------------------------------------------


def test_words_and_byte_level_bpe_train_and_write(
    train: Train, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tokenizers

    make_vocab = [sys.executable, ROOT / "cache/make_vocab.py", "--segmenter", "jieba", "--vocab_size", "4000"]
    subprocess.run([*make_vocab, "--raw_data_path", "data/train.json", "--vocab_file", "words.txt"], check=True)
    train("--tokenizer_path", "words.txt", output="words")
    call(
        "generate.py",
        "--device",
        "cpu",
        "--model_path",
        "words/final_model",
        "--tokenizer_path",
        "words.txt",
        "--segment",
        "--nsamples",
        1,
        "--length",
        20,
        "--prefix",
        "我",
    )
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator(json.loads(Path("data/train.json").read_text(encoding="utf-8")), vocab_size=500)
    bpe.save_model(".")
    train("--bpe_token", "--encoder_json", "vocab.json", "--vocab_bpe", "merges.txt", output="bpe")
    call(
        "generate.py",
        "--device",
        "cpu",
        "--model_path",
        "bpe/final_model",
        "--nsamples",
        1,
        "--length",
        20,
        "--prefix",
        "我",
    )
    assert "SAMPLE 1" in capsys.readouterr().out
