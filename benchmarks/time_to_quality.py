"""Bits per character of held-out text against training time: train.py, the ancestor's recipe, nanoGPT's.

    python benchmarks/time_to_quality.py --peers peers --peers_python peers/venv/bin/python --text BOOK --picture A.png

peers/ with the checkouts and their venv is made as train_speed.py's docstring says.
BOOK is a JSON list of chapters, a txt or whatever train.py takes; default the shipped book, better one of a million
characters. All learn the same ids, one for each character (and 5 control tokens), with 6 layers of 384, 256 tokens:

    ancestor     GPT2-Chinese's loop and flags: lr 1.5e-4, 2,000 steps of warm-up, eps 1e-6, batch 8, windows that overlap
                 by a quarter, fp32, dropout 0.1; --minutes long
    nanogpt      config/train_shakespeare_char.py (batch 64, dropout 0.2, lr 1e-3), compiled, patched to bf16; as long
    ours-short   train.py with its default recipe and no dropout, its length planned for a tenth of --minutes
    ours-long    the same for four tenths

Each of --seeds trains all of them, one process after the other. The clock starts as the first training step begins:
reading the text and importing do not count, compilation does, from an empty cache. It stands still during validation, which is the same for
all: the documents that train.py holds out, windows of 256 ids half of which are context, every id judged once, in the
precision of training. (Of train.py: time of a row of metrics.jsonl, less the first step's begin, less all val/seconds so
far; samples and saving count.) What a peer reached is the lowest point of its curve.

How many steps fit into the planned time is found by a short run of train.py, and corrected if the first seed's run shows
that it was not so. Curves are kept in --folder: what is there is not run again, so an interrupted benchmark goes on
(after a change to train.py delete curves/ours-* and plan.json there). --device cuda was not run on a GPU so far.
"""

import argparse
import json
import shlex
import shutil
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.curves import (
    Curve,
    curve_of_rows,
    draw,
    lowest,
    median_and_spread,
    minutes_and_seconds,
    reached,
    steps_that_fit,
)
from benchmarks.peers.launch import (
    ROOT,
    Data,
    Outcome,
    add_peers,
    chosen,
    machine,
    prepare,
    run_peer,
    run_train,
    write_config,
)
from gpt2zh.evaluation.ngrams import ngram_bits
from gpt2zh.flags.train import train_flags
from gpt2zh.shards.format import open_shards
from gpt2zh.text.corpus import corpus_sha256

SHAPE = {"n_layer": 6, "n_embd": 384, "n_head": 6, "n_ctx": 256}
OURS = {"ours-short": 0.1, "ours-long": 0.4}  # share of --minutes
PEERS = {  # program, checkout, of steps.py's job
    "nanogpt": (
        "nanogpt.py",
        "nanoGPT",
        {"recipe": "train_shakespeare_char", "batch_size": 64, "dropout": 0.2, "precision": "bf16", "compile": True},
    ),
    "ancestor": (
        "gpt2_chinese.py",
        "GPT2-Chinese",
        {"recipe": "classic", "batch_size": 8, "dropout": 0.1, "precision": "fp32", "compile": False},
    ),
}
TITLES = {
    "ancestor": "GPT2-Chinese's recipe",
    "nanogpt": "nanoGPT's shakespeare_char recipe, bf16",
    "ours-short": "train.py, planned for {:g} min",
    "ours-long": "train.py, planned for {:g} min",
}
PROBE_STEPS, FEWEST_STEPS = 30, 4
IN_TIME = 0.9, 1.02  # shares of the planned time; the first seed's run is made again with other steps outside of them
CORRECTIONS = 2  # at most

# ----- runs -----------------------------------------------------------------------------------------------------------


