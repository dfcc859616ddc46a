"""The flags of convert_shards.py. The defaults for documents are those of train.py, which then takes the shards as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt2zh.errors import UserError
from gpt2zh.flags.command_line import flag, group, parse, silent
from gpt2zh.flags.shared import Documents


@dataclass(frozen=True)
class Vocabulary:
    tokenizer_path: Path = flag(Path("cache/vocab_small.txt"), "切这些词元用的词表", "the vocabulary that gave the ids")
    segment: bool = silent()  # the ancestor's: the vocabulary is of words, which it tells by itself


@dataclass(frozen=True)
class ConvertFlags:
    """别的工具切好的词元文件导入成分片（不重新分词），或把分片导出给别的工具。 / Other tools' token files into shards, without tokenising again; or shards into other tools' files."""

    input: Path = flag(
        None,
        "导入：放着 tokenized_train_0.txt … 或 train.bin、val.bin（nanoGPT）的文件夹；导出：分片文件夹",
        "import: a folder with tokenized_train_0.txt … or train.bin, val.bin (nanoGPT); export: a folder of shards",
        shown="必须给 / required",
    )
    output: Path = flag(None, "写到哪个文件夹", "folder to write", shown="必须给 / required")
    export: Literal["nanogpt", "text"] | None = flag(
        None, "导出成什么；不给则导入", "what to export to; without it shards are imported"
    )
    vocabulary: Vocabulary = group("导入", "import")
    documents: Documents = group(
        "导入（有 val.bin 就用它，不看 --val_ratio）", "import (a val.bin is used, whatever --val_ratio says)"
    )


def convert_shards_flags(argv: Sequence[str] | None = None) -> ConvertFlags:
    """The flags of a command line. Raises UserError."""
    flags = parse(ConvertFlags, argv)
    if flags.input is None or flags.output is None:
        raise UserError("--input 与 --output 都要给。", "give both --input and --output.")
    return flags
