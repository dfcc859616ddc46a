"""Ctrl-C, SIGTERM and a closed terminal's SIGHUP, kept until a training step is whole.

The first signal is noted, for the loop to ask after each step: it saves and ends. A second Ctrl-C ends the process at once,
as any other script; whatever is being written then lies beside, so nothing that was saved is harmed.

In: signals. Out: the number of the one that came.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from types import FrameType, TracebackType

from gpt2zh.errors import UserError, bilingual

HEARD = 0.2  # seconds, within which a Ctrl-C is heard
TWICE = 1.0  # seconds: a terminal and torchrun may both pass on one Ctrl-C


class StopSignals:
    """To be entered with `with`; the handlers that were there come back at the end, but for one of SIGTERM where an error is on its way.

    Args:
        others_failed: the end of another process of the run, which SIGTERM may mean too; raised at once where there is one.
    """

    def __init__(self, others_failed: Callable[[], UserError | None]) -> None:
        self.others_failed = others_failed
        self.number = 0  # of the signal that came; 0: none
        self.came = 0.0

    def __enter__(self) -> "StopSignals":
        numbers = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # ignored under nohup
            numbers.append(signal.SIGHUP)
        self.before = {number: signal.signal(number, self.note) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if isinstance(error, Exception) and callable(self.before[signal.SIGTERM]):
            signal.signal(
                signal.SIGTERM, signal.SIG_IGN
            )  # torchrun's comes soon after, and must not take the error's place

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler of all of them."""
        if number == signal.SIGTERM and (end := self.others_failed()):
            raise end
        if not self.number:
            self.number, self.came = number, time.monotonic()
            text = bilingual(
                "收到停止信号：这一步算完就存下并退出（再按一次 Ctrl-C 立即退出）。",
                "asked to stop: this step is finished and saved first (Ctrl-C again to leave at once).",
            )
            with suppress(OSError):  # not by print, which may be at work just now
                os.write(2, f"\n{text}\n".encode(sys.stderr.encoding or "utf-8", "replace"))
        elif number == signal.SIGINT and time.monotonic() - self.came > TWICE:
            raise KeyboardInterrupt


def interruptible(work: Callable[[], None]) -> None:
    """Do `work`, of a library in another language that hears no Ctrl-C, so that a Ctrl-C ends the process at once."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()  # a daemon: nobody waits for it at the end
    while not done.done():
        with suppress(TimeoutError):
            done.result(HEARD)
    done.result()
