"""Memory of this process and of its machine, as Linux tells them.

In: files under /proc and /sys. Out: bytes; None where the system does not say (Windows, macOS).
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path("/")
# Control groups, version 2 and 1: folder, limit, use, and the part of the use that is files, which can be dropped.
GROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def growth(work: Callable[[], None]) -> int | None:
    """Bytes by which the process grew at the peak of `work`, which is done in any case. Source: proc_pid_clear_refs(5)."""
    give_back_freed()  # else `work` would take what was freed before, and seem to need less
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM, the peak, counts from here
        before = number(status, "VmRSS:")
    except (OSError, KeyError):
        before = None
    work()
    return None if before is None else 1024 * (number(status, "VmHWM:") - before)


def peak() -> int | None:
    """Bytes of the process at its peak; None where the system does not tell."""
    with contextlib.suppress(OSError, KeyError):
        return 1024 * number(Path("/proc/self/status"), "VmHWM:")
    return None


def available(root: Path = ROOT) -> int | None:
    """Bytes that may still be taken without swapping: the machine's, or less where a container has a limit."""
    try:
        return min([1024 * number(root / "proc/meminfo", "MemAvailable:"), *left_in_groups(root)])
    except (OSError, KeyError):
        return None


def left_in_groups(root: Path = ROOT) -> Iterator[int]:
    """What may still be taken in each control group around this process that has a limit."""
    for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, kind, path = line.split(":", 2)
        if kind not in GROUPS:
            continue
        folder, limit, used, files = GROUPS[kind]
        top = root / folder
        group = top / path.strip("/")
        for place in (group, *group.parents):
            with contextlib.suppress(OSError, KeyError, ValueError):  # seen from a container it is not there; "max"
                most, taken = (int((place / name).read_text(encoding="ascii")) for name in (limit, used))
                yield most - taken + number(place / "memory.stat", files)
            if place == top:
                break


def number(path: Path, name: str) -> int:
    """The number behind `name` in a file of lines like `name 123`. Raises KeyError where there is none."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.split(maxsplit=1)[:1] == [name]:
            return int(line.split()[1])
    raise KeyError(name)


def give_back_freed() -> None:
    """Have glibc give to the system what the process has freed; other C libraries have no such call."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
