"""Documents -> train.json (a list of strings, one a line) or JSONL ({"text": …} a line), as the suffix says.

In: a path and documents, one at a time. Out: the file, whole or not at all. And pieces of text held on disk in between.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType

from gpt2zh.system.files import naming, new_file


class CorpusWriter:
    """Write documents one by one; use it as a context manager.

    The file takes the place of `path` when the block ends well and at least one document was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.as_lines = path.suffix.lower() == ".jsonl"
        self.n_written = 0
        self._open = ExitStack()

    def __enter__(self) -> "CorpusWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.n_written and not self.as_lines:
            self.file.write(b"\n]\n")
        self._open.__exit__(kind, error, trace)

    def write(self, document: str) -> None:
        """Append a document."""
        if not self.n_written:
            self.file = self._open.enter_context(new_file(self.path))
        if self.as_lines:
            text = json.dumps({"text": document}, ensure_ascii=False) + "\n"
        else:
            text = (",\n" if self.n_written else "[\n") + json.dumps(document, ensure_ascii=False)
        self.file.write(text.encode())
        self.n_written += 1


class HeldPieces:
    """Pieces of text with the number of their source, on disk until they are read back in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = TemporaryFile(dir=folder)
        self.n_pieces = 0

    def __enter__(self) -> "HeldPieces":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def add(self, source: int, text: str) -> None:
        with naming(self.folder):
            self.file.write(json.dumps([source, text], ensure_ascii=False).encode() + b"\n")
        self.n_pieces += 1

    def __iter__(self) -> Iterator[tuple[int, str]]:
        self.file.seek(0)
        for line in self.file:
            yield tuple(json.loads(line))
