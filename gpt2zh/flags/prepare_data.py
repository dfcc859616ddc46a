"""The flags of prepare_data.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt2zh.errors import UserError
from gpt2zh.flags.command_line import flag, inputs, parse, switch
from gpt2zh.flags.values import BELOW_HALF, NOT_NEGATIVE, SIMILARITY


@dataclass(frozen=True)
class PrepareFlags:
    """把任何编码、任何格式的小说整理成语料：清洗、分章、去重，并写一份报告。 / Novels in any encoding and format into a corpus: cleaned, cut into chapters, without duplicates, with a report."""

    inputs: Sequence[str] = inputs(
        "文件（.txt .md .html .json .jsonl .csv .tsv .parquet .srt .lrc，可带 .gz）、文件夹，或 hf:用户/数据集[:配置]",
        "files (.txt .md .html .json .jsonl .csv .tsv .parquet .srt .lrc, also .gz), folders, or hf:owner/data-set[:configuration]",
    )
    output: Path = flag(
        Path("data/train.json"),
        "写到哪里；.json 是一个列表，.jsonl 每行一篇（大语料用）",
        "file to write; .json is one list, .jsonl one document a line (for large corpora)",
    )
    report: Path | None = flag(None, "清洗报告（Markdown）", "the report (Markdown)", shown="<output>_report.md")
    skip_rules: tuple[str, ...] = flag(
        (),
        "不用的清洗规则，逗号分隔；有：{choices}",
        "cleaning rules to leave out, with commas between; the names are those above",
    )
    split_chapters: Literal["auto", "always", "never"] = flag(
        "auto",
        "按章切成篇；auto：只切 .txt .md .html，json 等已是一篇一条的不切",
        "cut into chapters; auto: only .txt .md .html, as entries of json are documents already",
    )
    documents: Literal["auto", "file", "lines", "paragraphs"] = flag(
        "auto",
        ".txt 里什么算一篇：file 整个文件（再分章），lines 每行，paragraphs 空行隔开的每段（如对话）；auto：猜，猜了什么会说",
        "what a document is in a .txt: file, all of it (then cut into chapters); lines; paragraphs, what is between blank lines (dialogues, say); auto: guessed, and said",
    )
    text_key: str | None = flag(
        None,
        "JSON 里正文的键，或表格（CSV、TSV、parquet）里正文的列",
        "key of the text in JSON, or its column in a table (CSV, TSV, parquet)",
        aliases=("text_column",),
        shown="text、content 等 / text, content and the like",
    )
    convert: str = flag(
        "none",
        "简繁转换（OpenCC）：t2s 繁到简，s2t 简到繁 ……",
        "simplified / traditional (OpenCC): t2s to simplified, s2t to traditional ...",
    )
    near_duplicates: float | None = flag(
        None,
        "相似到多少算重复（0.5–1）；0 表示只去完全相同的",
        "similarity that makes a duplicate (0.5-1); 0: equal documents only",
        SIMILARITY,
        shown="0.8，没有装 rensa 时 0 / 0.8, without rensa 0",
    )
    keep_duplicates: bool = switch("重复的文章也留下", "keep duplicates too")
    paragraph_length: int = flag(
        40,
        "不短于此的重复段落只留第一次，单位：字；0 表示不管段落",
        "repeated paragraphs of at least so many characters are kept once; 0 leaves paragraphs alone",
        NOT_NEGATIVE,
    )
    min_length: int = flag(
        0,
        "清洗后短于此的篇不收，单位：字",
        "leave out documents that are shorter when cleaned; characters",
        NOT_NEGATIVE,
    )
    val_ratio: float = flag(
        0.0,
        "另写一份验证集 <output>_val，按整篇划分（train.py 自己也会留）",
        "share for a validation file <output>_val, whole documents (train.py holds out its own)",
        BELOW_HALF,
    )


def prepare_data_flags(
    rules: Sequence[str], conversions: Sequence[str], argv: Sequence[str] | None = None
) -> PrepareFlags:
    """The flags of a command line.

    Args:
        rules, conversions: the names that there are.
    Raises:
        UserError.
    """
    flags = parse(PrepareFlags, argv, {"skip_rules": rules, "convert": conversions})
    unknown = [name for name in flags.skip_rules if name not in rules]
    if unknown:
        raise UserError(
            f"--skip_rules 里没有这样的规则：{' '.join(unknown)}。有：{' '.join(rules)}。",
            f"--skip_rules: no such rules: {' '.join(unknown)}. There are: {' '.join(rules)}.",
        )
    if flags.output.suffix not in (".json", ".jsonl"):
        raise UserError(
            f"--output {flags.output} 应以 .json 或 .jsonl 结尾。",
            f"--output {flags.output} must end in .json or .jsonl.",
        )
    return flags
