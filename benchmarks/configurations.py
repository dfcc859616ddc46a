"""Which model for how much text: candidates trained for the same time on text cut to size.

    python benchmarks/configurations.py --text DIR --megabytes 1 --minutes 4
    python benchmarks/configurations.py --text DIR --megabytes 10 --minutes 20 --only 4,5

Documents of --text are taken in their order until they fill so many megabytes of UTF-8; the vocabulary is one of their
characters. Each candidate is `python train.py --max_hours`, not compiled, with the default recipe and the dropout of its row, on
the same held-out documents. "Best" is the lowest validation of the run, as best_model has it.
"""

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.peers.launch import ROOT, machine, prepare, run_train, write_config, write_corpus
from gpt2zh.text.corpus import Corpus


@dataclass(frozen=True)
class Candidate:
    """A row: layers, width, heads, tokens a window, dropout, and flags that differ from the default recipe."""

    n_layer: int
    n_embd: int
    n_head: int
    n_ctx: int
    dropout: float = 0.1
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = f" {' '.join(self.flags)}" if self.flags else ""
        return f"{self.n_layer} x {self.n_embd}, {self.n_ctx} tokens, dropout {self.dropout:g}{more}"


ADAMW = ("--optimizer", "adamw")
CANDIDATES = [
    Candidate(3, 192, 3, 128),
    Candidate(4, 256, 4, 128),
    Candidate(4, 256, 4, 128, flags=ADAMW),
    Candidate(4, 256, 4, 256),
    Candidate(6, 384, 6, 256),
    Candidate(8, 512, 8, 256),
]


def cut(text: Path, megabytes: float, place: Path) -> Path:
    """The first documents of `text` up to `megabytes` of UTF-8, as a JSON list in `place`."""
    documents, size = [], 0
    for document in Corpus(text):
        size += len(document.encode())
        documents.append(document)
        if size >= megabytes * 1e6:
            break
    else:
        sys.exit(f"{text} has {size / 1e6:.1f} MB, less than {megabytes:g}")
    write_corpus(place, documents)
    return place


def row(candidate: Candidate, rows: list[dict[str, float]]) -> str:
    trained = [row for row in rows if "train/loss" in row]
    judged = [row for row in rows if "val/loss" in row]
    best = min(judged, key=lambda row: row["val/loss"])
    speed = statistics.median(row["train/tokens_per_second"] for row in trained)
    steps = trained[-1]["step"]
    return (
        f"| {candidate} | {speed:,.0f} | {steps:,} | {best['val/bits_per_character']:.3f} after {best['step'] / steps:.0%} | "
        f"{judged[-1]['val/bits_per_character']:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=ROOT / "data" / "example.json", help="JSON list, txt, folder …")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[0.7])
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each candidate")
    parser.add_argument("--batch_size", type=int, default=8, help="windows a step")
    parser.add_argument("--seed", type=int, default=0)
    numbers = "; ".join(f"{number}: {candidate}" for number, candidate in enumerate(CANDIDATES, 1))
    parser.add_argument("--only", default="", help=f"candidates by their numbers, with commas between. {numbers}")
    flags = parser.parse_args()
    chosen = [CANDIDATES[int(number) - 1] for number in flags.only.split(",") if number] or CANDIDATES
    print(f"{machine()}; {flags.minutes:g} minutes each, {flags.batch_size} windows a step, seed {flags.seed}\n")
    for megabytes in flags.megabytes:
        print(
            f"## {megabytes:g} MB\n\n| model | tokens/s | steps | best bits per character | at the end |\n|---|---|---|---|---|"
        )
        with tempfile.TemporaryDirectory() as folder:
            data = prepare(cut(flags.text, megabytes, Path(folder) / "cut.json"), Path(folder) / "data", 0.02, 4)
            for number, candidate in enumerate(chosen):
                shape = {"n_layer": candidate.n_layer, "n_embd": candidate.n_embd, "n_head": candidate.n_head}
                shape |= {"n_ctx": candidate.n_ctx, "vocab_size": data.vocab_size}
                config = write_config(Path(folder) / f"{number}.json", shape, candidate.dropout)
                outcome = run_train(
                    [
                        *data.train_flags(), "--model_config", config, "--device", "cpu", "--seed", flags.seed,
                        "--epochs", 10**6, "--batch_size", flags.batch_size, "--max_hours", flags.minutes / 60,
                        "--eval_every", 100, "--log_step", 10, "--save_every", 0, "--compile", "off", *candidate.flags,
                    ],
                    Path(folder) / f"run{number}",
                )  # fmt: skip
                print(
                    row(candidate, outcome.value) if outcome.value else f"| {candidate} | {outcome.reason} | | | |",
                    flush=True,
                )
        print()


if __name__ == "__main__":
    main()
