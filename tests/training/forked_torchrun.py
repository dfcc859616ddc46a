"""torchrun, and a script alone, at once: a process that has loaded torch and train.py's modules forks them.

    python forked_torchrun.py     reads orders, JSON, a line: ["start", folder, command, file for the output] is answered with the
                                  pid, ["poll", pid] with the exit code, or null while it runs

All is torchrun's own code, but for how its processes begin.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from conftest import TORCHRUN  # noqa: E402
from launched import Launched  # noqa: E402


class Process:
    """One that was forked, with what `subprocess.Popen` has. `ask`: for its exit code, None while it runs."""

    def __init__(self, pid: int, ask: Callable[[int], int | None]) -> None:
        self.pid, self.ask, self.code = pid, ask, None

    def poll(self) -> int | None:
        if self.code is None:
            self.code = self.ask(self.pid)
        return self.code

    def wait(self, timeout: float = 1e9) -> int:
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a forked process", timeout)
            time.sleep(0.02)
        return self.code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def exit_code(pid: int) -> int | None:
    """Of a child; None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def fork(work: Callable[[], None]) -> int:
    """Do `work` in a process of its own, as in a script; returns the pid."""
    if pid := os.fork():
        return pid
    gc.freeze()  # what is garbage here has threads and sockets in the process before: its end is not for this one to see to
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 0
    try:
        work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def fork_worker(handler: object, command: tuple[str, ...], environment: dict[str, str]) -> Process:
    """In place of torchrun's `Popen`: `command` is python, -u, a script, its arguments."""

    def work() -> None:
        os.setsid()
        os.environ.update(environment)
        sys.argv = list(command[2:])
        runpy.run_path(command[2], run_name="__main__")

    return Process(fork(work), exit_code)


def run(folder: str, command: list[str], printed: str) -> None:
    """A command that begins with python, in `folder`."""
    os.chdir(folder)
    output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if command[: len(TORCHRUN)] == TORCHRUN:
        import_module("torch.distributed.run").main(command[len(TORCHRUN) :])
    else:
        sys.argv = command[1:]
        runpy.run_path(command[1], run_name="__main__")


def main() -> None:
    """The process that forks."""
    import_module("train")
    for room in ("model", "training", "evaluation", "generation"):
        for module in iter_modules([str(ROOT / "gpt2zh" / room)], f"gpt2zh.{room}."):
            import_module(module.name)
    device = import_module("gpt2zh.device").choose_device("cpu", "fp32")
    import_module("gpt2zh.training.throughput").measured_peak(device)  # once for all
    elastic = import_module("torch.distributed.elastic.multiprocessing.subprocess_handler")
    elastic.SubprocessHandler._popen = fork_worker
    for line in sys.stdin:
        order, *values = json.loads(line)
        answer = exit_code(*values) if order == "poll" else fork(partial(run, *values))
        print(json.dumps(answer), flush=True)


# ----- for the tests --------------------------------------------------------------------------------------------------


class Zygote:
    """The process that forks, seen from the tests."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, __file__], env=environment, **pipes)

    def ask(self, *order: object) -> int | None:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def torchrun(n: int) -> list[object]:
    """The beginning of a command for `n` processes."""
    return [*TORCHRUN, "--standalone", "--nproc_per_node", n]


def wait_for(path: Path) -> None:
    """Until a file or folder is there."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


class Forked(Launched):
    """A command at work in a folder, as `Launched`."""

    def __init__(self, folder: Path, command: list[object], name: str, zygote: Zygote) -> None:
        self.printed = folder / f"{name}.printed"
        pid = zygote.ask("start", str(folder), list(map(str, command)), str(self.printed))
        self.process = Process(pid, lambda pid: zygote.ask("poll", pid))


if __name__ == "__main__":
    main()
