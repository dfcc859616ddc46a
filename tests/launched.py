"""Commands that a test starts, and ends."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Launched:
    """A command at work in a folder; what it prints goes to a file."""

    def __init__(self, folder: Path, command: list[object], name: str) -> None:
        self.printed = folder / f"{name}.printed"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with self.printed.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                list(map(str, command)), cwd=folder, stdout=file, stderr=file, env=environment
            )

    def wait(self, seconds: float = 180) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    @property
    def text(self) -> str:
        return self.printed.read_text(encoding="utf-8")

    def children(self) -> list[int]:
        """The ids of the processes it started, in the order of their start: for torchrun, of their ranks."""
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = [tuple(map(int, line.split())) for line in table.splitlines()]
        return sorted(pid for pid, parent in pairs if parent == self.process.pid)


@contextmanager
def ended_after_use() -> Iterator[list[Launched]]:
    """A list for what is launched in a block; what still runs at its end is ended."""
    launched: list[Launched] = []
    yield launched
    for one in launched:
        if one.process.poll() is None:
            one.process.terminate()  # torchrun ends its processes then
    for one in launched:
        try:
            one.process.wait(40)
        except subprocess.TimeoutExpired:
            one.process.kill()
