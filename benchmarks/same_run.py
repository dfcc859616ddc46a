"""Whether two versions of this toolkit do the same, to the bit: what each step of a change that changes nothing is held to.

    python benchmarks/same_run.py e17ce13 .          a commit beside the files as they are
    python benchmarks/same_run.py e17ce13 . --only muon,int8

Each version runs the same commands in a folder of its own: corpus, vocabularies, shards, training with AdamW and Muon (in fp32 and
bf16, compiled, with one process and two, in parts), a stop and a resume, samples in fp32, bf16 and int8. Compared are the bytes of what
comes out, and of the reports all numbers but those of the clock. A commit's results are kept in `--folder`, so that they are computed once.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHARACTERS = 25_000  # of the shipped book
SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_ctx": 32, "n_positions": 32, "vocab_size": 1}
CLOCK = ("time", "train/tokens_per_second", "train/utilisation", "train/data_wait", "val/seconds")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")

TRAIN = "--device cpu --model_config tiny.json --tokenizer_path char.txt --raw_data_path corpus.json --val_ratio 0.1".split()
TRAIN += "--num_pieces 3 --epochs 2 --batch_size 8 --gradient_accumulation 2 --log_step 4 --save_every 7 --keep_last 99".split()
WRITE = "--device cpu --prefix 秋天的后半夜 --length 50 --nsamples 4 --batch_size 3 --seed 1 --save_samples --save_json".split()
# Names -> the flags of train.py.
RUNS = {
    "adamw": "--optimizer adamw --precision fp32",
    "muon": "--optimizer muon --precision bf16 --eval_every 11",
    "classic": "--recipe classic --precision fp32 --warmup_steps 5 --schedule cosine --gradient_checkpointing",
    "compiled": "--optimizer muon --precision fp32 --compile on --schedule wsd",
    "auto": "--optimizer adamw --precision fp32 --batch_size auto --stride 20 --max_steps 20",
    "two": "--optimizer muon --precision fp32",
    "parts": "--optimizer adamw --precision fp32 --shard_model",
}
SEVERAL = ("two", "parts")
STOPPED = ("adamw", "muon", "two")  # these are stopped too, and gone on with
# Names -> the flags of generate.py.
SAMPLES = {
    "fp32": "--precision fp32 --topk 0 --topp 0.9 --repetition_penalty 1.1",
    "bf16": "--precision bf16 --topk 8 --topp 0 --repetition_penalty 1 --finish_sentence",
    "int8": "--quantize int8 --topk 0 --topp 0 --repetition_penalty 1 --min_p 0.05 --no_repeat_ngram 4",
    "operators": "--precision fp32 --compile off --topk 8 --topp 0 --repetition_penalty 1 --typical_p 0.9 --sentences 3 --frequency_penalty 0.2",
    "beams": "--precision fp32 --repetition_penalty 1 --num_beams 3 --length 20",
}


class Place:
    """A folder in which one version's commands run."""

    def __init__(self, version: Path, folder: Path) -> None:
        self.version, self.folder = version, folder
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(version)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, *words]
        log = (self.folder / "printed.txt").open("a", encoding="utf-8")
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, text=True
        )

    def run(self, *words: str) -> None:
        """A command to its end.

        Raises:
            SystemExit: it failed.
        """
        if self.start(*words).wait():
            printed = (self.folder / "printed.txt").read_text(encoding="utf-8", errors="replace")
            sys.exit(f"{self.version}: {' '.join(words)} failed:\n{printed[-3000:]}")

    def script(self, name: str) -> str:
        return str(self.version / name)


def furnish(place: Place) -> None:
    """A corpus and a configuration, the same for every version."""
    book = json.loads((ROOT / "data" / "example.json").read_text(encoding="utf-8"))
    kept, n_kept = [], 0
    for document in sorted(book, key=len):
        kept.append(document)
        n_kept += len(document)
        if n_kept > CHARACTERS:
            break
    (place.folder / "corpus.json").write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
    (place.folder / "tiny.json").write_text(json.dumps(SHAPE), encoding="utf-8")
    (place.folder / "raw.txt").write_text("\n\n".join(kept[:20]), encoding="gb18030", errors="ignore")


