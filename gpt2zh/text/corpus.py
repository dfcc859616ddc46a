"""A user's text files -> documents, one at a time, however large the files are.

    train.json           list of strings (one a chapter), list of {"text": …} or {"content": …}, or one of these
    *.jsonl              one of these a line; or one after the other, over several lines each
    *.txt *.md *.html    one document a file; above 16 M characters several, parted at a line's end where there is one
    *.gz                 any of these, compressed
    *.csv *.tsv          one document a row, in the column that is named or called text, content, 正文 …
    *.parquet            one document a row, in the column text or content (needs pyarrow)
    *.srt *.vtt *.lrc …  what is said, one document a file; also where it is called .txt
    a folder             all of these in it but tables and subtitles, in the order of their names (`folder` says what is left out)

Any encoding of Chinese that `encodings` knows. In: a path. Out: documents with `\\n` between paragraphs; the hash of the
files' bytes. Refuses: other shapes, with the place of the first entry that is not a text; a file that changes while it is read.
"""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gpt2zh.errors import UserError
from gpt2zh.system.files import checksums, require_file, unify_line_ends
from gpt2zh.text import entries, subtitles, tables
from gpt2zh.text.decoder import Decoder
from gpt2zh.text.encodings import detect
from gpt2zh.text.folder import Found, find_files

TEXT_SUFFIXES = (".txt", ".md", ".html", ".htm")
SUFFIXES = (".json", ".jsonl", *TEXT_SUFFIXES, ".parquet")
CHUNK = 1 << 20  # bytes read at a time; the first of them decide the encoding
LONGEST_PART = 16 << 20  # characters of a text file that are one document
SHOWN_LINES = 5  # numbers of lines that are no JSON


@dataclass(frozen=True)
class FileRead:
    """What reading one file showed: `n_broken` characters could not be decoded, `bad_lines` (their numbers) are no JSON."""

    path: Path
    encoding: str
    n_broken: int = 0
    bad_lines: tuple[int, ...] = ()

    def faults(self) -> tuple[str, str]:
        """What was lost, Chinese and English, each beginning with a comma; "" for nothing."""
        zh = en = ""
        if self.n_broken:
            zh, en = f"，{self.n_broken} 个字符损坏", f", {self.n_broken} broken characters"
        if self.bad_lines:
            n, shown = len(self.bad_lines), " ".join(map(str, self.bad_lines[:SHOWN_LINES]))
            zh += f"，{n} 行不是 JSON，没有读（第 {shown} 行{'……' if n > SHOWN_LINES else ''}）"
            en += f", {n} lines that are no JSON are left out (line {shown}{' …' if n > SHOWN_LINES else ''})"
        return zh, en


class Corpus:
    """The documents behind a path, to be iterated as often as needed. Blank ones are left out and counted.

    Raises while it is iterated:
        UserError: nothing readable there, an entry that is not a text (file, entry, what it is instead), no text at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found = find_corpus(path)
        self.files = {file: file_state(file) for file in self.found.files}
        self.read: list[FileRead] = []
        self.n_empty = 0

    def __iter__(self) -> Iterator[str]:
        self.read.clear()
        self.n_empty = n_documents = 0
        for file, state in self.files.items():
            for text in read_file(file, self.read, state):
                document = unify_line_ends(text).strip()
                if document:
                    n_documents += 1
                    yield document
                else:
                    self.n_empty += 1
        if not n_documents:
            raise UserError(
                f"{self.path} 里没有文字：{self.n_empty} 篇文章全是空的。",
                f"{self.path} holds no text: all of its {self.n_empty} documents are empty.",
            )

    def notes(self) -> list[tuple[str, str]]:
        """What a person should know of the files, Chinese and English: what was not read, encodings, broken characters."""
        notes = self.found.notes()
        for file in self.read:
            zh, en = file.faults()
            if zh or file.encoding != "utf-8":
                notes.append(
                    (f"{file.path} 按 {file.encoding} 读取{zh}", f"{file.path} is read as {file.encoding}{en}")
                )
        return notes


def find_corpus(path: Path) -> Found:
    """The files that `path` stands for: itself, or those of a folder and all below it, in the order of their names."""
    if not path.is_dir():
        require_file(path)
        return Found(path, [path])
    found = find_files(path, is_corpus)
    if not found.files:
        notes = found.notes()
        raise UserError(
            " ".join([f"文件夹 {path} 里没有 {' '.join(SUFFIXES)} 文件。", *(zh for zh, _ in notes)]),
            " ".join([f"the folder {path} has no {' '.join(SUFFIXES)} files.", *(en for _, en in notes)]),
        )
    return found


def corpus_files(path: Path) -> list[Path]:
    """The files of `find_corpus`."""
    return find_corpus(path).files


def is_corpus(path: Path) -> bool:
    """Whether a file's name is that of a format that is read."""
    return suffix_of(path) in SUFFIXES


