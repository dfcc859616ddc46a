"""Is a model worth its training? Bits per character of held-out text beside n-grams counted on the same training text.

    python benchmarks/against_ngrams.py                                      the shipped book: one text, from a clone
    python benchmarks/against_ngrams.py --books DIR --novel 红楼梦.txt --picture A.png          all of them

    demo       data/example.json, Lu Xun's stories and essays, 255 thousand characters
    novel      --novel, a book of about 900 thousand characters
    1MB, 10MB  the documents of --books in their order until they fill so many megabytes of UTF-8

Each row of RUNS is `python train.py --max_hours` with the flags that are shown; --seeds train all of them, one process after the other.
train.py counts the n-grams (interpolated Kneser-Ney, gpt2zh/evaluation/ngrams.py) on the documents that it trains on, and judges both
on the documents that it holds out: 50,000 characters where the text is long enough. Unigram vocabularies are learned from the training documents
alone. A curve's clock starts as the first step begins and stands still while validating. Judged are stock GPT2LMHeadModel folders.

Curves are kept in --folder: what is there is not run again, so that an interrupted benchmark goes on (after a change to train.py delete it).
"""

import argparse
import json
import math
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.configurations import cut
from benchmarks.curves import (
    Curve,
    curve_of_rows,
    median_and_spread,
    minutes_and_seconds,
    plot,
    plot_ngrams,
    reached,
    save,
)
from benchmarks.peers.launch import ROOT, chosen, machine, run_train, write_config, write_corpus
from gpt2zh.text.corpus import Corpus
from tokenizations.loading import load_tokenizer

POINTS = 12  # validations a run, about


@dataclass(frozen=True)
class Text:
    """What is trained on: a path, or a size to cut from --books; and the share of it that is held out."""

    title: str
    val_ratio: float
    megabytes: float = math.inf


@dataclass(frozen=True)
class Run:
    """A vocabulary ("char", "unigram-8000"), a shape, and flags of train.py beside its defaults."""

    text: str
    minutes: float
    vocabulary: str
    n_layer: int
    n_embd: int
    n_ctx: int
    dropout: float
    flags: str

    def __str__(self) -> str:
        return f"{self.vocabulary}, {self.n_layer} x {self.n_embd}, {self.n_ctx} tokens, dropout {self.dropout:g}, {self.flags}"

    @property
    def key(self) -> str:
        return f"{self.text}-{self.minutes:g}min"


TEXTS = {
    "demo": Text("Lu Xun, 0.26 M characters", 0.02),
    "novel": Text("a novel, 0.88 M characters", 0.06),
    "1MB": Text("1 MB of books", 0.05, 1),
    "10MB": Text("10 MB of books", 0.016, 10),
}
SMALL = "--batch_size 64 --weight_decay 1 --label_smoothing 0.1"
RUNS = [
    Run("demo", 5, "char", 3, 256, 64, 0.2, f"{SMALL} --lr 0.003 --input_noise 0.2"),
    Run("novel", 2, "char", 2, 192, 128, 0.0, "--batch_size 32"),
    Run("novel", 10, "char", 3, 256, 64, 0.1, "--batch_size 64 --weight_decay 0.5"),
    Run("1MB", 3.5, "char", 2, 256, 64, 0.1, f"{SMALL} --lr 0.004"),
    Run("1MB", 10, "char", 4, 256, 64, 0.2, f"{SMALL} --lr 0.004"),
    Run("10MB", 11, "char", 3, 256, 64, 0.0, "--batch_size 64"),
    Run("10MB", 60, "char", 4, 512, 128, 0.0, "--batch_size 32"),
]

# ----- data -----------------------------------------------------------------------------------------------------------


def corpus_of(name: str, flags: argparse.Namespace) -> Path:
    """The documents of a text, as a JSON list in --folder."""
    path, text = flags.folder / f"{name}.json", TEXTS[name]
    if path.exists():
        return path
    if text.megabytes < math.inf:
        return cut(flags.books, text.megabytes, path)
    write_corpus(path, list(Corpus(flags.novel if name == "novel" else ROOT / "data" / "example.json")))
    return path


