"""Kinds of cases for fuzz.py: each harms files in the current folder, and returns what to run.

In: a seeded generator. Out: a script, and its arguments.
"""

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from mutations import VALUES, harmed_bytes, harmed_json

from gpt2zh.flags.command_line import Flag, flags_of
from gpt2zh.flags.page import SCRIPTS
from gpt2zh.shards.format import seal

TINY = ["--device", "cpu", "--precision", "fp32"]
TRAIN = [
    *TINY,
    "--model_config",
    "tiny.json",
    "--tokenizer_path",
    "vocab.txt",
    "--output_dir",
    "out/model",
    "--writer_dir",
    "runs/x",
]
TRAIN += [
    "--tokenized_data_path",
    "out/shards",
    "--max_steps",
    "2",
    "--batch_size",
    "2",
    "--num_pieces",
    "2",
    "--ngram_order",
    "0",
]
GENERATE = [*TINY, "--prefix", "我", "--length", "5", "--save_samples_path", "out/"]
Command = tuple[str, list[str]]  # a script and its arguments


def corpus(chance: Random) -> Command:
    text = "\n\n".join(json.loads(Path("data/train.json").read_text(encoding="utf-8"))[:6])
    documents = [{"text": piece} for piece in text.split("\n\n")]
    name, data = chance.choice(
        [
            ("a.txt", text.encode()),
            ("a.txt", text.encode("gb18030")),
            ("a.md", ("# 书\n\n" + text).encode()),
            ("a.html", f"<html><body><p>{text}</p></body></html>".encode()),
            ("a.json", json.dumps(documents).encode()),
            ("a.json", Path("data/train.json").read_bytes()),
            ("a.jsonl", "\n".join(json.dumps(one, ensure_ascii=False) for one in documents).encode()),
            ("a.csv", ("id,text\n" + "\n".join(f'{i},"{one["text"]}"' for i, one in enumerate(documents))).encode()),
            ("a.srt", "\n\n".join(f"{i}\n00:00:0{i},000 --> 00:00:0{i},900\n{line}" for i, line in enumerate(text.split("\n")[:9])).encode()),
            ("a.parquet", parquet(documents)),
        ]
    )  # fmt: skip
    harm = harmed_json if name.endswith(".json") and chance.random() < 0.5 else harmed_bytes
    data = harm(chance, data)
    if chance.random() < 0.15 and not name.endswith(".parquet"):
        name, data = (
            name + ".gz",
            harmed_bytes(chance, gzip.compress(data)) if chance.random() < 0.5 else gzip.compress(data),
        )
    Path(name).write_bytes(data)
    return chance.choice(
        [
            ("prepare_data.py", [name, "--output", "out/x.json"]),
            ("prepare_data.py", [name, "--output", "out/x.json", "--documents", chance.choice(("lines", "paragraphs"))]),
            ("prepare_data.py", [name, "--output", "out/x.jsonl", "--split_chapters", "always", "--min_length", "1"]),
            ("cache/make_vocab.py", ["--type", chance.choice(("char", "bpe", "unigram")), "--raw_data_path", name, "--vocab_file", "out/v.txt", "--vocab_size", "300"]),
            ("train.py", [*TRAIN, "--raw", "--raw_data_path", name, "--min_length", "1"]),
            ("evaluate.py", [*TINY, "--model_path", "model/best_model", "--raw_data_path", name]),
        ]
    )  # fmt: skip


def parquet(documents: list[dict[str, str]]) -> bytes:
    """The documents as a parquet file; none without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return b"PAR1"
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(documents), sink)
    return bytes(sink.getvalue())


def configuration(chance: Random) -> Command:
    path = Path("tiny.json")
    path.write_bytes((harmed_json if chance.random() < 0.8 else harmed_bytes)(chance, path.read_bytes()))
    return "train.py", [*TRAIN, "--raw", "--raw_data_path", "data/train.json"]


def model_folder(chance: Random) -> Command:
    folder = Path("model/best_model")
    name = chance.choice(["config.json", "config.json", "config.json", "tokenizer.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "generation_config.json", "training.json", "SHA256SUMS"])  # fmt: skip
    harm_a_file(chance, folder / name)
    if chance.random() < 0.4:
        (folder / "SHA256SUMS").unlink()
    else:
        reseal(folder)
    return chance.choice(
        [
            ("generate.py", [*GENERATE, "--model_path", "model/best_model"]),
            ("generate.py", [*GENERATE, "--model_path", "model/best_model"]),
            ("evaluate.py", [*TINY, "--model_path", "model/best_model", "--raw_data_path", "data/train.json"]),
            ("train.py", [*TRAIN, "--pretrained_model", "model/best_model", "--raw", "--raw_data_path", "data/train.json"]),
        ]
    )  # fmt: skip


def vocabulary(chance: Random) -> Command:
    path = Path(chance.choice(["vocab.txt", "model/best_model/tokenizer.json"]))
    harm_a_file(chance, path)
    return chance.choice(
        [
            ("train.py", [*TRAIN, "--tokenizer_path", str(path), "--raw", "--raw_data_path", "data/train.json"]),
            ("generate.py", [*GENERATE, "--model_path", "model/final_model", "--tokenizer_path", str(path)]),
        ]
    )


def shards(chance: Random) -> Command:
    path = chance.choice([Path("data/tokenized/manifest.json")] * 3 + sorted(Path("data/tokenized").glob("*.*")))
    harm_a_file(chance, path)
    if path.name == "manifest.json" and chance.random() < 0.7:
        reseal_manifest(path)
    return chance.choice(
        [
            ("train.py", [*TRAIN, "--tokenized_data_path", "data/tokenized"]),
            ("evaluate.py", [*TINY, "--model_path", "model/best_model", "--tokenized_data_path", "data/tokenized"]),
            (
                "convert_shards.py",
                ["--input", "data/tokenized", "--export", chance.choice(("nanogpt", "text")), "--output", "out/c"],
            ),
        ]
    )


def reseal_manifest(path: Path) -> None:
    """Give a manifest that was harmed the seal that fits, where it still is an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        value.pop("sha256", None)
        path.write_text(json.dumps(value | {"sha256": seal(value)}), encoding="utf-8")
    except (ValueError, AttributeError, TypeError):
        pass


