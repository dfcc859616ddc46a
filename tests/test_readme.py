"""The READMEs: in step with each other, and with the scripts."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT

from gpt2zh.flags.command_line import named_values
from gpt2zh.flags.convert_shards import convert_shards_flags
from gpt2zh.flags.evaluate import evaluate_flags
from gpt2zh.flags.generate import generate_flags
from gpt2zh.flags.make_vocab import make_vocab_flags
from gpt2zh.flags.page import page
from gpt2zh.flags.prepare_data import prepare_data_flags
from gpt2zh.flags.train import train_flags

ZH, EN = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README_en.md"))
PARSERS = {
    "prepare_data.py": lambda argv: prepare_data_flags(["a rule"], ["none"], argv),
    "train.py": train_flags,
    "generate.py": generate_flags,
    "evaluate.py": evaluate_flags,
    "convert_shards.py": convert_shards_flags,
    "cache/make_vocab.py": make_vocab_flags,
}


def blocks(text: str) -> list[str]:
    return re.findall(r"```.*?```", text, flags=re.S)


def commands(text: str) -> list[list[str]]:
    lines = re.sub(r"\\\n\s*", " ", text).replace("\t@", "\t").replace("$(PY)", "python").splitlines()
    started = (re.match(r"\s*(?:python|torchrun (?:--\S+ \S+ )+)(?= ?\S+\.py)", line) for line in lines)
    return [shlex.split(match.string[match.end() :]) for match in started if match]


def test_both_languages_have_the_same_headings_tables_and_code() -> None:
    assert [line.count("#") for line in ZH.splitlines() if line.startswith("#")] == [
        line.count("#") for line in EN.splitlines() if line.startswith("#")
    ]
    assert sum(line.startswith("|") for line in ZH.splitlines()) == sum(
        line.startswith("|") for line in EN.splitlines()
    )
    translated = blocks(ZH)[-1]  # the file list has words in it
    assert [block for block in blocks(ZH) if block != translated] == [
        block for block in blocks(EN) if block not in (translated, blocks(EN)[-1])
    ]


@pytest.mark.parametrize("source", ["README.md", "Makefile", "docs/many_gpus.md"])
def test_every_command_is_one_that_the_scripts_accept(source: str) -> None:
    found = commands((ROOT / source).read_text(encoding="utf-8"))
    assert len(found) >= 3
    for script, *arguments in found:
        if not script.startswith("benchmarks/"):  # these are no part of what the READMEs promise, and slow to import
            PARSERS[script](arguments)


def test_make_demo_runs_the_commands_that_the_readme_shows() -> None:
    demo = (ROOT / "Makefile").read_text(encoding="utf-8").split("\ndemo:")[1].split("\n\n")[0]
    made, shown = commands(demo), commands(ZH)
    assert len(made) == 4 and [command for command in made if command not in shown] == []


def test_paths_in_the_file_list_exist() -> None:
    for line in blocks(ZH)[-1].splitlines()[1:-1]:
        names = [name for name in re.split(r"\s{2,}", line)[0].split() if name]
        assert all((ROOT / name).exists() for name in names), line


def test_defaults_in_the_tables_are_the_parsers() -> None:
    of_train, of_generate = ZH.split("generate.py 常用的：")
    for parsed, text, n in ((train_flags([]), of_train, 8), (generate_flags([]), of_generate, 3)):
        rows = re.findall(r"^\| `--(\w+)` \| (\S+) \|", text, flags=re.M)
        assert len(rows) >= n
        for name, shown in rows:
            value = named_values(parsed)[name]
            if value is not None and value != -1:
                assert str(value) == str(Path(shown) if isinstance(value, Path) else shown), name


def test_flags_md_is_printed_from_the_declarations() -> None:
    shown = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
    assert shown == page(), "run: python -m gpt2zh.flags.page > docs/flags.md"


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def test_lines_of_documents_have_at_most_120_characters() -> None:
    """Prose, that is: a table's row and a command cannot be broken."""
    long = []
    for path in documents():
        within_code = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            within_code ^= line.lstrip().startswith("```")
            if len(line) > 120 and not within_code and not line.lstrip().startswith("|"):
                long.append(f"{path.name}:{number}: {len(line)}")
    assert not long, "\n".join(long)


def test_shipped_documents_name_files_that_exist() -> None:
    missing = [
        f"{path.name}: {name}"
        for path in documents()
        for name in re.findall(
            r"(?:gpt2zh|tokenizations|tests|benchmarks)/[\w./]*\.(?:py|cpp|md|txt)\b", path.read_text(encoding="utf-8")
        )
        if not (ROOT / name).exists()
    ]
    assert not missing, "\n".join(missing)


def test_shipped_documents_name_tests_that_exist() -> None:
    names = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    table = (ROOT / "docs" / "ancestor.md").read_text(encoding="utf-8")
    missing = []
    for line in table.splitlines()[6:]:
        current = ""
        for file, part in re.findall(r"(test_\w+)?::(\w+)", line):
            current = file or current
            if not re.search(rf"def test_\w*{part}", names.get(current, "")):
                missing.append(f"{current}::{part}")
    assert not missing
