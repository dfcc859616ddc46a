"""The flags of cache/make_vocab.py: GPT2-Chinese's 3, and ours."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt2zh.errors import UserErrors
from gpt2zh.flags.command_line import flag, group, parse, switch
from gpt2zh.flags.shared import Split
from gpt2zh.flags.values import ENTRIES, POSITIVE, SHARE


@dataclass(frozen=True)
class MakeVocabFlags:
    """从语料造词表：按频率排序，一行一个词条。 / Make a vocabulary from a corpus: most frequent first, one entry a line."""

    raw_data_path: Path = flag(
        Path("../data/train.json"),
        "语料；相对路径先按当前目录找，再按 cache/ 找",
        "corpus; a relative path is looked for from here, then from cache/",
    )
    vocab_file: Path | None = flag(None, "写到哪里", "file to write", shown="cache/vocab_processed.txt")
    vocab_size: int | None = flag(
        None,
        "恰好多少行，控制符在内；不够则以 [unusedN] 补足",
        "exactly this many lines, control tokens included; filled up with [unusedN]",
        ENTRIES,
        shown="word：至多 50000；char：全部；bpe、unigram：32000 / word: at most 50000; char: all; bpe, unigram: 32000",
    )
    type: Literal["word", "char", "bpe", "unigram"] = flag(
        "word", "词、字，或子词（bpe、unigram）", "words, characters, or subwords (bpe, unigram)"
    )
    segmenter: Literal["thulac", "jieba"] = flag("thulac", "用什么分词", "word segmenter")
    character_coverage: float = flag(
        0.9999,
        "bpe、unigram：单字覆盖语料的比例，其余的字按 UTF-8 字节编码",
        "bpe, unigram: share of the corpus whose characters are entries; the others are UTF-8 bytes",
        SHARE,
    )
    sample_characters: int = flag(
        20_000_000, "bpe、unigram：最多从多少字里学", "bpe, unigram: characters to learn from, at most", POSITIVE
    )
    special_tokens: tuple[str, ...] = flag(
        (),
        '自己的特殊词元，逗号分隔，如 "[标题],[结束]"；在文中不会被切开',
        'special tokens of your own, as in "[标题],[结束]"; never split in a text',
    )
    patch_vocab: Path | None = flag(
        None,
        "不造新词表：把语料里有而这份词表没有的字放进它的 [unusedN] 空位，已有的编号不动",
        "no new vocabulary: put the characters that this one lacks into its [unusedN] slots; no id moves",
    )
    verbatim: bool = switch(
        "字级：大小写与空格都保留（英文剧本、代码）", "characters: keep case and blanks (English plays, code)"
    )
    split: Split = group(
        "bpe、unigram 不学 train.py 同样留出的文章",
        "bpe, unigram: what train.py holds out likewise is not learned from",
    )

    @property
    def of_subwords(self) -> bool:
        return self.type in ("bpe", "unigram")


def make_vocab_flags(argv: Sequence[str] | None = None) -> MakeVocabFlags:
    """The flags of a command line. Raises UserErrors."""
    flags = parse(MakeVocabFlags, argv)
    if problems := [*problems_of(flags)]:
        raise UserErrors(problems)
    return flags


def problems_of(flags: MakeVocabFlags) -> Iterator[tuple[str, str]]:
    """What does not go together."""
    for token in flags.special_tokens:
        if not re.fullmatch(r"\[[^\[\]\s]+\]", token):
            yield (
                f"--special_tokens {token}：应写成 [名字]，名字里没有空白和括号",
                f"--special_tokens {token}: write [name], with no blank and no bracket in the name",
            )
    if flags.verbatim and flags.type != "char":
        yield (
            f"--verbatim 只用于 --type char，给的是 --type {flags.type}",
            f"--verbatim goes with --type char, not --type {flags.type}",
        )
    if flags.patch_vocab is not None and (flags.of_subwords or flags.vocab_size is not None):
        yield (
            "--patch_vocab 不与 --type bpe、unigram 或 --vocab_size 同用",
            "--patch_vocab goes with neither --type bpe, unigram nor --vocab_size",
        )
    suffix = flags.vocab_file.suffix if flags.vocab_file is not None else None
    if suffix is not None and ((suffix == ".json") != flags.of_subwords or suffix == ".model"):
        wanted = ".json" if flags.of_subwords else ".txt"
        yield (
            f"--vocab_file {flags.vocab_file}：应以 {wanted} 结尾",
            f"--vocab_file {flags.vocab_file}: must end in {wanted}",
        )
