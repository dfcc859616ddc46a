"""Samples on disk: samples.txt as the ancestor wrote it, samples.json for programs; whole at any moment.

In: one sample after the other. Out: files that hold those so far, also when the run is interrupted.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from gpt2zh.errors import say
from gpt2zh.system.files import require_writable, write_text

SECONDS_BETWEEN_WRITES = 1.0
END_OF_BLOCK = "=" * 90


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
        self.paths = {
            kind: folder / f"samples.{kind}" for kind, wanted in (("txt", as_text), ("json", as_json)) if wanted
        }
        told = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
        self.about: dict[str, object] = {"settings": told}
        self.samples: list[dict[str, object]] = []
        self.due = time.monotonic() + SECONDS_BETWEEN_WRITES
        if self.paths:
            require_writable(folder)

    def add(self, sample: Mapping[str, object]) -> None:
        """Take a finished sample: number, text, and what else the JSON is to say of it."""
        self.samples.append(dict(sample))
        if time.monotonic() >= self.due:
            self.write()
            self.due = time.monotonic() + SECONDS_BETWEEN_WRITES

    def write(self) -> None:
        """Bring the files up to date."""
        self.samples.sort(key=lambda sample: sample["number"])
        texts = {
            "txt": lambda: "".join(sample_block(sample["number"], sample["text"]) for sample in self.samples),
            "json": lambda: json.dumps({**self.about, "samples": self.samples}, ensure_ascii=False, indent=1) + "\n",
        }
        for kind, path in self.paths.items():
            write_text(path, texts[kind]())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.paths and self.samples:
            self.write()
            places = " ".join(map(str, self.paths.values()))
            say(f"{len(self.samples)} 篇已存入 {places}", f"{len(self.samples)} samples saved to {places}")
