"""What a user can fix, and the one place that ends a script.

In: a `UserError` raised anywhere, with what is wrong, where, and how to put it right.
Out: one message on stderr, Chinese first, and an exit code:

    0 done    1 a bug of ours, with its traceback    2 input or arguments    3 the environment: disk, permission, lock, memory,
    another process or machine    4 the run diverged    130, 143 interrupted (Ctrl-C, SIGTERM)    141 nobody reads the output
"""

import os
import sys
from collections.abc import Callable, Iterable


def bilingual(zh: str, en: str) -> str:
    """Join the two languages of a user-facing text: Chinese, ` / `, English."""
    return f"{zh} / {en}"


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


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main` and turn its end into an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a GBK or ASCII console must not end a run
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # `python generate.py | head`: the reader has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
    if isinstance(error, OSError) and (error.filename is not None or error.errno is not None):
        place = error.filename or "-"
        text = bilingual(
            f"系统不让读写 {place}：{error.strerror}。请检查路径、权限和磁盘空间。",
            f"the system refused to read or write {place}: {error.strerror}. Check the path, its permissions and the disk's space.",
        )
        wrong_path = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        return text, UserError.exit_code if wrong_path else EnvironmentFault.exit_code
    if is_out_of_memory(error):
        text = bilingual(
            "内存不够。请关掉别的程序，或减小 --batch_size、模型，训练时可加 --gradient_checkpointing、--optimizer adamw8bit。",
            "out of memory. Close other programs, or lower --batch_size or the model's size; when training, add --gradient_checkpointing or --optimizer adamw8bit.",
        )
        return text, EnvironmentFault.exit_code
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, a GPU's or a CPU's under torch, which is not loaded here."""
    kinds = ("MemoryError", "OutOfMemoryError")
    return type(error).__name__ in kinds or "DefaultCPUAllocator: can't allocate memory" in str(error)


def complain(message: str) -> None:
    """Print an error's message on stderr."""
    print(f"\n错误 / error: {message}", file=sys.stderr, flush=True)
