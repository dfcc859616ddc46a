"""Shared by all tests: the shipped book in small pieces, and the scripts called in this process."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from launched import Launched, ended_after_use

settings.register_profile("same", derandomize=True)  # the same examples every time: a gate that fails must fail again
settings.load_profile("same")

# Models of the tests are tiny: two threads would only wait for each other, for minutes beside another busy program.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background commands with Ctrl-C ignored, and so would be what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

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
    furnish(tmp_path, book, book_vocabulary)
    return tmp_path


def furnish(folder: Path, book: list[str], vocabulary: str) -> None:
    """Put data/train.json, vocab.txt, tiny.json and, without dropout, plain.json into `folder`."""
    (folder / "data").mkdir()
    shortest = sorted(book, key=len)[:12]
    (folder / "data" / "train.json").write_text(json.dumps(shortest, ensure_ascii=False), encoding="utf-8")
    (folder / "vocab.txt").write_text(vocabulary, encoding="utf-8", newline="\n")
    (folder / "tiny.json").write_text(json.dumps(TINY_CONFIG), encoding="utf-8")
    plain = {**TINY_CONFIG, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    (folder / "plain.json").write_text(json.dumps(plain), encoding="utf-8")


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


# ----- processes that torchrun starts --------------------------------------------------------------------------------


@pytest.fixture
def launch_anew() -> Iterator[Callable[..., Launched]]:
    """Start commands as a user does; what still runs at the end of the test is ended."""
    with ended_after_use() as launched:

        def start(folder: Path, command: list[object], name: str = "command") -> Launched:
            launched.append(Launched(folder, command, name))
            return launched[-1]

        yield start


TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
# One epoch of 14 steps, of two micro-batches of six windows; the last step has one, of two.
TRAIN = [ROOT / "train.py", "--device", "cpu", "--precision", "fp32", "--model_config", "plain.json"]
TRAIN += ["--tokenizer_path", "vocab.txt", "--num_pieces", 3, "--val_ratio", 0.1, "--lr", 1e-3, "--log_step", 2]
TRAIN += [
    "--epochs",
    1,
    "--batch_size",
    6,
    "--gradient_accumulation",
    2,
]  # Muon rounds to bf16, so what differs by a rounding would not stay so close
TRAIN += ["--optimizer", "adamw", "--label_smoothing", 0.1, "--input_noise", 0.2]


def metrics_of(run: Path) -> list[dict[str, float]]:
    """The reports of a run."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def require_same_run(run: Path, other: Path) -> None:
    """Two runs have the same losses and gradient norms, step by step, and the same final weights, within fp32's rounding."""
    from safetensors.torch import load_file

    names = ("train/loss", "train/grad_norm", "train/lr", "val/loss", "val/bits_per_character")
    one, two = (
        [{name: row[name] for name in ("step", *names) if name in row} for row in metrics_of(r)] for r in (run, other)
    )
    assert len(one) == len(two) > 10
    for first, second in zip(one, two):
        assert second == pytest.approx(first, rel=2e-6)
    first, second = (load_file(folder / "final_model" / "model.safetensors") for folder in (run, other))
    assert first.keys() == second.keys()
    for weights in (
        first,
        second,
    ):  # no output depends on the bias of keys: its gradient is rounding, of which AdamW makes steps
        for name in (name for name in weights if name.endswith("attn.c_attn.bias")):
            weights[name] = weights[name].clone().view(3, -1)[[0, 2]]
    assert max((first[name] - second[name]).abs().max().item() for name in first) < 5e-6


# ----- runs that tests can hurt ---------------------------------------------------------------------------------------

# 3 epochs of 9 steps of two micro-batches, with dropout; a checkpoint every 2 steps.
RUN = ["--device", "cpu", "--precision", "fp32", "--model_config", "tiny.json", "--tokenizer_path", "vocab.txt"]
RUN += ["--epochs", 3, "--batch_size", 9, "--gradient_accumulation", 2, "--num_pieces", 3, "--val_ratio", 0.1]
RUN += ["--lr", 1e-3, "--input_noise", 0.2, "--save_every", 2, "--log_step", 4, "--output_dir", "model", "--resume"]


