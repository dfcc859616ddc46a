"""One end for all processes of a run, and a heartbeat that notices when one of them is lost.

The first error of any process is put into the store that all of them reach, and every process ends with its message, said
once a machine, and its exit code. A process that was killed or cut off puts nothing there: the others notice by the
heartbeat, a sum over all processes a second, in a thread of its own. So what the processes wait for in their work may take
any time, and still no run hangs.

In: a key-value store, a sum over all processes. Out: `Ended` raised in the main thread, or the end of this process.
"""

import _thread
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

from gpt2zh.errors import UserError, bilingual, complain, explain

Answer = TypeVar("Answer")
Sums = Callable[[list[float]], list[float]]  # raises RuntimeError where a process does not answer

BEAT = 1.0  # seconds between two heartbeats
GRACE = (
    5.0  # seconds for what takes none: the store's answer, the watch's verdict, a main thread that can end by itself
)
LOST = 3  # exit code where another process, a machine or the network failed


class Store(Protocol):
    """What is asked of torch.distributed's store."""

    def add(self, key: str, amount: int) -> int: ...
    def get(self, key: str) -> bytes: ...
    def set(self, key: str, value: str) -> None: ...
    def check(self, keys: list[str]) -> bool: ...
    def compare_set(self, key: str, expected: str, desired: str) -> bytes: ...


