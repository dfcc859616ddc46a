"""The flags of the scripts from text to model, declared and explained in one place; `model_flags` has those that use a model.

In: a command line. Out: a namespace whose values are in range. `--help` gives Chinese / English, unit and default. The
ancestor GPT2-Chinese's names and meanings are kept, and what it had no use for is accepted and said to do nothing.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from gpt2zh.errors import UserError, UserErrors
from gpt2zh.flags.command_line import (
    BELOW_HALF,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SIMILARITY,
    Flags,
    Interval,
    interval,
    number_or_auto,
    two_shares,
    whole_or_auto,
)


def add_device(flags: Flags) -> None:
    """What to compute on, and how: of every script that runs a model."""
    flags.add(
        "--device",
        None,
        "使用哪些显卡，如 0 或 0,1；cpu 表示只用 CPU",
        "GPUs to use, as in 0 or 0,1; cpu for none",
        kind=str,
        shown_default="全部显卡，没有则 CPU / all GPUs, else the CPU",
    )
    flags.add(
        "--precision",
        "auto",
        "计算精度；auto：硬件支持 bf16 就用 bf16，否则 fp32；tf32 只在 NVIDIA 显卡上有",
        "arithmetic; auto is bf16 where the hardware has it, else fp32; tf32 on NVIDIA GPUs only",
        choices=["auto", "fp32", "tf32", "bf16", "fp16"],
    )


def train_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of train.py: the ancestor's 25 and ours."""
    flags = Flags(
        "从头训练（或继续训练）一个中文 GPT-2。", "Train a Chinese GPT-2, from scratch or from given weights."
    )
    flags.group("语料", "corpus")
    flags.add(
        "--raw_data_path",
        Path("data/train.json"),
        "语料：JSON 列表、JSONL、txt、parquet（可带 .gz），或放着它们的文件夹",
        "corpus: a JSON list, JSONL, txt, parquet (also .gz), or a folder of them",
    )
    flags.switch(
        "--raw",
        "先把语料重新切成分片；不给时，没有分片或分片已过时才切",
        "tokenise the corpus first; without it that is done where shards are missing or stale",
    )
    flags.add("--tokenized_data_path", Path("data/tokenized/"), "分片所在文件夹", "folder of the token shards")
    flags.add(
        "--num_pieces",
        100,
        "切成多少个分片文件（只影响存放）",
        "number of shard files (storage only)",
        allowed=POSITIVE,
    )
    flags.add(
        "--min_length",
        128,
        "短于此字数的文章不收，单位：字",
        "leave out shorter documents; characters",
        allowed=NOT_NEGATIVE,
    )
    flags.add(
        "--val_ratio",
        0.02,
        "留作验证的比例，按整篇文章划分；0 表示不验证",
        "share held out for validation, whole documents; 0 for none",
        allowed=BELOW_HALF,
    )
    flags.group("词表", "vocabulary")
    flags.add(
        "--tokenizer_path",
        Path("cache/vocab_small.txt"),
        "词表：.txt 一行一个词条；tokenizer.json；sentencepiece 的 .model；或放着 vocab.json 与 merges.txt 的文件夹",
        "vocabulary: .txt, one entry a line; tokenizer.json; sentencepiece's .model; or a folder with vocab.json and merges.txt",
    )
    flags.switch("--segment", "词级词表（.txt，中文以词为单位）", "the vocabulary (.txt) is of words")
    flags.switch("--bpe_token", "用 GPT-2 的字节级 BPE（见下两项）", "byte-level BPE as in GPT-2 (next two flags)")
    flags.add("--encoder_json", Path("tokenizations/encoder.json"), "BPE 的 encoder.json", "BPE: encoder.json")
    flags.add("--vocab_bpe", Path("tokenizations/vocab.bpe"), "BPE 的 vocab.bpe", "BPE: vocab.bpe")
    flags.group("模型", "model")
    flags.add("--model_config", Path("config/model_config_small.json"), "模型结构 JSON", "model shape, JSON")
    flags.add("--pretrained_model", "", "从这个模型文件夹的权重开始", "start from the weights in this model folder")
    flags.add(
        "--output_dir",
        Path("model/"),
        "输出文件夹：model_epochN/ best_model/ final_model/",
        "output folder: model_epochN/ best_model/ final_model/",
    )
    flags.group("训练", "training")
    flags.add("--epochs", 5, "训练轮数", "passes over the corpus", allowed=POSITIVE)
    flags.add(
        "--batch_size",
        8,
        "每个小批的窗口数（所有显卡合计）；auto：每次更新仍是 8 x gradient_accumulation 个窗口，小批取内存放得下的最大者",
        "windows a micro-batch, over all GPUs; auto: the largest that fits, 8 x gradient_accumulation windows a step as ever",
        kind=whole_or_auto,
        allowed=POSITIVE,
    )
    flags.add(
        "--gradient_accumulation", 1, "每次更新累积多少个小批", "micro-batches an optimiser step", allowed=POSITIVE
    )
    flags.add(
        "--stride",
        None,
        "相邻窗口起点的距离，单位：词元",
        "distance between the starts of windows; tokens",
        kind=int,
        allowed=POSITIVE,
        shown_default="n_ctx",
    )
    flags.add(
        "--max_steps",
        None,
        "总共更新多少次，取代 --epochs",
        "optimiser steps of the run, in place of --epochs",
        kind=int,
        allowed=POSITIVE,
        shown_default="按 --epochs / as --epochs says",
    )
    flags.add(
        "--eval_every",
        None,
        "除每轮之后，每多少次更新也验证一次",
        "validate every so many optimiser steps too, not only after each epoch",
        kind=int,
        allowed=POSITIVE,
        shown_default="每轮一次 / once an epoch",
    )
    flags.add("--max_grad_norm", 1.0, "梯度裁剪的范数", "gradient norm to clip at", allowed=POSITIVE)
    flags.add(
        "--seed",
        0,
        "随机种子；同一种子得到同一结果",
        "random seed; the same seed gives the same run",
        allowed=NOT_NEGATIVE,
    )
    flags.group(
        "配方：没给的各项由 --recipe 按模型与步数选定",
        "recipe: what is not given, --recipe chooses for model and length",
    )
    flags.add(
        "--recipe",
        "tuned",
        "tuned：我们测得最好的；classic：祖先 GPT2-Chinese 的",
        "tuned, the best that we measured; classic, that of GPT2-Chinese",
        choices=["tuned", "classic"],
    )
    flags.add(
        "--optimizer",
        None,
        "优化器；muon 管各层的矩阵，其余归 adamw；adamw8bit 要装 bitsandbytes",
        "optimiser; muon for the blocks' matrices, adamw for the rest; adamw8bit needs bitsandbytes",
        kind=str,
        choices=["adamw", "muon", "adamw8bit"],
        shown_default="muon；硬件没有 bf16 则 adamw / muon, adamw where the hardware has no bf16",
    )
    flags.add(
        "--lr",
        None,
        "学习率的峰值，或 auto",
        "peak learning rate, or auto",
        kind=number_or_auto,
        allowed=POSITIVE,
        shown_default="auto：按模型宽度 / by the model's width",
    )
    flags.add(
        "--warmup_steps",
        None,
        "预热多少次更新；小于 1 则是占总数的比例",
        "optimiser steps of warm-up; below 1 a share of the run",
        kind=float,
        allowed=NOT_NEGATIVE,
        shown_default="总步数的十分之一，至多 2000 / a tenth of all, at most 2000",
    )
    flags.add(
        "--schedule",
        None,
        "预热之后学习率怎样降到 0：linear 直线；cosine 余弦；wsd 先不变，最后五分之一直线下降",
        "how the learning rate falls to 0 after the warm-up: linear; cosine; wsd, constant, then linear in the last fifth",
        kind=str,
        choices=["linear", "cosine", "wsd"],
        shown_default="linear",
    )
    flags.add(
        "--weight_decay",
        None,
        "权重衰减，只作用于矩阵",
        "weight decay, on matrices only",
        kind=float,
        allowed=NOT_NEGATIVE,
        shown_default="0.1",
    )
    flags.add(
        "--betas",
        None,
        "AdamW 的两个动量系数，如 0.9,0.95",
        "AdamW's two momentum coefficients, as in 0.9,0.95",
        kind=two_shares,
        shown_default="0.9,0.95",
    )
    flags.group("设备与精度", "device and precision")
    add_device(flags)
    flags.switch(
        "--fp16",
        "混合精度，同 --precision fp16（CPU 上改用 bf16）",
        "mixed precision, as --precision fp16 (bf16 on a CPU)",
    )
    flags.without_effect(
        "--fp16_opt_level",
        "混合精度由 PyTorch 自带，不分级别",
        "mixed precision is PyTorch's own and has no levels",
        takes_value=True,
    )
    flags.add(
        "--compile",
        "auto",
        "用 torch.compile 编译训练步；auto：几分钟以上的训练才编译",
        "compile the training step by torch.compile; auto: where the run takes more than a few minutes",
        choices=["auto", "on", "off"],
    )
    flags.switch(
        "--gradient_checkpointing",
        "省显存：反向时重算各层，约慢三分之一",
        "save memory: compute each block again in the backward pass; about a third slower",
    )
    flags.group("多个进程（torchrun）", "several processes (torchrun)")
    flags.switch(
        "--shard_model",
        "把权重、梯度、优化器状态分到各进程（FSDP2），用于一张卡放不下的模型；不给则每个进程各有一份（DDP）",
        "part weights, gradients and optimiser state among the processes (FSDP2), for a model beyond one GPU; without it each has a copy (DDP)",
    )
    flags.add(
        "--peer_timeout",
        300,
        "多少秒没有回音就认为别的进程或机器已断开，结束训练",
        "seconds without a sign of life after which another process or machine is taken for lost and the run ends",
        allowed=POSITIVE,
    )
    flags.group("存档与续训", "checkpoints and going on")
    flags.optional(
        "--resume",
        "接着训练：用 output_dir/checkpoints 里最新的完好检查点，没有则从头开始；也可给出一个检查点的文件夹",
        "go on from the newest whole checkpoint in output_dir/checkpoints, from the start where there is none; or from the given one's folder",
    )
    flags.add(
        "--save_every",
        Interval(seconds=900),
        "每多少次更新（如 500）或多长时间（如 90s、15m、2h）存一个检查点；0 不存",
        "how often to write a checkpoint: optimiser steps, as in 500, or time, as in 90s, 15m, 2h; 0 for never",
        kind=interval,
        shown_default="15m",
    )
    flags.add(
        "--max_hours",
        None,
        "最多训练几小时：学习率按这段时间排定，到时干净地结束；步数不超过 --epochs、--max_steps",
        "hours that the run may take: the schedule is fitted to them, and it ends cleanly; not more steps than --epochs or --max_steps say",
        kind=float,
        allowed=POSITIVE,
        shown_default="不限 / as long as it takes",
    )
    flags.switch(
        "--dry_run",
        "只预演：打印参数量、词元、步数、内存、实测的总时间，不训练",
        "a rehearsal: print parameters, tokens, steps, memory and the measured time to the end, and train nothing",
    )
    flags.add("--keep_last", 2, "保留最新的几个检查点", "checkpoints to keep, the newest", allowed=POSITIVE)
    flags.group("日志", "logs")
    flags.add(
        "--log_step",
        1,
        "每多少个小批记一次 loss；不是 gradient_accumulation 的倍数时向上取整",
        "micro-batches between reports; rounded up to a multiple of gradient_accumulation",
        allowed=POSITIVE,
    )
    flags.add(
        "--writer_dir", None, "TensorBoard 文件夹", "TensorBoard folder", kind=Path, shown_default="runs/<output_dir>"
    )
    parsed = flags.parse(argv)
    if parsed.fp16 and parsed.precision not in ("auto", "fp16"):
        raise UserError(
            f"--fp16 与 --precision {parsed.precision} 矛盾，请只给一个。",
            f"--fp16 and --precision {parsed.precision} disagree. Give one of them.",
        )
    return parsed


