"""From train.json to token shards: ours, the ancestor GPT2-Chinese, the `tokenizers` library. Speed, memory, a kill half-way.

    python benchmarks/data_speed.py [books.json …] [--ancestor GPT2-Chinese/] [--gigabytes 0.5] [--folder DIR]

1 the books as one train.json -> ids on disk, each way on one core, interleaved, medians; their ids are compared
2 a large JSON list -> documents, -> shards on all cores, the same killed half-way, -> prepare_data.py
3 the ratios as a table

`--ancestor` is a checkout of https://github.com/Morizeyao/GPT2-Chinese; its tokenizer runs as it stands there, on a
stand-in for the base class that today's transformers no longer has. The large list holds the books again and again, each
time with other Han characters (exchanged for others about as frequent), for prepare_data.py would drop plain copies.
One core: one process, bound to one core, seconds of its CPU time. All cores: wall clock. Memory: /proc, so Linux only.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpt2zh.shards import build as shard_builder
from gpt2zh.shards.format import HEADER_BYTES, ShardSettings
from gpt2zh.system.workers import batches, n_cores
from gpt2zh.text.corpus import Corpus, corpus_sha256
from tokenizations.loading import load_tokenizer
from tokenizations.tokenizer import Tokenizer

VOCABULARY = ROOT / "cache" / "vocab_small.txt"
RUNS, ANCESTOR_RUNS = 5, 3
LEAST_CHARACTERS = 6_000_000  # books that have fewer are repeated
ANCESTOR_CHARACTERS = 300_000
PIECES = 20
POLL = 0.02  # seconds between two looks at /proc
MB = 1e6
SPEED = dict[str, float]


# ----- one process and its memory -------------------------------------------------------------------------------------


def in_fresh_process(function: Callable[..., object], *arguments: object) -> object:
    """`function` in a new process, so that nothing before it counts as its memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def memory(process: int | str = "self") -> tuple[float, float]:
    """Resident megabytes of a process now and at its peak; nothing of one that has ended."""
    with contextlib.suppress(OSError, IndexError):
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        now, peak = (re.findall(rf"{name}:\s+(\d+) kB", status)[0] for name in ("VmRSS", "VmHWM"))
        return int(now) * 1024 / MB, int(peak) * 1024 / MB
    return 0.0, 0.0


def children(process: int) -> list[int]:
    """The processes below a process."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, task.read_text(encoding="utf-8").split())
    return found + [below for child in found for below in children(child)]


class Watch(threading.Thread):
    """Looks at a process and those below it until it ends: peaks in MB, and the sum at its highest."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.peaks: dict[int, float] = {}
        self.together = 0.0
        self.start()

    def run(self) -> None:
        while (own := memory(self.process))[0]:
            seen = {self.process: own} | {child: memory(child) for child in children(self.process)}
            self.together = max(self.together, sum(now for now, _ in seen.values()))
            for process, (_, peak) in seen.items():
                self.peaks[process] = max(peak, self.peaks.get(process, 0.0))
            time.sleep(POLL)

    def report(self) -> dict[str, float]:
        self.join()
        below = [peak for process, peak in self.peaks.items() if process != self.process]
        return {"parent": self.peaks.get(self.process, 0.0), "worker": max(below, default=0.0), "sum": self.together}


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


# ----- 1. the contestants ---------------------------------------------------------------------------------------------


def settings_for(path: Path, tokenizer: Tokenizer, num_pieces: int) -> ShardSettings:
    return ShardSettings(corpus_sha256(path), tokenizer.fingerprint, len(tokenizer), 1, 0.0, num_pieces)


def ours(path: Path, folder: Path, tokenizer: Tokenizer) -> None:
    """train.json -> shards as train.py makes them."""
    shard_builder.build_shards(folder, Corpus(path), tokenizer, settings_for(path, tokenizer, 1))


def library(path: Path, folder: Path, encode: Callable[..., list], tokenizer: Tokenizer) -> None:
    """train.json -> one file of ids, with the library's own batch encoding."""
    with (folder / "library.bin").open("wb") as file:
        for texts in batches(Corpus(path), len, shard_builder.BATCH_CHARACTERS):
            ids: list[int] = []
            for encoding in encode(texts, add_special_tokens=False):
                ids.append(tokenizer.document_start_id)
                ids += encoding.ids
                ids.append(tokenizer.document_end_id)
            file.write(np.array(ids, dtype="<u2").tobytes())


