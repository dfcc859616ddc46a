"""The flags of train.py: GPT2-Chinese's 25, with their names and meanings, and ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt2zh.errors import UserError
from gpt2zh.flags.command_line import dead, flag, group, optional, parse, silent, switch
from gpt2zh.flags.shared import Compute, Documents
from gpt2zh.flags.values import NGRAM_ORDER, NOT_NEGATIVE, POSITIVE, Interval, whole_or_auto
from gpt2zh.training.recipe import Wishes


@dataclass(frozen=True)
class Corpus:
    raw_data_path: Path = flag(
        Path("data/train.json"),
        "语料：JSON 列表、JSONL、txt、parquet（可带 .gz），或放着它们的文件夹",
        "corpus: a JSON list, JSONL, txt, parquet (also .gz), or a folder of them",
    )
    raw: bool = switch(
        "先把语料重新切成分片；不给时，没有分片或分片已过时才切",
        "tokenise the corpus first; without it that is done where shards are missing or stale",
    )
    tokenized_data_path: Path = flag(Path("data/tokenized/"), "分片所在文件夹", "folder of the token shards")


@dataclass(frozen=True)
class Vocabulary:
    tokenizer_path: Path = flag(
        Path("cache/vocab_small.txt"),
        "词表：.txt 一行一个词条；tokenizer.json；sentencepiece 的 .model；或放着 vocab.json 与 merges.txt 的文件夹",
        "vocabulary: .txt, one entry a line; tokenizer.json; sentencepiece's .model; or a folder with vocab.json and merges.txt",
    )
    segment: bool = silent()  # the ancestor's: the vocabulary is of words, which it tells by itself
    bpe_token: bool = switch("用 GPT-2 的字节级 BPE（见下两项）", "byte-level BPE as in GPT-2 (next two flags)")
    encoder_json: Path = flag(Path("tokenizations/encoder.json"), "BPE 的 encoder.json", "BPE: encoder.json")
    vocab_bpe: Path = flag(Path("tokenizations/vocab.bpe"), "BPE 的 vocab.bpe", "BPE: vocab.bpe")


@dataclass(frozen=True)
class Model:
    model_config: Path = flag(Path("config/model_config_small.json"), "模型结构 JSON", "model shape, JSON")
    pretrained_model: Path | None = flag(
        None,
        "从这个模型文件夹的权重开始，学习率等照接着训练选",
        "start from the weights in this model folder, with a recipe for models that are trained already",
    )


@dataclass(frozen=True)
class Steps:
    epochs: int = flag(5, "训练轮数", "passes over the corpus", POSITIVE)
    batch_size: int | None = flag(
        8,
        "每个小批的窗口数（所有显卡合计）；auto：每次更新仍是 8 x gradient_accumulation 个窗口，小批取内存放得下的最大者",
        "windows a micro-batch, over all GPUs; auto: the largest that fits, 8 x gradient_accumulation windows a step as ever",
        POSITIVE,
        kind=whole_or_auto,
    )
    gradient_accumulation: int = flag(1, "每次更新累积多少个小批", "micro-batches an optimiser step", POSITIVE)
    stride: int | None = flag(
        None,
        "相邻窗口起点的距离，单位：词元",
        "distance between the starts of windows; tokens",
        POSITIVE,
        shown="n_ctx",
    )
    max_steps: int | None = flag(
        None,
        "总共更新多少次，取代 --epochs",
        "optimiser steps of the run, in place of --epochs",
        POSITIVE,
        shown="按 --epochs / as --epochs says",
    )
    max_hours: float | None = flag(
        None,
        "最多训练几小时：学习率按这段时间排定，到时干净地结束；步数不超过 --epochs、--max_steps",
        "hours that the run may take: the schedule is fitted to them, and it ends cleanly; not more steps than --epochs or --max_steps say",
        POSITIVE,
        shown="不限 / as long as it takes",
    )
    eval_every: int | None = flag(
        None,
        "除每轮之后，每多少次更新也验证一次",
        "validate every so many optimiser steps too, not only after each epoch",
        POSITIVE,
        shown="每轮一次 / once an epoch",
    )
    early_stop: int | None = flag(
        None,
        "连续多少次验证都没有更好的，就提前结束",
        "end the run after so many validations without a better one",
        POSITIVE,
        shown="不提前 / never",
    )
    max_grad_norm: float = flag(1.0, "梯度裁剪的范数", "gradient norm to clip at", POSITIVE)
    seed: int = flag(0, "随机种子；同一种子得到同一结果", "random seed; the same seed gives the same run", NOT_NEGATIVE)


@dataclass(frozen=True)
class TrainCompute(Compute):
    fp16: bool = switch(
        "混合精度，同 --precision fp16（CPU 上改用 bf16）", "mixed precision, as --precision fp16 (bf16 on a CPU)"
    )
    fp16_opt_level: str | None = dead(
        "混合精度由 PyTorch 自带，不分级别", "mixed precision is PyTorch's own and has no levels", takes_value=True
    )
    compile: Literal["auto", "on", "off"] = flag(
        "auto",
        "用 torch.compile 编译训练步；auto：几分钟以上的训练才编译，CPU 上还要没有 dropout",
        "compile the training step by torch.compile; auto: where the run takes more than a few minutes and, on a CPU, has no dropout",
    )
    gradient_checkpointing: bool = switch(
        "省显存：反向时重算各层，约慢三分之一",
        "save memory: compute each block again in the backward pass; about a third slower",
    )


@dataclass(frozen=True)
class Several:
    shard_model: bool = switch(
        "把权重、梯度、优化器状态分到各进程（FSDP2），用于一张卡放不下的模型；不给则每个进程各有一份（DDP）",
        "part weights, gradients and optimiser state among the processes (FSDP2), for a model beyond one GPU; without it each has a copy (DDP)",
    )
    peer_timeout: int = flag(
        300,
        "多少秒没有回音就认为别的进程或机器已断开，结束训练",
        "seconds without a sign of life after which another process or machine is taken for lost and the run ends",
        POSITIVE,
    )


@dataclass(frozen=True)
class Output:
    output_dir: Path = flag(
        Path("model/"),
        "输出文件夹：model_epochN/ best_model/ final_model/",
        "output folder: model_epochN/ best_model/ final_model/",
    )
    writer_dir: Path | None = flag(None, "TensorBoard 文件夹", "TensorBoard folder", shown="runs/<output_dir>")
    log_step: int = flag(
        1,
        "每多少个小批记一次 loss；不是 gradient_accumulation 的倍数时向上取整",
        "micro-batches between reports; rounded up to a multiple of gradient_accumulation",
        POSITIVE,
    )
    ngram_order: int = flag(
        4,
        "训练前先在训练文字上数到几元组，作比较的尺子（1 到 5；0 不数）",
        "count n-grams of the training text up to this order first, a yardstick for the model (1 to 5; 0 for none)",
        NGRAM_ORDER,
    )
    dry_run: bool = switch(
        "只预演：打印参数量、词元、步数、内存、磁盘、实测的总时间，不训练",
        "a rehearsal: print parameters, tokens, steps, memory, disk and the measured time to the end, and train nothing",
    )

    @property
    def tensorboard_dir(self) -> Path:
        return self.writer_dir or Path("runs") / self.output_dir.resolve().name


@dataclass(frozen=True)
class Checkpointing:
    resume: str | None = optional(
        "接着训练：用 output_dir/checkpoints 里最新的完好检查点，没有则从头开始；也可给出一个检查点的文件夹",
        "go on from the newest whole checkpoint in output_dir/checkpoints, from the start where there is none; or from the given one's folder",
    )
    save_every: Interval = flag(
        Interval(seconds=900),
        "每多少次更新（如 500）或多长时间（如 90s、15m、2h）存一个检查点；0 不存",
        "how often to write a checkpoint: optimiser steps, as in 500, or time, as in 90s, 15m, 2h; 0 for never",
        shown="15m",
    )
    keep_epochs: int | None = flag(
        None,
        "只保留最新的几个 model_epochN",
        "model_epochN folders to keep, the newest",
        POSITIVE,
        shown="全部 / all",
    )
    keep_last: int = flag(2, "保留最新的几个检查点", "checkpoints to keep, the newest", POSITIVE)


@dataclass(frozen=True)
class TrainFlags:
    """从头训练（或继续训练）一个中文 GPT-2。 / Train a Chinese GPT-2, from scratch or from given weights."""

    corpus: Corpus = group("语料", "corpus")
    documents: Documents = group("语料", "corpus")
    vocabulary: Vocabulary = group("词表", "vocabulary")
    model: Model = group("模型", "model")
    steps: Steps = group("训练", "training")
    recipe: Wishes = group(
        "配方：没给的各项由 --recipe 按模型与步数选定",
        "recipe: what is not given, --recipe chooses for model and length",
    )
    compute: TrainCompute = group("设备与精度", "device and precision")
    several: Several = group("多个进程（torchrun）", "several processes (torchrun)")
    output: Output = group("输出与日志", "output and logs")
    checkpoints: Checkpointing = group("存档与续训", "checkpoints and going on")


def train_flags(argv: Sequence[str] | None = None) -> TrainFlags:
    """The flags of a command line. Raises UserError."""
    flags = parse(TrainFlags, argv)
    if flags.compute.fp16 and flags.compute.precision not in ("auto", "fp16"):
        raise UserError(
            f"--fp16 与 --precision {flags.compute.precision} 矛盾，请只给一个。",
            f"--fp16 and --precision {flags.compute.precision} disagree. Give one of them.",
        )
    return flags
