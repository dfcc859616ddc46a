"""docs/flags.md, printed from the flags themselves: `python -m gpt2zh.flags.page > docs/flags.md`.

In: the classes of all scripts. Out: a page with a table for each group. Nothing on it is written by hand.
"""

from collections.abc import Iterator
from itertools import groupby
from textwrap import fill

from gpt2zh.flags.command_line import Flag, flags_of
from gpt2zh.flags.convert_shards import ConvertFlags
from gpt2zh.flags.evaluate import EvaluateFlags
from gpt2zh.flags.generate import GenerateFlags
from gpt2zh.flags.make_vocab import MakeVocabFlags
from gpt2zh.flags.prepare_data import PrepareFlags
from gpt2zh.flags.train import TrainFlags

SCRIPTS = {
    "prepare_data.py": PrepareFlags,
    "cache/make_vocab.py": MakeVocabFlags,
    "train.py": TrainFlags,
    "generate.py": GenerateFlags,
    "evaluate.py": EvaluateFlags,
    "convert_shards.py": ConvertFlags,
}
HEAD = """# 全部参数 / All flags

由 `python -m gpt2zh.flags.page` 从代码里的声明打印，不要手改。每个脚本的 `--help` 说的是同样的话。 /
Printed by `python -m gpt2zh.flags.page` from the declarations in the code: do not edit. `--help` of each script says
the same."""
COLUMNS = "| 参数 / flag | 默认 / default | 意思 | meaning |\n|---|---|---|---|"


def page() -> str:
    """The whole of docs/flags.md."""
    return "\n\n".join([HEAD, *(part for name, script in SCRIPTS.items() for part in section(name, script))]) + "\n"


def section(name: str, script: type) -> Iterator[str]:
    """A script's heading, what it does, and its groups' tables."""
    yield f"## {name}"
    yield from (fill(half, 120) for half in (script.__doc__ or "").split(" / ", 1))
    shown = (one for one in flags_of(script) if one.declaration.form != "silent")
    for title, flags in groupby(shown, lambda one: one.title):
        if title:
            yield f"### {title}"
        yield "\n".join([COLUMNS, *(row(one) for one in flags)])


def row(one: Flag) -> str:
    """A flag's row."""
    declaration = one.declaration
    names = [one.name] if declaration.form == "inputs" else [f"--{name}" for name in (one.name, *declaration.aliases)]
    zh, en = (text.replace("{choices}", "--help") for text in (declaration.zh, declaration.en))
    if declaration.form.startswith("dead"):
        zh, en = f"（不起作用）{zh}", f"(no effect) {en}"
    if one.choices:
        words = " ".join(one.choices)
        zh, en = f"{zh}（{words}）", f"{en} ({words})"
    default = one.shown_default if declaration.form == "value" else ""
    cells = [" ".join(f"`{name}`" for name in names), default, zh, en]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


if __name__ == "__main__":
    print(page(), end="")
