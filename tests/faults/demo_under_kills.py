"""The demo's training run, killed at random moments and gone on with, against the same run left alone.

    python tests/faults/demo_under_kills.py FOLDER [--kills 20] [--seed 0] [--config config/model_config_demo.json]

FOLDER is made; both runs are real `python train.py` processes there. Prints the kills, and at the end whether all weights and
all reports are the same; exit code 1 where they are not. Half an hour on two cores.
"""

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conftest import ROOT, metrics_of, without_times


def start(folder: Path, config: Path, *more: object) -> subprocess.Popen:
    command = [sys.executable, ROOT / "train.py", "--model_config", config, "--tokenizer_path", "vocab.txt"]
    command += ["--raw_data_path", ROOT / "data" / "example.json", "--num_pieces", 4, "--epochs", 16]
    command += ["--batch_size", 64, "--lr", 3e-3, "--weight_decay", 1, "--label_smoothing", 0.1, "--input_noise", 0.2]
    command += ["--log_step", 20, *more]
    with (folder / "printed.txt").open("a", encoding="utf-8") as printed:
        return subprocess.Popen(list(map(str, command)), cwd=folder, stdout=printed, stderr=printed)


def result(folder: Path) -> tuple[dict[str, bytes], list[dict[str, float]]]:
    weights = {path.parent.name: path.read_bytes() for path in folder.glob("model/*/model.safetensors")}
    return weights, without_times(metrics_of(folder / "model"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "model_config_demo.json")
    flags = parser.parse_args()
    alone, hurt = flags.folder / "alone", flags.folder / "hurt"
    for folder in (alone, hurt):
        folder.mkdir(parents=True)
        vocabulary = ["--raw_data_path", ROOT / "data" / "example.json", "--vocab_file", folder / "vocab.txt"]
        subprocess.run(
            list(map(str, [sys.executable, ROOT / "cache" / "make_vocab.py", "--type", "char", *vocabulary])),
            check=True,
        )
    config = flags.config.resolve()
    began = time.monotonic()
    if start(alone, config).wait():
        sys.exit((alone / "printed.txt").read_text(encoding="utf-8")[-2000:])
    length = time.monotonic() - began
    print(f"left alone: {length:.0f} s", flush=True)
    chance, n_kills, began = random.Random(flags.seed), 0, time.monotonic()
    while True:
        run = start(hurt, config, "--resume", "--save_every", "20s")
        try:
            code = run.wait(chance.uniform(5, 2.5 * length / flags.kills) if n_kills < flags.kills else None)
            break
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            n_kills += 1
            saved = sorted(path.name for path in hurt.glob("model/checkpoints/step_*"))
            print(f"kill {n_kills} after {time.monotonic() - began:.0f} s; saved: {saved[-1:]}", flush=True)
    same = result(alone) == result(hurt)
    print(f"{n_kills} kills, {time.monotonic() - began:.0f} s; exit code {code}; weights and reports the same: {same}")
    sys.exit(0 if same and not code else 1)


if __name__ == "__main__":
    main()
