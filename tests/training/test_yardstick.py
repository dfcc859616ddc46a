"""The n-grams beside a run, its verdict, its early end, and the models of epochs that are kept; whole runs of a tiny model."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import call

from gpt2zh.errors import UserError
from gpt2zh.evaluation.ngrams import ngram_nats
from gpt2zh.shards.format import open_shards
from gpt2zh.training.runlog import RunLog
from gpt2zh.training.state import Progress
from gpt2zh.training.yardstick import Yardstick
from tokenizations.loading import load_tokenizer

Train = Callable[..., list[dict[str, float]]]
NGRAMS = [("一元", "unigram", 9.0), ("二元", "bigram", 7.0), ("三元", "trigram", 6.5), ("四元", "4-gram", 6.4)]


def told(capsys: pytest.CaptureFixture[str], bits: list[float], ngrams: list[tuple[str, str, float]]) -> str:
    """What is said of validations of so many bits, a hundred steps and a minute apart, a character being a token."""
    at = Progress()
    yardstick = Yardstick(ngrams, at, RunLog())
    yardstick.announce()
    for number, value in enumerate(bits, 1):
        at.step = 100 * number
        loss = value * math.log(2)
        yardstick.validated(loss, value, loss < at.best, 60.0 * number + 5)
    yardstick.verdict(1e-3, 2.5)
    return capsys.readouterr().out


def test_it_is_said_when_which_ngrams_were_passed(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, [8.0, 6.9, 6.45, 6.42, 6.39], NGRAMS)
    assert "unigram 9.000, bigram 7.000, trigram 6.500, 4-gram 6.400 bits per character" in out
    passed = [line.split(" / ")[1] for line in out.splitlines() if "passed" in line]
    assert passed == [
        "passed the unigram after 1:05",
        "passed the bigram after 2:05",
        "passed the trigram after 3:05",
        "passed the 4-gram after 5:05",
    ]
    assert "past the 4-gram, so this loss is normal" in out and "still falling" in out


@pytest.mark.parametrize(
    "bits, words, others",
    [
        (
            [8.0, 7.5, 6.9],
            ["not past the trigram (6.500)", "lr 0.001", "2.5 epochs", "still falling"],
            ["over-fitting"],
        ),
        ([6.4, 6.2, 6.5], ["over-fitting since step 200", "past the 4-gram"], ["still falling", "level"]),
        ([6.45, 6.42, 6.425], ["level since step 200", "past the trigram"], ["over-fitting", "4-gram,"]),
        ([], [], ["verdict", "falling", "level"]),
    ],
)
def test_the_verdict(
    capsys: pytest.CaptureFixture[str], bits: list[float], words: list[str], others: list[str]
) -> None:
    out = told(capsys, bits, NGRAMS)
    lines = "\n".join(line.split(" / ")[1] for line in out.splitlines())
    assert all(word in lines for word in words) and not any(word in lines for word in others)
    assert all("。 / " in line or "组 / " in line for line in out.splitlines())  # in both languages


def test_without_ngrams_the_trend_is_still_told(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, [8.0, 7.5], [])
    assert "still falling" in out and "gram" not in out


def test_a_run_has_the_ngrams_of_its_own_text_in_every_validation(train: Train) -> None:
    rows = [row for row in train("--eval_every", 6) if "val/loss" in row]
    shards = open_shards(Path("data/tokenized"))
    nats = ngram_nats(shards.train, shards.val, shards.manifest.settings.vocab_size, 4)
    n_characters = (
        load_tokenizer(Path("vocab.txt")).characters_of_ids[shards.val.read_circular(0, len(shards.val))].sum()
    )
    names = ["ngram/unigram", "ngram/bigram", "ngram/trigram", "ngram/4-gram"]
    assert len(rows) > 2
    for row in rows:
        assert [row[name] for name in names] == pytest.approx([one / math.log(2) / n_characters for one in nats])
    without = train("--ngram_order", 0, output="without")
    assert not any(name in row for row in without for name in names)


def test_indentation_does_not_change_bits_per_character(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train()
    text = json.loads(Path("data/train.json").read_text(encoding="utf-8"))[0]
    figures = []
    for name, one in (("a", text), ("b", "\n".join(f"\u3000\u3000{line}  " for line in text.split("\n")))):
        Path(f"{name}.txt").write_text(one, encoding="utf-8")
        capsys.readouterr()
        call(
            "evaluate.py",
            "--device",
            "cpu",
            "--model_path",
            "model/best_model",
            "--raw_data_path",
            f"{name}.txt",
            "--ngrams",
            "data/tokenized",
        )
        figures.append([line for line in capsys.readouterr().out.splitlines() if "每字比特数" in line])
    assert figures[0] == figures[1] and len(figures[0]) == 6


def test_ngrams_of_a_text_want_to_know_what_to_count(train: Train) -> None:
    with pytest.raises(UserError, match="--ngrams data/tokenized/"):
        call("evaluate.py", "--model_path", "m", "--raw_data_path", "a.txt", "--ngrams")


def test_a_run_ends_early_and_goes_on_with_more_patience(train: Train) -> None:
    rows = train("--epochs", 20, "--lr", 0.3, "--optimizer", "adamw", "--eval_every", 7, "--early_stop", 3)
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 3
    last = rows[-1]["step"]
    assert [row["step"] for row in rows if "val/loss" in row].count(last) == 1  # not judged twice
    assert Path("model/final_model").is_dir() and Path("model/best_model").is_dir()
    again = train("--epochs", 20, "--lr", 0.3, "--optimizer", "adamw", "--eval_every", 7, "--early_stop", 3, "--resume")
    assert again[-1]["step"] == last  # it is over, and stays so
    more = train("--epochs", 20, "--lr", 0.3, "--optimizer", "adamw", "--eval_every", 7, "--early_stop", 4, "--resume")
    assert more[-1]["step"] > last


def test_so_many_models_of_epochs_are_kept(train: Train) -> None:
    train("--epochs", 4, "--keep_epochs", 2)
    assert sorted(path.name for path in Path("model").glob("model_epoch*")) == ["model_epoch3", "model_epoch4"]


def test_a_rehearsal_names_the_disk_that_a_run_takes(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    call("train.py", "--device", "cpu", "--precision", "fp32", "--model_config", "tiny.json", "--tokenizer_path", "vocab.txt",
         "--epochs", 3, "--optimizer", "adamw", "--output_dir", "m", "--dry_run", "--num_pieces", 3)  # fmt: skip
    said = float(capsys.readouterr().out.split("磁盘最多 ")[1].split(" MB")[0])
    train("--epochs", 3, "--optimizer", "adamw", output="model")
    whole = sum(path.stat().st_size for path in Path("model").rglob("*.safetensors")) / 1e6
    assert whole < said < 4 * whole + 1
