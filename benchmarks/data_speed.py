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
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.ancestor import ancestor_tokenizer, compare_lines, encode_file
from benchmarks.large_corpus import VOCABULARY, Figures, large_rows, settings_for, write_large
from benchmarks.resources import MB, in_fresh_process, load
from gpt2zh.shards import build as shard_builder
from gpt2zh.shards.format import HEADER_BYTES
from gpt2zh.system.workers import batches, n_cores
from gpt2zh.text.corpus import Corpus
from tokenizations.loading import load_tokenizer
from tokenizations.tokenizer import Tokenizer

RUNS, ANCESTOR_RUNS = 5, 3
LEAST_CHARACTERS = 6_000_000  # books that have fewer are repeated
ANCESTOR_CHARACTERS = 300_000


# ----- the contestants ------------------------------------------------------------------------------------------------


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


# ----- on one core ----------------------------------------------------------------------------------------------------


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
        old = ancestor_tokenizer(checkout, VOCABULARY)
        ways["ancestor"] = lambda: encode_file(part, folder, old)
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


def all_cores(path: Path) -> Figures:
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


# ----- the tables -----------------------------------------------------------------------------------------------------


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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", nargs="*", type=Path, default=[ROOT / "data" / "example.json"])
    parser.add_argument("--ancestor", type=Path, help="a checkout of GPT2-Chinese")
    parser.add_argument("--gigabytes", type=float, default=0.5, help="size of the large file; 0 leaves it out")
    parser.add_argument("--folder", type=Path, help="where to write; three times the large file must fit")
    return parser.parse_args()


def main() -> None:
    flags = arguments()
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
