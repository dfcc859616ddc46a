"""The same work on many things, on all cores, in order, in memory for a few of them.

In: a function and an iterable. Out: its results, in the order of the items. A failure or Ctrl-C stops the workers, and so
does the death of the process that started them.
"""

import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from gpt2zh.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 61  # Windows allows no more


def n_cores() -> int:
    """Worker processes that this machine can feed."""
    return min(os.cpu_count() or 1, MOST_WORKERS)


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    n_workers: int,
    start: Callable[..., None],
    arguments: tuple[object, ...],
) -> Iterator[Result]:
    """`function` of every item, in `n_workers` processes (1: in this one); twice as many items wait for a free one.

    Args:
        function: of a module, so that it can be sent to another process.
        start: called with `arguments` once a process, before the first item.
    """
    if n_workers == 1:
        start(*arguments)
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads that torch and tokenizers hold
    with (
        TemporaryDirectory() as folder,
        # The arguments go by a file: what is larger than a pipe's buffer would wait for ever for a worker that died.
        ProcessPoolExecutor(n_workers, context, _start, (_pickled(folder, start, arguments),)) as pool,
    ):
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                f"{n_workers} 个工作进程里有一个意外结束了，多半是内存不足。请关掉别的程序，或把特别长的文章拆开，再运行一次。",
                f"one of {n_workers} worker processes died, of too little memory most likely. Close other programs, or part very long documents, and run again.",
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pickled(folder: str, *objects: object) -> Path:
    path = Path(folder) / "arguments.pickle"
    path.write_bytes(pickle.dumps(objects))
    return path


def _start(path: Path) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the library's own threads would fight with the other workers
    start, arguments = pickle.loads(path.read_bytes())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*arguments)


def _end_with_parent() -> None:
    """A parent that was killed closes no queue: its workers would wait for the next item for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def batches(items: Iterable[Item], size: Callable[[Item], int], least: int) -> Iterator[list[Item]]:
    """`items` in order, in groups whose sizes sum to at least `least`, but for the last."""
    group: list[Item] = []
    held = 0
    for item in items:
        group.append(item)
        held += size(item)
        if held >= least:
            yield group
            group, held = [], 0
    if group:
        yield group
