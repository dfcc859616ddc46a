"""Tokens a second, train.py against other trainers: same shape, batch, text; one process after the other.

    git clone https://github.com/karpathy/nanoGPT peers/nanoGPT
    git clone https://github.com/Lightning-AI/litgpt peers/litgpt
    git clone https://github.com/Morizeyao/GPT2-Chinese peers/GPT2-Chinese
    python -m venv peers/venv && peers/venv/bin/pip install -r benchmarks/peers/requirements.txt
    python benchmarks/train_speed.py --peers peers --peers_python peers/venv/bin/python

Rounds are interleaved: every trainer once, then every trainer again. A trainer's figure is the median of its rounds,
"ours is" the median of the rounds' ratios. Steps before --warmup (compilation is in them) are not timed. ours: `python
train.py` with a configuration without dropout, compiled as a run of more than a few minutes is by default, and with AdamW
as all the others, because a step of Muon, the default, is more work for more progress (time_to_quality.py shows what
that brings); tokens/s from its metrics.jsonl. The others are
their own loops (benchmarks/peers/), with dropout, precision and compilation as their rows say; litgpt's loop is
litgpt.pretrain.setup. One that is missing or fails is a row that says why.

Model FLOPs a token, forward and backward: 6 N + 12 n_layer n_embd T / 2. N counts the weights of all matrix products, 12
n_embd^2 a layer and the output layer's n_embd * vocabulary (the look-up of embeddings is no product); attention's
products count half, as no id sees those after it. The share of the ceiling is that times tokens/s over the fastest
product of the layers' own sizes, bf16 or fp32, measured in the same rounds (peers/ceiling.py).

--device cuda: seed 000's 82M and GPT-2 124M at 1,024 tokens, against nanoGPT. That path was not run on a GPU so far.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.curves import median_ratio
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

SHAPES = {
    "82M": {"n_layer": 10, "n_embd": 768, "n_head": 12, "n_ctx": 512, "vocab_size": 13317},
    "10M": {"n_layer": 6, "n_embd": 384, "n_head": 6, "n_ctx": 256, "vocab_size": 5000},
    "124M": {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_ctx": 1024, "vocab_size": 50257},
}
BATCH = {"82M": 8, "10M": 16, "124M": 16}  # windows
# Shapes, steps that are timed, steps before them.
RUNS = {
    "cpu": (["82M", "10M"], {"82M": 5, "10M": 20, "124M": 5}, 3),
    "cuda": (["82M", "124M"], {"82M": 200, "10M": 200, "124M": 100}, 30),
}


@dataclass(frozen=True)
class Contender:
    """A row of the table. `program` is of benchmarks/peers, or train.py; `checkout` the folder below --peers."""

    title: str
    program: str
    checkout: str = ""
    dropout: float = 0.0
    precision: str = "fp32"
    compile: bool = False
    flags: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)


BOTH = ("cpu", "cuda")
CONTENDERS = {
    "ours": Contender(
        "train.py, AdamW, compiled", "train.py", flags=("--optimizer", "adamw", "--compile", "on"), devices=BOTH
    ),
    "ours-eager": Contender(
        "train.py, AdamW, not compiled", "train.py", flags=("--optimizer", "adamw", "--compile", "off"), devices=BOTH
    ),
    "ours-muon": Contender("train.py, Muon (default), compiled", "train.py", flags=("--compile", "on"), devices=BOTH),
    "hf": Contender("HF Trainer, defaults (fp32, dropout 0.1)", "hf_trainer.py", dropout=0.1),
    "hf-bf16": Contender("HF Trainer, bf16 (dropout 0.1)", "hf_trainer.py", dropout=0.1, precision="bf16"),
    "hf-compiled": Contender(
        "HF Trainer, bf16, torch_compile, dropout 0", "hf_trainer.py", precision="bf16", compile=True, devices=BOTH
    ),
    "nanogpt": Contender(
        "nanoGPT as shipped, compiled (CPU: fp32; GPU: bf16)", "nanogpt.py", "nanoGPT", compile=True, devices=BOTH
    ),
    "nanogpt-bf16": Contender(
        "nanoGPT patched to bf16 on a CPU, compiled", "nanogpt.py", "nanoGPT", precision="bf16", compile=True
    ),
    "litgpt": Contender(
        "litgpt pretrain, bf16-mixed, compiled", "litgpt_pretrain.py", "litgpt", precision="bf16", compile=True
    ),
    "ancestor": Contender(
        "GPT2-Chinese's loop (fp32, dropout 0.1)", "gpt2_chinese.py", "GPT2-Chinese", dropout=0.1
    ),
    "ceiling": Contender("matrix products alone", "ceiling.py", devices=BOTH),
}  # fmt: skip


def flops_per_token(shape: dict[str, int]) -> float:
    """Operations of a training step for each token, as the docstring above counts them."""
    products = 12 * shape["n_layer"] * shape["n_embd"] ** 2 + shape["n_embd"] * shape["vocab_size"]
    return 6 * products + 12 * shape["n_layer"] * shape["n_embd"] * shape["n_ctx"] / 2


def speed_of_rows(rows: list[dict[str, float]], warmup: int) -> float:
    """Tokens a second after `warmup` steps from the rows of metrics.jsonl, each of which tells of the steps since the last."""
    steps, seconds, last = 0, 0.0, 0
    for row in rows:
        if "train/tokens_per_second" in row:
            if last >= warmup:
                steps += row["step"] - last
                seconds += (row["step"] - last) / row["train/tokens_per_second"]
            last = row["step"]
    return steps / seconds


@dataclass(frozen=True)
class Settings:
    """What a run shares with all others of its shape."""

    shape: dict[str, int]
    batch_size: int
    warmup: int
    steps: int
    device: str
    peers: Path
    python: Path


def run_once(contender: Contender, settings: Settings, data: Data, folder: Path) -> Outcome:
    """One run; the value is tokens a second, or for the ceiling operations a second by dtype."""
    if contender.program == "train.py":
        folder.mkdir(parents=True)
        flags = [
            *data.train_flags(), "--model_config", write_config(folder / "config.json", settings.shape, 0.0),
            "--batch_size", settings.batch_size, "--max_steps", settings.warmup + settings.steps,
            "--device", "0" if settings.device == "cuda" else "cpu",
            "--log_step", 10 if settings.device == "cuda" else 1, *contender.flags,
        ]  # fmt: skip
        outcome = run_train(flags, folder / "run")
        if outcome.value is None:
            return outcome
        return Outcome(speed_of_rows(outcome.value, settings.warmup), "", outcome.peak_bytes)
    job = {
        **settings.shape,
        "shards": str(data.shards),
        "ids": str(data.nanogpt if contender.program == "nanogpt.py" else data.ancestor),
        "batch_size": settings.batch_size,
        "dropout": contender.dropout,
        "precision": contender.precision,
        "compile": contender.compile,
        "device": settings.device,
        "seed": 0,
        "recipe": "",
        "warmup": settings.warmup,
        "steps": settings.steps,
    }
    checkout = settings.peers / contender.checkout if contender.checkout else None
    outcome = run_peer(contender.program, checkout, job, settings.python, folder)
    if outcome.value is None or contender.program == "ceiling.py":
        return outcome
    return Outcome(outcome.value["tokens_per_second"], "", outcome.peak_bytes)


def table(names: list[str], outcomes: dict[str, list[Outcome]], shape: dict[str, int]) -> str:
    """The comparison as Markdown, and the share of the ceiling below it."""
    speeds = {name: [outcome.value for outcome in outcomes[name]] for name in names if outcomes[name][-1].value}
    ours, lines = speeds.get("ours"), []
    peaks = {name: statistics.median(outcome.peak_bytes for outcome in outcomes[name]) for name in speeds}
    lines.append(
        "| trainer | tokens/s | least - most | ours is | peak memory, MB | ours / it |\n|---|---|---|---|---|---|"
    )
    for name in names:
        if name == "ceiling":
            continue
        title = CONTENDERS[name].title
        if name not in speeds:
            lines.append(f"| {title} | - | {outcomes[name][-1].reason.replace('|', ' ')} | | | |")
            continue
        speed = speeds[name]
        ratio = f"{median_ratio(ours, speed):.2f} x" if ours else ""
        share = f"{peaks['ours'] / peaks[name]:.0%}" if ours else ""
        spread = f"{min(speed):,.0f} - {max(speed):,.0f}"
        lines.append(
            f"| {title} | {statistics.median(speed):,.0f} | {spread} | {ratio} | {peaks[name] / 1e6:,.0f} | {share} |"
        )
    if "ceiling" in speeds:
        rates = {dtype: [value[dtype] for value in speeds["ceiling"]] for dtype in ("bf16", "fp32")}
        both = ", ".join(f"{dtype} {statistics.median(values) / 1e9:,.0f}" for dtype, values in rates.items())
        lines.append(f"\nMatrix products alone, GFLOP/s: {both}. {flops_per_token(shape) / 1e6:,.1f} MFLOP a token.")
        for name in ("ours", "ours-eager", "ours-muon"):
            if name in speeds:
                work = [flops_per_token(shape) * speed for speed in speeds[name]]
                ceiling = [max(value["bf16"], value["fp32"]) for value in speeds["ceiling"]]
                lines.append(
                    f"{CONTENDERS[name].title}: {statistics.median(work) / 1e9:,.0f} GFLOP/s, "
                    f"{median_ratio(work, ceiling):.0%} of the faster of them."
                )
    elif "ceiling" in names:
        lines.append(f"\nMatrix products alone: {outcomes['ceiling'][-1].reason}")
    return "\n".join(lines)


def read_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peers(parser)
    parser.add_argument("--text", type=Path, default=ROOT / "data" / "example.json", help="JSON list, txt, folder …")
    parser.add_argument("--shape", choices=[*SHAPES], help="only this one; default: all of the device")
    parser.add_argument("--only", help=f"only these, with commas between: {' '.join(CONTENDERS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="steps that are timed; default: by shape and device")
    parser.add_argument("--warmup", type=int, help="steps before them; default: 3, on a GPU 30")
    parser.add_argument("--batch_size", type=int, help="windows; default: by shape")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    flags = parser.parse_args()
    of_device = [name for name, contender in CONTENDERS.items() if flags.device in contender.devices]
    flags.only = chosen(parser, flags.only, CONTENDERS) if flags.only else of_device
    return flags


def main() -> None:
    flags = read_flags()
    shapes, default_steps, default_warmup = RUNS[flags.device]
    print(f"{machine()}\n", flush=True)
    for name in [flags.shape] if flags.shape else shapes:
        steps, warmup = flags.steps or default_steps[name], flags.warmup or default_warmup
        batch_size, shape = flags.batch_size or BATCH[name], SHAPES[name]
        settings = Settings(shape, batch_size, warmup, steps, flags.device, flags.peers, flags.peers_python)
        with tempfile.TemporaryDirectory() as scratch:
            n_tokens = (warmup + steps + 2) * batch_size * shape["n_ctx"]
            data = prepare(flags.text, Path(scratch) / "data", 0.0, 10, shape["vocab_size"], n_tokens)
            outcomes: dict[str, list[Outcome]] = defaultdict(list)
            for round_ in range(flags.rounds):
                for contender in flags.only:
                    if outcomes[contender] and outcomes[contender][-1].value is None:
                        continue  # it failed, and would again
                    folder = Path(scratch) / f"{contender}-{round_}"
                    outcomes[contender].append(run_once(CONTENDERS[contender], settings, data, folder))
                    last = outcomes[contender][-1]
                    print(f"{name} round {round_ + 1} {contender}: {last.value or last.reason}", file=sys.stderr)
            print(f"## {name}: {settings.shape}, {batch_size} windows a step, {steps} steps, {flags.rounds} rounds\n")
            print(table(flags.only, outcomes, shape) + "\n", flush=True)


if __name__ == "__main__":
    main()
