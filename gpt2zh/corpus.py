"""A user's text files -> documents.

    train.json   list of strings (one a chapter), list of {"text": …} or {"content": …}, or one string
    *.jsonl      one of these a line
    *.txt, *.md  one document a file
    a folder     all of these in it, in the order of their names

In: a path. Out: a `Corpus`: non-empty documents with `\\n` between paragraphs; or the hash of the files' bytes.
Refuses: other shapes, with the place of the first entry that is not a text.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from gpt2zh.errors import UserError
from gpt2zh.files import parse_json, read_text, require_file, sha256

TEXT_KEYS = ("text", "content")
SUFFIXES = (".json", ".jsonl", ".txt", ".md")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Corpus:
    """Documents in reading order; `n_empty` documents were blank and left out."""

    path: Path
    documents: list[str]
    n_empty: int

    @property
    def n_characters(self) -> int:
        return sum(map(len, self.documents))


def corpus_files(path: Path) -> list[Path]:
    """The files that `path` stands for: itself, or those of a folder (recursive, sorted by name)."""
    if not path.is_dir():
        require_file(path)
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise UserError(
            f"文件夹 {path} 里没有 {' '.join(SUFFIXES)} 文件。", f"the folder {path} has no {' '.join(SUFFIXES)} file."
        )
    return files


def corpus_sha256(path: Path) -> str:
    """Identify the content behind `path`: one file's SHA-256, or the hash of the files' hashes."""
    hashes = [sha256(file) for file in corpus_files(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def read_corpus(path: Path) -> Corpus:
    """Read every document behind `path`.

    Raises:
        UserError: nothing readable there, or an entry that is no text (file, entry number, what it is instead).
    """
    texts = [text for file in corpus_files(path) for text in read_file(file)]
    # A lone surrogate (a broken \\u escape) is no character: the tokenizer would refuse the whole document for it.
    documents = [LONE_SURROGATE.sub("", text).replace("\r\n", "\n").replace("\r", "\n").strip() for text in texts]
    kept = [document for document in documents if document]
    if not kept:
        raise UserError(
            f"{path} 里没有文字：{len(texts)} 篇文章全是空的。",
            f"{path} holds no text: all of its {len(texts)} documents are empty.",
        )
    return Corpus(path, kept, len(texts) - len(kept))


def read_file(path: Path) -> list[str]:
    """The documents of one file, by its suffix."""
    text = read_text(path)
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        return [
            document_of(parse_json(line, path, number), path, f"第 {number} 行", f"line {number}")
            for number, line in lines
        ]
    if suffix != ".json":
        return [text]
    if not text.strip():
        raise UserError(
            f'{path} 是空文件。应是 JSON 列表，如 ["第一章……", "第二章……"]。',
            f'{path} is empty. A JSON list is expected, as in ["chapter one …", "chapter two …"].',
        )
    value = parse_json(text, path)
    entries = value if isinstance(value, list) else [value]
    return [document_of(entry, path, f"第 {number} 条", f"entry {number}") for number, entry in enumerate(entries, 1)]


def document_of(entry: object, path: Path, place_zh: str, place_en: str) -> str:
    """The text of one entry: a string, or an object with a text under one of TEXT_KEYS."""
    if isinstance(entry, str):
        return entry
    if isinstance(entry, dict):
        for key in TEXT_KEYS:
            if isinstance(entry.get(key), str):
                return entry[key]
        found = f"object with keys {', '.join(map(str, entry)) or '(none)'}"
    else:
        found = f"{type(entry).__name__} {str(entry)[:20]!r}"
    keys = " / ".join(TEXT_KEYS)
    raise UserError(
        f"{path} {place_zh}应是一个字符串，或带 {keys} 的对象；实际是 {found}。",
        f"{path}, {place_en}, must be a string or an object with {keys}; it is: {found}.",
    )
