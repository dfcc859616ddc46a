"""What a run says of itself, in four places.

    console               banner, progress bar, one line a report where there is no terminal
    logs/<run>.log        the same lines, with times
    <output>/metrics.jsonl   one JSON object a report: the source of truth for plots
    runs/<run>/           TensorBoard: the same numbers, and sample texts

In: lines, numbers by name, texts. Out: these files. Loss is mean nats a token; `step` is an optimiser step.
"""

import json
import math
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from gpt2zh.errors import bilingual, say
from gpt2zh.system.files import write_text


class PatientFile:
    """A file to which lines are appended. What a full disk refuses is kept, and written with a later line."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("ab", buffering=0)
        self.pending = b""

    def write(self, line: str) -> bool:
        """Append `line`, and what waits. Returns whether all is written."""
        self.pending += line.encode()
        try:
            while self.pending:
                self.pending = self.pending[self.file.write(self.pending) :]
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file; what still waits is lost."""
        self.write("")
        self.file.close()


class RunLog:
    """Open for the length of a run; use it as a context manager.

    Args:
        step: where a resumed run goes on; `n_rows`: reports up to there. What was reported after that will be again.
    """

    def __init__(
        self, output_dir: Path, writer_dir: Path, step: int = 0, n_rows: int = 0, logs_dir: Path = Path("logs")
    ) -> None:
        for folder in (output_dir, logs_dir, writer_dir):
            folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        self.path = logs_dir / f"{output_dir.resolve().name}-{stamp}.log"
        self.log = PatientFile(self.path)
        self.refused = False
        metrics = output_dir / "metrics.jsonl"
        rows = (
            metrics.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            if n_rows and metrics.exists()
            else []
        )
        write_text(metrics, "".join(rows[:n_rows]))
        self.n_rows = n_rows
        self.metrics = PatientFile(metrics)
        from tensorboardX import SummaryWriter  # imports torch, so not before the flags are checked

        self.writer = SummaryWriter(str(writer_dir), filename_suffix=f".{stamp}", purge_step=step + 1 if step else None)
        self.first_step = step
        self.bar: tqdm | None = None

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        if error is not None:
            self._note(f"ended by {type(error).__name__}: {error}")
        if self._draws():
            with suppress(OSError):
                self.writer.close()
        self.metrics.close()
        self.log.close()

    def _note(self, text: str) -> None:
        self.log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")

    def _draws(self) -> bool:
        """Whether tensorboardX still writes: its thread ends at the first refusal of the disk, and who adds more then waits for ever."""
        return self.writer.file_writer.event_writer._worker.is_alive()

    def line(self, zh: str, en: str) -> None:
        """A line for people, in both languages, above the progress bar."""
        text = bilingual(zh, en)
        tqdm.write(text)
        self._note(text)

    def start_bar(self, n_steps: int) -> None:
        """Show a progress bar of optimiser steps (none where stderr is no terminal)."""
        self.started = time.time()
        self.bar = tqdm(
            total=n_steps, initial=self.first_step, unit="step", dynamic_ncols=True, disable=None, smoothing=0.05
        )

    def advance(self, n_steps: int) -> None:
        """One optimiser step is done, of `n_steps`."""
        self.bar.total = n_steps
        self.bar.update()

    def report(self, step: int, values: dict[str, float]) -> None:
        """Numbers at `step`, to the files and behind the bar; their names are like `train/loss`. What is no number is null."""
        row = {name: value if math.isfinite(value) else None for name, value in values.items()}
        written = self.metrics.write(json.dumps({"step": step, "time": round(time.time(), 3), **row}) + "\n")
        self.n_rows += 1
        if self._draws():
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)
        else:
            written = False
        if not written and not self.refused:
            self.refused = True
            self.line(
                "注意：磁盘不让写 metrics.jsonl 或 TensorBoard 文件，训练继续；metrics.jsonl 的各行等有空间时再写。请检查磁盘空间。",
                "note: the disk refuses metrics.jsonl or TensorBoard's file; training goes on, and the rows are written when there is room. Check its space.",
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
        self._note(f"step {step} {precise}")

    def text(self, step: int, name: str, text: str) -> None:
        """A sample text, to the log and to TensorBoard."""
        self._note(f"step {step} {name}:\n{text}")
        if self._draws():
            self.writer.add_text(name, text.replace("\n", "\n\n"), step)


class SilentLog(RunLog):
    """The log of a process that is not the first of its run: the same calls, and nothing is written."""

    def __init__(self) -> None:
        self.n_rows = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def line(self, zh: str, en: str) -> None:
        pass

    def start_bar(self, n_steps: int) -> None:
        pass

    def advance(self, n_steps: int) -> None:
        pass

    def report(self, step: int, values: dict[str, float]) -> None:
        pass

    def text(self, step: int, name: str, text: str) -> None:
        pass


class SpokenLog(SilentLog):
    """The log of a run that is only rehearsed: what it says goes to the console, and nothing is written."""

    def line(self, zh: str, en: str) -> None:
        say(zh, en)