class Run:
    """One run at work."""

    def __init__(self, zygote: subprocess.Popen, printed: Path) -> None:
        self.zygote, self.printed = zygote, printed
        self.pid = int(zygote.stdout.readline())
        self.code: int | None = None

    def wait(self) -> int:
        """The exit code, as a shell shows it: 128 and the signal's number where one killed it."""
        if self.code is None:
            code = int(self.zygote.stdout.readline())
            self.code = code if code >= 0 else 128 - code
        return self.code

    def kill(self, number: int) -> None:
        """Send a signal; nothing where the run is over."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    @property
    def text(self) -> str:
        return self.printed.read_text(encoding="utf-8", errors="replace") if self.printed.exists() else ""


class Place:
    """A furnished folder in which runs take place, one at a time."""

    def __init__(self, folder: Path, zygote: subprocess.Popen, book: list[str], vocabulary: str) -> None:
        self.folder, self.zygote, self.n_runs = folder, zygote, 0
        self.last: Run | None = None
        folder.mkdir(parents=True)
        furnish(folder, book, vocabulary)

    def start(self, *arguments: object, faults: list[list[object]] | None = None) -> Run:
        """Start train.py with RUN and more flags. `faults`: functions of faults/injected.py, and their arguments."""
        self.n_runs += 1
        printed = self.folder / f"run{self.n_runs}.printed"
        order = [str(self.folder), list(map(str, [*RUN, *arguments])), str(printed), faults or []]
        self.zygote.stdin.write(json.dumps(order) + "\n")
        self.zygote.stdin.flush()
        self.last = Run(self.zygote, printed)
        return self.last

    def run(self, *arguments: object, faults: list[list[object]] | None = None) -> Run:
        """The same, and wait for its end; `code` is the exit code."""
        run = self.start(*arguments, faults=faults)
        run.wait()
        return run

    def script(self, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Another script of ours, to its end."""
        command = [sys.executable, str(ROOT / name), *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, encoding="utf-8")

    def forget(self, name: str) -> None:
        """Move a folder out of the way."""
        (self.folder / name).rename(self.folder / f"{name}-{self.n_runs}")


CLOCK = ("time", "train/tokens_per_second", "train/utilisation", "train/data_wait", "val/seconds")


def without_times(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """What reports say of the model, not of the clock."""
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


def require_same_end(one: Place, other: Place) -> None:
    """Two runs of RUN left the same reports and, byte for byte, the same weights in every model folder; and nothing half made."""
    weights = [
        {path.parent.name: path.read_bytes() for path in place.folder.glob("model/*/model.safetensors")}
        for place in (one, other)
    ]
    assert weights[0] == weights[1] and len(weights[0]) == 5
    reports = [without_times(metrics_of(place.folder / "model")) for place in (one, other)]
    assert reports[0] == reports[1]
    assert not [path for path in other.folder.rglob("*") if path.suffix in (".tmp", ".old")]


def start_zygote() -> subprocess.Popen:
    """A process that has loaded torch and forks runs."""
    zygote = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "faults" / "zygote.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # one arena: where memory is limited, how many threads happen to want one decides nothing
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    )
    assert zygote.stdout.readline() == "ready\n"
    return zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[subprocess.Popen]:
    yield from one_zygote()


@pytest.fixture(scope="session")
def second_zygote() -> Iterator[subprocess.Popen]:
    """For two runs at once."""
    yield from one_zygote()


def one_zygote() -> Iterator[subprocess.Popen]:
    process = start_zygote()
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def alone(
    tmp_path_factory: pytest.TempPathFactory, zygote: subprocess.Popen, book: list[str], book_vocabulary: str
) -> Place:
    """The run that nobody hurts."""
    place = Place(tmp_path_factory.mktemp("runs") / "alone", zygote, book, book_vocabulary)
    assert place.run().code == 0
    return place


@pytest.fixture
def hurt(tmp_path: Path, zygote: subprocess.Popen, book: list[str], book_vocabulary: str) -> Iterator[Place]:
    """A folder for the same run, to be hurt."""
    place = Place(tmp_path / "hurt", zygote, book, book_vocabulary)
    yield place
    if place.last is not None and place.last.code is None:  # the test failed
        place.last.kill(signal.SIGKILL)
        place.last.wait()
