"""What is done with a JSON list larger than memory should be: read, tokenised by all cores, killed half-way, prepared."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.resources import MB, POLL, Watch, children, in_fresh_process, load, memory
from gpt2zh.shards.build import build_shards
from gpt2zh.shards.format import ShardSettings
from gpt2zh.system.workers import n_cores
from gpt2zh.text.corpus import Corpus, corpus_sha256
from tokenizations.loading import load_tokenizer
from tokenizations.tokenizer import Tokenizer

VOCABULARY = ROOT / "cache" / "vocab_small.txt"
PIECES = 20
Figures = dict[str, float]


def settings_for(path: Path, tokenizer: Tokenizer, num_pieces: int) -> ShardSettings:
    return ShardSettings(corpus_sha256(path), tokenizer.fingerprint, len(tokenizer), 1, 0.0, num_pieces)


def in_other_han(codes: np.ndarray) -> Iterator[np.ndarray]:
    """A text's code points without end, as it is and then with Han exchanged for others about as frequent: no copy repeats another."""
    counts = np.bincount(codes, minlength=0x110000)
    han = np.arange(0x4E00, 0xA000)
    han = han[counts[han] > 0]
    han = han[np.argsort(-counts[han], kind="stable")]
    table = np.arange(0x110000, dtype="<u4")
    for copy in itertools.count():
        table[han] = np.roll(han, -7 * copy)
        yield table[codes]


def write_large(path: Path, documents: list[str], n_bytes: float) -> int:
    """A JSON list of at least `n_bytes`, of the documents in different characters each time; return how often."""
    codes = np.frombuffer("".join(documents).encode("utf-32-le"), "<u4")
    ends = np.cumsum([len(document) for document in documents]).tolist()
    copies = in_other_han(codes)
    n_copies = n_written = 0
    with path.open("wb") as file:
        while n_written < n_bytes:
            text = next(copies).tobytes().decode("utf-32-le")
            for start, end in zip([0, *ends], ends):
                entry = json.dumps(text[start:end], ensure_ascii=False).encode()
                n_written += file.write((b",\n" if n_written else b"[\n") + entry)
            n_copies += 1
        file.write(b"\n]\n")
    return n_copies


def read_stream(path: Path) -> Figures:
    before, _ = memory()
    start, cpu = time.perf_counter(), time.process_time()
    n_characters = sum(map(len, Corpus(path)))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "MB": memory()[1] - before, "characters": n_characters}


def read_whole(path: Path) -> Figures:
    before, _ = memory()
    start, cpu = time.perf_counter(), time.process_time()
    with path.open(encoding="utf-8") as file:
        n_characters = sum(map(len, json.load(file)))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "MB": memory()[1] - before, "characters": n_characters}


def available() -> float:
    """Megabytes of memory that a process may still take."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="utf-8"))
    return int(found[1]) * 1024 / MB


def build(path: Path, folder: Path, anew: bool) -> None:
    """A build with workers, as a process of its own runs it."""
    tokenizer = load_tokenizer(VOCABULARY)
    build_shards(folder, Corpus(path), tokenizer, settings_for(path, tokenizer, PIECES), anew=anew)


def start_build(path: Path, folder: Path, anew: bool) -> subprocess.Popen:
    command = [sys.executable, __file__, str(path), str(folder), "anew" if anew else "resume"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def watched(process: subprocess.Popen) -> Figures:
    """Wait for a process: seconds, CPU seconds with those below it, memory."""
    start, cpu = time.perf_counter(), cpu_of_children()
    watch = Watch(process.pid)
    if process.wait():
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu": cpu_of_children() - cpu, **watch.report()}


def finished_pieces(folder: Path) -> int:
    return len(list(folder.glob("tokenized_train_*.bin")))


def kill_half_way(path: Path, folder: Path, whole: Path) -> dict[str, object]:
    """SIGKILL when half of the pieces are there; then go on, and compare with the build that nobody killed."""
    process = start_build(path, folder, anew=True)
    workers: set[int] = set()
    while process.poll() is None and finished_pieces(folder) < PIECES // 2:
        workers |= set(children(process.pid))
        time.sleep(POLL)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = finished_pieces(folder)
    time.sleep(2)
    left = [worker for worker in workers if memory(worker)[0]]  # they should have ended with it
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    figures = watched(start_build(path, folder, anew=False))
    names = sorted(file.name for file in whole.iterdir())
    same = sorted(file.name for file in folder.iterdir()) == names and all(
        (folder / name).read_bytes() == (whole / name).read_bytes() for name in names
    )
    return {**figures, "kept": kept, "orphans": len(left), "same": same}


def prepare(path: Path, folder: Path) -> Figures:
    command = [sys.executable, str(ROOT / "prepare_data.py"), str(path), "--output", str(folder / "prepared.jsonl")]
    return watched(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def large_rows(path: Path, scratch: Path, n_characters: int) -> list[list[str]]:
    """Everything that is done with the large file; rows of the last table."""
    size = path.stat().st_size
    rows = []
    stream = in_fresh_process(read_stream, path)
    text = f"{size / MB / stream['seconds']:.0f} MB/s, {stream['MB']:.0f} MB above start"
    print(f"\nCorpus: {text} ({size / MB / stream['cpu']:.0f} MB/s of CPU time, {load()})", flush=True)
    other = "-"
    if available() > 4 * size / MB:
        whole = in_fresh_process(read_whole, path)
        other = f"json.load: {size / MB / whole['seconds']:.0f} MB/s, {whole['MB']:.0f} MB"
        print(other, load(), flush=True)
    else:
        print(f"json.load left out: {available():.0f} MB of memory are free, {4 * size / MB:.0f} wanted")
    rows.append([f"reading {size / 1e9:.1f} GB", text, other, "", ">= 100 MB/s, <= 300 MB"])

    done, killed = scratch / "whole", scratch / "killed"
    built = watched(start_build(path, done, anew=True))
    speed = n_characters / built["seconds"] / 1e6
    a_core = n_characters / built["cpu"] / 1e6
    print(
        f"shards on {n_cores()} cores: {built['seconds']:.1f} s, {speed:.1f} M characters/s, {a_core:.1f} a core-second; "
        f"peak MB: parent {built['parent']:.0f}, worker {built['worker']:.0f}, together {built['sum']:.0f} ({load()})",
        flush=True,
    )
    rows.append(
        [f"{size / 1e9:.1f} GB -> shards, {n_cores()} cores", f"{speed:.1f} M characters/s", "", "", "10 M a core"]
    )
    again = kill_half_way(path, killed, done)
    text = f"{again['kept']} of {PIECES} pieces kept; {again['seconds']:.1f} s instead of {built['seconds']:.1f}"
    print(f"SIGKILL: {text}; orphaned workers {again['orphans']}; the same files: {again['same']}", flush=True)
    rows.append(["killed half-way, resumed", text, "", "", "the same files"])
    for folder in (done, killed):
        for file in folder.iterdir():
            file.unlink()

    ready = prepare(path, scratch)
    text = f"{ready['seconds']:.0f} s, {size / MB / ready['seconds']:.1f} MB/s"
    peaks = f"peak MB: parent {ready['parent']:.0f}, worker {ready['worker']:.0f}, together {ready['sum']:.0f}"
    print(f"prepare_data.py: {text}, {size / MB / ready['cpu']:.1f} MB a core-second; {peaks} ({load()})", flush=True)
    rows.append([f"prepare_data.py, {size / 1e9:.1f} GB", text, "", "", "parent and worker < 1000 MB each"])
    rows[-1][1] += f"; {peaks}"
    return rows


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "anew")