class Ended(UserError):
    """The end of this process for another's sake: the message and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        Exception.__init__(self, message)
        self.exit_code = exit_code


class Lifeline:
    """What ties a process to the others.

    Args:
        rank: the number of this process, of `count`.
        machine: the number of its machine, on which it is the `local`th process, all from 0.
    """

    def __init__(self, store: Store, rank: int, count: int, machine: int, local: int) -> None:
        self.store, self.rank, self.count, self.machine, self.local = store, rank, count, machine, local
        self.watch: threading.Thread | None = None
        self.done = threading.Event()  # this process has done its work
        self.heard = threading.Event()  # another one has ended: `verdict` says why
        self.verdict: Ended | None = None
        self.leaving = threading.Lock()  # held by the thread that ends this process
        self.left_word = threading.Event()  # why this process ends stands in the store
        signal.signal(signal.SIGTERM, self._terminated)

    def meet(self, patience: float) -> None:
        """Wait until all processes have come as far as this one.

        Raises:
            Ended: one of them has ended before. RuntimeError: not all came within `patience` seconds.
        """
        self.store.add("here", 1)
        until = time.monotonic() + patience
        while (n_here := self.store.add("here", 0)) < self.count:
            if word := self._word_of_others():
                raise word
            if time.monotonic() > until:
                raise RuntimeError(f"{n_here} of {self.count} processes within {patience} s")
            time.sleep(BEAT / 10)

    def start(self, sums: Sums, output_dir: Path) -> None:
        """Start the heartbeat. `output_dir` holds what is saved, for the message."""
        self.output_dir = output_dir
        self.watch = threading.Thread(target=self._watch, args=(sums,), daemon=True)
        self.watch.start()

    def finish(self) -> None:
        """This process is done: go on beating until all are."""
        self.done.set()
        if self.watch is not None:
            self.watch.join()

    def end(self, error: BaseException) -> NoReturn:
        """End this process, and by its word all others. Python's own way out would wait for threads of a broken group."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, when the first of its processes has ended
        with self.leaving:
            told = explain(error)
            if told is None and (verdict := self.why_others_failed()):
                told = explain(verdict)  # a sum that fails raises RuntimeError, as a bug may
            message, code = told or (self._bug(error), LOST)
            first = self._ask(lambda: self.store.compare_set("end", "", json.dumps([message, code])))
            self.left_word.set()
            if told is None:
                traceback.print_exception(error)
                code = 1
            else:
                message, code = json.loads(first or json.dumps(told))
                if self._speaks(bool(first)):
                    complain(message)
            if first:
                self._ask(self._wait_for_readers, 3 * BEAT)
            sys.stdout.flush()
            os._exit(code)

    def _watch(self, sums: Sums) -> None:
        """The heartbeat, until all processes are done or one has ended."""
        n_done = 0.0
        while n_done < self.count:
            self.done.wait(BEAT)
            try:
                n_done, n_leaving = sums([float(self.done.is_set()), float(self.left_word.is_set())])
                reason = "-"
            except RuntimeError as error:
                n_leaving, reason = 1.0, first_line(error)
            if n_leaving and not self.left_word.is_set():
                self.verdict = self._word_of_others() or self._lost(reason)
                self.heard.set()
                _thread.interrupt_main(signal.SIGTERM)  # it closes its log and ends the process
                time.sleep(GRACE)
                self.end(self.verdict)  # it did not: it waits for an answer that will not come

    def _terminated(self, number: int, frame: object) -> NoReturn:
        """SIGTERM: torchrun ends the processes of its machine when one of them has ended; or somebody stops the run."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise self.why_others_failed() or Ended(
            bilingual("训练被停止（SIGTERM）。", "the run was stopped (SIGTERM)."), 128 + signal.SIGTERM
        )

    def why_others_failed(self) -> Ended | None:
        """What ended another process, where one has ended: the heartbeat notices within a second."""
        if self.watch is None:
            return self._word_of_others()
        self.heard.wait(GRACE)
        return self.verdict

    def _word_of_others(self) -> Ended | None:
        """What the first process to end has put into the store."""

        def read() -> bytes | None:
            if not self.store.check(["end"]):
                return None
            self.store.set(f"read by {self.rank}", "")
            return self.store.get("end")

        word = self._ask(read)
        return Ended(*json.loads(word)) if word else None

    def _speaks(self, store_answers: bool) -> bool:
        """Whether this process says the message: the first to come, on each machine."""
        if store_answers:
            return self._ask(lambda: self.store.add(f"said on {self.machine}", 1)) == 1
        # The store is lost, which torchrun keeps on the first machine or in its process 0: that one cannot speak.
        return self.local == (1 if self.machine == 0 else 0)

    def _wait_for_readers(self) -> None:
        """Until all have read why: torchrun, and its store, may end with this process."""
        self.store.set(f"read by {self.rank}", "")
        while not self.store.check([f"read by {rank}" for rank in range(self.count)]):
            time.sleep(BEAT / 10)

    def _ask(self, question: Callable[[], Answer], patience: float = GRACE) -> Answer | None:
        """The store's answer; None where it gives none in time: the machine that keeps it may be the one that is lost."""
        answers: list[Answer] = []

        def ask() -> None:
            with suppress(Exception):
                answers.append(question())

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(patience)
        return answers[0] if answers else None

    def _bug(self, error: BaseException) -> str:
        where = f"{socket.gethostname()}: {type(error).__name__}: {first_line(error)}"
        return bilingual(
            f"进程 {self.rank} 出错，见它的输出（{where}）。", f"process {self.rank} failed; see its output."
        )

    def _lost(self, reason: str) -> Ended:
        """The end for the sake of a process that left no word."""
        saved = self.output_dir / "checkpoints"
        return Ended(
            bilingual(
                f"与别的进程断了联系（共 {self.count} 个；{reason}）：那个进程或它的机器停了，或网络断了，原因见那边的输出。存下的检查点在 {saved}（多台机器时在第一台上）：同样的命令加 --resume 接着训练。",
                f"another of the {self.count} processes was lost: it or its machine has stopped, or the network has; see its output. Checkpoints are in {saved}, of the first machine: go on with the same command and --resume.",
            ),
            LOST,
        )


def first_line(error: BaseException) -> str:
    """What an error of torch.distributed says, without the place in its source and the C++ stack."""
    return re.sub(r"^\[\S+\] ", "", str(error).split("\n")[0]).split(". ")[0][:200]
