"""Groups of flags that several scripts have."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt2zh.flags.command_line import flag, silent
from gpt2zh.flags.values import BELOW_HALF, FILES, NOT_NEGATIVE


@dataclass(frozen=True)
class Split:
    """Which documents of a corpus train, and which are held out."""

    min_length: int = flag(
        128, "短于此字数的文章不收，单位：字", "leave out shorter documents; characters", NOT_NEGATIVE
    )
    val_ratio: float = flag(
        0.02,
        "留作验证的比例，按整篇文章划分；0 表示不验证",
        "share held out for validation, whole documents; 0 for none",
        BELOW_HALF,
    )


@dataclass(frozen=True)
class Documents(Split):
    """Which documents become shards, and how these lie."""

    num_pieces: int = flag(100, "切成多少个分片文件（只影响存放）", "number of shard files (storage only)", FILES)


@dataclass(frozen=True)
class Compute:
    """What to compute on, and how."""

    device: str | None = flag(
        None,
        "使用哪些显卡，如 0 或 0,1；cpu 表示只用 CPU",
        "GPUs to use, as in 0 or 0,1; cpu for none",
        shown="全部显卡，没有则 CPU / all GPUs, else the CPU",
    )
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = flag(
        "auto",
        "计算精度；auto：硬件支持 bf16 就用 bf16，否则 fp32；tf32 只在 NVIDIA 显卡上有",
        "arithmetic; auto is bf16 where the hardware has it, else fp32; tf32 on NVIDIA GPUs only",
    )


@dataclass(frozen=True)
class TrainedModel:
    """A model folder, and its vocabulary."""

    model_path: Path = flag(Path("model/final_model"), "模型文件夹", "model folder")
    tokenizer_path: Path | None = flag(
        None,
        "词表文件；须与模型一致",
        "vocabulary file; must be the model's",
        shown="模型文件夹里的 / the model folder's own",
    )
    segment: bool = silent()  # the ancestor's: the vocabulary is of words, which it tells by itself
