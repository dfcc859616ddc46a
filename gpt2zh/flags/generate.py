"""The flags of generate.py: GPT2-Chinese's 17, those of its generate_texts.py, and ours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gpt2zh.errors import UserErrors
from gpt2zh.flags.command_line import dead, flag, group, parse, switch
from gpt2zh.flags.shared import Compute, TrainedModel
from gpt2zh.flags.values import BEAMS, LENGTH, NOT_NEGATIVE, POSITIVE, biased_words, words_apart
from gpt2zh.generation.settings import USUAL, SamplingSettings

DEFAULT_PREFIX = "萧炎"  # the ancestor's
MODES = ("titles", "titles_file", "interactive", "all_epochs")


@dataclass(frozen=True)
class GenerateCompute(Compute):
    quantize: Literal["none", "int8"] = flag(
        "none",
        "int8：权重与乘法用 8 位整数，CPU 上最快，质量几乎不变（docs/performance.md）",
        "int8: weights and products in 8 bits, fastest on a CPU, at next to no loss (docs/performance.md)",
    )
    compile: Literal["auto", "on", "off"] = flag(
        "auto",
        "CPU 上用 C++ 内核写，第一次用时编译（1-2 秒，需 g++ 或 clang++）；auto：编译不了就用 torch 的算子，慢一半",
        "on a CPU write by a C++ kernel, compiled at its first use (1-2 seconds; g++ or clang++); auto: where that fails by torch's operators, half as fast",
    )


@dataclass(frozen=True)
class Texts:
    prefix: str = flag(
        DEFAULT_PREFIX,
        "开头；可写 [MASK]（文章开始）[CLS]（结束）[SEP]（换行）；空串表示从文章开头写起",
        "prompt; may hold [MASK] (document starts), [CLS] (ends), [SEP] (newline); empty: start a document",
        aliases=("prompt",),
    )
    prefix_file: Path | None = flag(
        None, "开头写在这个文件里（UTF-8），代替 --prefix", "the prompt is in this file (UTF-8), in place of --prefix"
    )
    raw_prefix: bool = switch(
        "前缀照原样读，不在 [CLS] 之后补 [MASK]", "read the prefix as it is: no [MASK] is put behind [CLS]"
    )
    stop: tuple[str, ...] = flag(
        (),
        "写出其中一串字就停，这串字不留；空格分开，\\n 表示换行",
        "end a text where one of these comes, without it; blanks between, \\n for a newline",
        kind=words_apart,
    )
    ban: tuple[str, ...] = flag(
        (), "不许写的字或词，空格分开", "words that must not be written; blanks between", kind=words_apart
    )
    bias: tuple[tuple[str, float], ...] = flag(
        (),
        "偏爱（正数）或少用（负数）的字或词：logit 加上多少，如 月亮=2 太阳=-1",
        "words to favour (above 0) or to avoid (below 0): what is added to their logits, as in 月亮=2 太阳=-1",
        kind=biased_words,
    )
    length: int = flag(
        -1, "最多新写多少词元；-1 表示 n_ctx", "new tokens at most; -1 is n_ctx", LENGTH, aliases=("max_new_tokens",)
    )
    nsamples: int = flag(10, "写几篇", "number of samples", POSITIVE, aliases=("num_samples",))
    batch_size: int = flag(1, "同时写几篇；不影响写出什么", "samples at a time; changes no text", POSITIVE)
    titles: str = flag(
        "",
        "一串标题，空格分开：每个各写几篇，存成 <标题序号>-<篇序号>.txt",
        "titles with blanks between: some articles for each, saved as <title>-<article>.txt",
    )
    titles_file: Path | None = flag(None, "同上，一行一个标题", "the same, a title a line")
    articles_per_title: int = flag(5, "每个标题写几篇", "articles for each title", POSITIVE)
    interactive: bool = switch(
        "对话：你写一段，模型接一段，可撤回", "take turns with the model; turns can be taken back"
    )
    all_epochs: bool = switch(
        "同一前缀与种子，每个 model_epochN 各写一遍，并排存成 all_epochs.md",
        "the same prefix and seed through each model_epochN, side by side in all_epochs.md",
    )
    seed: int | None = flag(
        None,
        "随机种子；同一种子写出同样的文字",
        "random seed; the same seed writes the same text",
        NOT_NEGATIVE,
        shown="随机，并打印 / drawn and printed",
    )


@dataclass(frozen=True)
class Search:
    greedy: bool = switch("总取最可能的，即 --temperature 0", "always the most probable, as --temperature 0")
    num_beams: int = flag(
        1,
        "大于 1：束搜索（transformers 的），写一篇最可能的",
        "above 1: beam search (that of transformers), one most probable text",
        BEAMS,
    )


@dataclass(frozen=True)
class Output:
    stream: bool = switch("边写边显示", "show the text as it is written")
    save_samples: bool = switch("存成 samples.txt", "write samples.txt")
    save_json: bool = switch(
        "存成 samples.json：设置、种子、词元/秒、编号", "write samples.json: settings, seed, tokens/s, ids"
    )
    save_samples_path: Path = flag(Path("mnt/"), "存在哪个文件夹", "folder to save to", aliases=("save_path",))


@dataclass(frozen=True)
class Ancestors:
    fast_pattern: bool = dead("缓存总是开着", "the cache is always on", takes_value=False)
    model_config: str | None = dead("结构取自模型文件夹", "the shape is the model folder's", takes_value=True)
    no_wordpiece: bool = dead("分词方式取自词表", "the vocabulary decides", takes_value=False)


@dataclass(frozen=True)
class GenerateFlags:
    """用训练好的模型续写。 / Write on with a trained model."""

    model: TrainedModel = group("模型", "model")
    compute: GenerateCompute = group("模型", "model")
    text: Texts = group("写什么", "what to write")
    sampling: SamplingSettings = group("怎样选词元，何时停下", "how tokens are chosen, and when a text ends", USUAL)
    search: Search = group("怎样选词元，何时停下", "how tokens are chosen, and when a text ends")
    output: Output = group("输出", "output")
    ancestors: Ancestors = group("祖先 GPT2-Chinese 的旧参数", "old flags of GPT2-Chinese")

    @property
    def settings(self) -> SamplingSettings:
        """`sampling`, with what --greedy makes of it; a turn of a conversation ends on a sentence."""
        settings = replace(self.sampling, temperature=0.0) if self.search.greedy else self.sampling
        return replace(settings, finish_sentence=True) if self.text.interactive else settings


def generate_flags(argv: Sequence[str] | None = None) -> GenerateFlags:
    """The flags of a command line. Raises UserErrors."""
    flags = parse(GenerateFlags, argv)
    if problems := [*problems_of(flags)]:
        raise UserErrors(problems)
    return flags


def problems_of(flags: GenerateFlags) -> Iterator[tuple[str, str]]:
    """What does not go together."""
    modes = [f"--{name}" for name in MODES if getattr(flags.text, name)]
    size, beams = flags.text.batch_size, flags.search.num_beams
    for holds, one, other in (
        (len(modes) > 1, modes[:1], modes[1:]),
        (flags.output.stream and size > 1, ["--stream"], [f"--batch_size {size}"]),
        (flags.search.greedy and beams > 1, ["--greedy"], [f"--num_beams {beams}"]),
        (flags.text.prefix_file and flags.text.prefix != DEFAULT_PREFIX, ["--prefix"], ["--prefix_file"]),
        (modes and beams > 1, modes, [f"--num_beams {beams}"]),
        (flags.compute.quantize == "int8" and beams > 1, ["--quantize int8"], [f"--num_beams {beams}"]),
    ):
        if holds:
            pair = " ".join(one), " ".join(other)
            yield f"{pair[0]} 与 {pair[1]} 不能同用", f"{pair[0]} and {pair[1]} do not go together"