class OldBase:
    """What the ancestor's tokenizer takes from transformers 2.1: its special tokens, and text parted at them."""

    def __init__(self, **tokens: str) -> None:
        self.__dict__.update(tokens)
        self.all_special_tokens = list(tokens.values())
        self.parts = re.compile("(" + "|".join(map(re.escape, self.all_special_tokens)) + ")")

    def tokenize(self, text: str) -> list[str]:
        parts = (part.strip() for part in self.parts.split(text))
        return [token for part in parts if part for token in self._one(part)]

    def _one(self, part: str) -> list[str]:
        return [part] if part in self.all_special_tokens else self._tokenize(part)

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> int | list[int]:
        if isinstance(tokens, str):
            return self._convert_token_to_id(tokens)
        return [self._convert_token_to_id(token) for token in tokens]


def ancestor_tokenizer(checkout: Path) -> OldBase:
    """The BertTokenizer of a checkout of GPT2-Chinese."""
    stand_in = types.ModuleType("transformers.tokenization_utils")
    stand_in.PreTrainedTokenizer = OldBase
    names = ("transformers", "transformers.tokenization_utils")
    hidden = {name: sys.modules.pop(name, None) for name in names}
    sys.modules.update({"transformers": types.ModuleType("transformers"), "transformers.tokenization_utils": stand_in})
    spec = importlib.util.spec_from_file_location("ancestor", checkout / "tokenizations" / "tokenization_bert.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in names:
        del sys.modules[name]
    sys.modules.update({name: module for name, module in hidden.items() if module})
    return module.BertTokenizer(str(VOCABULARY))


def ancestor(path: Path, folder: Path, tokenizer: OldBase) -> None:
    """train.json -> a text file of ids: [SEP] for a line's end, [MASK] before a document, [CLS] behind it."""
    with path.open(encoding="utf-8") as file:
        documents = [document.replace("\n", " [SEP] ") for document in json.load(file)]
    tokens = [tokenizer.tokenize(document) for document in documents]
    ids: list[int] = []
    for document in tokens:
        ids.append(tokenizer.convert_tokens_to_ids("[MASK]"))
        ids.extend(tokenizer.convert_tokens_to_ids(document))
        ids.append(tokenizer.convert_tokens_to_ids("[CLS]"))
    with (folder / "ancestor.txt").open("w", encoding="utf-8") as file:
        for id_ in ids:
            file.write(f"{id_} ")


# ----- 1. on one core -------------------------------------------------------------------------------------------------


def one_core(path: Path, part: Path, checkout: Path | None, scratch: Path) -> dict[str, object]:
    """CPU seconds of every way, interleaved, and what their ids say."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    quiet()
    shard_builder.SMALL_CORPUS = 1 << 62  # no workers
    tokenizer = load_tokenizer(VOCABULARY)
    folder = scratch / "one_core"
    folder.mkdir()
    texts = list(Corpus(path))
    groups = list(batches(texts, len, shard_builder.BATCH_CHARACTERS))
    pipeline = tokenizer.pipeline
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(path, folder, tokenizer),
        "ours, encoding alone": lambda: [tokenizer.encode_documents(group) for group in groups],
        "encode_batch": lambda: library(path, folder, pipeline.encode_batch, tokenizer),
        "encode_batch_fast": lambda: library(path, folder, pipeline.encode_batch_fast, tokenizer),
        "encode_batch, encoding alone": lambda: encode_all(pipeline.encode_batch, groups),
        "encode_batch_fast, encoding alone": lambda: encode_all(pipeline.encode_batch_fast, groups),
    }
    if checkout:
        old = ancestor_tokenizer(checkout)
        ways["ancestor"] = lambda: ancestor(part, folder, old)
    first = timed(ways["ours"])  # its table is empty
    times: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(RUNS):
        for name, way in ways.items():
            if name != "ancestor" or run < ANCESTOR_RUNS:
                times[name].append(timed(way))
    n_characters = sum(map(len, texts))
    sizes = dict.fromkeys(ways, n_characters) | {"ancestor": sum(map(len, Corpus(part)))}
    speeds = {name: sizes[name] / statistics.median(values) for name, values in times.items()}
    speeds["ours, first run"] = n_characters / first
    shard = np.fromfile(next(folder.glob("tokenized_train_0.*.bin")), "<u2", offset=HEADER_BYTES)
    same = np.array_equal(shard, np.fromfile(folder / "library.bin", "<u2"))
    lines = compare_lines(folder / "ancestor.txt", tokenizer, list(Corpus(part))) if checkout else None
    return {"speeds": speeds, "characters": sizes, "library_agrees": same, "ancestor_lines": lines, "load": load()}


def quiet() -> None:
    """Progress bars and messages of the library code to nowhere."""
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")


def timed(way: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    way()
    return time.process_time() - start


def encode_all(encode: Callable[..., list], groups: list[list[str]]) -> None:
    for group in groups:
        [encoding.ids for encoding in encode(group, add_special_tokens=False)]


def compare_lines(path: Path, tokenizer: Tokenizer, documents: list[str]) -> dict[str, object]:
    """Lines whose ids the ancestor and we agree on, and those of the others that its folded accents do not explain."""
    separator, ends = tokenizer.control_ids["[SEP]"], tokenizer.document_end_id

    def lines_of(ids: list[int]) -> list[list[int]]:
        lines: list[list[int]] = [[]]
        for id_ in ids:
            lines[-1].append(id_)
            if id_ in (separator, ends):
                lines.append([])
        return lines[:-1]

    theirs = lines_of([int(word) for word in path.read_text(encoding="utf-8").split()])
    mine = lines_of(tokenizer.encode_documents(documents).tolist())
    texts = list(chain.from_iterable(document.split("\n") for document in documents))
    if not len(theirs) == len(mine) == len(texts):
        return {"lines": len(texts), "differ": f"{len(theirs)} lines there, {len(mine)} here"}
    differ = [text for text, one, other in zip(texts, mine, theirs) if one != other]
    return {"lines": len(texts), "differ": len(differ), "examples": [text[:60] for text in differ[:5]]}


def all_cores(path: Path) -> SPEED:
    """Characters a second of the library with its own threads, wall clock."""
    pipeline, texts = load_tokenizer(VOCABULARY).pipeline, list(Corpus(path))
    groups = list(batches(texts, len, shard_builder.BATCH_CHARACTERS))
    times: dict[str, list[float]] = {"encode_batch": [], "encode_batch_fast": []}
    for _ in range(RUNS):
        for name, values in times.items():
            start = time.perf_counter()
            encode_all(getattr(pipeline, name), groups)
            values.append(time.perf_counter() - start)
    return {name: sum(map(len, texts)) / statistics.median(values) for name, values in times.items()}


# ----- 2. a large file ------------------------------------------------------------------------------------------------


def write_large(path: Path, documents: list[str], n_bytes: float) -> int:
    """A JSON list of at least `n_bytes`, of the documents in different characters each time; return how often."""
    codes = np.frombuffer("".join(documents).encode("utf-32-le"), "<u4")
    ends = np.cumsum([len(document) for document in documents]).tolist()
    counts = np.bincount(codes, minlength=0x110000)
    han = np.arange(0x4E00, 0xA000)
    han = han[counts[han] > 0]
    han = han[np.argsort(-counts[han], kind="stable")]
    table = np.arange(0x110000, dtype="<u4")
    n_copies = n_written = 0
    with path.open("wb") as file:
        while n_written < n_bytes:
            table[han] = np.roll(han, -7 * n_copies)
            text = table[codes].tobytes().decode("utf-32-le")
            for start, end in zip([0, *ends], ends):
                entry = json.dumps(text[start:end], ensure_ascii=False).encode()
                n_written += file.write((b",\n" if n_written else b"[\n") + entry)
            n_copies += 1
        file.write(b"\n]\n")
    return n_copies


def read_stream(path: Path) -> SPEED:
    before, _ = memory()
    start, cpu = time.perf_counter(), time.process_time()
    n_characters = sum(map(len, Corpus(path)))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "MB": memory()[1] - before, "characters": n_characters}


def read_whole(path: Path) -> SPEED:
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
    shard_builder.build_shards(folder, Corpus(path), tokenizer, settings_for(path, tokenizer, PIECES), anew=anew)


def start_build(path: Path, folder: Path, anew: bool) -> subprocess.Popen:
    command = [sys.executable, __file__, "--build", str(path), str(folder), "anew" if anew else "resume"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def watched(process: subprocess.Popen) -> SPEED:
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


def prepare(path: Path, folder: Path) -> SPEED:
    command = [sys.executable, str(ROOT / "prepare_data.py"), str(path), "--output", str(folder / "prepared.jsonl")]
    return watched(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


# ----- 3. the tables --------------------------------------------------------------------------------------------------


def show_one_core(found: dict[str, object], bytes_a_character: float) -> None:
    speeds = found["speeds"]
    print(f"\ntrain.json -> ids on disk, one core, CPU time, medians of {RUNS} ({found['load']})\n")
    print("| way | characters | M characters/s | MB/s | ours is |\n|---|---|---|---|---|")
    for name, speed in speeds.items():
        other = speeds["ours, encoding alone" if "alone" in name else "ours"]
        size = found["characters"].get(name, found["characters"]["ours"])
        print(
            f"| {name} | {size:,} | {speed / 1e6:.2f} | {speed * bytes_a_character / MB:.1f} | {other / speed:.1f} x |"
        )
    print(f"\nids of ours and of the library are the same: {found['library_agrees']}")
    if found["ancestor_lines"]:
        print(f"lines that the ancestor gives other ids: {found['ancestor_lines']}")


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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", nargs="*", type=Path, default=[ROOT / "data" / "example.json"])
    parser.add_argument("--ancestor", type=Path, help="a checkout of GPT2-Chinese")
    parser.add_argument("--gigabytes", type=float, default=0.5, help="size of the large file; 0 leaves it out")
    parser.add_argument("--folder", type=Path, help="where to write; three times the large file must fit")
    parser.add_argument("--build", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    flags = arguments()
    if flags.build:
        build(Path(flags.build[0]), Path(flags.build[1]), flags.build[2] == "anew")
        return
    books = [document for book in flags.books for document in Corpus(book)]
    with tempfile.TemporaryDirectory(dir=flags.folder) as name:
        scratch = Path(name)
        path, part = scratch / "train.json", scratch / "part.json"
        texts = books * -(-LEAST_CHARACTERS // sum(map(len, books)))
        path.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
        every = -(-sum(map(len, texts)) // ANCESTOR_CHARACTERS)
        part.write_text(json.dumps(texts[::every], ensure_ascii=False), encoding="utf-8")
        if not flags.ancestor:
            print("the ancestor is left out: git clone https://github.com/Morizeyao/GPT2-Chinese, then --ancestor PATH")
        found = in_fresh_process(one_core, path, part, flags.ancestor, scratch)
        speeds, n_bytes = found["speeds"], sum(len(text.encode()) for text in texts)
        n_characters = sum(map(len, texts))
        show_one_core(found, n_bytes / n_characters)
        wide = in_fresh_process(all_cores, path)
        for way, speed in wide.items():
            print(f"{way} on all {n_cores()} cores, encoding alone: {speed / 1e6:.2f} M characters/s ({load()})")

        mega = {name: f"{speed / 1e6:.2f} M characters/s" for name, speed in speeds.items()}
        rows = [["train.json -> shards, one core", mega["ours"], "", "", ">= 10 M characters/s"]]
        for other, target in (("ancestor", ">= 20 x"), ("encode_batch", ">= 8 x"), ("encode_batch_fast", ">= 8 x")):
            if other in speeds:
                rows.append(["same", mega["ours"], f"{other}: {mega[other]}", speeds["ours"] / speeds[other], target])
        if flags.gigabytes:
            large = scratch / "large.json"
            n_copies = write_large(large, books, flags.gigabytes * 1e9)
            rows += large_rows(large, scratch, n_copies * sum(map(len, books)))
    print("\n| work | ours | other | ratio | target |\n|---|---|---|---|---|")
    for *cells, ratio, target in rows:
        print(f"| {' | '.join(cells)} | {f'{ratio:.1f} x' if ratio else ''} | {target} |")


if __name__ == "__main__":
    main()
