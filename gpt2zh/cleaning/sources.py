"""The files and data sets that prepare_data.py is given -> their texts.

In: names on the command line. Out: a `Source` for each file or data set, and its texts, one at a time.
Refuses: an input that would be written over; a named file that cannot be read (one of a folder is noted in the report).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt2zh.cleaning.documents import Unit, guessed, parted
from gpt2zh.cleaning.prepare import RawText
from gpt2zh.cleaning.report import Report, Source
from gpt2zh.errors import UserError, say
from gpt2zh.system.files import unify_line_ends
from gpt2zh.text import hub
from gpt2zh.text.corpus import TEXT_SUFFIXES, FileRead, file_state, find_corpus, read_file, suffix_of
from gpt2zh.text.folder import is_report

HUB = "hf:"


def find_sources(names: Sequence[str], outputs: Sequence[Path]) -> list[Source]:
    """The files and data sets that the names stand for, each once; not what an earlier run wrote into a folder."""
    found: dict[object, Source] = {}
    written = {path.resolve() for path in outputs}
    if len(written) < len(outputs):
        raise UserError(
            f"--output、验证集和 --report 要是不同的文件：{' '.join(map(str, outputs))}。",
            f"--output, the validation file and --report must be different files: {' '.join(map(str, outputs))}.",
        )
    for name in names:
        path = Path(name)
        if name.startswith(HUB) or hub.is_saved_dataset(path):
            found[name] = Source(name.removeprefix(HUB), None, 0, False)
            continue
        corpus = find_corpus(path)
        for note in corpus.notes():
            say(*note)
        for file in corpus.files:
            key = file.resolve()
            if key in written and path == file:
                raise UserError(
                    f"{file} 既是输入又要被写。请给 --output（或 --report）另一个名字。",
                    f"{file} is an input and would be overwritten. Give --output (or --report) another name.",
                )
            if key not in written and not is_report(file):
                found.setdefault(key, Source(str(file), file, file.stat().st_size, path != file))
    if not found:
        raise UserError(
            f"{' '.join(names)} 里除了 {' '.join(map(str, outputs))} 没有别的文件。",
            f"{' '.join(names)} has no files other than {' '.join(map(str, outputs))}.",
        )
    return list(found.values())


@dataclass(frozen=True)
class Reading:
    """How files are taken apart.

    Args:
        split: whether chapters are looked for: "always", "never", or "auto" for text files alone.
        documents: what they are in a .txt file.
        key: of the text in JSON and tables, where it is named.
    """

    split: str
    documents: Unit | Literal["auto"]
    key: str | None


def raw_texts(
    sources: Sequence[Source], report: Report, advance: Callable[[int], object], reading: Reading
) -> Iterator[RawText]:
    """Every text of every source. A file of a folder that cannot be read is noted in the report; a named one is an error.

    Args:
        advance: called with the number of bytes that were read, now and then.
    """
    split, key = reading.split, reading.key
    for number, source in enumerate(sources):
        read: list[FileRead] = []
        is_text = source.path is not None and suffix_of(source.path) in TEXT_SUFFIXES
        is_book = split == "always" or (split == "auto" and is_text)
        try:
            if source.path is None:
                texts = hub.read_dataset(source.name, key)
            else:
                texts = read_file(source.path, read, file_state(source.path), advance, key)
            found = reading.documents if source.path is not None and suffix_of(source.path) == ".txt" else "file"
            for text in texts:
                if found == "auto":
                    found = guessed(unify_line_ends(text))
                    report.sources[number].documents = found
                if found != "file":
                    text, is_book = unify_line_ends(text), split == "always"
                for part in parted(text, found):
                    yield RawText(number, part, is_book)
        except (UserError, OSError) as error:
            if not source.from_folder or source.path is None:
                raise
            report.skip(number, error)
        if read:
            report.decoded(number, read[0])
