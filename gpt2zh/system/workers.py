"""The same work on many things, on all cores, in order, in memory for a few of them.

In: an iterable and a factory of the function. Out: its results, in the order of the items. A failure or Ctrl-C stops the workers, and so
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
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, TypeVarTuple

from gpt2zh.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

MOST_WORKERS = 61  # Windows allows no more


def n_cores() -> int:
    """Worker processes that this machine can feed."""
    return min(os.cpu_count() or 1, MOST_WORKERS)


def ordered_map(
    items: Iterable[Item],
    n_workers: int,
    factory: Callable[[*Arguments], Callable[[Item], Result]],
    arguments: tuple[*Arguments],
) -> Iterator[Result]:
    """One function of every item, in `n_workers` processes (1: in this one); twice as many items wait for a free one.

    Args:
        factory: a function of a module, so that it can be sent to another process. Each process calls it with `arguments`
            once, before its first item; what it returns is applied to the items.

    Raises:
        UserError: a worker process died.
    """
    if n_workers == 1:
        yield from map(factory(*arguments), items)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads that torch and tokenizers hold
    with TemporaryDirectory() as folder:
        # The arguments go by a file: what is larger than a pipe's buffer would wait for ever for a worker that died.
        path = Path(folder) / "work.pickle"
        path.write_bytes(pickle.dumps((factory, arguments)))
        with ProcessPoolExecutor(n_workers, context, _start, (path,)) as pool:
            waiting: deque[Future[Result]] = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(_apply, path, item))
                    if len(waiting) > 2 * n_workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BrokenProcessPool:
                raise UserError(
                    f"{n_workers} 个工作进程里有一个意外结束了，多半是内存不足。请关掉别的程序，或把特别长的文章拆开，再运行一次。",
                    f"one of {n_workers} worker processes died, most likely because memory ran out. Close other programs, or split very long documents, and run again.",
                ) from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _start(path: Path) -> None:
    """Make a new worker process ready."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the library's own threads would fight with the other workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _function(path)


@cache
def _function(path: Path) -> Callable[[object], object]:
    """What this process does to each item: made once."""
    factory, arguments = pickle.loads(path.read_bytes())
    return factory(*arguments)


def _apply(path: Path, item: object) -> Any:
    return _function(path)(item)


def _end_with_parent() -> None:
    """A parent that was killed closes no queue: its workers would wait for the next item for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only worker processes run this"
    parent.join()
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
