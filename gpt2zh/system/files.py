"""Files that users name: read whole or refused with the reason, written beside and renamed.

In: a path. Out: its text, its JSON value, its hash; or a file that is either the old one or the new one, never half.
Refuses: a missing path, a folder where a file is expected, bytes that are not UTF-8, JSON that does not parse.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gpt2zh.errors import EnvironmentFault, UserError

EXCERPT = 20  # characters shown on each side of an error in a text
LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.(?P<kind>tmp|old)")  # of what a killed process wrote beside


def require_file(path: Path) -> None:
    """Raise UserError unless `path` is a file, which can be read as often as needed."""
    if path.is_dir():
        raise UserError(f"{path} 是文件夹，这里要的是文件。", f"{path} is a folder; a file is expected here.")
    if not path.exists():
        raise UserError(
            f"找不到文件 {path}。请检查路径（当前目录：{Path.cwd()}）。",
            f"file not found: {path}. Check the path (current folder: {Path.cwd()}).",
        )
    if not path.is_file():
        zh, en = ("管道", "pipe") if path.is_fifo() else ("设备或套接字", "device or socket")
        raise UserError(
            f"{path} 是{zh}，不是文件；这里的内容要读不止一遍。请先存成文件再给路径。",
            f"{path} is a {en}, not a file, and what it holds is read more than once. Save it to a file and give that.",
        )


def require_writable(path: Path) -> None:
    """Raise UserError unless files can be made below `path`, a folder that may not exist yet. Makes nothing."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise UserError(
            f"不能在 {path} 里写文件：{existing} 是文件。请换一个文件夹。",
            f"no files can be written to {path}: {existing} is a file. Give another folder.",
        )
    if not os.access(existing, os.W_OK):
        raise EnvironmentFault(
            f"不能在 {path} 里写文件：没有 {existing} 的写权限。请改权限，或换一个文件夹。",
            f"no files can be written to {path}: no permission to write to {existing}. Change its permissions, or give another folder.",
        )


def is_writable(path: Path) -> bool:
    """Whether files can be made below `path`; see `require_writable`."""
    try:
        require_writable(path)
    except UserError:
        return False
    return True


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte-order mark; line ends become `\\n`.

    Raises:
        UserError: the path is not a readable file, or its bytes are not UTF-8 (the message names the first bad byte).
    """
    require_file(path)
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} 不是 UTF-8 编码：第 {line} 行（第 {error.start} 字节）是 0x{data[error.start]:02x}。请另存为 UTF-8 再试。",
            f"{path} is not UTF-8: line {line} (byte {error.start}) has 0x{data[error.start]:02x}. Save it as UTF-8 and try again.",
        ) from None
    return unify_line_ends(text)


def unify_line_ends(text: str) -> str:
    """Line ends as `\\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def json_error(path: Path, line: int, column: int, near: str, message: str) -> UserError:
    """The error for a text that is not JSON; `near` is the text around the fault."""
    near = near.replace("\n", "\\n")
    return UserError(
        f"{path} 不是合法的 JSON：第 {line} 行第 {column} 列，「{near}」附近（{message}）。请改正那里的引号、逗号或括号；文件若不完整，请重新下载。",
        f"{path} is not valid JSON: line {line}, column {column}, near {near!r} ({message}). Correct the quote, comma or bracket there; download the file again if it is cut short.",
    )


def json_beyond_python(path: Path, error: ValueError | RecursionError) -> UserError:
    """The error for JSON that is right and still cannot be read: nested too deeply, an integer of thousands of digits."""
    if isinstance(error, RecursionError):
        return UserError(f"{path} 的 JSON 嵌套过深。", f"the JSON of {path} is nested too deeply.")
    return UserError(f"{path} 的 JSON 读不出来：{error}。", f"the JSON of {path} cannot be read: {error}.")


def parse_json(text: str, path: Path, first_line: int = 1) -> object:
    """Parse JSON; a UserError shows the line, the column and the text around the fault."""
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - EXCERPT) : error.pos + EXCERPT]
        raise json_error(path, first_line + error.lineno - 1, error.colno, near, error.msg) from None
    except (ValueError, RecursionError) as error:
        raise json_beyond_python(path, error) from None


def read_json_object(path: Path) -> dict[str, object]:
    """Read a JSON file that must hold one object."""
    value = parse_json(read_text(path), path)
    if not isinstance(value, dict):
        raise UserError(
            f"{path} 应是一个 JSON 对象 {{…}}，实际是 {type(value).__name__}。",
            f"{path} must hold a JSON object {{…}}, not a {type(value).__name__}.",
        )
    return value


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or a folder's names, before going on."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems sync no folders
            raise
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file, on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(sha256, paths))


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield an empty file beside `path`; when the block ends well it takes the place of `path`, else it is removed.

    `path` is at any moment the old file or the new one, whole, and on the disk. A device or a pipe (/dev/null, /dev/stdout) is
    written to as it is, and stays what it is; so does a symbolic link: what it points to is replaced.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with naming(path), path.open("wb") as device:
            yield device
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path.parent, path.name)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def clear_leftovers(parent: Path, name: str | None = None) -> None:
    """Remove what killed processes left in `parent`, and put back a folder that one of them was replacing.

    Args:
        name: of the file or folder whose leftovers are meant, where their process is gone; None: all, and nobody else may write there now.
    """
    found = [(path, match) for path in parent.glob(".*") if (match := LEFTOVER.fullmatch(path.name))]
    for path, match in found:
        if name is not None and (name != match["name"] or is_running(int(match["process"]))):
            continue
        place = parent / match["name"]
        if match["kind"] == "old" and not place.exists():
            path.rename(place)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether there is a process of this number on this machine; on Windows, which has no such question, always."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an error of the system that names no file, as that of a full disk, name `path`."""
    try:
        yield
    except OSError as error:
        error.filename = str(path) if error.filename is None else error.filename
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with new_file(path) as file:
        file.write(encoded(text))


def encoded(text: str) -> bytes:
    """`text` in UTF-8; what is no character, as a byte of a file name in another encoding, as �."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
