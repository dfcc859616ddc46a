"""What a run says of itself, in four places.

    console               banner, progress bar, one line a report where there is no terminal
    logs/<run>.log        the same lines, with times
    <output>/metrics.jsonl   one JSON object a report: the source of truth for plots
    runs/<run>/           TensorBoard: the same numbers, and sample texts

In: lines, numbers by name, texts. Out: these files. Loss is mean nats a token; `step` is an optimiser step.
"""

import json
import math
import os
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

from gpt2zh.console import visible
from gpt2zh.errors import bilingual
from gpt2zh.system.files import encoded, write_text


class PatientFile:
    """A file to which lines are appended. What a full disk refuses is kept, and written with a later line."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("ab", buffering=0)
        self.pending = b""

    def write(self, line: str) -> bool:
        """Append `line`, and what waits. Returns whether all is written."""
        self.pending += encoded(line)
        try:
            while self.pending:
                self.pending = self.pending[self.file.write(self.pending) :]
        except OSError:
            return False
        return True

    def sync(self) -> None:
        """Have the disk hold what is written."""
        with suppress(OSError):
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file; what still waits is lost."""
        self.write("")
        self.file.close()


class RunFiles:
    """The log, the metrics and TensorBoard's file of a run.

    Args:
        step: where a resumed run goes on; `n_rows`: reports up to there. What was reported after that will be again.
    """

    def __init__(
        self, output_dir: Path, writer_dir: Path, step: int = 0, n_rows: int = 0, logs_dir: Path = Path("logs")
    ) -> None:
        for folder in (output_dir, logs_dir, writer_dir):
            folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        self.log = PatientFile(logs_dir / f"{output_dir.resolve().name}-{stamp}.log")
        metrics = output_dir / "metrics.jsonl"
        rows = whole_rows(metrics, step)[:n_rows] if n_rows and metrics.exists() else []
        self.n_rows = len(rows)
        write_text(metrics, "".join(rows))
        self.metrics = PatientFile(metrics)
        from gpt2zh.training.tensorboard import TensorBoardFile  # imports torch, so not before the flags are checked

        self.board = TensorBoardFile(writer_dir, step + 1 if step else 0)

    def note(self, text: str) -> None:
        """A line of the log."""
        self.log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")

    def row(self, step: int, values: dict[str, float]) -> bool:
        """A row of metrics.jsonl, where what is not finite is null, and TensorBoard's points. Returns whether all is written."""
        row = {name: value if math.isfinite(value) else None for name, value in values.items()}
        written = self.metrics.write(json.dumps({"step": step, "time": round(time.time(), 3), **row}) + "\n")
        return self.board.points(step, values) and written

    def text(self, step: int, name: str, text: str) -> None:
        """A text, to the log and to TensorBoard."""
        self.note(f"step {step} {name}:\n{text}")
        self.board.text(step, name, text)

    def sync(self) -> None:
        """Have the disk hold the rows so far: a checkpoint counts on them."""
        self.metrics.sync()

    def close(self) -> None:
        """Close all; what the disk still refuses is lost."""
        self.metrics.close()
        self.log.close()


def whole_rows(path: Path, last_step: int) -> list[str]:
    """The lines of a metrics.jsonl up to a step; what a power cut has left of a line is none."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        with suppress(ValueError, KeyError, TypeError):
            if json.loads(line)["step"] <= last_step and line.endswith("\n"):
                found.append(line)
    return found


class RunLog:
    """Open for the length of a run; use it as a context manager.

    Args:
        files: None where nothing is written: in a rehearsal, and in a process that is not the first of its run.
        first_step: where a resumed run goes on; `n_rows`: reports up to there.
    """

    def __init__(self, files: RunFiles | None = None, first_step: int = 0, n_rows: int = 0) -> None:
        self.files, self.first_step, self.n_rows = files, first_step, files.n_rows if files else n_rows
        self.refused = False
        self.bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.files is not None:
            if error is not None:
                self.files.note(f"ended by {type(error).__name__}: {error}")
            self.files.close()

    def line(self, zh: str, en: str) -> None:
        """A line for people, in both languages, above the progress bar."""
        text = bilingual(zh, en)
        tqdm.write(text)
        if self.files is not None:
            self.files.note(text)

    def start_bar(self, n_steps: int) -> None:
        """Show a progress bar of optimiser steps (none where stderr is not a terminal)."""
        self.started = time.time()
        hidden = None if self.files is not None else True  # None: where stderr is not a terminal
        self.bar = tqdm(
            total=n_steps, initial=self.first_step, unit="step", dynamic_ncols=True, disable=hidden, smoothing=0.05
        )

    def advance(self, n_steps: int) -> None:
        """One optimiser step is done, of `n_steps`."""
        if self.bar is not None:
            self.bar.total = n_steps
            self.bar.update()

    def report(self, step: int, values: dict[str, float], unsaid: dict[str, float] | None = None) -> None:
        """Numbers at `step`, to the files and behind the bar; their names are like `train/loss`. `unsaid` go to the files only."""
        self.n_rows += 1
        if self.files is None or self.bar is None:
            return
        if not self.files.row(step, values | (unsaid or {})) and not self.refused:
            self.refused = True
            self.line(
                "注意：磁盘不让写 metrics.jsonl 或 TensorBoard 文件，训练继续；metrics.jsonl 的各行等有空间时再写。请检查磁盘空间。",
                "note: the disk refuses metrics.jsonl or TensorBoard's file; training goes on, and the rows of metrics.jsonl are written when there is room. Check the disk's space.",
            )
        shown = {name.split("/")[-1]: f"{value:.4g}" for name, value in values.items()}
        if not self.bar.disable:
            self.bar.set_postfix(shown, refresh=False)
        else:
            pace = (time.time() - self.started) / max(1, step - self.first_step)
            left = timedelta(seconds=round(pace * (self.bar.total - step)))
            numbers = "  ".join(f"{name} {value}" for name, value in shown.items())
            print(f"step {step}/{self.bar.total}  {numbers}  left {left}", flush=True)
        precise = " ".join(f"{name}={value:.6g}" for name, value in values.items())
        self.files.note(f"step {step} {precise}")

    def sync(self) -> None:
        """Have the disk hold the reports so far."""
        if self.files is not None:
            self.files.sync()

    def text(self, step: int, name: str, text: str) -> None:
        """A sample text, to the screen, to the log and to TensorBoard."""
        if self.files is not None:
            tqdm.write(f"第 {step} 步的样文 / sample at step {step}：\n{indented(visible(text))}")
            self.files.text(step, name, text)


def indented(text: str) -> str:
    """A text whose lines stand apart from those around it."""
    return "\n".join(f"    {line}" for line in text.split("\n"))
