"""The same work on many things, on all cores, in order, in memory for a few of them.

In: a function and an iterable. Out: its results, in the order of the items. A failure or Ctrl-C stops the workers, and so
does the death of the process that started them.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

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
    with ProcessPoolExecutor(n_workers, context, _start, (start, arguments)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start(start: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the library's own threads would fight with the other workers
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
