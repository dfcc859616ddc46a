"""Which vocabulary is best for a corpus? Each type gets the same training time; evaluate.py judges them by the character.

    python benchmarks/vocabulary_comparison.py [--raw_data_path data/example.json] [--minutes 4]

For each type: make_vocab.py; one epoch of train.py to learn its length; as many epochs as fit the time (with the whole
schedule, warm-up to zero); evaluate.py on what training held out, the same documents for all. The model's shape is the
same, so larger vocabularies have more parameters. Prints a Markdown table.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# type: options of make_vocab.py, suffix of the file, options of train.py
TYPES = {
    "char": (["--type", "char"], "txt", []),
    "word": (["--type", "word", "--vocab_size", "12000"], "txt", ["--segment"]),
    "bpe": (["--type", "bpe", "--vocab_size", "8000"], "json", []),
    "unigram": (["--type", "unigram", "--vocab_size", "8000"], "json", []),
}


def run(script: str, *arguments: object) -> tuple[str, float]:
    """Output and seconds of a script of this project."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout, time.perf_counter() - begin


def train(folder: Path, corpus: Path, vocabulary: Path, epochs: int, *options: str) -> list[dict[str, float]]:
    """Train; the rows of metrics.jsonl."""
    run(
        "train.py", "--model_config", "config/model_config_demo.json", "--tokenizer_path", vocabulary,
        "--raw_data_path", corpus, "--tokenized_data_path", folder / "shards", "--num_pieces", 4, "--epochs", epochs,
        "--batch_size", 64, "--lr", 3e-3, "--weight_decay", 1, "--label_smoothing", 0.1, "--input_noise", 0.2, "--log_step", 10, "--output_dir", folder / "model",
        "--writer_dir", folder / "runs", *options,
    )  # fmt: skip
    lines = (folder / "model" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw_data_path", type=Path, default=ROOT / "data" / "example.json")
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of each type")
    flags = parser.parse_args()
    corpus = flags.raw_data_path.resolve()
    print("| type | entries | tokens | characters/token | [UNK] | epochs | seconds | bits per character (best epoch) |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, (make, suffix, options) in TYPES.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            vocabulary = folder / f"vocab.{suffix}"
            run("cache/make_vocab.py", *make, "--raw_data_path", corpus, "--vocab_file", vocabulary)
            probe = train(folder, corpus, vocabulary, 1, *options)
            # From the first report to the last: without starting up; the epoch's share of it.
            first, last = probe[0], probe[-1]
            seconds = (last["time"] - first["time"]) * last["step"] / max(1, last["step"] - first["step"])
            epochs = max(1, round(60 * flags.minutes / seconds))
            rows = train(folder, corpus, vocabulary, epochs, *options)
            judged, _ = run(
                "evaluate.py",
                "--model_path",
                folder / "model" / "best_model",
                "--tokenized_data_path",
                folder / "shards",
            )
            bits = re.search(r"每字比特数 ([\d.]+)", judged)[1]
            manifest = json.loads((folder / "shards" / "manifest.json").read_text(encoding="utf-8"))
            files = [*manifest["train"], *manifest["val"]]
            tokens = sum(file["tokens"] for file in files)
            unknown = sum(file["unknown"] for file in files)
            characters = manifest["characters"]["train"] + manifest["characters"]["val"]
            val = [(row["val/bits_per_character"], row["step"]) for row in rows if "val/bits_per_character" in row]
            best_epoch = 1 + val.index(min(val))
            took = rows[-1]["time"] - rows[0]["time"]
            print(
                f"| {kind} | {manifest['settings']['vocab_size']} | {tokens} | {characters / tokens:.3f} | "
                f"{unknown / tokens:.3%} | {epochs} | {took:.0f} | {bits} ({best_epoch}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
