"""One end for all processes of a run: the first error is that of all, and each machine says it once.

What finds a lost process is torch.distributed: its sums fail at once where a connection is closed, and after `--peer_timeout` where there is
silence; and torchrun, which ends the other processes of a machine when one has failed. Left to do here is to tell why: the first
process to fail puts its message into torchrun's store, and the others end with the same. A process that was killed or cut off has put
nothing there: it is lost, and the message names what to go on from.

In: torchrun's store, an error. Out: how this process is to end. torchrun's report has the message too, from its error file.
"""

import json
import os
import pickle
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

import torch.distributed as dist

from gpt2zh.errors import UserError, bilingual, explain

Answer = TypeVar("Answer")

GRACE = 3.0  # seconds for the store to answer when this process ends, which takes none where all is well
POLL = 1.0  # seconds, at most, from one look into the store to the next
OF_GLOO = re.compile("gloo|pair closure|closed by peer|[Tt]imed out")  # what it says of a loss, with no type of its own
LOST = 3  # exit code where another process, a machine or the network failed


class Ended(UserError):
    """The end of the run: a message in both languages, and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        Exception.__init__(self, message)
        self.exit_code = exit_code


class OneEnd:
    """How this process waits for others and ends with them.

    Args:
        store: torchrun's, which lies on the first machine and ends with the processes of that.
        rank: the number of this process, of `count`.

    Attributes:
        output_dir: where the run is saved, for the message.
        patience: seconds for the store to answer while this process waits.
    """

    def __init__(self, store: dist.Store, rank: int, count: int) -> None:
        self.store, self.rank, self.count = store, rank, count
        self.output_dir, self.patience = Path("--output_dir"), 300.0
        signal.signal(signal.SIGTERM, self._terminated)

    def wait_for(self, key: str) -> object:
        """What another process puts into the store under `key`, when it does. Raises Ended where another has ended, or the store is lost."""
        began = time.monotonic()
        while True:
            found = self._ask(
                lambda: [self.store.get(k) if self.store.check([k]) else b"" for k in (key, "end")], self.patience
            )
            if found is None:
                raise self._lost(f"MASTER_ADDR {os.environ['MASTER_ADDR']}")
            if found[0]:
                return pickle.loads(found[0])
            if found[1]:
                raise Ended(*json.loads(found[1]))
            time.sleep(min(POLL, 0.01 + (time.monotonic() - began) / 10))

    def others_failed(self) -> Ended | None:
        """What another process has ended with, where one has."""
        end = self._ask(lambda: self.store.get("end") if self.store.check(["end"]) else b"", GRACE)
        return Ended(*json.loads(end)) if end else None

    def of(self, error: BaseException) -> BaseException:
        """What this process is to end with, for `error`: the end of all; `error` itself where it is a bug; SystemExit where the message
        has been said on this machine."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, when the first of its processes has ended
        told = explain(error)
        is_bug = told is None and not is_loss(error)
        mine = Ended(*told) if told else self._bug(error) if is_bug else self._lost(first_line(error))
        of_all = self._first_of_all(mine)
        write_error_file(str(mine if is_bug else of_all))
        if os.environ["GROUP_RANK"] == "0" and os.environ["GROUP_WORLD_SIZE"] != "1":
            time.sleep(1.5 * POLL)  # the other machines look into the store before it ends with this process
        if is_bug:
            return error
        return of_all if is_first_to_speak() else SystemExit(of_all.exit_code)

    def _first_of_all(self, mine: Ended) -> Ended:
        """The end that the first process to fail put into the store, which may be this one."""
        end = self._ask(lambda: self.store.compare_set("end", "", json.dumps([str(mine), mine.exit_code])), GRACE)
        return Ended(*json.loads(end)) if end else mine

    def _terminated(self, number: int, frame: object) -> NoReturn:
        """SIGTERM before the training, in which `StopSignals` has it: another process of this machine failed, or somebody stops the run."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stopped = bilingual("训练被停止（SIGTERM）。", "the run was stopped (SIGTERM).")
        raise self.others_failed() or Ended(stopped, 128 + signal.SIGTERM)

    def _ask(self, question: Callable[[], Answer], patience: float) -> Answer | None:
        """The store's answer; None where it gives none. Where the cable is cut, its calls wait for as long as the kernel does."""
        answers: list[Answer] = []

        def ask() -> None:
            with suppress(dist.DistError):
                answers.append(question())

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(patience)
        return answers[0] if answers else None

    def _bug(self, error: BaseException) -> Ended:
        where = f"{socket.gethostname()}: {type(error).__name__}: {first_line(error)}"
        zh = f"进程 {self.rank} 出错，见它的输出（{where}）。"
        return Ended(bilingual(zh, f"process {self.rank} failed; see its output ({where})."), LOST)

    def _lost(self, reason: str) -> Ended:
        """The end for the sake of a process that left no word."""
        saved = self.output_dir / "checkpoints"
        return Ended(
            bilingual(
                f"与别的进程断了联系（共 {self.count} 个；{reason}）：那个进程或它的机器停了，或网络断了，原因见那边的输出。存下的检查点在 {saved}（多台机器时在第一台上）：同样的命令加 --resume 接着训练。",
                f"another of the {self.count} processes was lost ({reason}): it or its machine has stopped, or the network is down; see its output. Checkpoints are in {saved} (of several machines, on the first): go on with the same command and --resume.",
            ),
            LOST,
        )


def is_loss(error: BaseException) -> bool:
    """Whether torch.distributed says that another process does not answer."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and bool(OF_GLOO.search(str(error))))


def is_first_to_speak() -> bool:
    """Whether this process is the first of its machine to end, which says the message for all of them."""
    said = error_file().parent.with_name("said")  # in torchrun's folder of these processes
    try:
        said.touch(exist_ok=False)
    except OSError:
        return not said.exists()
    return True


def write_error_file(message: str) -> None:
    """Have torchrun's report say what this process ends with."""
    record = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
    with suppress(OSError):
        error_file().write_text(json.dumps(record), encoding="utf-8")


def error_file() -> Path:
    """Where torchrun looks for what went wrong in this process: …/attempt_0/LOCAL_RANK/error.json."""
    return Path(os.environ["TORCHELASTIC_ERROR_FILE"])


def first_line(error: BaseException) -> str:
    """What an error of torch.distributed says, without the place in its source and the C++ stack."""
    return re.sub(r"^\[\S+\] ", "", str(error).split("\n")[0]).split(". ")[0][:200]
