"""A folder of a user's -> the corpus files in it, and what else lies there, by the reason why it is not read.

Left out are hidden and temporary names, what this toolkit itself writes (shards, models, runs, reports, validation files), and files of
other kinds. Links are followed, each folder once.

In: a folder, and which names are those of a corpus. Out: `Found`. Nothing is opened but Markdown files, for their first line.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpt2zh.errors import bilingual

REPORT_TITLE = f"# {bilingual('清洗报告', 'cleaning report')}"  # the first line of prepare_data.py's report
HIDDEN = re.compile(r"\.|~\$|__MACOSX$")
TOKEN_FILE = re.compile(r"tokenized_train_\d+\.txt$")  # GPT2-Chinese's
VALIDATION = re.compile(r"(.+)_val(\.jsonl?(?:\.gz)?)$")
SHOWN = 5  # names of each reason

Reason = tuple[str, str]
TEMPORARY: Reason = ("隐藏的、临时的", "hidden or temporary")
OWN: Reason = ("本工具自己写的", "written by this toolkit")
BROKEN: Reason = ("断开的链接", "broken links")
LOCKED: Reason = ("打不开的文件夹", "folders that cannot be opened")


@dataclass
class Found:
    """What lies in a folder. `others` counts files of other kinds by their suffix."""

    folder: Path
    files: list[Path] = field(default_factory=list)
    left_out: dict[Reason, list[Path]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)

    def leave_out(self, reason: Reason, *paths: Path) -> None:
        self.left_out.setdefault(reason, []).extend(paths)

    def notes(self) -> list[tuple[str, str]]:
        """What was not read and why, a line for each reason, Chinese and English."""
        notes = []
        for (zh, en), paths in self.left_out.items():
            names = " ".join(str(path.relative_to(self.folder)) for path in sorted(paths)[:SHOWN])
            more = " …" if len(paths) > SHOWN else ""
            notes.append(
                (
                    f"{self.folder} 里{zh}没有读（{len(paths)}）：{names}{more}",
                    f"not read in {self.folder}, {en} ({len(paths)}): {names}{more}",
                )
            )
        if self.others:
            shown = " ".join(f"{suffix or '-'} {count}" for suffix, count in self.others.most_common())
            notes.append(
                (
                    f"{self.folder} 里别种文件没有读：{shown}",
                    f"files of other kinds in {self.folder} are not read: {shown}",
                )
            )
        return notes


def find_files(folder: Path, is_corpus: Callable[[Path], bool]) -> Found:
    """The corpus files in `folder` and below, in the order of their names."""
    found = Found(folder)
    for place, names in _folders(found):
        for name in names:
            path = place / name
            if HIDDEN.match(name):
                found.leave_out(TEMPORARY, path)
            elif path.is_symlink() and not path.exists():
                found.leave_out(BROKEN, path)
            elif not is_corpus(path):
                found.others[path.suffix] += path.is_file()
            elif not path.is_file():
                found.others["(no file)"] += 1
            elif _is_own(path, names):
                found.leave_out(OWN, path)
            else:
                found.files.append(path)
    found.files.sort()
    found.others = +found.others
    return found


def _folders(found: Found) -> Iterator[tuple[Path, set[str]]]:
    """Every folder to look into, with the names of its files; those of links too, but none twice."""
    seen = {os.path.realpath(found.folder)}
    locked: list[OSError] = []
    for place, folders, names in os.walk(found.folder, onerror=locked.append, followlinks=True):
        path = Path(place)
        if _is_made_by_us({*folders, *names}):
            found.leave_out(OWN, path)
            folders.clear()
            continue
        hidden = [name for name in folders if HIDDEN.match(name)]
        if hidden:
            found.leave_out(TEMPORARY, *(path / name for name in hidden))
        folders[:] = sorted({*folders} - {*hidden})
        for name in [*folders]:
            target = os.path.realpath(path / name)
            if target in seen:  # a link to what is read elsewhere, or round in a circle
                folders.remove(name)
            seen.add(target)
        yield path, set(names)
    if locked:
        found.leave_out(LOCKED, *(Path(error.filename) for error in locked))


def _is_made_by_us(names: set[str]) -> bool:
    """Whether a folder with these names is one of shards, a model's, or a run's."""
    return (
        ("manifest.json" in names and any(name.startswith("tokenized_") for name in names))
        or ("config.json" in names and not names.isdisjoint({"model.safetensors", "pytorch_model.bin"}))
        or ("metrics.jsonl" in names and not names.isdisjoint({"checkpoints", "best_model", "final_model"}))
    )


def _is_own(path: Path, siblings: set[str]) -> bool:
    """Whether a file is a report, the validation file of one beside it, or token ids as text."""
    validation = VALIDATION.match(path.name)
    if validation and validation[1] + validation[2] in siblings:
        return True
    return is_report(path) or TOKEN_FILE.match(path.name) is not None


def is_report(path: Path) -> bool:
    """Whether a file is prepare_data.py's report."""
    if path.suffix.lower() != ".md":
        return False
    with path.open("rb") as file:
        return file.read(len(REPORT_TITLE.encode())) == REPORT_TITLE.encode()
