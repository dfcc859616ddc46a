"""The benchmarks' side: the data laid out for every trainer, and each trainer started as a process of its own.

One process at a time, with all cores and with the environment that the benchmark was started in; whatever train.py sets
for itself it sets in its own process. Peak memory is the kernel's figure for that process (Linux, macOS).
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from gpt2zh.flags.train import train_flags
from gpt2zh.shards.build import build_shards
from gpt2zh.shards.convert import export_shards
from gpt2zh.shards.format import ShardSettings, differences, open_shards
from gpt2zh.text.corpus import Corpus, corpus_sha256
from tokenizations.loading import load_tokenizer

LINUX = sys.platform == "linux"
RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss


@dataclass(frozen=True)
class Data:
    """One text, as every trainer wants it."""

    text: Path
    vocabulary: Path
    shards: Path
    nanogpt: Path  # train.bin, val.bin
    ancestor: Path  # tokenized_train_0.txt …
    vocab_size: int
    val_ratio: float
    n_pieces: int

    def train_flags(self) -> list[object]:
        """The flags of train.py that name this data."""
        return [
            "--raw_data_path", self.text, "--tokenizer_path", self.vocabulary, "--tokenized_data_path", self.shards,
            "--num_pieces", self.n_pieces, "--val_ratio", self.val_ratio,
        ]  # fmt: skip


def prepare(
    text: Path, folder: Path, val_ratio: float, n_pieces: int, vocab_size: int | None = None, n_tokens: int = 0
) -> Data:
    """A character vocabulary of `text`, and its ids in three formats.

    Args:
        vocab_size: entries, filled up with free slots; None is one for each character.
        n_tokens: the text is repeated until it has so many, so that no run for speed comes to the end of an epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    documents = list(Corpus(text))
    corpus, vocabulary, shards = folder / "text.json", folder / "vocab.txt", folder / "shards"
    write_corpus(corpus, documents)
    size = [] if vocab_size is None else ["--vocab_size", str(vocab_size)]
    make = ["cache/make_vocab.py", "--type", "char", "--raw_data_path", corpus, "--vocab_file", vocabulary, *size]
    subprocess.run([sys.executable, *make], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    tokenizer = load_tokenizer(vocabulary)
    copies, min_length = 1, train_flags([]).documents.min_length
    while True:
        settings = ShardSettings(
            corpus_sha256(corpus), tokenizer.fingerprint, len(tokenizer), min_length, val_ratio, n_pieces
        )
        if differences(shards, settings):
            build_shards(shards, Corpus(corpus), tokenizer, settings)
        data = open_shards(shards)
        if len(data.train) > n_tokens:
            break
        copies *= 2
        write_corpus(corpus, documents * copies)
    export_shards(data, folder / "nanogpt", "nanogpt")
    export_shards(data, folder / "ancestor", "text")
    return Data(
        corpus, vocabulary, shards, folder / "nanogpt", folder / "ancestor", len(tokenizer), val_ratio, n_pieces
    )


def write_corpus(path: Path, documents: list[str]) -> None:
    path.write_text(json.dumps(documents, ensure_ascii=False), encoding="utf-8")


def write_config(path: Path, shape: dict[str, int], dropout: float) -> Path:
    """A model configuration for train.py."""
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    path.write_text(json.dumps({**shape, "n_positions": shape["n_ctx"], **dropouts}), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Outcome:
    """What came of a process. `value` is None where it failed, and `reason` is then the last error that it wrote."""

    value: object
    reason: str
    peak_bytes: int = 0


def start(command: list[object], folder: Path, result: Path, cold: bool) -> Outcome:
    """Run `command` in `folder`; its output goes to log.txt there, its value is the text of the file `result`.

    Args:
        cold: nothing that torch.compile kept from earlier runs is at hand, so that each run compiles alike.
    """
    cache = folder / "compiled"
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache)} if cold else None
    words = [str(part) for part in command]
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    shutil.rmtree(cache, ignore_errors=True)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not result.exists():
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.strip() for line in lines if re.match(r"\S*(Error|Exception|Exit|错误)", line)] or lines[-1:]
        return Outcome(None, f"exit code {process.returncode}: {' '.join(said[-1:])[:200]}")
    return Outcome(result.read_text(encoding="utf-8"), "", usage.ru_maxrss * RUSAGE_UNIT)


def run_peer(
    program: str, checkout: Path | None, job: dict[str, object], python: Path, folder: Path, cold: bool = False
) -> Outcome:
    """Run a program of this folder (steps.py says what a job is); the value is its result, a dict."""
    if checkout is not None and not checkout.is_dir():
        return Outcome(None, f"no checkout {checkout}")
    folder = folder.resolve()
    folder.mkdir(parents=True)
    result = folder / "result.json"
    job = {**job, "checkout": str(checkout.resolve()) if checkout else "", "result": str(result)}
    (folder / "job.json").write_text(json.dumps(job, indent=1), encoding="utf-8")
    outcome = start([python, Path(__file__).parent / program, folder / "job.json"], folder, result, cold)
    return outcome if outcome.value is None else Outcome(json.loads(outcome.value), "", outcome.peak_bytes)


def run_train(flags: list[object], folder: Path, cold: bool = False) -> Outcome:
    """Run train.py as a user would; the value is the rows of metrics.jsonl."""
    folder = folder.resolve()
    folder.mkdir(parents=True)
    places = ["--output_dir", folder / "model", "--writer_dir", folder / "runs"]
    metrics = folder / "model" / "metrics.jsonl"
    outcome = start([sys.executable, ROOT / "train.py", *flags, *places], folder, metrics, cold)
    if outcome.value is None:
        return outcome
    return Outcome([json.loads(line) for line in outcome.value.splitlines()], "", outcome.peak_bytes)


def interpreter(name: str) -> Path:
    """The Python of a flag, by name or path; absolute and unresolved, as a venv's is a link that knows its packages."""
    found = shutil.which(name)
    if found is None:
        raise argparse.ArgumentTypeError(f"no program {name}")
    return Path(found).absolute()


def add_peers(parser: argparse.ArgumentParser) -> None:
    """The flags that say where the others are."""
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder of the checkouts")
    parser.add_argument("--peers_python", type=interpreter, default=sys.executable, help="default: this one")


def chosen(parser: argparse.ArgumentParser, names: str, there_are: Collection[str]) -> list[str]:
    """The contenders that --only names, with commas between; one that is none ends the script."""
    only = names.split(",")
    if unknown := set(only) - set(there_are):
        parser.error(f"--only: there is no {' '.join(sorted(unknown))}; there are: {' '.join(there_are)}")
    return only


def machine() -> str:
    """What a table of figures has to say of where they come from."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8")) if LINUX else None
    cores = len(os.sched_getaffinity(0)) if LINUX else os.cpu_count()
    show = "import torch; print(torch.__version__, torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    torch = subprocess.run([sys.executable, "-c", show], capture_output=True, encoding="utf-8").stdout.strip()
    return f"{cpu[1] if cpu else platform.processor()}, {cores} cores; torch {torch}; {date.today()}"
