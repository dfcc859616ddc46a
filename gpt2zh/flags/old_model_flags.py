"""The flags of the scripts that use a trained model, declared and explained in one place, as `flags` does for the others."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt2zh.errors import UserError, UserErrors
from gpt2zh.flags.command_line import LENGTH, NOT_NEGATIVE, PENALTY, POSITIVE, SHARE, Flags
from gpt2zh.flags.old_flags import add_device

DEFAULT_PREFIX = "萧炎"  # the ancestor's


def add_trained_model(flags: Flags) -> None:
    """A model folder, its tokenizer, and what it runs on."""
    flags.group("模型", "model")
    flags.add("--model_path", Path("model/final_model"), "模型文件夹", "model folder")
    flags.add(
        "--tokenizer_path",
        None,
        "词表文件；须与模型一致",
        "vocabulary file; must be the model's",
        kind=Path,
        shown_default="模型文件夹里的 / the model folder's own",
    )
    flags.switch(
        "--segment",
        "词级词表（模型文件夹自带分词器时不必给）",
        "the vocabulary is of words (not needed where the model folder has its tokenizer)",
    )
    add_device(flags)


def generate_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of generate.py: the ancestor's 17, those of its generate_texts.py, and ours."""
    flags = Flags("用训练好的模型续写。", "Write on with a trained model.")
    add_trained_model(flags)
    flags.add(
        "--quantize",
        "none",
        "int8：权重与乘法用 8 位整数，CPU 上最快，质量几乎不变（docs/performance.md）",
        "int8: weights and products in 8 bits, fastest on a CPU, at next to no loss (docs/performance.md)",
        choices=["none", "int8"],
    )
    flags.add(
        "--compile",
        "auto",
        "CPU 上用 C++ 内核写，第一次用时编译（1-2 秒，需 g++ 或 clang++）；auto：编译不了就用 torch 的算子，慢一半",
        "on a CPU write by a C++ kernel, compiled at its first use (1-2 seconds; g++ or clang++); auto: where that fails by torch's operators, half as fast",
        choices=["auto", "on", "off"],
    )
    _add_what_to_write(flags)
    _add_choice_of_tokens(flags)
    _add_output(flags)
    flags.group("祖先 GPT2-Chinese 的旧参数", "old flags of GPT2-Chinese")
    flags.without_effect("--fast_pattern", "缓存总是开着", "the cache is always on", takes_value=False)
    flags.without_effect("--model_config", "结构取自模型文件夹", "the shape is the model folder's", takes_value=True)
    flags.without_effect("--no_wordpiece", "分词方式取自词表", "the vocabulary decides", takes_value=False)
    parsed = flags.parse(argv)
    modes = [f"--{name}" for name in ("titles", "titles_file", "interactive", "all_epochs") if getattr(parsed, name)]
    problems = []

    def exclude(holds: object, one: str, other: str) -> None:
        if holds:
            problems.append((f"{one} 与 {other} 不能同用", f"{one} and {other} do not go together"))

    exclude(len(modes) > 1, *([modes[0], " ".join(modes[1:])] if modes else ["", ""]))
    exclude(parsed.stream and parsed.batch_size > 1, "--stream", f"--batch_size {parsed.batch_size}")
    exclude(parsed.greedy and parsed.num_beams > 1, "--greedy", f"--num_beams {parsed.num_beams}")
    exclude(modes and parsed.num_beams > 1, " ".join(modes), f"--num_beams {parsed.num_beams}")
    exclude(parsed.quantize == "int8" and parsed.num_beams > 1, "--quantize int8", f"--num_beams {parsed.num_beams}")
    if problems:
        raise UserErrors(problems)
    return parsed


def _add_what_to_write(flags: Flags) -> None:
    """Prefix, length, number of texts."""
    flags.group("写什么", "what to write")
    flags.add(
        "--prefix",
        DEFAULT_PREFIX,
        "开头；可写 [MASK]（文章开始）[CLS]（结束）[SEP]（换行）；空串表示从文章开头写起",
        "prompt; may hold [MASK] (document starts), [CLS] (ends), [SEP] (newline); empty: start a document",
        aliases=["--prompt"],
    )
    flags.switch(
        "--raw_prefix",
        "前缀照原样读，不在 [CLS] 之后补 [MASK]",
        "read the prefix as it is: no [MASK] is put behind [CLS]",
    )
    flags.add(
        "--length",
        -1,
        "最多新写多少词元；-1 表示 n_ctx",
        "new tokens at most; -1 is n_ctx",
        allowed=LENGTH,
        aliases=["--max_new_tokens"],
    )
    flags.add(
        "--sentences",
        0,
        "写几句（。！？为一句）；0 不论；没给 --length 时至多 150 词元一句",
        "sentences to write; 0 is off; at most 150 tokens each where --length is not given",
        allowed=NOT_NEGATIVE,
    )
    flags.switch(
        "--finish_sentence",
        "写满 --length 后写完这一句（至多多写 64 词元，写不完就退回上一句）",
        "at --length, write on to the end of the sentence (64 tokens at most, else back to the one before)",
    )
    flags.switch("--ignore_end", "不在文章结束处停下，写满 --length", "do not stop where the document ends")
    flags.add("--nsamples", 10, "写几篇", "number of samples", allowed=POSITIVE, aliases=["--num_samples"])
    flags.add("--batch_size", 1, "同时写几篇；不影响写出什么", "samples at a time; changes no text", allowed=POSITIVE)
    flags.add(
        "--titles",
        "",
        "一串标题，空格分开：每个各写几篇，存成 <标题序号>-<篇序号>.txt",
        "titles with blanks between: some articles for each, saved as <title>-<article>.txt",
    )
    flags.add(
        "--titles_file",
        None,
        "同上，一行一个标题",
        "the same, a title a line",
        kind=Path,
        shown_default="无 / none",
    )
    flags.add("--articles_per_title", 5, "每个标题写几篇", "articles for each title", allowed=POSITIVE)
    flags.switch(
        "--interactive", "对话：你写一段，模型接一段，可撤回", "take turns with the model; turns can be taken back"
    )
    flags.switch(
        "--all_epochs",
        "同一前缀与种子，每个 model_epochN 各写一遍，并排存成 all_epochs.md",
        "the same prefix and seed through each model_epochN, side by side in all_epochs.md",
    )