class Benchmark:
    """The runs, and the curves of those that are done in `folder`."""

    def __init__(self, flags: argparse.Namespace, data: Data) -> None:
        self.flags, self.data = flags, data
        self.config = write_config(flags.folder / "config.json", {**SHAPE, "vocab_size": data.vocab_size}, 0.0)

    def curve(self, name: str, seed: int) -> Curve | str:
        """The curve of a contender: kept, or run now. A string says why there is none."""
        path = self.flags.folder / "curves" / f"{name}-{seed}.json"
        if not path.exists():
            outcome = self.ours(name, seed) if name in OURS else self.peer(name, seed)
            if outcome.value is None:
                return outcome.reason
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(outcome.value), encoding="utf-8")
        return [(seconds, bits) for seconds, bits in json.loads(path.read_text(encoding="utf-8"))]

    def place(self, name: str) -> Path:
        """A folder for a run, without what an interrupted one left there."""
        folder = self.flags.folder / "runs" / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def peer(self, name: str, seed: int) -> Outcome:
        program, checkout, recipe = PEERS[name]
        job = {
            **SHAPE, **recipe, "vocab_size": self.data.vocab_size, "shards": str(self.data.shards),
            "ids": str(self.data.nanogpt if name == "nanogpt" else self.data.ancestor), "device": self.flags.device,
            "seed": seed, "seconds": 60 * self.flags.minutes, "points": self.flags.points,
        }  # fmt: skip
        folder = self.place(f"{name}-{seed}")
        outcome = run_peer(program, self.flags.peers / checkout, job, self.flags.peers_python, folder, cold=True)
        return outcome if outcome.value is None else Outcome(outcome.value["curve"], "")

    def train(self, name: str, seed: int, n_steps: int, *more: object) -> Outcome:
        """train.py for `n_steps`; the value is the rows of metrics.jsonl. The models that it saves are deleted."""
        folder = self.place(f"{name}-{seed}")
        device = "0" if self.flags.device == "cuda" else "cpu"
        outcome = run_train(
            [
                *self.data.train_flags(), "--model_config", self.config, "--device", device, "--seed", seed,
                "--max_steps", n_steps, *more, *shlex.split(self.flags.ours_flags),
            ],
            folder,
            cold=True,
        )  # fmt: skip
        for model in (folder / "model").glob("*/"):
            shutil.rmtree(model)
        return outcome

    def ours(self, name: str, seed: int) -> Outcome:
        """A run of about the planned length; how many steps that is is kept in plan.json for the seeds to come."""
        planned = 60 * self.flags.minutes * OURS[name]
        path = self.flags.folder / "plan.json"
        plan = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        corrections = CORRECTIONS if name not in plan else 0
        if name not in plan:
            outcome = self.train("probe", seed, PROBE_STEPS)
            if outcome.value is None:
                return outcome
            plan[name] = max(FEWEST_STEPS, steps_that_fit(outcome.value, planned))
        while True:
            every = max(2, plan[name] // self.flags.points)
            outcome = self.train(name, seed, every * (plan[name] // every), "--eval_every", every)
            if outcome.value is None:
                return outcome
            curve = curve_of_rows(outcome.value)
            took = curve[-1][0] / planned
            if IN_TIME[0] <= took <= IN_TIME[1] or not corrections:
                break
            corrections -= 1
            plan[name] = max(FEWEST_STEPS, int(plan[name] / took * 0.98))
        path.write_text(json.dumps(plan), encoding="utf-8")
        return Outcome(curve, "")


# ----- table --------------------------------------------------------------------------------------------------------


def label(name: str, minutes: float) -> str:
    return TITLES[name].format(minutes * OURS.get(name, 0.0))


def table(curves: dict[str, list[Curve]], reasons: dict[str, str], minutes: float) -> str:
    """What each reaches, and when ours reaches what the others do. Medians and, in brackets, the seeds' range."""
    ours = [name for name in OURS if curves[name]]
    heads = [
        "recipe",
        "seeds",
        "ends after",
        "bits per character",
        *(f"{label(one, minutes)}: there after" for one in ours),
    ]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, several in curves.items():
        cells = [label(name, minutes), str(len(several))]
        if name in reasons:
            lines.append("| " + " | ".join([*cells, "-", reasons[name].replace("|", " "), *[""] * len(ours)]) + " |")
        if several:
            cells.append(minutes_and_seconds(statistics.median(curve[-1][0] for curve in several)))
            cells.append(median_and_spread(map(lowest, several)))
            level = statistics.median(map(lowest, several))
            cells += [reached(curves[one], level) if name in PEERS else "" for one in ours]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def counted(data: Data, n_characters: int) -> dict[str, float]:
    """Bits per held-out character of Kneser-Ney n-grams of the training text, by name: the simplest thing that predicts."""
    shards = open_shards(data.shards)
    order = train_flags([]).output.ngram_order
    return {name: bits for _, name, bits in ngram_bits(shards.train, shards.val, data.vocab_size, n_characters, order)}


# ----- the script -----------------------------------------------------------------------------------------------------


def read_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peers(parser)
    parser.add_argument("--text", type=Path, default=ROOT / "data" / "example.json")
    parser.add_argument("--minutes", type=float, default=10.0, help="the others' time; ours is a tenth and four tenths")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--points", type=int, default=12, help="validations a run")
    parser.add_argument("--only", default=",".join(TITLES), help="contenders, with commas between")
    parser.add_argument("--ours_flags", default="", help="more flags for train.py, as one word")
    parser.add_argument("--folder", type=Path, default=Path("time_to_quality"), help="curves and data, kept")
    parser.add_argument("--picture", type=Path, help="file to draw the curves into (wants matplotlib)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    flags = parser.parse_args()
    flags.folder = flags.folder.resolve()
    flags.only = chosen(parser, flags.only, TITLES)
    return flags


def require_same_settings(flags: argparse.Namespace) -> None:
    """Curves of other settings must not be shown beside new ones."""
    now = {name: getattr(flags, name) for name in ("minutes", "points", "device", "ours_flags")}
    now["text"] = corpus_sha256(flags.text)
    path = flags.folder / "settings.json"
    if path.exists() and (then := json.loads(path.read_text(encoding="utf-8"))) != now:
        sys.exit(f"{flags.folder} holds curves of other settings: {then}, now {now}. Give another --folder.")
    flags.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now), encoding="utf-8")


def main() -> None:
    flags = read_flags()
    require_same_settings(flags)
    defaults = train_flags([]).documents
    data = prepare(flags.text, flags.folder / "data", defaults.val_ratio, defaults.num_pieces)
    benchmark = Benchmark(flags, data)
    curves: dict[str, list[Curve]] = {name: [] for name in TITLES}
    reasons: dict[str, str] = {}
    for seed in range(flags.seeds):
        for name in flags.only:
            curve = benchmark.curve(name, seed) if name not in reasons else reasons[name]
            if isinstance(curve, str):
                reasons[name] = curve
            else:
                curves[name].append(curve)
                print(f"seed {seed} {name}: {curve[-1][1]:.3f} after {curve[-1][0]:.1f} s", file=sys.stderr)
    characters = json.loads((data.shards / "manifest.json").read_text(encoding="utf-8"))["characters"]
    n_val = characters["val"]
    print(f"{flags.text.name}, {n_val:,} characters held out; {machine()}\n")
    print(table(curves, reasons, flags.minutes))
    ngrams = counted(data, n_val)
    print("\ncounted on the same training text: " + ", ".join(f"{name} {bits:.3f}" for name, bits in ngrams.items()))
    if flags.picture:
        shown = {label(name, flags.minutes): several for name, several in curves.items() if several}
        levels = [statistics.median(map(lowest, curves[name])) for name in PEERS if curves[name]]
        title = f"A text of {sum(characters.values()):,} characters, {n_val:,} of them held out"
        draw(shown, levels, ngrams, title, flags.picture)


if __name__ == "__main__":
    main()