def suffix_of(path: Path) -> str:
    """The suffix that tells the format, in lower case; of `a.json.gz` it is .json."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def corpus_sha256(path: Path) -> str:
    """Identify the content behind `path`: one file's SHA-256, or the hash of the files' hashes."""
    hashes = checksums(corpus_files(path))
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def file_state(path: Path) -> tuple[int, int]:
    """Size and time of change, which tell whether a file was written to."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def read_file(
    path: Path,
    read: list[FileRead],
    state: tuple[int, int],
    advance: Callable[[int], object] = lambda n_bytes: None,
    key: str | None = None,
) -> Iterator[str]:
    """The documents of one file, by its suffix; appends to `read` what reading it showed.

    Args:
        state: `file_state` of the file as the caller knows it.
        advance: called with the number of bytes that were read, now and then.
        key: of the text in JSON, or its column, where they are other than usual.
    """
    suffix = suffix_of(path)
    if suffix == ".parquet":
        yield from tables.parquet_rows(path, key)
        read.append(FileRead(path, "utf-8"))
    else:
        text, bad_lines = TextFile(path, advance), list[int]()
        if suffix == ".json":
            yield from entries.values(iter(text), path, key)
        elif suffix == ".jsonl":
            yield from entries.lines(iter(text), path, bad_lines, key)
        elif suffix in tables.DELIMITERS:
            yield from tables.rows(iter(text), path, tables.DELIMITERS[suffix], key)
        else:
            yield from _parts(text, suffix in subtitles.SUFFIXES)
        read.append(FileRead(path, text.encoding, text.n_broken, tuple(bad_lines)))
    if state != (now := file_state(path)):
        raise UserError(
            f"{path} 在读取时被改动了（{state[0]} -> {now[0]} 字节）。请等它写完再运行。",
            f"{path} changed while it was read ({state[0]} -> {now[0]} bytes). Run again when it is complete.",
        )


class TextFile:
    """The decoded text of a file in chunks; compressed files are unpacked. A byte-order mark is left out."""

    def __init__(self, path: Path, advance: Callable[[int], object]) -> None:
        self.path = path
        self.advance = advance
        self.encoding = "utf-8"
        self.n_broken = 0

    def __iter__(self) -> Iterator[str]:
        packed = self.path.name.lower().endswith(".gz")
        with self.path.open("rb") as on_disk, gzip.open(on_disk) if packed else on_disk as file:
            try:
                chunk = file.read(CHUNK)
                self.encoding = self._detect(chunk)
                decoder = Decoder(self.encoding)
                n_read = 0
                while True:
                    following = file.read(CHUNK)
                    yield decoder.decode(chunk, final=not following)
                    self.advance(on_disk.tell() - n_read)
                    n_read = on_disk.tell()
                    if not following:
                        break
                    chunk = following
                self.n_broken = decoder.n_broken
                self.encoding = " + ".join([self.encoding, *decoder.others])
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise UserError(
                    f"{self.path} 的 gzip 压缩数据损坏或不完整（{error}）。请重新下载。",
                    f"the gzip data of {self.path} is damaged or cut short ({error}). Download it again.",
                ) from None

    def _detect(self, sample: bytes) -> str:
        try:
            return detect(sample)
        except UserError as error:
            raise UserError(f"{self.path}：{error.zh}", f"{self.path}: {error.en}") from None


def _parts(text: TextFile, as_subtitles: bool) -> Iterator[str]:
    """A text file as one document, or as several where it is very long."""
    held: list[str] = []
    size = 0
    for chunk in text:
        as_subtitles = as_subtitles or (not held and subtitles.is_subtitles(chunk))
        held.append(chunk)
        size += len(chunk)
        if size >= LONGEST_PART:
            whole = "".join(held)
            end = whole.rfind("\n") + 1 or len(whole)
            yield whole[:end]
            held, size = [whole[end:]], len(whole) - end
    rest = "".join(held)
    yield subtitles.spoken(unify_line_ends(rest)) if as_subtitles else rest
