"""Tokens a second, generate.py against other generators: the same 82M model, the same prefix, length and top-k.

    git clone https://github.com/Morizeyao/GPT2-Chinese peers/GPT2-Chinese
    python -m venv peers/venv && peers/venv/bin/pip install -r benchmarks/peers/requirements.txt -r benchmarks/peers/requirements-generation.txt
    python benchmarks/generate_speed.py --peers peers --peers_python peers/venv/bin/python

Weights are random (the speed does not depend on them); texts never end early. Rounds are interleaved: every generator once,
then every generator again; a figure is the median of its rounds, a ratio the median of the rounds' ratios. Each is a process
of its own on all cores. generate.py is run as a user would run it and its figure is the tokens_per_second of its samples.json,
reading the prefix included; loading is not counted for any. The others are timed at their second call (benchmarks/peers/generation.py).

GPT2-Chinese is its own generate.py, `--fast_pattern` included, behind a model that translates its old calls; it writes one text at a time.
One that is missing or fails is a row that says why. --device cuda: against transformers alone (`make gpu`); not run on a GPU so far.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.curves import median_ratio
from benchmarks.peers.launch import ROOT, Outcome, add_peers, chosen, machine, run_peer, start, write_config
from gpt2zh.model.stock import ControlIds, new_model, read_config
from gpt2zh.training.checkpoint import ModelRecord, save_model
from tokenizations.loading import load_tokenizer

SHAPE = {"n_layer": 10, "n_embd": 768, "n_head": 12, "n_ctx": 512, "vocab_size": 13317}
VOCABULARY = ROOT / "cache" / "vocab_small.txt"
PREFIX, TOP_K = "秋天的后半夜", 8
BEYOND = 1000  # tokens, past the window


@dataclass(frozen=True)
class Contender:
    """A row. `engine` is of benchmarks/peers/generation.py, or ours; `kind` the type of its weights."""

    title: str
    engine: str
    kind: str = "fp32"
    batches: tuple[int, ...] = (1, 10)
    checkout: str = ""
    more: tuple[str, ...] = ()  # flags of generate.py
    devices: tuple[str, ...] = ("cpu",)


BOTH = ("cpu", "cuda")
CONTENDERS = {
    "ours-fp32": Contender("generate.py, fp32", "ours", devices=BOTH),
    "ours-bf16": Contender("generate.py, bf16", "ours", "bf16", devices=BOTH),
    "ours-int8": Contender("generate.py, int8", "ours", "int8"),
    "torch-bf16": Contender("generate.py, bf16, --compile off", "ours", "bf16", more=("--compile", "off")),
    "torch-int8": Contender("generate.py, int8, --compile off", "ours", "int8", more=("--compile", "off")),
    "stock-fp32": Contender("transformers generate, fp32", "transformers", devices=BOTH),
    "stock-bf16": Contender("transformers generate, bf16", "transformers", "bf16", devices=BOTH),
    "ct2-fp32": Contender("CTranslate2, fp32", "ctranslate2"),
    "ct2-int8": Contender("CTranslate2, int8", "ctranslate2", "int8"),
    "llama-fp32": Contender("llama.cpp, f32", "llama"),
    "llama-bf16": Contender("llama.cpp, bf16", "llama", "bf16"),
    "llama-int8": Contender("llama.cpp, q8_0", "llama", "int8"),
    "ancestor": Contender("GPT2-Chinese", "ancestor", batches=(1,), checkout="GPT2-Chinese"),
    "ancestor-fast": Contender("GPT2-Chinese --fast_pattern", "ancestor-fast", batches=(1,), checkout="GPT2-Chinese"),
}
OURS = [name for name in CONTENDERS if name.startswith("ours")]  # a column of ratios for each


def make_model(folder: Path) -> Path:
    """A model folder with random weights, as train.py writes it."""
    tokenizer = load_tokenizer(VOCABULARY)
    ids = ControlIds(tokenizer.document_start_id, tokenizer.document_end_id, tokenizer.pad_id)
    config = read_config(write_config(folder / "config.json", SHAPE, 0.0))
    save_model(folder / "model", new_model(config, len(tokenizer), ids), tokenizer, ModelRecord({}, []))
    return folder / "model"


def run_ours(contender: Contender, model: Path, batch_size: int, length: int, device: str, folder: Path) -> Outcome:
    """generate.py as a user would run it; the value is tokens a second."""
    folder.mkdir(parents=True)
    form = ["--quantize", "int8"] if contender.kind == "int8" else ["--precision", contender.kind]
    command = [
        sys.executable, ROOT / "generate.py", "--model_path", model, "--prefix", PREFIX, "--length", length,
        "--topk", TOP_K, "--topp", 0, "--repetition_penalty", 1,
        "--nsamples", batch_size, "--batch_size", batch_size, "--device", device, "--seed", 0, "--ignore_end", "--keep_loops",
        "--save_json", "--save_samples_path", folder, *form, *contender.more,
    ]  # fmt: skip
    outcome = start(command, folder, folder / "samples.json", False)
    if outcome.value is None:
        return outcome
    return Outcome(json.loads(outcome.value)["tokens_per_second"], "", outcome.peak_bytes)


def run_other(
    contender: Contender, model: Path, batch_size: int, length: int, flags: argparse.Namespace, folder: Path
) -> Outcome:
    job = {
        "engine": contender.engine, "type": contender.kind, "model": str(model), "batch_size": batch_size,
        "length": length, "top_k": TOP_K, "device": flags.device,
    }  # fmt: skip
    checkout = flags.peers / contender.checkout if contender.checkout else None
    outcome = run_peer("generation.py", checkout, job, flags.peers_python, folder)
    return outcome if outcome.value is None else Outcome(outcome.value["tokens_per_second"], "", outcome.peak_bytes)


def table(outcomes: dict[str, list[Outcome]]) -> str:
    """The comparison as Markdown: each of ours in a column of ratios."""
    speeds = {name: [outcome.value for outcome in several] for name, several in outcomes.items() if several[-1].value}
    shown = [name for name in OURS if name in speeds]
    heads = ["generator", "tokens/s", "least - most", "peak memory, MB"]
    heads += [f"{CONTENDERS[name].title} is" for name in shown]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, several in outcomes.items():
        cells = [CONTENDERS[name].title]
        if name not in speeds:
            lines.append(
                "| " + " | ".join([*cells, "-", several[-1].reason.replace("|", " "), *[""] * (len(heads) - 3)]) + " |"
            )
            continue
        speed = speeds[name]
        cells += [f"{statistics.median(speed):,.1f}", f"{min(speed):,.1f} - {max(speed):,.1f}"]
        cells.append(f"{statistics.median(one.peak_bytes for one in several) / 1e6:,.0f}")
        cells += ["" if name in OURS else f"{median_ratio(speeds[one], speed):.2f} x" for one in shown]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def first_text(model: Path, folder: Path, rounds: int, device: str) -> str:
    """Seconds from the command to the first character that the model wrote, and to the end of --help."""
    base = [sys.executable, ROOT / "generate.py", "--model_path", model, "--device", device]
    base += ["--prefix", PREFIX, "--length", 20, "--nsamples", 1]
    commands = {"first text": ["--stream"], "--help": ["--help"]}
    if device == "cpu":
        commands["first text, int8"] = ["--stream", "--quantize", "int8"]
    begun = re.compile(b"=\n" + PREFIX.encode() + b".", re.DOTALL)
    figures = defaultdict(list)
    for _ in range(rounds):
        for name, more in commands.items():
            words, seen = [str(word) for word in [*base, *more]], b""
            began = time.perf_counter()
            with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder) as process:
                while (new := process.stdout.read1()) and not begun.search(seen := seen + new):
                    pass
                figures[name].append(time.perf_counter() - began)
                process.stdout.read()
    return "; ".join(f"{name} {statistics.median(several):.2f} s" for name, several in figures.items())


def read_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peers(parser)
    parser.add_argument("--only", help=f"only these, with commas between: {' '.join(CONTENDERS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--length", type=int, default=350, help="new tokens of each text")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    flags = parser.parse_args()
    of_device = [name for name, contender in CONTENDERS.items() if flags.device in contender.devices]
    flags.only = chosen(parser, flags.only, CONTENDERS) if flags.only else of_device
    return flags


def main() -> None:
    flags = read_flags()
    device = "0" if flags.device == "cuda" else "cpu"
    print(f"{machine()}\n", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        model = make_model(place)
        for batch_size in (1, 10):
            outcomes: dict[str, list[Outcome]] = defaultdict(list)
            for round_ in range(flags.rounds):
                for name in flags.only:
                    contender = CONTENDERS[name]
                    if batch_size not in contender.batches or (outcomes[name] and outcomes[name][-1].value is None):
                        continue
                    folder = place / f"{name}-{batch_size}-{round_}"
                    if contender.engine == "ours":
                        outcome = run_ours(contender, model, batch_size, flags.length, device, folder)
                    else:
                        outcome = run_other(contender, model, batch_size, flags.length, flags, folder)
                    outcomes[name].append(outcome)
                    shutil.rmtree(folder, ignore_errors=True)
                    print(
                        f"batch {batch_size} round {round_ + 1} {name}: {outcome.value or outcome.reason}",
                        file=sys.stderr,
                    )
            outcomes = {name: several for name, several in outcomes.items() if several}
            print(
                f"## batch {batch_size}: {SHAPE}, {flags.length} new tokens, {flags.rounds} rounds\n\n{table(outcomes)}\n",
                flush=True,
            )
        beyond(flags, model, device, place)
        print(first_text(model, place, flags.rounds, device))


def beyond(flags: argparse.Namespace, model: Path, device: str, place: Path) -> None:
    """Speed past the window over speed within it, batch 1."""
    for name in [name for name in OURS if name in flags.only]:
        ratios = []
        for round_ in range(flags.rounds):
            within, past = (
                run_ours(CONTENDERS[name], model, 1, length, device, place / f"beyond-{name}-{round_}-{length}").value
                for length in (flags.length, BEYOND)
            )
            ratios.append(past / within if past and within else float("nan"))
        ratio = statistics.median(ratios)
        print(
            f"{CONTENDERS[name].title}: {BEYOND} tokens in a window of {SHAPE['n_ctx']}, speed {ratio:.2f} of {flags.length}'s"
        )


if __name__ == "__main__":
    main()
