"""How tokens are chosen and when a text is over: what a request says of it, and a group of generate.py's flags.

In: numbers. Out: one record of them; `logits` and `draft` do what it says.
"""

from dataclasses import dataclass

from gpt2zh.flags.command_line import flag, switch, unswitch
from gpt2zh.flags.values import DRY_BASE, NOT_NEGATIVE, PENALTY, POSITIVE, SHARE


@dataclass(frozen=True)
class SamplingSettings:
    """The defaults are the model's own distribution, to the document's end; `USUAL` is what is written with unless asked otherwise.

    Sources: top_p, Holtzman et al. 2020; min_p, Nguyen et al. 2024; typical_p, Meister et al. 2022; repetition_penalty, Keskar et
    al. 2019, with the sign put right; presence and frequency penalties, OpenAI's API; no_repeat_ngram, Paulus et al. 2017; top_n_sigma,
    Tang et al. 2024; DRY and XTC, p-e-w in text-generation-webui (pull requests 5677 and 6335), as in llama.cpp. Filters of
    probabilities are off at 0, top_p and typical_p at 1 too.
    """

    temperature: float = flag(1.0, "温度；0 表示总取最可能的", "temperature; 0 is greedy", NOT_NEGATIVE)
    top_k: int = flag(
        0,
        "只从最可能的 k 个里选；0 不限",
        "sample from the k most probable; 0 is off",
        NOT_NEGATIVE,
        name="topk",
        aliases=("top_k",),
    )
    top_p: float = flag(
        0.0,
        "只从累积概率达到 p 的最可能者里选；0 不限",
        "sample from the most probable that sum to p; 0 is off",
        SHARE,
        name="topp",
        aliases=("top_p",),
    )
    min_p: float = flag(
        0.0,
        "不选概率低于最高者 p 倍的；0 不限",
        "leave out what is less probable than p times the most probable; 0 is off",
        SHARE,
    )
    typical_p: float = flag(
        0.0,
        "只从信息量最接近熵、累积概率达到 p 者里选；0 不限",
        "sample from those nearest to the entropy that sum to p; 0 is off",
        SHARE,
    )
    top_n_sigma: float = flag(
        0.0,
        "只从 logit 不低于最高者减 n 个标准差的里选；0 不限",
        "sample from those whose logit is within n standard deviations of the highest; 0 is off",
        NOT_NEGATIVE,
    )
    xtc_probability: float = flag(
        0.0,
        "以此概率去掉最可能的几个（概率不低于 --xtc_threshold 者，只留其中最不可能的），少些俗套；0 不去",
        "with this probability leave out the most probable, those at --xtc_threshold or above but the least probable of them: fewer commonplaces; 0 is off",
        SHARE,
    )
    xtc_threshold: float = flag(0.1, "见 --xtc_probability", "see --xtc_probability", SHARE)
    repetition_penalty: float = flag(
        1.0,
        "重复惩罚，大于 1 则少重复；1 不罚。标点与换行不罚",
        "above 1 repeats less; 1 is off. Punctuation and newlines are exempt from all penalties",
        POSITIVE,
    )
    presence_penalty: float = flag(
        0.0,
        "出现过的词元 logit 减去多少（负数：多重复）",
        "taken off the logit of a token that occurred (negative: repeat more)",
        PENALTY,
    )
    frequency_penalty: float = flag(
        0.0, "每出现一次 logit 减去多少", "taken off the logit for each time it occurred", PENALTY
    )
    penalty_window: int = flag(
        256,
        "三种惩罚与 DRY 往回看多少词元，前缀在内；0 表示全文",
        "tokens that the three penalties and DRY look back, the prefix included; 0 is all",
        NOT_NEGATIVE,
    )
    dry_multiplier: float = flag(
        0.0,
        "DRY：会把前文的一串接着重复下去的词元，logit 减去 multiplier x base^(已重复词元数 - allowed_length)；0 不罚",
        "DRY: a token that would carry on a repetition of what stood before loses multiplier x base^(tokens repeated so far - allowed_length); 0 is off",
        NOT_NEGATIVE,
    )
    dry_base: float = flag(1.75, "见 --dry_multiplier", "see --dry_multiplier", DRY_BASE)
    dry_allowed_length: int = flag(
        2,
        "DRY：重复了多少词元才开始罚；标点与换行隔断",
        "DRY: tokens that may be repeated; punctuation and newlines part the text",
        POSITIVE,
    )
    no_repeat_ngram: int = flag(
        0, "不让任何连续 n 个词元出现两次；0 不管", "no n tokens in a row occur twice; 0 is off", NOT_NEGATIVE
    )
    break_loops: bool = unswitch(
        "keep_loops", "陷入循环时不退回重写", "do not take a text back that goes round in circles"
    )
    sentences: int = flag(
        0,
        "写几句（。！？为一句）；0 不论；没给 --length 时至多 150 词元一句",
        "sentences to write; 0 is off; at most 150 tokens each where --length is not given",
        NOT_NEGATIVE,
    )
    finish_sentence: bool = switch(
        "写满 --length 后写完这一句（至多多写 64 词元，写不完就退回上一句）",
        "at --length, write on to the end of the sentence (64 tokens at most, else back to the one before)",
    )
    ignore_end: bool = switch("不在文章结束处停下，写满 --length", "do not stop where the document ends")

    @property
    def counts_tokens(self) -> bool:
        """Whether any penalty needs to know what occurred."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0


# What generate.py and train.py write with: docs/performance.md, "Sampling", tells why.
USUAL = SamplingSettings(top_p=0.85, repetition_penalty=1.05)