def vocabulary_of(run: Run, corpus: Path) -> Path:
    """The vocabulary file of a run; subwords are learned from what is not held out."""
    kind, _, size = run.vocabulary.partition("-")
    path = corpus.with_name(f"{run.text}-{run.vocabulary}.{'json' if size else 'txt'}")
    if not path.exists():
        make = ["cache/make_vocab.py", "--type", kind, "--raw_data_path", corpus, "--vocab_file", path]
        more = ["--vocab_size", size, "--val_ratio", str(TEXTS[run.text].val_ratio)] if size else []
        subprocess.run([sys.executable, *make, *more], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return path


# ----- runs -----------------------------------------------------------------------------------------------------------


def rows_of(run: Run, seed: int, folder: Path, corpus: Path) -> list[dict[str, float]]:
    """The rows of metrics.jsonl of a run: kept, or made now. The models that it saves are deleted."""
    kept, place = folder / "rows" / f"{run.key}-{seed}.json", folder / "runs" / f"{run.key}-{seed}"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    shutil.rmtree(place, ignore_errors=True)
    vocabulary = vocabulary_of(run, corpus)
    shape = {"n_layer": run.n_layer, "n_embd": run.n_embd, "n_head": run.n_embd // 64, "n_ctx": run.n_ctx}
    shape["vocab_size"] = len(load_tokenizer(vocabulary))
    config = write_config(folder / f"{run.key}.json", shape, run.dropout)
    probe = ["--eval_every", 40 if run.minutes < 8 else 200]
    outcome = run_train(
        [
            "--raw_data_path", corpus, "--tokenizer_path", vocabulary, "--model_config", config,
            "--tokenized_data_path", folder / f"shards-{run.text}-{run.vocabulary}", "--val_ratio", TEXTS[run.text].val_ratio,
            "--num_pieces", 4, "--device", "cpu", "--seed", seed, "--epochs", 10**6, "--max_hours", run.minutes / 60,
            "--save_every", 0, "--keep_epochs", 1, "--log_step", 20, *probe, *shlex.split(run.flags),
        ],
        place,
    )  # fmt: skip
    if outcome.value is None:
        sys.exit(f"{run.key}, seed {seed}: {outcome.reason}")
    shutil.rmtree(place / "model")
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(outcome.value), encoding="utf-8")
    return outcome.value


def ngrams_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Bits per character by the name of the n-gram."""
    judged = next(row for row in rows if "val/loss" in row)
    return {name.removeprefix("ngram/"): bits for name, bits in judged.items() if name.startswith("ngram/")}


# ----- what is shown --------------------------------------------------------------------------------------------------


def line(run: Run, curves: list[Curve], ngrams: dict[str, float]) -> str:
    """A row of the table: medians and, in brackets, the seeds' range."""
    bits = [min(bits for _, bits in curve) for curve in curves]
    ends = minutes_and_seconds(statistics.median(curve[-1][0] for curve in curves))
    best = min(ngrams, key=ngrams.__getitem__)
    passed = [f"{name}: {reached(curves, level)}" for name, level in ngrams.items() if level > max(bits)]
    cells = [
        TEXTS[run.text].title, str(run), str(len(curves)), ends, median_and_spread(bits), f"{ngrams[best]:.3f} ({best})",
        f"{statistics.median(bits) - ngrams[best]:+.3f}", "; ".join(passed) or "none",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


Result = tuple[Run, list[Curve], dict[str, float]]


def draw(results: list[Result], path: Path) -> None:
    """A panel for each text: its runs, and a flat line for each n-gram."""
    from matplotlib.figure import Figure

    texts = list(dict.fromkeys(run.text for run, _, _ in results))
    figure = Figure(figsize=(7.5 * min(2, len(texts)), 5 * math.ceil(len(texts) / 2)), layout="constrained")
    panels = figure.subplots(math.ceil(len(texts) / 2), min(2, len(texts)), squeeze=False).flat
    for text, axes in zip(texts, panels):
        own = [result for result in results if result[0].text == text]
        plot(axes, {f"planned for {run.minutes:g} min": curves for run, curves, _ in own}, TEXTS[text].title)
        ngrams = own[0][2]
        plot_ngrams(axes, ngrams)
        axes.set_ylim(top=ngrams["unigram"])
    save(figure, path)


# ----- the script -----------------------------------------------------------------------------------------------------


def read_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books", type=Path, help="folder of books, for 1MB and 10MB")
    parser.add_argument("--novel", type=Path, help="one book, for novel")
    parser.add_argument("--only", help="runs, with commas between: " + ", ".join(run.key for run in RUNS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("against_ngrams"), help="rows and data, kept")
    parser.add_argument("--picture", type=Path, help="file to draw the curves into (wants matplotlib)")
    flags = parser.parse_args()
    flags.folder = flags.folder.resolve()
    there = {"demo": True, "novel": flags.novel, "1MB": flags.books, "10MB": flags.books}
    keys = {run.key: run for run in RUNS if there[run.text]}
    flags.only = [keys[key] for key in (chosen(parser, flags.only, keys) if flags.only else keys)]
    return flags


def finished(flags: argparse.Namespace) -> Iterator[tuple[Run, list[list[dict[str, float]]]]]:
    """Every run with its seeds' rows; all runs of a seed before those of the next."""
    flags.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[list[dict[str, float]]]] = {run.key: [] for run in flags.only}
    for seed in range(flags.seeds):
        for run in flags.only:
            rows = rows_of(run, seed, flags.folder, corpus_of(run.text, flags))
            found[run.key].append(rows)
            seconds, bits = curve_of_rows(rows)[-1]
            print(f"seed {seed} {run.key}: {bits:.3f} after {seconds:.0f} s; {ngrams_of(rows)}", file=sys.stderr)
    return ((run, found[run.key]) for run in flags.only)


def main() -> None:
    flags = read_flags()
    results: list[Result] = [
        (run, [curve_of_rows(rows) for rows in several], ngrams_of(several[0])) for run, several in finished(flags)
    ]
    print(f"{machine()}\n")
    print("| text | run | seeds | ends after | bits per character | best n-gram | difference | passed after |")
    print("|---" * 8 + "|")
    for run, curves, ngrams in results:
        print(line(run, curves, ngrams))
    if flags.picture:
        draw(results, flags.picture)


if __name__ == "__main__":
    main()