def _add_choice_of_tokens(flags: Flags) -> None:
    """How a token is chosen."""
    flags.group("怎样选词元", "how tokens are chosen")
    flags.add("--temperature", 1.0, "温度；0 表示总取最可能的", "temperature; 0 is greedy", allowed=NOT_NEGATIVE)
    flags.switch("--greedy", "总取最可能的，即 --temperature 0", "always the most probable, as --temperature 0")
    flags.add(
        "--topk",
        8,
        "只从最可能的 k 个里选；0 不限",
        "sample from the k most probable; 0 is off",
        allowed=NOT_NEGATIVE,
        aliases=["--top_k"],
    )
    flags.add(
        "--topp",
        0.0,
        "只从累积概率达到 p 的最可能者里选；0 不限",
        "sample from the most probable that sum to p; 0 is off",
        allowed=SHARE,
        aliases=["--top_p"],
    )
    flags.add(
        "--min_p",
        0.0,
        "不选概率低于最高者 p 倍的；0 不限",
        "leave out what is less probable than p times the most probable; 0 is off",
        allowed=SHARE,
    )
    flags.add(
        "--typical_p",
        0.0,
        "只从信息量最接近熵、累积概率达到 p 者里选；0 不限",
        "sample from those nearest to the entropy that sum to p; 0 is off",
        allowed=SHARE,
    )
    flags.add(
        "--repetition_penalty",
        1.0,
        "重复惩罚，大于 1 则少重复；1 不罚。标点与换行不罚",
        "above 1 repeats less; 1 is off. Punctuation and newlines are exempt from all penalties",
        allowed=POSITIVE,
    )
    flags.add(
        "--presence_penalty",
        0.0,
        "出现过的词元 logit 减去多少（负数：多重复）",
        "taken off the logit of a token that occurred (negative: repeat more)",
        allowed=PENALTY,
    )
    flags.add(
        "--frequency_penalty",
        0.0,
        "每出现一次 logit 减去多少",
        "taken off the logit for each time it occurred",
        allowed=PENALTY,
    )
    flags.add(
        "--penalty_window",
        256,
        "三种惩罚往回看多少词元；0 表示全文",
        "tokens that the three penalties look back; 0 is all",
        allowed=NOT_NEGATIVE,
    )
    flags.add(
        "--no_repeat_ngram",
        0,
        "不让任何连续 n 个词元出现两次；0 不管",
        "no n tokens in a row occur twice; 0 is off",
        allowed=NOT_NEGATIVE,
    )
    flags.switch(
        "--keep_loops",
        "陷入循环时不退回重写",
        "do not take a text back that goes round in circles",
    )
    flags.add(
        "--num_beams",
        1,
        "大于 1：束搜索（transformers 的），写一篇最可能的",
        "above 1: beam search (that of transformers), one most probable text",
        allowed=POSITIVE,
    )
    flags.add(
        "--seed",
        None,
        "随机种子；同一种子写出同样的文字",
        "random seed; the same seed writes the same text",
        kind=int,
        allowed=NOT_NEGATIVE,
        shown_default="随机，并打印 / drawn and printed",
    )


def _add_output(flags: Flags) -> None:
    """Where texts go."""
    flags.group("输出", "output")
    flags.switch("--stream", "边写边显示", "show the text as it is written")
    flags.switch("--save_samples", "存成 samples.txt", "write samples.txt")
    flags.switch(
        "--save_json",
        "存成 samples.json：设置、种子、词元/秒、编号",
        "write samples.json: settings, seed, tokens/s, ids",
    )
    flags.add("--save_samples_path", Path("mnt/"), "存在哪个文件夹", "folder to save to", aliases=["--save_path"])


def evaluate_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of evaluate.py."""
    flags = Flags(
        "一段文字在模型下的 loss、困惑度、每字比特数；每个词元恰好算一次。",
        "Loss, perplexity and bits per character of a text under a model; every token counts once.",
    )
    add_trained_model(flags)
    flags.group("文字", "text")
    flags.add(
        "--raw_data_path",
        None,
        "要评的文字：JSON 列表、JSONL、txt、parquet 或文件夹",
        "the text: a JSON list, JSONL, txt, parquet or a folder",
        kind=Path,
        shown_default="用下一项 / the next flag",
    )
    flags.add(
        "--tokenized_data_path",
        None,
        "或：训练时留作验证的部分，取自这个分片文件夹",
        "or: what training held out, from this folder of shards",
        kind=Path,
        shown_default="无 / none",
    )
    flags.add("--batch_size", 8, "每批窗口数", "windows a batch", allowed=POSITIVE)
    flags.add(
        "--stride",
        None,
        "窗口步长，单位：词元；越小上文越长、越慢",
        "step of the windows, tokens; smaller gives more context and takes longer",
        kind=int,
        allowed=POSITIVE,
        shown_default="n_ctx / 2",
    )
    parsed = flags.parse(argv)
    if (parsed.raw_data_path is None) == (parsed.tokenized_data_path is None):
        raise UserError(
            "--raw_data_path 与 --tokenized_data_path 要给且只给一个。",
            "give either --raw_data_path or --tokenized_data_path, not both or none.",
        )
    return parsed
