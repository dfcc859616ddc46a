"""The flags of evaluate.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt2zh.errors import UserError
from gpt2zh.flags.command_line import flag, group, optional, parse
from gpt2zh.flags.shared import Compute, TrainedModel
from gpt2zh.flags.values import POSITIVE


@dataclass(frozen=True)
class HeldOut:
    raw_data_path: Path | None = flag(
        None,
        "要评的文字：JSON 列表、JSONL、txt、parquet 或文件夹",
        "the text: a JSON list, JSONL, txt, parquet or a folder",
        shown="用下一项 / the next flag",
    )
    tokenized_data_path: Path | None = flag(
        None, "或：训练时留作验证的部分，取自这个分片文件夹", "or: what training held out, from this folder of shards"
    )
    batch_size: int = flag(8, "每批窗口数", "windows a batch", POSITIVE)
    stride: int | None = flag(
        None,
        "窗口步长，单位：词元；越小上文越长、越慢",
        "step of the windows, tokens; smaller gives more context and takes longer",
        POSITIVE,
        shown="n_ctx / 2",
    )
    ngrams: str | None = optional(
        "同时给出 n 元组在这段文字上的比特数：在这个分片文件夹的训练部分上数；不写文件夹则用 --tokenized_data_path 的",
        "print what n-grams give for the text, too: counted on the training part of the shards in this folder, or without a folder in --tokenized_data_path",
    )


@dataclass(frozen=True)
class EvaluateFlags:
    """一段文字在模型下的 loss、困惑度、每字比特数；每个词元恰好算一次。 / Loss, perplexity and bits per character of a text under a model; every token counts once."""

    model: TrainedModel = group("模型", "model")
    compute: Compute = group("模型", "model")
    text: HeldOut = group("文字", "text")


def evaluate_flags(argv: Sequence[str] | None = None) -> EvaluateFlags:
    """The flags of a command line. Raises UserError."""
    flags = parse(EvaluateFlags, argv)
    if (flags.text.raw_data_path is None) == (flags.text.tokenized_data_path is None):
        raise UserError(
            "--raw_data_path 与 --tokenized_data_path 要给且只给一个。",
            "give one of --raw_data_path and --tokenized_data_path, and only one.",
        )
    if flags.text.ngrams == "" and flags.text.tokenized_data_path is None:
        raise UserError(
            "--ngrams 要在训练文字上数：请写出它的分片文件夹，如 --ngrams data/tokenized/。",
            "--ngrams counts the training text: name the folder of its shards, as in --ngrams data/tokenized/.",
        )
    return flags