def make_vocab_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of cache/make_vocab.py: the ancestor's 3 and ours."""
    flags = Flags(
        "从语料造词表：按频率排序，一行一个词条。",
        "Make a vocabulary from a corpus: most frequent first, one entry a line.",
    )
    flags.add(
        "--raw_data_path",
        Path("../data/train.json"),
        "语料；相对路径先按当前目录找，再按 cache/ 找",
        "corpus; a relative path is looked for from here, then from cache/",
    )
    flags.add("--vocab_file", None, "写到哪里", "file to write", kind=Path, shown_default="cache/vocab_processed.txt")
    flags.add(
        "--vocab_size",
        None,
        "恰好多少行，控制符在内；不够则以 [unusedN] 补足",
        "exactly this many lines, control tokens included; filled up with [unusedN]",
        kind=int,
        allowed=POSITIVE,
        shown_default="word：至多 50000；char：全部；bpe、unigram：32000 / word: at most 50000; char: all; bpe, unigram: 32000",
    )
    flags.add(
        "--type",
        "word",
        "词、字，或子词（bpe、unigram）",
        "words, characters, or subwords (bpe, unigram)",
        choices=["word", "char", "bpe", "unigram"],
    )
    flags.add("--segmenter", "thulac", "用什么分词", "word segmenter", choices=["thulac", "jieba"])
    flags.add(
        "--character_coverage",
        0.9999,
        "bpe、unigram：单字覆盖语料的比例，其余的字按 UTF-8 字节编码",
        "bpe, unigram: share of the corpus whose characters are entries; the others are UTF-8 bytes",
        allowed=SHARE,
    )
    flags.add(
        "--sample_characters",
        20_000_000,
        "bpe、unigram：最多从多少字里学",
        "bpe, unigram: characters to learn from, at most",
        allowed=POSITIVE,
    )
    flags.add(
        "--special_tokens",
        "",
        '自己的特殊词元，逗号分隔，如 "[标题],[结束]"；在文中不会被切开',
        'special tokens of your own, as in "[标题],[结束]"; never split in a text',
    )
    flags.add(
        "--patch_vocab",
        None,
        "不造新词表：把语料里有而这份词表没有的字放进它的 [unusedN] 空位，已有的编号不动",
        "no new vocabulary: put the characters that this one lacks into its [unusedN] slots; no id moves",
        kind=Path,
        shown_default="无 / none",
    )
    flags.switch(
        "--verbatim",
        "字级：大小写与空格都保留（英文剧本、代码）",
        "characters: keep case and blanks (English plays, code)",
    )
    parsed = flags.parse(argv)
    parsed.special_tokens = [token.strip() for token in re.split("[,，]", parsed.special_tokens) if token.strip()]
    problems = [
        (f"--special_tokens {token}：应写成 [名字]，名字里没有空白和括号", f"--special_tokens {token}: write [name]")
        for token in parsed.special_tokens
        if not re.fullmatch(r"\[[^\[\]\s]+\]", token)
    ]
    if parsed.verbatim and parsed.type != "char":
        problems.append(
            (
                f"--verbatim 只用于 --type char，给的是 --type {parsed.type}",
                f"--verbatim goes with --type char, not --type {parsed.type}",
            )
        )
    of_subwords = parsed.type in ("bpe", "unigram")
    if parsed.patch_vocab is not None and (of_subwords or parsed.vocab_size is not None):
        problems.append(
            (
                "--patch_vocab 不与 --type bpe、unigram 或 --vocab_size 同用",
                "--patch_vocab goes with neither --type bpe, unigram nor --vocab_size",
            )
        )
    suffix = parsed.vocab_file.suffix if parsed.vocab_file is not None else None
    if suffix is not None and ((suffix == ".json") != of_subwords or suffix == ".model"):
        wanted = ".json" if of_subwords else ".txt"
        problems.append(
            (
                f"--vocab_file {parsed.vocab_file}：应以 {wanted} 结尾",
                f"--vocab_file {parsed.vocab_file}: must end in {wanted}",
            )
        )
    if problems:
        raise UserErrors(problems)
    return parsed


