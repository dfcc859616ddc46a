"""Samples on disk: samples.txt as the ancestor wrote it, samples.json for programs; whole at any moment.

In: one sample after the other. Out: files that hold those so far, also when the run is interrupted. Those of an earlier run get a number.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from gpt2zh.errors import say
from gpt2zh.system.files import require_writable, write_text

SECONDS_BETWEEN_WRITES = 1.0
END_OF_BLOCK = "=" * 90


@dataclass(frozen=True)
class Sample:
    """A finished text, as samples.json holds it; what is None is left out there.

    Args:
        number: from 1.
        text: prefix included.
        ids: of what was written.
        ended: why: "length", "document", "sentence", "stop" or "loop".
        loops: how often it was taken back out of a loop.
    """

    number: int
    text: str
    ids: list[int] | None = None
    ended: str | None = None
    loops: int | None = None

    def as_json(self) -> dict[str, object]:
        """The fields that are known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def block_title(number: int) -> str:
    """The line above a sample; numbers begin with 1."""
    return f"{'=' * 40} SAMPLE {number} {'=' * 40}"


def sample_block(number: int, text: str) -> str:
    """One sample as the ancestor's samples.txt has it."""
    return f"{block_title(number)}\n{text}\n{END_OF_BLOCK}\n\n"


class SavedSamples:
    """A context in which samples are collected; what is there is written about once a second and at the end, however it comes.

    Args:
        folder: for samples.txt and samples.json. settings: what the JSON says of how they came about.

    Raises:
        UserError: the folder cannot be written to; before anything is generated.
    """

    def __init__(self, folder: Path, as_text: bool, as_json: bool, settings: Mapping[str, object]) -> None:
        self.text_path = folder / "samples.txt" if as_text else None
        self.json_path = folder / "samples.json" if as_json else None
        self.settings = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
        self.tokens_per_second: float | None = None  # for the JSON, where it is known
        self.samples: list[Sample] = []
        self.wrote = False
        self.due = time.monotonic() + SECONDS_BETWEEN_WRITES
        if self.paths:
            require_writable(folder)

    @property
    def paths(self) -> list[Path]:
        """The files that are written."""
        return [path for path in (self.text_path, self.json_path) if path]

    def add(self, sample: Sample) -> None:
        """Take a finished sample."""
        self.samples.append(sample)
        if time.monotonic() >= self.due:
            self.write()
            self.due = time.monotonic() + SECONDS_BETWEEN_WRITES

    def write(self) -> None:
        """Bring the files up to date; what an earlier run left there is set aside first."""
        if not self.wrote:
            for path in self.paths:
                set_aside(path)
            self.wrote = True
        self.samples.sort(key=lambda sample: sample.number)
        if self.text_path:
            write_text(self.text_path, "".join(sample_block(sample.number, sample.text) for sample in self.samples))
        if self.json_path:
            speed = {} if self.tokens_per_second is None else {"tokens_per_second": self.tokens_per_second}
            samples = [sample.as_json() for sample in self.samples]
            about = {"settings": self.settings, **speed, "samples": samples}
            write_text(self.json_path, json.dumps(about, ensure_ascii=False, indent=1) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.paths and self.samples:
            self.write()
            places = " ".join(map(str, self.paths))
            say(f"{len(self.samples)} 篇已存入 {places}", f"{len(self.samples)} samples saved to {places}")


def set_aside(path: Path) -> None:
    """Give what is at `path` a number of its own: samples.txt becomes samples-1.txt, or the first that is free; said."""
    if not path.is_file() or not path.stat().st_size:  # a device is written to
        return
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(1))
    free = next(other for other in numbered if not other.exists())
    path.rename(free)
    say(f"原有的 {path.name} 改名为 {free}", f"the {path.name} that was there is {free} now")
