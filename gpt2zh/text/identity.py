"""Which text lies behind a path: its SHA-256, without reading it again where nothing changed since it was last hashed.

    corpus.json     the hash, and each file's size, times of change and the hash of a sample of its bytes

A file counts as unchanged if all of these are the same. Of two changes within the resolution of a file system's clock the
second does not show, so what was changed in the seconds before it was hashed is not remembered. Wherever there is doubt,
the corpus is hashed again; one that is small always is.

In: a path, and the file that may hold an earlier identity. Out: a `CorpusIdentity`, to be remembered there.
Refuses: what `corpus_files` refuses.
"""

import contextlib
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from gpt2zh.errors import UserError
from gpt2zh.system.files import read_json_object, write_text
from gpt2zh.system.records import record
from gpt2zh.text.corpus import corpus_files, corpus_sha256

SMALL = 1 << 26  # bytes; hashing them takes a tenth of a second
SPOTS, SPOT = 16, 1 << 16  # places of a file that are sampled, from its beginning to its end; bytes of each
SETTLED = 3_000_000_000  # ns; FAT counts time in two seconds


@dataclass(frozen=True)
class FileTraits:
    """What tells, but for its other bytes, whether a file was changed. Times: ns since 1970."""

    path: str
    size: int
    mtime: int
    ctime: int  # no program can set this one back; on Windows it is the time of creation
    sample: str  # SHA-256


@dataclass(frozen=True)
class CorpusIdentity:
    """The SHA-256 of a corpus (see `corpus_sha256`), and its files, in order: none where these say too little."""

    sha256: str
    files: list[FileTraits]

    def remember(self, memory: Path) -> None:
        """Write the identity to a file, for `identify`. Where that cannot be written, the next run hashes again."""
        if self.files and _remembered(memory) != self:
            with contextlib.suppress(OSError):
                write_text(memory, json.dumps(asdict(self), indent=1) + "\n")


def identify(corpus: Path, memory: Path) -> CorpusIdentity:
    """The identity of a corpus: the one that the file `memory` holds if nothing changed since, else by reading all of it."""
    paths = corpus_files(corpus)
    if sum(path.stat().st_size for path in paths) < SMALL:
        return CorpusIdentity(corpus_sha256(corpus), [])
    files = [_traits(path) for path in paths]
    known = _remembered(memory)
    if known is not None and known.files == files:
        return known
    started = time.time_ns()
    digest = corpus_sha256(corpus)
    settled = all(max(file.mtime, file.ctime) < started - SETTLED for file in files)
    unchanged = files == [_traits(path) for path in corpus_files(corpus)]
    return CorpusIdentity(digest, files if settled and unchanged else [])


def _remembered(memory: Path) -> CorpusIdentity | None:
    try:
        return record(CorpusIdentity, read_json_object(memory))
    except (UserError, OSError, ValueError):
        return None


def _traits(path: Path) -> FileTraits:
    stat = path.stat()
    sample = hashlib.sha256()
    with path.open("rb") as file:
        for spot in range(SPOTS):
            file.seek(max(0, stat.st_size - SPOT) * spot // (SPOTS - 1))
            sample.update(file.read(SPOT))
    return FileTraits(str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, sample.hexdigest())
