"""Shared by all tests: the shipped book in small pieces, and the scripts called in this process."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TINY_CONFIG = {"n_ctx": 32, "n_embd": 32, "n_head": 2, "n_layer": 2, "n_positions": 32, "vocab_size": 13317}


@pytest.fixture(scope="session")
def book() -> list[str]:
    """The 71 documents of the shipped book."""
    return json.loads((ROOT / "data" / "example.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def book_vocabulary(book: list[str]) -> str:
    """A character vocabulary of what is in the 12 shortest documents, as a file's text."""
    characters = sorted(set("".join(sorted(book, key=len)[:12])) - {"\n", " "})
    return "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]) + "\n"


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, book: list[str], book_vocabulary: str) -> Path:
    """An empty folder to run scripts in: data/train.json (12 short documents), a tiny config, the book's vocabulary."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    shortest = sorted(book, key=len)[:12]
    (tmp_path / "data" / "train.json").write_text(json.dumps(shortest, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "vocab.txt").write_text(book_vocabulary, encoding="utf-8", newline="\n")
    (tmp_path / "tiny.json").write_text(json.dumps(TINY_CONFIG), encoding="utf-8")
    return tmp_path


def call(script: str, *arguments: object) -> None:
    """Run a script's main in this process, as `python script arguments` would."""
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    old = sys.argv
    sys.argv = [script, *map(str, arguments)]
    try:
        module.main()
    finally:
        sys.argv = old


@pytest.fixture
def train(workdir: Path) -> Callable[..., list[dict[str, float]]]:
    """train.py with a tiny model on the CPU in fp32; returns metrics.jsonl. Arguments replace or follow the defaults."""

    def run(*arguments: object, output: str = "model") -> list[dict[str, float]]:
        defaults = [
            "--device",
            "cpu",
            "--precision",
            "fp32",
            "--model_config",
            "tiny.json",
            "--tokenizer_path",
            "vocab.txt",
        ]
        defaults += ["--epochs", 1, "--batch_size", 8, "--num_pieces", 3, "--lr", 1e-3, "--val_ratio", 0.1]
        call("train.py", *defaults, "--output_dir", output, *arguments)
        return [
            json.loads(line) for line in (workdir / output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]

    return run