def checkpoint(chance: Random) -> Command:
    """A checkpoint is written by the run itself, so its harm lies in out/."""
    shutil.copytree("model", "out/model")
    newest = sorted(Path("out/model/checkpoints").iterdir())[-1]
    harm_a_file(
        chance,
        chance.choice(
            [newest / "state.json", newest / "state.json", newest / "training.json", *sorted(newest.iterdir())]
        ),
    )
    if chance.random() < 0.8:
        reseal(newest)
    return "train.py", [*TRAIN, "--raw", "--raw_data_path", "data/train.json", "--max_steps", "6", "--resume"]


def command_line(chance: Random) -> Command:
    """Any flags with any values; files may be named where others are meant."""
    script = chance.choice(list(SCRIPTS))
    flags = [one for one in flags_of(SCRIPTS[script]) if one.name not in ("interactive", "epochs")]
    start = {
        "train.py": [*TRAIN, "--raw", "--raw_data_path", "data/train.json"],
        "generate.py": [*GENERATE, "--model_path", "model/best_model"],
        "evaluate.py": [*TINY, "--model_path", "model/best_model", "--raw_data_path", "data/train.json"],
        "prepare_data.py": ["data/train.json", "--output", "out/x.json"],
        "cache/make_vocab.py": [
            "--raw_data_path",
            "data/train.json",
            "--vocab_file",
            "out/v.txt",
            "--vocab_size",
            "300",
        ],
        "convert_shards.py": [],
    }[script]
    chosen = [part for one in chance.sample(flags, chance.choice((1, 1, 2, 4))) for part in argument(chance, one)]
    return script, [*start, *chosen]


def argument(chance: Random, one: Flag) -> list[str]:
    """A flag with a value that may be a wrong one."""
    name = [] if one.declaration.form == "inputs" else [f"--{one.name}"]
    if "switch" in one.declaration.form or one.declaration.form == "silent":
        return name
    if one.choices and chance.random() < 0.7:
        return [*name, chance.choice(one.choices)]
    files = ["vocab.txt", "data/train.json", "tiny.json", "model/best_model", "model", "data", "out/new", "out/a b", "out/目录", "nosuch/deep/x", "/dev/null", "/dev/full", "s3://b/x", "~", ""]  # fmt: skip
    numbers = ["0", "1", "2", "-1", "0.5", "1e-3", "3", "8", "1e9", "nan", "inf", "auto", "10s", "2h", "9" * 30]
    weird = [str(value) for value in VALUES if "\x00" not in str(value)]
    value = chance.choice(chance.choice([files, numbers, numbers, weird]))
    asks_for_hours = one.name in AMOUNTS and value.isdecimal() and 10**4 < int(value) < 10**15  # and gets them: no hang
    return [*name, "3" if asks_for_hours else value]


AMOUNTS = ("length", "nsamples", "max_steps")  # of work

KINDS: list[Callable[[Random], Command]] = [
    corpus,
    corpus,
    configuration,
    model_folder,
    model_folder,
    vocabulary,
    shards,
    checkpoint,
    command_line,
    command_line,
]


def harm_a_file(chance: Random, path: Path) -> None:
    """Harm the values of a JSON file, or the bytes of any."""
    by_values = path.suffix == ".json" and chance.random() < 0.7
    path.write_bytes((harmed_json if by_values else harmed_bytes)(chance, path.read_bytes()))


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def reseal(folder: Path) -> None:
    """Checksums as whoever sends a hostile folder would make them."""
    files = [path for path in sorted(folder.iterdir()) if path.name != "SHA256SUMS"]
    (folder / "SHA256SUMS").write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files), encoding="utf-8")
