"""Characters a second that thulac and our decoder of its model cut, in one process and in two.

    python benchmarks/segmentation_speed.py [corpus.json …]

Interleaved runs after a first one that does not count, medians; loading the models is timed apart. Workers return the
number of words, as cache/make_vocab.py returns counts, so that no words travel between processes.
"""

import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpt2zh.shards.build import groups
from gpt2zh.text.corpus import Corpus
from tokenizations.words import load_segmenter

RUNS = 5
CHUNK = 20_000  # characters a task of a worker
Segment = Callable[[list[str]], list[list[str]]]


def load_thulac() -> Segment:
    import thulac

    with contextlib.redirect_stdout(io.StringIO()):  # it prints "Model loaded succeed"
        model = thulac.thulac(seg_only=True)
    return lambda lines: [[word for word, _ in model.cut(line)] for line in lines]


def load_ours() -> Segment:
    return load_segmenter("thulac")


def start_worker(load: Callable[[], Segment]) -> None:
    global segment
    segment = load()


def count_words(lines: list[str]) -> int:
    return sum(map(len, segment(lines)))


def main() -> None:
    paths = [Path(name) for name in sys.argv[1:]] or [ROOT / "data" / "example.json"]
    lines = [line for path in paths for document in Corpus(path) for line in document.split("\n")]
    chunks = list(groups(lines, CHUNK))
    n_characters = sum(map(len, lines))
    tasks: dict[str, Callable[[], int]] = {}
    pools = []
    for name, load in (("thulac", load_thulac), ("ours", load_ours)):
        start = time.perf_counter()
        one = load()
        print(f"{name:6}  model loaded in {time.perf_counter() - start:.2f} s", flush=True)
        pool = ProcessPoolExecutor(2, initializer=start_worker, initargs=(load,))
        pools.append(pool)
        tasks[f"{name}, 1 process"] = lambda one=one: sum(map(len, one(lines)))
        tasks[f"{name}, 2 processes"] = lambda pool=pool: sum(pool.map(count_words, chunks))
    times: dict[str, list[float]] = {name: [] for name in tasks}
    n_words = set()
    for run in range(RUNS + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            n_words.add(task())
            if run:
                times[name].append(time.perf_counter() - start)
    for pool in pools:
        pool.shutdown()
    print(f"{n_characters} characters, {sorted(n_words)} words")
    base = statistics.median(times["thulac, 1 process"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        spread = f"{n_characters / max(seconds) / 1e3:.0f}-{n_characters / min(seconds) / 1e3:.0f}"
        print(f"{name:19}  {n_characters / median / 1e3:7.0f} k characters/s ({spread})  {base / median:5.1f} x thulac")


if __name__ == "__main__":
    main()
