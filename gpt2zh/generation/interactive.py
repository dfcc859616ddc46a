"""A conversation with a model: type, read, continue, take back.

In: lines of a person, and a function that writes on. Out: a text that both have written.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from gpt2zh.console import visible
from gpt2zh.errors import UserError, complain, explain, say
from gpt2zh.system.files import write_text

HELP = (
    "写一段，回车，模型接着写；空行：让模型再写一段；/undo 撤回上一次，/retry 换一种写法，/show 看全文，/save 文件 存下，/quit 退出；写的时候按 Ctrl-C 停笔。",
    "type and press Enter: the model writes on; an empty line: more; /undo takes the last turn back, /retry writes it anew, /show, /save FILE, /quit; Ctrl-C stops the pen.",
)
PROMPT = "\n> "

WriteOn = Callable[[str, int], str]


def typed_line(prompt: str) -> str:
    """A line of the terminal."""
    return repaired(input(prompt))


def repaired(line: str) -> str:
    """A line that was read as UTF-8 with `surrogateescape`, and is that of a GBK terminal, or has what Backspace left of a character.

    A terminal that is not told of UTF-8 (stty iutf8) takes a byte away, not a character: the rest of that goes too.
    """
    if not any("\udc80" <= character <= "\udcff" for character in line):
        return line
    data = line.encode("utf-8", "surrogateescape")
    utf8 = data.decode("utf-8", "ignore")
    return utf8 if 2 * len(utf8.encode()) > len(data) else data.decode("gb18030", "ignore")


def converse(write_on: WriteOn, read_line: Callable[[str], str] = typed_line, start: str = "") -> str:
    """Take turns until /quit or the end of input.

    Args:
        write_on: (the text so far, the number of the attempt) -> what comes next, which it has shown already.
        start: a text to begin with.

    Returns:
        The whole text.
    """
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # whatever its bytes are
    say(*HELP)
    turns: list[tuple[str, str]] = []  # what was typed, what the model wrote after it
    attempts = 0
    if start:
        attempts += 1
        turns.append((start, write_on(start, attempts)))
    while True:
        try:
            line = read_line(PROMPT)
        except (EOFError, KeyboardInterrupt):
            break
        command, _, rest = line.strip().partition(" ")
        if command == "/quit":
            break
        elif command == "/help":
            say(*HELP)
        elif command == "/show":
            print(visible(whole(turns)))
        elif command == "/save":
            save(Path(rest.strip() or "mnt"), whole(turns))
        elif command in ("/undo", "/retry"):
            if not turns:
                say("还没有可撤回的。", "there is nothing to take back.")
                continue
            typed, _ = turns.pop()
            if command == "/retry":
                attempts += 1
                print(visible(typed), end="")
                turns.append((typed, write_on(whole(turns) + typed, attempts)))
            else:
                print(visible(whole(turns)))
        elif command.startswith("/"):
            say(f"没有命令 {command}。", f"no command {command}.")
            say(*HELP)
        else:
            attempts += 1
            turns.append((line, write_on(whole(turns) + line, attempts)))
    print()
    return whole(turns)


def whole(turns: list[tuple[str, str]]) -> str:
    """All turns as one text."""
    return "".join(typed + written for typed, written in turns)


def save(path: Path, text: str) -> None:
    """Write the text, to interactive.txt where `path` is a folder or is called like one; a path that cannot be written to ends nothing."""
    path = path if path.suffix and not path.is_dir() else path / "interactive.txt"
    try:
        write_text(path, text + "\n")
        say(f"已存入 {path}", f"saved to {path}")
    except (UserError, OSError) as error:
        told = explain(error)
        complain(told[0] if told else str(error))
