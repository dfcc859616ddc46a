"""One owner for a folder that is written to.

The lock is the operating system's, on a file, so it ends with the process that holds it, however that ends.

In: a folder. Refuses: one that another process is writing to, with that process and since when.
"""

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from gpt2zh.errors import EnvironmentFault, say
from gpt2zh.system.files import require_writable, write_text

LOCK, OWNER = ".lock", ".owner.json"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)  # of some network file systems


@contextmanager
def only_owner(folder: Path) -> Iterator[None]:
    """Hold `folder` for the length of a block. It is made where it is missing, and removed if nothing came into it.

    Raises:
        EnvironmentFault: another process holds it. UserError: it cannot be written to.
    """
    require_writable(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, fallback_to_soft=False)  # a soft lock would outlive a process that is killed
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise taken(folder) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        say(
            f"注意：{folder} 所在的文件系统没有锁，请自己确保只有一个进程在写。",
            f"note: the file system of {folder} has no locks; make sure yourself that only one process writes there.",
        )
    try:
        since = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        write_text(folder / OWNER, json.dumps(owner) + "\n")
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()
        if is_new and [path.name for path in folder.iterdir()] in ([], [LOCK]):
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()


def taken(folder: Path) -> EnvironmentFault:
    """The message for a folder that another process holds."""
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        who = f"{owner['host']} pid {owner['pid']}, {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or is about to end
        who = "?"
    return EnvironmentFault(
        f"{folder} 正由另一个进程写着（{who} 开始）。请等它结束，或换一个文件夹。",
        f"{folder} is being written to by another process (since {who}). Wait for it to end, or give another folder.",
    )
