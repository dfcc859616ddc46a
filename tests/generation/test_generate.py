"""generate.py in all its ways: files that it writes, what it says, what it refuses, and how it is interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, call, furnish
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.precision_loss import bits_per_character
from gpt2zh.device import choose_device
from gpt2zh.errors import UserError
from gpt2zh.generation.decoder import load_decoder
from gpt2zh.generation.settings import USUAL
from gpt2zh.shards.format import open_shards
from tokenizations.loading import load_tokenizer
from tokenizations.text_stream import TextStream

SPEAK = ["--device", "cpu", "--precision", "fp32", "--prefix", "我", "--seed", "3"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, book: list[str], book_vocabulary: str) -> Path:
    """A folder with a run of two epochs in `model`."""
    folder = tmp_path_factory.mktemp("generate")
    furnish(folder, book, book_vocabulary)
    before = Path.cwd()
    os.chdir(folder)
    try:
        call(
            "train.py", "--device", "cpu", "--precision", "fp32", "--model_config", "tiny.json", "--tokenizer_path", "vocab.txt",
            "--epochs", 2, "--batch_size", 8, "--num_pieces", 3, "--lr", 3e-3, "--val_ratio", 0.1, "--output_dir", "model",
        )  # fmt: skip
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def run(run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty working folder with the run's models at ./model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(run_folder / "model", target_is_directory=True)
    return tmp_path


def generate(*arguments: object) -> None:
    call("generate.py", *SPEAK, *arguments)


def samples(folder: Path) -> list[str]:
    """The texts in samples.txt."""
    text = (folder / "samples.txt").read_text(encoding="utf-8")
    return re.findall(r"={40} SAMPLE \d+ ={40}\n(.*?)\n={90}\n", text, flags=re.S)


# ----- files ----------------------------------------------------------------------------------------------------------


def test_samples_json_tells_how_they_came_about(run: Path) -> None:
    generate("--nsamples", 3, "--batch_size", 2, "--length", 30, "--save_samples", "--save_json")
    saved = json.loads((run / "mnt/samples.json").read_text(encoding="utf-8"))
    assert saved["settings"]["seed"] == 3 and saved["settings"]["length"] == 30 and saved["tokens_per_second"] > 0
    assert [sample["number"] for sample in saved["samples"]] == [1, 2, 3]
    assert [sample["text"] for sample in saved["samples"]] == samples(run / "mnt")
    tokenizer = load_tokenizer(run / "model/final_model")
    for sample in saved["samples"]:
        assert sample["text"] == tokenizer.decode_after("我", tokenizer.encode_prefix("我"), sample["ids"])
        assert sample["ended"] in ("length", "document") and sample["loops"] == 0


def test_samples_of_an_earlier_run_get_a_number(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2, 3):
        generate("--seed", seed, "--nsamples", 1, "--length", 20, "--save_samples", "--save_json")
    texts = [
        (run / "mnt" / name).read_text(encoding="utf-8") for name in ("samples-1.txt", "samples-2.txt", "samples.txt")
    ]
    assert len(set(texts)) == 3 and f"is {Path('mnt/samples-2.txt')} now" in capsys.readouterr().out
    seeds = [
        json.loads((run / f"mnt/samples{n}.json").read_text(encoding="utf-8"))["settings"]["seed"]
        for n in ("-1", "-2", "")
    ]
    assert seeds == [1, 2, 3]


def test_words_are_barred_favoured_and_end_a_text(run: Path) -> None:
    generate("--nsamples", 4, "--length", 60, "--ignore_end", "--save_samples")
    assert sum(text.count("，") for text in samples(run / "mnt")) > 5
    generate("--nsamples", 4, "--length", 60, "--ignore_end", "--save_samples", "--ban", "， 。", "--bias", "你=50")
    banned = samples(run / "mnt")
    assert not any("，" in text or "。" in text for text in banned) and all(text.count("你") > 20 for text in banned)
    generate("--nsamples", 4, "--length", 60, "--ignore_end", "--save_samples", "--bias", "你=9", "--stop", "你 \\n")
    assert not any("你" in text[1:] or "\n" in text for text in samples(run / "mnt"))


def test_a_prefix_may_be_in_a_file(run: Path) -> None:
    (run / "开头.txt").write_text("我们\n你们\n", encoding="utf-8")
    call(
        "generate.py", "--device", "cpu", "--prefix_file", "开头.txt", "--nsamples", 1, "--length", 9, "--save_samples"
    )
    assert samples(run / "mnt")[0].startswith("我们\n你们")
    with pytest.raises(UserError, match="--prefix_file"):
        generate("--prefix_file", "开头.txt")


def test_articles_of_titles_do_not_overwrite_each_other(run: Path) -> None:
    (run / "标题.txt").write_text("我\n\n  你们 \n的\n", encoding="utf-8")
    generate("--titles_file", "标题.txt", "--articles_per_title", 2, "--length", 12, "--save_path", "out")
    names = sorted(path.name for path in (run / "out").iterdir())
    assert names == ["0-0.txt", "0-1.txt", "1-0.txt", "1-1.txt", "2-0.txt", "2-1.txt"]
    texts = {name: (run / "out" / name).read_text(encoding="utf-8") for name in names}
    assert all(texts[f"{i}-{j}.txt"].startswith(title) for i, title in enumerate(("我", "你们", "的")) for j in (0, 1))
    assert len(set(texts.values())) == 6
    generate(
        "--titles", "我 你们 的", "--articles_per_title", 2, "--length", 12, "--save_path", "again", "--batch_size", 2
    )
    assert {path.name: path.read_text(encoding="utf-8") for path in (run / "again").iterdir()} == texts


def test_all_epochs_stand_side_by_side(run: Path) -> None:
    for place in ("model", "model/final_model"):
        generate("--model_path", place, "--all_epochs", "--nsamples", 2, "--length", 12)
        page = (run / "mnt/all_epochs.md").read_text(encoding="utf-8")
        assert re.findall("^#+ (.*)", page, flags=re.M) == [
            "model：我（--seed 3）", "SAMPLE 1", "model_epoch1", "model_epoch2", "SAMPLE 2", "model_epoch1", "model_epoch2"
        ]  # fmt: skip
        parts = re.split("^#+ .*$", page, flags=re.M)
        for epoch, place_in_page in ((1, 3), (2, 4)):
            generate("--model_path", f"model/model_epoch{epoch}", "--nsamples", 1, "--length", 12, "--save_samples")
            assert samples(run / "mnt") == [parts[place_in_page].strip()]
    with pytest.raises(UserError, match="model_epoch1"):
        generate("--model_path", "mnt", "--all_epochs")


# ----- ways to write --------------------------------------------------------------------------------------------------


def test_what_is_streamed_is_what_is_saved(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("--stream", "--nsamples", 2, "--length", 40, "--save_samples")
    shown = re.findall(r"={40} SAMPLE \d+ ={40}\n(.*?)\n={90}\n", capsys.readouterr().out, flags=re.S)
    assert [text.strip() for text in shown] == samples(run / "mnt")


def test_beams_are_transformers(run: Path) -> None:
    generate("--num_beams", 3, "--length", 12, "--save_samples")
    model = AutoModelForCausalLM.from_pretrained(run / "model/final_model")
    tokenizer = AutoTokenizer.from_pretrained(run / "model/final_model")
    ours = load_tokenizer(run / "model/final_model")
    found = model.generate(
        **tokenizer("我", return_tensors="pt"),
        num_beams=3,
        max_new_tokens=12,
        do_sample=False,
        suppress_tokens=ours.never_sampled,
        repetition_penalty=USUAL.repetition_penalty,
    )
    assert samples(run / "mnt") == [tokenizer.decode(found[0], skip_special_tokens=True).strip()]
    with pytest.raises(UserError, match="400.*32"):
        generate("--num_beams", 3, "--length", 400)


def test_int8_writes_and_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("--quantize", "int8", "--nsamples", 2, "--length", 20, "--save_samples")
    assert "int8" in capsys.readouterr().out and len(samples(run / "mnt")) == 2


def test_greedy_is_temperature_zero_and_loops_are_counted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("--greedy", "--nsamples", 1, "--length", 300, "--save_json")
    (sample,) = json.loads((run / "mnt/samples.json").read_text(encoding="utf-8"))["samples"]
    assert (sample["loops"] > 0) == ("退出循环" in capsys.readouterr().out)
    assert sample["loops"] > 0  # a model this small goes round and round


def test_whole_sentences_end_on_their_mark(run: Path) -> None:
    for more in (("--sentences", 3), ("--length", 30, "--finish_sentence")):
        generate("--nsamples", 4, "--batch_size", 4, "--save_json", *more)
        for sample in json.loads((run / "mnt/samples.json").read_text(encoding="utf-8"))["samples"]:
            if sample["ended"] == "sentence":
                assert sample["text"].rstrip("”’」』）\"'")[-1] in "。！？!?"


def test_a_prefix_is_put_right_unless_it_is_raw(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("--prefix", "[CLS]我\n你", "--nsamples", 1, "--length", 3)
    assert "实际前缀：[CLS][MASK]我[SEP]你" in capsys.readouterr().out
    generate("--prefix", "[CLS]我", "--raw_prefix", "--nsamples", 1, "--length", 3)
    assert "实际前缀：[CLS]我" in capsys.readouterr().out
    generate("--prefix", "", "--nsamples", 1, "--length", 3)
    assert "实际前缀：[MASK]" in capsys.readouterr().out


def test_what_does_not_fit_the_window_is_said_with_both_numbers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("--prefix", "我你" * 30, "--nsamples", 1, "--length", 3)
    assert re.search("前缀有 60 词元，超过上下文 32：只读最后 16 个", capsys.readouterr().out)
    generate("--nsamples", 1, "--length", 40)
    assert capsys.readouterr().out.count("超过上下文 32") == 1


# ----- conversation ---------------------------------------------------------------------------------------------------


def test_a_conversation_with_a_model(run: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "generate.py", "--device", "cpu", "--interactive", "--length", "12", "--topk", "8", "--seed", "1"],
        cwd=run, input="我\n\n/undo\n你\n/save all.txt\n/quit\n", capture_output=True, encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"}, check=True,
    )  # fmt: skip
    text = (run / "all.txt").read_text(encoding="utf-8").strip()
    assert text.startswith("我") and "你" in text and 20 <= len(text) <= 160 and text[-1] in "。！？”"
    assert text[1:8] in done.stdout


@pytest.mark.parametrize("kind", ["vocab", "bytes"])
def test_a_stream_shows_what_is_written_at_the_end(kind: str, run: Path, tmp_path: Path, book: list[str]) -> None:
    if kind == "bytes":
        (tmp_path / "c.json").write_text(json.dumps(book[:3], ensure_ascii=False), encoding="utf-8")
        files = ["--raw_data_path", tmp_path / "c.json", "--vocab_file", tmp_path / "v.json"]
        call("cache/make_vocab.py", "--type", "bpe", "--vocab_size", 1600, *files)
        tokenizer = load_tokenizer(tmp_path / "v.json")
    else:
        tokenizer = load_tokenizer(ROOT / "cache/vocab_small.txt")
    text = (
        "我在playing games的时候，𠮷野家。\n第二段：café 3.14！"
        if kind == "bytes"
        else "我在playing games的时候。\n第二段 ok！"
    )
    ids = tokenizer.encode(text).tolist()
    stream = TextStream(tokenizer.pipeline)
    assert "".join(map(stream.push, ids)) == tokenizer.pipeline.decode(ids, skip_special_tokens=False)


# ----- interrupted, refused -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_saves_what_was_finished(run: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, ROOT / "generate.py", *SPEAK, "--nsamples", "100000", "--length", "20", "--save_samples", "--save_json"],
        cwd=run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip
    for line in process.stdout:
        if b"SAMPLE 5 " in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "已中断" in errors.decode() and b"Traceback" not in errors
    assert "篇已存入" in rest.decode()
    saved = json.loads((run / "mnt/samples.json").read_text(encoding="utf-8"))["samples"]
    assert len(saved) >= 5 and [sample["text"] for sample in saved] == samples(run / "mnt")


def break_model(folder: Path, harm: str) -> None:
    folder.mkdir()
    if harm == "empty":
        return
    for path in Path("model/final_model").iterdir():
        if path.name != "SHA256SUMS":
            (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change: Callable[[], object] = {
        "another architecture": lambda: config.update(model_type="llama"),
        "another vocabulary": lambda: config.update(vocab_size=77),
        "another width": lambda: config.update(n_embd=64),
    }[harm]
    change()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    "harm, words",
    [
        ("empty", ["config.json", "model.safetensors"]),
        ("another architecture", ["llama", "gpt2"]),
        ("another vocabulary", ["77", "词条"]),
        ("another width", [", 32)", ", 64)"]),
    ],
)
def test_a_model_folder_that_will_not_do_is_named_with_what_disagrees(run: Path, harm: str, words: list[str]) -> None:
    break_model(run / "broken", harm)
    with pytest.raises(UserError) as error:
        generate("--model_path", "broken")
    assert all(word in str(error.value) for word in ["broken", *words])


def test_a_folder_that_cannot_be_written_to_is_said_before_anything_is_written(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "file").write_text("", encoding="utf-8")
    for more in (["--save_samples"], ["--save_json"], ["--titles", "我"], ["--all_epochs"]):
        with pytest.raises(UserError, match="file/deep|file\\\\deep"):
            generate("--save_samples_path", "file/deep", *more)
        assert "SAMPLE" not in capsys.readouterr().out


def test_what_writes_is_judged_as_evaluate_judges_it(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The decoder's fp32 figure in benchmarks/precision_loss.py is evaluate.py's; bf16 and int8 stay near it."""
    model, folder = run_folder / "model/final_model", run_folder / "data/tokenized"
    call(
        "evaluate.py", "--model_path", model, "--tokenized_data_path", folder, "--device", "cpu", "--precision", "fp32"
    )
    judged = float(re.search(r"每字比特数 (\S+)", capsys.readouterr().out)[1])
    data, n_vocab = open_shards(folder), len(load_tokenizer(model))
    for precision, quantize, bound in (("fp32", False, 1e-4), ("bf16", False, 0.02), ("fp32", True, 0.02)):
        decoder = load_decoder(model, n_vocab, choose_device("cpu", precision), quantize)
        assert bits_per_character(decoder, data) == pytest.approx(judged, abs=bound)