def convert_shards_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of convert_shards.py. The defaults for documents are those of train.py, which then takes the shards as they are."""
    flags = Flags(
        "别的工具切好的词元文件导入成分片（不重新分词），或把分片导出给别的工具。",
        "Other tools' token files into shards, without tokenising again; or shards into other tools' files.",
    )
    flags.add(
        "--input",
        None,
        "导入：放着 tokenized_train_0.txt … 或 train.bin、val.bin（nanoGPT）的文件夹；导出：分片文件夹",
        "import: a folder with tokenized_train_0.txt … or train.bin, val.bin (nanoGPT); export: a folder of shards",
        kind=Path,
        shown_default="必须给 / required",
    )
    flags.add("--output", None, "写到哪个文件夹", "folder to write", kind=Path, shown_default="必须给 / required")
    flags.add(
        "--export",
        None,
        "导出成什么；不给则导入",
        "what to export to; without it shards are imported",
        kind=str,
        choices=["nanogpt", "text"],
        shown_default="无 / none",
    )
    flags.group("导入", "import")
    flags.add(
        "--tokenizer_path", Path("cache/vocab_small.txt"), "切这些词元用的词表", "the vocabulary that gave the ids"
    )
    flags.switch("--segment", "词级词表", "the vocabulary is of words")
    flags.add("--num_pieces", 100, "切成多少个分片文件", "number of shard files", allowed=POSITIVE)
    flags.add(
        "--min_length", 128, "短于此字数的文章不收", "leave out shorter documents; characters", allowed=NOT_NEGATIVE
    )
    flags.add(
        "--val_ratio",
        0.02,
        "留作验证的比例，按整篇；有 val.bin 就用它",
        "share held out, whole documents; a val.bin is used instead",
        allowed=BELOW_HALF,
    )
    parsed = flags.parse(argv)
    if parsed.input is None or parsed.output is None:
        raise UserError("--input 与 --output 都要给。", "give both --input and --output.")
    return parsed


def prepare_data_flags(
    rules: Sequence[str], conversions: Sequence[str], argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """Flags of prepare_data.py. `rules` and `conversions` are the names that there are."""
    flags = Flags(
        "把任何编码、任何格式的小说整理成语料：清洗、分章、去重，并写一份报告。",
        "Novels in any encoding and format into a corpus: cleaned, cut into chapters, without duplicates, with a report.",
    )
    flags.inputs(
        "inputs",
        "文件、文件夹（.txt .md .html .json .jsonl .parquet，可带 .gz），或 hf:用户/数据集[:配置]",
        "files, folders (.txt .md .html .json .jsonl .parquet, also .gz), or hf:owner/data-set[:configuration]",
    )
    flags.add(
        "--output",
        Path("data/train.json"),
        "写到哪里；.json 是一个列表，.jsonl 每行一篇（大语料用）",
        "file to write; .json is one list, .jsonl one document a line (for large corpora)",
    )
    flags.add(
        "--report", None, "清洗报告（Markdown）", "the report (Markdown)", kind=Path, shown_default="<output>_report.md"
    )
    flags.add(
        "--skip_rules",
        "",
        f"不用的清洗规则，逗号分隔；有：{' '.join(rules)}",
        "cleaning rules to leave out, with commas between; the names are those above",
    )
    flags.add(
        "--split_chapters",
        "auto",
        "按章切成篇；auto：只切 .txt .md .html，json 等已是一篇一条的不切",
        "cut into chapters; auto: only .txt .md .html, as entries of json are documents already",
        choices=["auto", "always", "never"],
    )
    flags.add(
        "--convert",
        "none",
        "简繁转换（OpenCC）：t2s 繁到简，s2t 简到繁 ……",
        "simplified / traditional (OpenCC): t2s to simplified, s2t to traditional ...",
        choices=conversions,
    )
    flags.add(
        "--near_duplicates",
        None,
        "相似到多少算重复（0.5–1）；0 表示只去完全相同的",
        "similarity that makes a duplicate (0.5-1); 0: equal documents only",
        kind=float,
        allowed=SIMILARITY,
        shown_default="0.8，没有装 rensa 时 0 / 0.8, without rensa 0",
    )
    flags.switch("--keep_duplicates", "重复的文章也留下", "keep duplicates too")
    flags.add(
        "--paragraph_length",
        40,
        "不短于此的重复段落只留第一次，单位：字；0 表示不管段落",
        "repeated paragraphs of at least so many characters are kept once; 0 leaves paragraphs alone",
        allowed=NOT_NEGATIVE,
    )
    flags.add(
        "--min_length",
        0,
        "清洗后短于此的篇不收，单位：字",
        "leave out documents that are shorter when cleaned; characters",
        allowed=NOT_NEGATIVE,
    )
    flags.add(
        "--val_ratio",
        0.0,
        "另写一份验证集 <output>_val，按整篇划分（train.py 自己也会留）",
        "share for a validation file <output>_val, whole documents (train.py holds out its own)",
        allowed=BELOW_HALF,
    )
    parsed = flags.parse(argv)
    skipped = [name.strip() for name in re.split("[,，]", parsed.skip_rules) if name.strip()]
    unknown = [name for name in skipped if name not in rules]
    if unknown:
        raise UserError(
            f"--skip_rules 里没有这样的规则：{' '.join(unknown)}。有：{' '.join(rules)}。",
            f"--skip_rules: no such rules: {' '.join(unknown)}. There are: {' '.join(rules)}.",
        )
    if parsed.output.suffix not in (".json", ".jsonl"):
        raise UserError(
            f"--output {parsed.output} 应以 .json 或 .jsonl 结尾。",
            f"--output {parsed.output} must end in .json or .jsonl.",
        )
    parsed.rules = [name for name in rules if name not in skipped]
    return parsed
