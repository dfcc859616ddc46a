"""Token files of other tools: found in a folder, read in blocks, every id checked, cut into documents.

    tokenized_train_0.txt … tokenized_train_99.txt   GPT2-Chinese: decimal ids and blanks, [MASK] ids [CLS] [MASK] …
    train.bin, val.bin                               nanoGPT: bare ids, uint16, little endian

A tokenized_val.txt beside the former, which GPT2-Chinese does not know, holds documents for validation, as val.bin does.

In: a folder. Out: documents as arrays of ids, in parts where they are long.
Refuses: a folder without such files or with a gap among them; what is not a number; ids that the vocabulary lacks.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt2zh.errors import UserError
from gpt2zh.system.files import EXCERPT, sha256

BLOCK = 1 << 23  # bytes read at a time
LONGEST_PART = 1_000_000  # ids; a longer document comes in parts
LONGEST_NUMBER = 100  # digits, leading zeros included
TRAIN_TEXT = re.compile(r"tokenized_train_(0|[1-9]\d*)\.txt")
VAL_TEXT = "tokenized_val.txt"
TRAIN_BINARY, VAL_BINARY = "train.bin", "val.bin"
BLANKS = b" \t\r\n"


@dataclass(frozen=True)
class Part:
    """A document, or a part of one.

    Args:
        ids: (n,), uint32.
        closes: the document ends with this part.
        validates: it comes from the file of validation documents.
    """

    ids: np.ndarray
    closes: bool
    validates: bool


@dataclass(frozen=True)
class TokenFiles:
    """Files of one format, in their order."""

    train: list[Path]
    val: list[Path]

    @property
    def n_bytes(self) -> int:
        return sum(path.stat().st_size for path in (*self.train, *self.val))

    def sha256(self) -> str:
        """The hash of the files' hashes, and of which of them validate."""
        hashes = [*(sha256(path) for path in self.train), "val", *(sha256(path) for path in self.val)]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    def parts(self, document_end_id: int, vocab_size: int, advance: Callable[[int], object]) -> Iterator[Part]:
        """All documents. One ends behind `document_end_id`, and at the end of its file.

        Args:
            advance: called with the number of bytes that were read, now and then.
        """
        for path in (*self.train, *self.val):
            validates = path in self.val
            held = np.empty(0, np.uint32)
            for ids in read_ids(path, vocab_size, advance):
                held = np.concatenate([held, ids])
                start = 0
                for end in (np.flatnonzero(held == document_end_id) + 1).tolist():
                    yield from _cut(held[start:end], validates)
                    start = end
                held = held[start:]
                while len(held) > LONGEST_PART:  # never all of it: the last part is the one that closes
                    yield Part(held[:LONGEST_PART], False, validates)
                    held = held[LONGEST_PART:]
            yield from _cut(held, validates)


def _cut(document: np.ndarray, validates: bool) -> Iterator[Part]:
    """The parts of a document's end, the same wherever the blocks of its file end."""
    for start in range(0, len(document), LONGEST_PART):
        end = start + LONGEST_PART
        yield Part(document[start:end], end >= len(document), validates)


def find_token_files(folder: Path) -> TokenFiles:
    """The token files in `folder`.

    Raises:
        UserError: no folder, no such files, both formats, a gap in the numbers, or a .bin that cannot hold uint16.
    """
    if not folder.is_dir():
        raise UserError(
            f"找不到文件夹 {folder}（当前目录：{Path.cwd()}）。",
            f"folder not found: {folder} (current folder: {Path.cwd()}).",
        )
    numbered = {int(match[1]): path for path in folder.iterdir() if (match := TRAIN_TEXT.fullmatch(path.name))}
    train, val = folder / TRAIN_BINARY, folder / VAL_BINARY
    if bool(numbered) == train.exists():
        what = ("两种都有", "this one has both") if numbered else ("两种都没有", "this one has neither")
        raise UserError(
            f"{folder} 里要么有 tokenized_train_0.txt …（GPT2-Chinese），要么有 {TRAIN_BINARY}（nanoGPT）；这里{what[0]}。",
            f"{folder} must hold either tokenized_train_0.txt … (GPT2-Chinese) or {TRAIN_BINARY} (nanoGPT); {what[1]}.",
        )
    if numbered:
        gap = next((number for number in range(max(numbered)) if number not in numbered), None)
        if gap is not None:
            raise UserError(
                f"{folder} 缺 tokenized_train_{gap}.txt（最大的是 {max(numbered)}）。请把文件补全。",
                f"{folder} lacks tokenized_train_{gap}.txt (the last is {max(numbered)}). Supply the missing files.",
            )
        val = folder / VAL_TEXT
    found = TokenFiles([numbered[number] for number in sorted(numbered)] or [train], [val] if val.exists() else [])
    for path in () if numbered else (*found.train, *found.val):
        size = path.stat().st_size
        if size == 0 or size % 2:
            raise UserError(
                f"{path} 有 {size} 字节，不是 uint16 的编号（应是大于 0 的偶数）。文件可能没有复制完。",
                f"{path} has {size} bytes, so it does not hold uint16 ids (an even number above 0 is expected). It may have been copied only in part.",
            )
    return found


def read_ids(path: Path, vocab_size: int, advance: Callable[[int], object]) -> Iterator[np.ndarray]:
    """The ids of one file in blocks, uint32, each below `vocab_size`."""
    n_read = 0
    for ids in (_read_binary if path.suffix == ".bin" else _read_text)(path, advance):
        bad = np.flatnonzero(ids >= vocab_size)
        if len(bad):
            raise UserError(
                f"{path} 的第 {n_read + bad[0] + 1} 个编号是 {ids[bad[0]]}，而词表只有 {vocab_size} 个词条（0–{vocab_size - 1}）。请用 --tokenizer_path 给出切它的那份词表。",
                f"id number {n_read + bad[0] + 1} of {path} is {ids[bad[0]]}, but the vocabulary has only {vocab_size} entries (0–{vocab_size - 1}). Give the vocabulary that made the file with --tokenizer_path.",
            )
        n_read += len(ids)
        yield ids.astype(np.uint32)


def _read_binary(path: Path, advance: Callable[[int], object]) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            advance(len(block))
            yield np.frombuffer(block, "<u2")


def _read_text(path: Path, advance: Callable[[int], object]) -> Iterator[np.ndarray]:
    """Decimal numbers, parsed block by block; a number that a block cuts is left to the next."""
    rest, position = b"", 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            strange = block.translate(None, b"0123456789" + BLANKS)
            if strange:
                raise _no_number(path, position, block, block.index(strange[:1]))
            data = rest + block
            cut = max(data.rfind(blank) for blank in (BLANKS[i : i + 1] for i in range(len(BLANKS)))) + 1
            rest = data[cut:]
            if len(rest) > LONGEST_NUMBER:
                raise _no_number(path, position, block, len(block) - 1)
            position += len(block)
            advance(len(block))
            yield _parse(data[:cut])
    yield _parse(rest)


def _parse(data: bytes) -> np.ndarray:
    # A number too large for int64 becomes its largest, which no vocabulary has.
    return np.fromstring(data, dtype=np.int64, sep=" ") if data.strip() else np.empty(0, np.int64)


def _no_number(path: Path, position: int, block: bytes, index: int) -> UserError:
    near = block[max(0, index - EXCERPT) : index + EXCERPT].decode(errors="replace")
    return UserError(
        f"{path} 第 {position + index} 字节不是编号（十进制数、空白分隔）：「{near}」附近。",
        f"byte {position + index} of {path} is not part of an id (decimal numbers separated by whitespace): near {near!r}.",
    )
