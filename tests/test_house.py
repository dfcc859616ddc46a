"""What ruff and import-linter do not know: nothing is too long to read, each word has one owner, and the pure rooms load no torch."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

LIBRARY = sorted(path for room in ("gpt2zh", "tokenizations") for path in (ROOT / room).rglob("*.py"))
SCRIPTS = sorted([*ROOT.glob("*.py"), *(ROOT / "cache").glob("*.py")])
REST = sorted(path for room in ("tests", "benchmarks") for path in (ROOT / room).rglob("*.py"))

MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION, MOST_NAMES_OF_A_SCRIPT = 320, 60, 25

# Each word may stand in these files only.
OWNERS = {
    r"\.cuda\b|\bDataParallel\(|\.DataParallel\(": ["gpt2zh/device.py"],
    r"(import|from) torch\.distributed": ["gpt2zh/training/distributed.py", "gpt2zh/training/one_end.py"],
    r"DistributedDataParallel\(": ["gpt2zh/training/distributed.py"],
    r"\.add_argument\(": ["gpt2zh/flags/command_line.py"],
    r"sys\.exit\(": ["gpt2zh/errors.py"],
    r"\"\[(SEP|CLS|MASK)\]\"": ["tokenizations/vocabulary.py"],
}
HEAVY = ("torch", "transformers", "tensorboardX", "thulac", "jieba", "rensa", "opencc", "datasets", "pyarrow")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_files_and_functions_are_short_enough_to_read() -> None:
    long = []
    for path in [*LIBRARY, *SCRIPTS, *REST]:
        text = path.read_text(encoding="utf-8")
        n_lines = text.count("\n")
        if n_lines > MOST_LINES_OF_A_FILE:
            long.append(f"{name_of(path)}: {n_lines} lines, of at most {MOST_LINES_OF_A_FILE}")
        for function in functions(ast.parse(text)):
            n_lines = (function.end_lineno or 0) - function.lineno + 1
            if n_lines > MOST_LINES_OF_A_FUNCTION:
                long.append(
                    f"{name_of(path)}:{function.lineno} {function.name}: {n_lines} lines, of at most {MOST_LINES_OF_A_FUNCTION}"
                )
    assert not long, "too long to read:\n" + "\n".join(long)


def test_scripts_import_few_names_of_ours() -> None:
    many = []
    for path in SCRIPTS:
        names = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("gpt2zh", "tokenizations")
            for alias in node.names
        }
        if len(names) > MOST_NAMES_OF_A_SCRIPT:
            many.append(
                f"{name_of(path)}: {len(names)} names, of at most {MOST_NAMES_OF_A_SCRIPT}: {', '.join(sorted(names))}"
            )
    assert not many, "scripts that know too much:\n" + "\n".join(many)


def test_each_word_has_its_owner() -> None:
    texts = {name_of(path): path.read_text(encoding="utf-8") for path in [*LIBRARY, *SCRIPTS]}
    wrong = []
    for pattern, owners in OWNERS.items():
        users = [name for name, text in texts.items() if re.search(pattern, text)]
        wrong += [f"{name}: {pattern} belongs in {' '.join(owners)}" for name in users if name not in owners]
        wrong += [f"{owner}: nothing matches {pattern}" for owner in owners if owner not in users]
    assert not wrong, "\n".join(wrong)


def test_scripts_and_pure_rooms_load_nothing_heavy() -> None:
    """So --help answers at once. Rooms that may load torch are named in pyproject.toml."""
    rooms = (
        "gpt2zh/errors",
        "gpt2zh/system",
        "gpt2zh/flags",
        "gpt2zh/text",
        "gpt2zh/cleaning",
        "gpt2zh/shards",
        "tokenizations",
    )
    pure = [path for path in LIBRARY if name_of(path).startswith(rooms) and path.name != "__init__.py"]
    modules = [name_of(path).removesuffix(".py").replace("/", ".") for path in [*pure, *SCRIPTS]]
    code = (
        "import importlib, sys\nsys.path[:0] = ['.', 'cache']\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name.removeprefix('cache.'))\n"
        f"    loaded = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
