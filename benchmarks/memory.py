"""Peak memory of a training run by switch, and what each switch costs in speed.

    python benchmarks/memory.py [--device cuda] [--steps 4] [--only TEXT]

Seed 000's model (82M, 512 tokens), 8 windows a step, the shipped book. Each row is a process of its own that runs the real
train.py. Peak: on a CPU all that the system counts for the process (ru_maxrss: Python, weights, buffers), on a GPU torch's
max_memory_allocated. Speed: tokens/s, median of the steps after the first. The Trainer's row needs `accelerate`, that of
adamw8bit `bitsandbytes`; a row that cannot run shows its error instead.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CONFIG, VOCABULARY = ROOT / "config/model_config_small.json", ROOT / "cache/vocab_small.txt"
WINDOWS = 8  # a step
USUAL = "--batch_size 8 --min_length 1 --val_ratio 0 --precision bf16 --compile off --optimizer muon"


def all_logits() -> None:
    """The loss as textbooks write it, over the logits of all positions in fp32."""
    import torch.nn.functional as F

    from gpt2zh.model import loss

    loss.linear_cross_entropy = lambda hidden, weight, targets, compiled: F.cross_entropy(
        F.linear(hidden, weight).float(), targets, reduction="sum"
    )


def no_dropout() -> None:
    from gpt2zh.model import stock as model

    shipped = model.read_config

    def without_dropout(path: Path) -> model.GPT2Config:
        config = shipped(path)
        config.attn_pdrop = config.embd_pdrop = config.resid_pdrop = 0.0
        return config

    model.read_config = without_dropout


def no_kept_memory() -> None:
    from gpt2zh import device

    device.keep_freed_memory = lambda: None


@dataclass(frozen=True)
class Row:
    """`flags` of train.py behind the usual ones; `change` is called before it starts."""

    name: str
    flags: str = ""
    change: Callable[[], None] | None = None


TRAINER = "transformers' Trainer, default arguments"
ROWS = [
    Row(TRAINER),
    Row("train.py, bf16, muon, 8 windows at a time; below, one thing changed"),
    Row("loss over all logits", change=all_logits),
    Row("dropout 0", change=no_dropout),
    Row("freed memory given back to the system", change=no_kept_memory),
    Row("--gradient_checkpointing", "--gradient_checkpointing"),
    Row("--optimizer adamw", "--optimizer adamw"),
    Row("--optimizer adamw8bit", "--optimizer adamw8bit"),
    Row("--batch_size 4 --gradient_accumulation 2", "--batch_size 4 --gradient_accumulation 2"),
    Row("--batch_size 2 --gradient_accumulation 4", "--batch_size 2 --gradient_accumulation 4"),
    Row("--precision fp32", "--precision fp32"),
    Row("--compile on", "--compile on"),
    Row(
        "checkpointing, adamw8bit, --batch_size 1 --gradient_accumulation 8",
        "--gradient_checkpointing --optimizer adamw8bit --batch_size 1 --gradient_accumulation 8",
    ),
]


def run_train(device: str, steps: int, folder: Path, row: Row) -> float:
    """train.py in this process. Returns tokens a second."""
    if row.change is not None:
        row.change()
    import train

    files = {"raw_data_path": ROOT / "data/example.json", "tokenized_data_path": folder / "shards"}
    files |= {"model_config": CONFIG, "tokenizer_path": VOCABULARY, "output_dir": folder / "model"}
    sys.argv = ["train.py", *USUAL.split(), "--device", device, "--max_steps", str(steps), *row.flags.split()]
    sys.argv += [f"--{name}={path}" for name, path in files.items()]
    train.main()
    lines = (folder / "model/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return statistics.median(json.loads(line)["train/tokens_per_second"] for line in lines[1:])


def run_trainer(device: str, steps: int, folder: Path) -> float:
    """transformers' Trainer as it comes, on windows of the same shape. Returns tokens a second."""
    import torch
    from transformers import GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    from gpt2zh.model.stock import read_config

    ends = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            ends.append(time.perf_counter())

    config = read_config(CONFIG)
    ids = torch.randint(config.vocab_size, (steps * WINDOWS, config.n_positions))
    windows = [{"input_ids": row, "labels": row} for row in ids]
    cpu = {"use_cpu": True} if device == "cpu" else {}
    arguments = TrainingArguments(str(folder), max_steps=steps, report_to=[], save_strategy="no", **cpu)
    Trainer(GPT2LMHeadModel(config), arguments, train_dataset=windows, callbacks=[Clock()]).train()
    return WINDOWS * config.n_positions / statistics.median(end - start for start, end in pairwise(ends))


def run_row(device: str, steps: int, folder: Path, row: Row) -> None:
    """One row, in this process; writes its figures to folder/figures.json."""
    speed = run_trainer(device, steps, folder) if row.name == TRAINER else run_train(device, steps, folder, row)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if device != "cpu":
        import torch

        peak = torch.cuda.max_memory_allocated()
    (folder / "figures.json").write_text(json.dumps([peak / 1e9, speed]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=4, help="of each row, at least 2")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--row", type=int, help="(used by this script itself) run this row in this process")
    parser.add_argument("--folder", type=Path, help="(used by this script itself)")
    flags = parser.parse_args()
    if flags.row is not None:
        run_row({"cpu": "cpu", "cuda": "0"}[flags.device], flags.steps, flags.folder, ROWS[flags.row])
        return
    print("| run | peak, GB | tokens/s |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        for number, row in enumerate(ROWS):
            if flags.only not in row.name:
                continue
            figures.unlink(missing_ok=True)
            command = [sys.executable, __file__, "--device", flags.device, "--steps", str(flags.steps)]
            command += ["--row", str(number), "--folder", folder]
            done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace")
            if figures.exists():
                peak, speed = json.loads(figures.read_text(encoding="utf-8"))
                print(f"| {row.name} | {peak:.2f} | {speed:,.0f} |", flush=True)
            else:
                print(f"| {row.name} | {done.stderr.strip().splitlines()[-1][:120]} | |", flush=True)


if __name__ == "__main__":
    main()
