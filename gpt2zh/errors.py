"""What a user can fix, and the one place that ends a script.

In: a `UserError` raised anywhere, with what is wrong, where, and how to put it right.
Out: one message on stderr, Chinese first, and an exit code:

    0 done    1 a bug of ours, with its traceback    2 input or arguments    3 the environment: disk, permission, lock, memory,
    another process or machine    4 the run diverged    129, 130, 143 interrupted (SIGHUP, Ctrl-C, SIGTERM)    141 nobody reads the
    output
"""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

from gpt2zh.console import Lasting, visible


def bilingual(zh: str, en: str) -> str:
    """Join the two languages of a user-facing text: Chinese, ` / `, English. Control characters are spelled out."""
    return visible(f"{zh} / {en}")


def say(zh: str, en: str) -> None:
    """Print a line for people, in both languages."""
    print(bilingual(zh, en), flush=True)


class UserError(Exception):
    """A problem that the user can fix: what disagrees, both values and their places, and the way out."""

    exit_code = 2

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(bilingual(zh, en))
        self.zh, self.en = zh, en


class EnvironmentFault(UserError):
    """Nothing is wrong with the input: the machine is in the way."""

    exit_code = 3


class Diverged(UserError):
    """The numbers of a run went wrong."""

    exit_code = 4


class Stopped(UserError):
    """The end of a run that was asked to stop by signal `number`, and has saved its state."""

    def __init__(self, zh: str, en: str, number: int) -> None:
        super().__init__(zh, en)
        self.exit_code = 128 + number


class UserErrors(UserError):
    """Several problems at once, one line each, so that one run shows all of them."""

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        Exception.__init__(self, "\n".join(f"- {bilingual(zh, en)}" for zh, en in problems))


def run_script(main: Callable[[], None], *, outlasts_console: bool = False) -> None:
    """Run a script's `main` and turn its end into an exit code.

    Args:
        outlasts_console: the work matters, not what is printed: it goes on when the terminal closes, the reader of a pipe ends, or the
            disk under the output is full.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed, as by >&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            with suppress(OSError):  # of one that is gone already
                stream.reconfigure(errors="replace")  # a GBK or ASCII console must not end a run
            if outlasts_console:
                setattr(sys, name, Lasting(stream))
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # `python generate.py | head`: the reader has gone; there is nobody to tell
        Lasting(sys.stdout).give_up()
        sys.exit(141)  # 128 + SIGPIPE, as a shell shows it
    except BaseException as error:
        told = explain(error)
        if told is None:
            raise
        complain(told[0])
        sys.exit(told[1])


def explain(error: BaseException) -> tuple[str, int] | None:
    """What to tell the user of `error`, and the exit code; None where it is a bug of ours (or an exit)."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return bilingual("已中断。", "interrupted."), 130
    package = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else ""
    if package not in ("", "gpt2zh", "tokenizations"):
        return bilingual(
            f"缺少 Python 包 {package}。请运行 pip install -r requirements.txt（Python：{sys.executable}）。",
            f"the package {package} is missing. Run pip install -r requirements.txt (Python: {sys.executable}).",
        ), EnvironmentFault.exit_code
    if isinstance(error, OSError) and (error.filename is not None or error.errno is not None):
        wrong_path = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        return refused(error), UserError.exit_code if wrong_path else EnvironmentFault.exit_code
    if is_out_of_memory(error):
        text = bilingual(
            "内存不够（或 ulimit -v、-u 太小）。请关掉别的程序，或减小 --batch_size、模型，训练时可加 --gradient_checkpointing、--optimizer adamw8bit。",
            "out of memory (or ulimit -v or -u is too low). Close other programs, or lower --batch_size or the model's size; when training, add --gradient_checkpointing or --optimizer adamw8bit.",
        )
        return text, EnvironmentFault.exit_code
    return None


# What to do about what a system answers; of other errors its own words say enough.
ADVICE = {
    errno.ENOSPC: ("请腾出磁盘空间。", "Make room on the disk."),
    errno.EDQUOT: ("你的磁盘配额用完了。", "Your quota on this disk is used up."),
    errno.EFBIG: (
        "文件太大：请看 ulimit -f 和磁盘的格式。",
        "The file is too large for this disk's format, or for ulimit -f.",
    ),
    errno.EACCES: ("请检查权限。", "Check the permissions."),
    errno.EPERM: ("请检查权限。", "Check the permissions."),
    errno.EROFS: ("这个磁盘只能读，请换一个文件夹。", "This disk is read-only: give another folder."),
    errno.EMFILE: ("打开的文件太多，请提高 ulimit -n。", "Too many files are open: raise ulimit -n."),
    errno.ENAMETOOLONG: ("请用短一些的名字。", "Use a shorter name."),
    errno.EIO: ("磁盘或网络盘可能坏了，请检查。", "The disk, or the network's, may be failing: check it."),
    errno.ENOENT: ("请检查路径。", "Check the path."),
}


def refused(error: OSError) -> str:
    """What the system refused, and what to do."""
    zh, en = ADVICE.get(error.errno or 0, ("", ""))
    if error.filename is None:
        return bilingual(f"系统报错：{error.strerror}。{zh}", f"the system reports: {error.strerror}. {en}".rstrip())
    return bilingual(
        f"系统不让读写 {error.filename}：{error.strerror}。{zh}",
        f"the system refused to read or write {error.filename}: {error.strerror}. {en}".rstrip(),
    )


# Where a library asks for memory, each has words of its own: torch, C++, the loader of libraries, threads, oneDNN.
OUT_OF_MEMORY = re.compile(
    "DefaultCPUAllocator: can't allocate memory|bad_alloc|failed to map segment|[Cc]annot allocate memory|can't start new thread|"
    "could not create a primitive"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, a GPU's or a CPU's under torch, which is not loaded here."""
    kinds = ("MemoryError", "OutOfMemoryError")
    return type(error).__name__ in kinds or OUT_OF_MEMORY.search(str(error)) is not None


def complain(message: str) -> None:
    """Print an error's message on stderr, if anybody is there."""
    with suppress(OSError):
        print(f"\n错误 / error: {message}", file=sys.stderr, flush=True)
