"""C++ of this project, compiled for the CPU it runs on: once, when it is first needed.

In: a source file of this folder. Out: the loaded library, which lies in the user's cache folder afterwards, with its checksum: one that
is not whole is made anew. Refuses: machines without a compiler, processors for which the source is not written, folders in which others
may put a library of theirs.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from gpt2zh.system.files import sha256, sync, write_text

COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")


class NotBuilt(Exception):
    """The reason why there is no library; one line."""


def load(name: str, **defined: int) -> ctypes.CDLL:
    """The library made from `name`, with -D for each of `defined`.

    Raises:
        NotBuilt: no compiler, or one that refuses.
    """
    source = Path(__file__).with_name(name)
    try:
        compiler = shlex.split(os.environ.get("CXX", "")) or [*filter(shutil.which, COMPILERS)][:1]
    except ValueError as error:
        raise NotBuilt(f"CXX={os.environ['CXX']}: {error}") from None
    if platform.machine() not in ("x86_64", "AMD64") or not compiler:
        raise NotBuilt(f"no C++ compiler for {platform.machine()}")
    command = [*compiler, *FLAGS, *(f"-D{key}={value}" for key, value in defined.items())]
    texts = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h")))]
    key = hashlib.sha256(b"\0".join([*texts, " ".join(command).encode(), processor()])).hexdigest()
    try:
        library = cache_folder() / f"{source.stem}-{key[:16]}.so"
        if not is_whole(library):
            compile_into(library, [*command, str(source)])
        return ctypes.CDLL(str(library))
    except subprocess.CalledProcessError as error:
        problems = [line for line in error.stderr.splitlines() if "error" in line] or [str(error)]
        raise NotBuilt(problems[0]) from None
    except OSError as error:
        raise NotBuilt(str(error)) from None


def processor() -> bytes:
    """What -march=native depends on: home folders are shared by machines of other kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n")
    except OSError:
        return platform.processor().encode()
    return b"".join(next((line for line in lines if line.startswith(word)), b"") for word in (b"model name", b"flags"))


def compile_into(library: Path, command: list[str]) -> None:
    """Run the compiler; the library is put in place when it and its checksum are on the disk."""
    with tempfile.TemporaryDirectory(dir=library.parent) as beside:
        made = Path(beside, library.name)
        subprocess.run([*command, "-o", made], check=True, capture_output=True, encoding="utf-8", errors="replace")
        sync(made)
        write_text(sum_of(library), sha256(made))
        made.replace(library)


def sum_of(library: Path) -> Path:
    """The file with a library's checksum."""
    return library.with_suffix(".sha256")


def is_whole(library: Path) -> bool:
    """Whether a library is there as it was compiled: one that a power cut left half ends the process that loads it."""
    return library.exists() and sum_of(library).exists() and sum_of(library).read_bytes() == sha256(library).encode()


def cache_folder() -> Path:
    """The user's cache folder for this project, made if need be; one in the temporary folder where there is no home.

    Raises:
        NotBuilt: others may write there, or own it.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gpt2zh")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (RuntimeError, OSError):  # no home, or one that may not be written to: docker run --user
        folder = Path(tempfile.gettempdir(), f"gpt2zh-{os.getuid() if hasattr(os, 'getuid') else 'cache'}")
        folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        raise NotBuilt(f"{folder} belongs to another user, or others may write there")
    return folder
