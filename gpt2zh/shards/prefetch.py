"""Items of an iterator made by a thread, a few ahead of their use.

In: an iterable, and what to do with each of its items. Out: the results in order, and how long their user had to wait.
An error is raised where its item would have come.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
ITEMS_AHEAD = 2


@dataclass(frozen=True)
class _End:
    """Comes after the last result; `error` is what ended the items early."""

    error: BaseException | None = None


class Prefetch(Generic[Item, Result]):
    """One pass over `prepare(item)` for each item."""

    def __init__(self, items: Iterable[Item], prepare: Callable[[Item], Result]) -> None:
        self.items = items
        self.prepare = prepare
        self.waited = 0.0

    def take_waited(self) -> float:
        """Seconds spent waiting since this was last asked."""
        waited, self.waited = self.waited, 0.0
        return waited

    def __iter__(self) -> Iterator[Result]:
        ready: queue.Queue[Result | _End] = queue.Queue(ITEMS_AHEAD)
        stopped = threading.Event()

        def work() -> None:
            end = _End()
            try:
                for item in self.items:
                    ready.put(self.prepare(item))
                    if stopped.is_set():
                        return
            except BaseException as error:  # raised again on the user's side
                end = _End(error)
            ready.put(end)

        threading.Thread(target=work, daemon=True).start()
        try:
            while True:
                asked = time.perf_counter()
                result = ready.get()
                self.waited += time.perf_counter() - asked
                if isinstance(result, _End):
                    if result.error is not None:
                        raise result.error
                    return
                yield result
        finally:
            stopped.set()
            while not ready.empty():  # a thread that waits for room ends
                ready.get_nowait()