# ----- what is run: each gives {name of a result: its value} ------------------------------------------------------------


def data(place: Place) -> dict[str, str]:
    """Corpus and vocabularies."""
    place.run(
        place.script("prepare_data.py"), "raw.txt", "corpus.json", "--output", "prepared.json", "--val_ratio", "0.1"
    )
    for kind, name in (("char", "char.txt"), ("word", "word.txt"), ("bpe", "bpe.json"), ("unigram", "unigram.json")):
        words = ["--type", kind, "--raw_data_path", "corpus.json", "--vocab_file", name]
        words += ["--vocab_size", "3000"] if kind == "unigram" else []
        place.run(place.script("cache/make_vocab.py"), *words)
    names = ("prepared.json", "prepared_val.json", "char.txt", "word.txt", "bpe.json")
    report = (place.folder / "prepared_report.md").read_text(encoding="utf-8").splitlines()
    tables = "\n".join(line for line in report if line.startswith(("|", "#", "- ")))  # not its sentences
    return {
        **{name: digest(place.folder / name) for name in names},
        "prepared_report.md": hashlib.sha256(tables.encode()).hexdigest(),
    }


def training(name: str) -> Callable[[Place], dict[str, str]]:
    """A run of RUNS: weights, tokenizers, reports; and the same where it was stopped after some steps."""

    def run(place: Place) -> dict[str, str]:
        words = [*(TORCHRUN if name in SEVERAL else ()), place.script("train.py"), *TRAIN, *RUNS[name].split()]
        place.run(*words, "--output_dir", name)
        results = of_run(place.folder / name, name)
        if name in STOPPED:
            stopped = place.start(*words, "--output_dir", f"{name}-stopped")
            metrics = place.folder / f"{name}-stopped" / "metrics.jsonl"
            while stopped.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") > 3):
                time.sleep(0.02)
            stopped.send_signal(signal.SIGTERM)
            stopped.wait()
            place.run(*words, "--output_dir", f"{name}-stopped", "--resume")
            results |= of_run(place.folder / f"{name}-stopped", f"{name} stopped and resumed")
        return results

    return run


def writing(name: str) -> Callable[[Place], dict[str, str]]:
    """Samples by the settings SAMPLES[name]."""

    def run(place: Place) -> dict[str, str]:
        words = [place.script("generate.py"), "--model_path", "muon/final_model", *WRITE, *SAMPLES[name].split()]
        place.run(*words, "--save_samples_path", f"mnt-{name}")
        samples = json.loads((place.folder / f"mnt-{name}" / "samples.json").read_text(encoding="utf-8"))["samples"]
        ids = hashlib.sha256(json.dumps(samples, sort_keys=True).encode()).hexdigest()
        return {f"{name}/samples.txt": digest(place.folder / f"mnt-{name}" / "samples.txt"), f"{name}/ids": ids}

    return run


def judging(place: Place) -> dict[str, str]:
    """What evaluate.py prints; an export."""
    shards = place.folder / "data" / "tokenized"
    words = [place.script("evaluate.py"), "--model_path", "muon/best_model", "--device", "cpu", "--precision", "fp32"]
    command = [sys.executable, *words, "--tokenized_data_path", str(shards)]
    kept = {"cwd": place.folder, "env": place.environment, "capture_output": True, "encoding": "utf-8", "check": True}
    printed = subprocess.run(command, **kept).stdout
    place.run(place.script("convert_shards.py"), "--input", str(shards), "--export", "nanogpt", "--output", "nanogpt")
    figures = [line for line in printed.splitlines() if any(mark in line for mark in ("loss", "困惑度", "比特"))]
    return {
        "evaluate": "\n".join(figures),
        "shards": " ".join(digest(path) for path in sorted(shards.glob("*.bin"))),
        "nanogpt": digest(place.folder / "nanogpt" / "train.bin"),
    }


