"""Folders that are whole or not there: written beside, put in place by a rename; and sealed, so that damage is found.

    model_epoch3/SHA256SUMS      a line for each file of the folder, as `sha256sum -c SHA256SUMS` reads it

In: a path, and what to write. Out: at any moment, a power cut included, the old folder or the new one; what is wrong with
one that was damaged later.
"""

import contextlib
import ctypes
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt2zh.errors import UserError
from gpt2zh.system.files import clear_leftovers, require_file, sha256, sync, write_text

SEAL = "SHA256SUMS"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
DESCRIPTIONS = ("config.json", "tokenizer.json")  # of a model folder, which say what the weights mean
OF_A_SYSTEM = ("Thumbs.db", "desktop.ini")  # what a file manager leaves anywhere, beside what begins with a dot
REPLACING = 0.2  # seconds, in which a run may replace a folder that is read
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # <fcntl.h>, <linux/fs.h>


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; when the block ends well it takes the place of `path`, else it is removed.

    On Linux the two are exchanged in one step. Elsewhere two renames make the change, and a kill between them leaves the
    old folder beside, as `.name.PID.old`; `clear_leftovers` puts it back. Where `path` is a symbolic link, what it points to is replaced.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path.parent, path.name)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    replaced = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        for file in beside.iterdir():
            sync(file)
        if not path.exists():
            os.replace(beside, path)
        elif not exchange(beside, path):
            os.replace(path, replaced)
            os.replace(beside, path)
        sync(path.parent)
    finally:
        if replaced.exists() and not path.exists():
            os.replace(replaced, path)  # the second rename failed: the old folder goes back
        for leftover in (beside, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write the checksums of a folder's files into it."""
    write_text(folder / SEAL, "".join(f"{sha256(file)}  {file.name}\n" for file in sorted(folder.iterdir())))


def exchange(one: Path, other: Path) -> bool:
    """Give each of two paths what the other has, in one step. False where the system cannot. Source: renameat2(2)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    return renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def faults(folder: Path) -> list[tuple[str, str]]:
    """What is wrong with a sealed folder, in both languages; nothing where it holds what was written, and nothing else."""
    try:
        wanted = sealed(folder)
    except (OSError, ValueError):
        return [(f"缺 {SEAL}，或读不出来", f"{SEAL} is missing or unreadable")]
    ours = (path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name not in OF_A_SYSTEM)
    names = sorted(name for name in ours if name not in (SEAL, *wanted))
    found = [(f"{SEAL} 里没有 {name}", f"{name} is not in {SEAL}") for name in names]
    for name, digest in wanted.items():
        if not (folder / name).is_file():
            found.append((f"缺 {SEAL} 里的 {name}", f"{name}, which is in {SEAL}, is missing"))
        elif changed := change(folder / name, digest):
            found.append(changed)
    return found


def sealed(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that a folder's seal names. Raises OSError or ValueError where it cannot be read."""
    lines = (folder / SEAL).read_text(encoding="utf-8").splitlines()
    return {Path(name).name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def change(path: Path, digest: str) -> tuple[str, str] | None:
    """How a file's SHA-256 differs from `digest`, in both languages."""
    try:
        actual = sha256(path)
    except OSError as error:
        actual = str(error.strerror)
    if actual == digest:
        return None
    return (
        f"{path.name} 的 SHA-256 是 {actual[:12]}，{SEAL} 里是 {digest[:12]}",
        f"SHA-256 of {path.name} is {actual[:12]}, {SEAL} has {digest[:12]}",
    )


def require_unchanged(path: Path) -> None:
    """Raise UserError where a file of a sealed folder is not as it was written. Files that no seal names pass."""
    if change_since_sealed(path):
        time.sleep(REPLACING)  # a run may have replaced the folder between two readings
    if changed := change_since_sealed(path):
        zh, en = changed
        raise UserError(
            f"{path.parent} 已损坏：{zh}。请换一份完好的；若是你自己改的，删去 {path.parent / SEAL} 即可。",
            f"{path.parent} is damaged: {en}. Use an undamaged copy; if you made the change yourself, delete {path.parent / SEAL}.",
        )


def change_since_sealed(path: Path) -> tuple[str, str] | None:
    """How a file differs from what its folder's seal says of it, in both languages."""
    try:
        digest = sealed(path.parent).get(path.name)
    except (OSError, ValueError):
        return None
    return change(path, digest) if digest and path.exists() else None


def finished_models() -> list[Path]:
    """The final_model folders of the runs below the current folder, newest first."""
    configs = Path().glob("*/final_model/config.json")
    return [path.parent for path in sorted(configs, key=lambda path: path.stat().st_mtime, reverse=True)]


def require_model_folder(path: Path) -> None:
    """Raise UserError unless `path` is a folder with a configuration and weights; nothing is looked up in the network.

    What a seal covers of the small files must be as it was written; `model.weights` checks the large ones as it reads them.
    """
    if not path.is_dir():
        names = " ".join(str(folder) for folder in finished_models()[:5])
        raise UserError(
            f"找不到模型文件夹 {path}。" + (f"这里训练完的有：{names}。" if names else "请先运行 train.py。"),
            f"model folder not found: {path}. " + (f"Finished runs here: {names}." if names else "Run train.py first."),
        )
    missing = [] if (path / "config.json").exists() else ["config.json"]
    if not any((path / name).exists() for name in WEIGHTS):
        missing.append(WEIGHTS[0])
    if missing:
        raise UserError(
            f"{path} 不是完整的模型文件夹：缺 {' '.join(missing)}。",
            f"{path} is not a complete model folder: {' '.join(missing)} missing.",
        )
    for name in (*DESCRIPTIONS, *WEIGHTS):
        if (path / name).exists():
            require_file(path / name)
    for name in DESCRIPTIONS:
        require_unchanged(path / name)


def remove(folder: Path) -> None:
    """Delete a folder so that a kill leaves no half of it under its name."""
    doomed = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):  # on Windows somebody may have a file of it open: another time
        os.replace(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
