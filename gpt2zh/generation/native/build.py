"""C++ of this project, compiled for the CPU it runs on: once, when it is first needed.

In: a source file of this folder. Out: the loaded library, which lies in the user's cache folder afterwards.
Refuses: machines without a compiler, and processors for which the source is not written.
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
    compiler = shlex.split(os.environ.get("CXX", "")) or [*filter(shutil.which, COMPILERS)][:1]
    if platform.machine() not in ("x86_64", "AMD64") or not compiler:
        raise NotBuilt(f"no C++ compiler for {platform.machine()}")
    command = [*compiler, *FLAGS, *(f"-D{key}={value}" for key, value in defined.items())]
    texts = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h")))]
    key = hashlib.sha256(b"\0".join([*texts, " ".join(command).encode(), processor()])).hexdigest()
    library = cache_folder() / f"{source.stem}-{key[:16]}.so"
    try:
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=library.parent) as beside:
                made = Path(beside, library.name)
                subprocess.run(
                    [*command, source, "-o", made], check=True, capture_output=True, encoding="utf-8", errors="replace"
                )
                made.replace(library)
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


def cache_folder() -> Path:
    """The user's cache folder for this project."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gpt2zh")