def of_run(output: Path, name: str) -> dict[str, str]:
    """What a run left: weights and tokenizer of each model folder, the reports without the clock's numbers."""
    results = {
        f"{name}/{path.parent.name}/{path.name}": digest(path)
        for pattern in ("*/model.safetensors", "*/tokenizer.json")
        for path in sorted(output.glob(pattern))
    }
    last = max((output / "checkpoints").glob("step_*"), key=lambda path: path.name)
    results[f"{name}/{last.name}"] = digest(last / "state.safetensors")
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [json.dumps({key: value for key, value in row.items() if key not in CLOCK}) for row in rows]
    return {**results, f"{name}/metrics.jsonl": "\n".join(kept)}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


PARTS: dict[str, Callable[[Place], dict[str, str]]] = {
    "data": data,
    **{name: training(name) for name in RUNS},
    **{name: writing(name) for name in SAMPLES},
    "judging": judging,
}


# ----- two versions beside each other -----------------------------------------------------------------------------------


def results_of(version: str, parts: list[str], kept: Path) -> dict[str, dict[str, str]]:
    """The results of a commit, or of a folder's files as they are, by part."""
    is_folder = Path(version).is_dir()
    name = "" if is_folder else git("rev-parse", "--short=12", f"{version}^{{commit}}")
    file = kept / f"{name}.json"
    if not is_folder and file.exists():
        results = json.loads(file.read_text(encoding="utf-8"))
        if set(parts) <= set(results):
            return results
    with tempfile.TemporaryDirectory() as temporary:
        code, work = Path(version).resolve(), Path(temporary, "work")
        if not is_folder:
            code = Path(temporary, "code")
            code.mkdir()
            archive = subprocess.run(["git", "-C", str(ROOT), "archive", name], check=True, capture_output=True).stdout
            subprocess.run(["tar", "x", "-C", str(code)], input=archive, check=True)
        work.mkdir()
        place = Place(code, work)
        furnish(place)
        results = {}
        for part in PARTS:
            if part in parts or part in ("data", "muon"):  # the others build on these
                started = time.perf_counter()
                results[part] = PARTS[part](place)
                print(f"{version}: {part}, {time.perf_counter() - started:.0f} s", flush=True)
    if not is_folder:
        kept.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results, ensure_ascii=False, indent=1), encoding="utf-8")
    return results


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout.strip()


def in_order(name: str, result: str | None) -> str | None:
    """Reports by step: one that waits for the next step may stand behind a validation in between, or before it."""
    if result is None or not name.endswith("metrics.jsonl"):
        return result
    return "\n".join(sorted(result.split("\n"), key=lambda row: (json.loads(row)["step"], row)))


def difference(one: str | None, other: str | None) -> str:
    """Where two results differ first."""
    if one is None or other is None:
        return "only in one of them"
    lines = [pair for pair in zip(one.split("\n"), other.split("\n")) if pair[0] != pair[1]]
    return f"{lines[0][0][:150]}  !=  {lines[0][1][:150]}" if lines else "one is longer"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs=2, help="commits, or folders with the files as they are")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of: {','.join(PARTS)}")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir(), "same_run"), help="where results of commits are kept"
    )
    flags = parser.parse_args()
    parts = flags.only.split(",")
    one, other = (results_of(version, parts, flags.folder) for version in flags.versions)
    n_same, different = 0, []
    for part in parts:
        for name in sorted({*one[part], *other[part]}):
            pair = in_order(name, one[part].get(name)), in_order(name, other[part].get(name))
            if pair[0] == pair[1]:
                n_same += 1
            else:
                different.append(f"{name}: {difference(*pair)}")
    print("\n".join(different))
    print(f"{n_same} results are the same, {len(different)} differ")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
