"""What a process and those below it use: memory by /proc (Linux only), the machine's load; a fresh process for each figure."""

import contextlib
import multiprocessing
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

POLL = 0.02  # seconds between two looks at /proc
MB = 1e6


def in_fresh_process(function: Callable[..., object], *arguments: object) -> object:
    """`function` in a new process, so that nothing before it counts as its memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def memory(process: int | str = "self") -> tuple[float, float]:
    """Resident megabytes of a process now and at its peak; nothing of one that has ended."""
    with contextlib.suppress(OSError, IndexError):
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        now, peak = (re.findall(rf"{name}:\s+(\d+) kB", status)[0] for name in ("VmRSS", "VmHWM"))
        return int(now) * 1024 / MB, int(peak) * 1024 / MB
    return 0.0, 0.0


def children(process: int) -> list[int]:
    """The processes below a process."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, task.read_text(encoding="utf-8").split())
    return found + [below for child in found for below in children(child)]


class Watch(threading.Thread):
    """Looks at a process and those below it until it ends: peaks in MB, and the sum at its highest."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.peaks: dict[int, float] = {}
        self.together = 0.0
        self.start()

    def run(self) -> None:
        while (own := memory(self.process))[0]:
            seen = {self.process: own} | {child: memory(child) for child in children(self.process)}
            self.together = max(self.together, sum(now for now, _ in seen.values()))
            for process, (_, peak) in seen.items():
                self.peaks[process] = max(peak, self.peaks.get(process, 0.0))
            time.sleep(POLL)

    def report(self) -> dict[str, float]:
        self.join()
        below = [peak for process, peak in self.peaks.items() if process != self.process]
        return {"parent": self.peaks.get(self.process, 0.0), "worker": max(below, default=0.0), "sum": self.together}


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
