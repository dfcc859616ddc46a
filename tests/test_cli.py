"""The scripts as users run them: real processes, exit codes, other folders, Chinese paths, a GBK console."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, call

from gpt2zh.errors import UserError

Train = Callable[..., list[dict[str, float]]]


def python(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, env={**os.environ, **environment}
    )


# ----- from a novel to text ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_novel_goes_in_and_text_comes_out_with_chinese_paths_and_blanks(tmp_path: Path, book: list[str]) -> None:
    home = tmp_path / "我的 小说"
    home.mkdir()
    (home / "书.json").write_text(json.dumps(book[:6], ensure_ascii=False), encoding="utf-8")
    steps = [
        ["cache/make_vocab.py", "--type", "char", "--raw_data_path", "书.json", "--vocab_file", "词表.txt"],
        ["train.py", "--device", "0,1", "--model_config", ROOT / "config/model_config_test.json", "--tokenizer_path", "词表.txt", "--raw_data_path", "书.json",
         "--tokenized_data_path", "分片/甲", "--raw", "--epochs", 1, "--num_pieces", 2, "--val_ratio", 0.2, "--output_dir", "模型/一", "--log_step", 10],
        ["generate.py", "--device", "0", "--model_path", "模型/一/best_model", "--prefix", "[CLS]我", "--length", 80, "--nsamples", 3, "--batch_size", 2, "--save_samples"],
        ["evaluate.py", "--model_path", "模型/一/best_model", "--tokenized_data_path", "分片/甲"],
    ]  # fmt: skip
    shown = []
    for script, *arguments in steps:
        done = python(ROOT / script, *arguments, cwd=home, PYTHONUTF8="1")
        assert done.returncode == 0, done.stderr.decode()
        shown.append(done.stdout.decode())
    assert shown[1].count("没有可用的显卡") == 1 or "cuda" in shown[1]  # said once
    assert "实际前缀：[CLS][MASK]我" in shown[2]
    text = (home / "mnt" / "samples.txt").read_text(encoding="utf-8")
    assert text.count("SAMPLE") == 3
    assert not any(mark in text for mark in ("[UNK]", "##", "[CLS]", "[MASK]", "[SEP]", "[PAD]", "[unused"))
    assert "每字比特数" in shown[3]


def test_samples_txt_has_the_form_of_the_ancestor(train: Train, workdir: Path) -> None:
    train()
    call(
        "generate.py",
        "--device",
        "cpu",
        "--nsamples",
        2,
        "--length",
        5,
        "--prefix",
        "我",
        "--save_samples",
        "--save_samples_path",
        "out/deep",
    )
    lines = (workdir / "out/deep/samples.txt").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "=" * 40 + " SAMPLE 1 " + "=" * 40
    assert lines[1].startswith("我")
    end = lines.index("=" * 90)
    assert lines[end + 1] == "" and lines[end + 2] == "=" * 40 + " SAMPLE 2 " + "=" * 40


def test_a_run_that_fails_leaves_the_old_samples(train: Train, workdir: Path) -> None:
    train()
    (workdir / "mnt").mkdir()
    (workdir / "mnt/samples.txt").write_text("旧的", encoding="utf-8")
    (workdir / "model/final_model/model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError):
        call("generate.py", "--device", "cpu", "--save_samples")
    assert (workdir / "mnt/samples.txt").read_text(encoding="utf-8") == "旧的"


def test_the_same_seed_writes_the_same_text_for_any_batch_size_past_the_window(train: Train, workdir: Path) -> None:
    train()
    texts = []
    for batch_size in (1, 4):
        where = [
            "--nsamples",
            5,
            "--batch_size",
            batch_size,
            "--save_samples",
            "--save_samples_path",
            f"by{batch_size}",
        ]
        how = ["--device", "cpu", "--precision", "fp32", "--length", 50, "--seed", 3, "--prefix", "我"]
        call("generate.py", *where, *how)
        texts.append((workdir / f"by{batch_size}" / "samples.txt").read_text(encoding="utf-8"))
    assert texts[0] == texts[1] and texts[0].count("SAMPLE") == 5


def test_without_the_default_model_the_newest_run_is_used_and_said(
    train: Train, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(output="model_full_cov512")
    call(
        "generate.py",
        "--device",
        "0",
        "--length",
        5,
        "--nsamples",
        1,
        "--tokenizer_path",
        "vocab.txt",
        "--model_path",
        "model/final_model",
        "--prefix",
        "[CLS]我与你",
    )
    assert f"model_full_cov512{os.sep}final_model" in capsys.readouterr().out
    with pytest.raises(UserError, match="no/such.*model_full_cov512"):
        call("generate.py", "--model_path", "no/such")


def test_a_model_without_tokenizer_asks_for_the_vocabulary(train: Train, workdir: Path) -> None:
    train()
    (workdir / "model/final_model/tokenizer.json").unlink()
    with pytest.raises(UserError, match="--tokenizer_path"):
        call("generate.py", "--device", "cpu")
    call(
        "generate.py",
        "--device",
        "cpu",
        "--tokenizer_path",
        "vocab.txt",
        "--nsamples",
        1,
        "--length",
        3,
        "--prefix",
        "我",
    )
    with pytest.raises(UserError, match="13317"):
        call("generate.py", "--device", "cpu", "--tokenizer_path", ROOT / "cache/vocab_small.txt")


def test_unknown_characters_of_a_prefix_are_named(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train()
    call("generate.py", "--device", "cpu", "--nsamples", 1, "--length", 3, "--prefix", "我𠮷[SEP]")
    said = capsys.readouterr().out
    assert "词表之外的字：𠮷（" in said


def test_evaluate_judges_a_text_and_counts_every_token_once(
    train: Train, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = train()
    capsys.readouterr()
    call(
        "evaluate.py",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--model_path",
        "model/best_model",
        "--tokenized_data_path",
        "data/tokenized",
    )
    out = capsys.readouterr().out
    trained = next(row["val/bits_per_character"] for row in metrics if "val/loss" in row)
    assert f"{trained:.4f}" in out
    (workdir / "a.txt").write_text("我在\n年青时候", encoding="utf-8")
    call("evaluate.py", "--device", "cpu", "--model_path", "model/best_model", "--raw_data_path", "a.txt")
    assert "7 字，8 词元" in capsys.readouterr().out


# ----- vocabularies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [".", "cache"])
def test_make_vocab_runs_from_the_root_and_from_cache(folder: str, tmp_path: Path) -> None:
    done = python(
        ROOT / "cache/make_vocab.py",
        "--type",
        "char",
        "--raw_data_path",
        "../data/shakespeare.json" if folder == "cache" else "data/shakespeare.json",
        "--verbatim",
        "--vocab_file",
        tmp_path / "v.txt",
        cwd=ROOT / folder,
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = (tmp_path / "v.txt").read_text(encoding="utf-8").splitlines()
    # seed 003's 65 characters: newline and blank by name, 63 as they are; and four more control tokens
    assert len(lines) == 69 and lines[5] == "[SPACE]" and lines[6] == "e"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["--type", "char"], ["--type", "word", "--segmenter", "thulac"], ["--type", "word", "--segmenter", "jieba"]],
)
def test_a_vocabulary_has_exactly_the_lines_asked_for_and_every_character(
    arguments: list[str], tmp_path: Path, book: list[str]
) -> None:
    from tokenizations.loading import load_tokenizer

    (tmp_path / "b.json").write_text(json.dumps(book[:8]), encoding="utf-8")
    for size in (3000, 9000):
        done = python(
            ROOT / "cache/make_vocab.py",
            *arguments,
            "--vocab_size",
            size,
            "--raw_data_path",
            "b.json",
            "--vocab_file",
            "v.txt",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr.decode()
        tokenizer = load_tokenizer(tmp_path / "v.txt")
        assert len(tokenizer) == size
        assert not any(tokenizer.unknown_id in tokenizer.encode(document) for document in book[:8])
    lines = (tmp_path / "v.txt").read_text(encoding="utf-8").splitlines()
    assert {"的", "，"} <= set(lines[:12])  # frequency order, after the control tokens


def test_characters_are_in_order_of_frequency_also_inside_words(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("天地天 abbbb acc", encoding="utf-8")
    done = python(
        ROOT / "cache/make_vocab.py",
        "--type",
        "char",
        "--raw_data_path",
        "t.txt",
        "--vocab_file",
        "v.txt",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = (tmp_path / "v.txt").read_text(encoding="utf-8").splitlines()
    # counts: ##b 4; ##c, a, 天 2; 地 1; ##a, b, c stand nowhere but must be known
    assert lines[5:] == ["##b", "##c", "a", "天", "地", "##a", "b", "c"]


def test_a_word_vocabulary_too_small_for_its_characters_is_refused(tmp_path: Path, book: list[str]) -> None:
    size = len(set(book[0].lower()) - set("\n 　")) + 6 - 1  # one less than control tokens and characters
    (tmp_path / "b.txt").write_text(book[0], encoding="utf-8")
    done = python(
        ROOT / "cache/make_vocab.py",
        "--segmenter",
        "jieba",
        "--vocab_size",
        size,
        "--raw_data_path",
        "b.txt",
        cwd=tmp_path,
    )
    assert (
        done.returncode == 2
        and f"--vocab_size {size}" in done.stderr.decode()
        and "Traceback" not in done.stderr.decode()
    )


# ----- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["train.py", "--raw_data_path", "broken.json", "--raw"],
        ["train.py", "--epochs", "0"],
        ["train.py", "--raw_data_path", "data", "--raw"],
        ["generate.py", "--model_path", "nosuch"],
        ["generate.py", "--topp", "1.5"],
        ["generate.py", "--nsamples", "0"],
        ["evaluate.py"],
        ["cache/make_vocab.py", "--raw_data_path", "nosuch.json"],
    ],
)
def test_mistakes_end_with_exit_code_2_one_message_and_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('["一",\n"二', encoding="utf-8")
    (tmp_path / "data").mkdir()
    done = python(ROOT / arguments[0], *arguments[1:], cwd=tmp_path, PYTHONUTF8="1")
    message = done.stderr.decode()
    assert done.returncode == 2
    assert message.count("错误 / error:") == 1 and "Traceback" not in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.json", "data"]


def test_a_gbk_console_shows_what_it_can(tmp_path: Path) -> None:
    done = python(ROOT / "generate.py", "--model_path", "𠮷☺", cwd=tmp_path, PYTHONIOENCODING="gbk")
    assert done.returncode == 2 and "找不到模型文件夹" in done.stderr.decode("gbk")
