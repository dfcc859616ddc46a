"""How a run learns: optimiser, learning rate, schedule, chosen for the model and the length of the run.

In: what the user gave (None: not given) and the sizes. Out: `Recipe`. A given value is always obeyed.
The figures behind the defaults are in docs/log.md, "Which recipe".
"""

import math
from dataclasses import dataclass
from typing import Literal

from gpt2zh.flags.command_line import flag
from gpt2zh.flags.values import BELOW_HALF, NOT_NEGATIVE, POSITIVE, SHARE, number_or_auto

LR_AT_384 = {"muon": 5e-3, "adamw": 2e-3, "adamw8bit": 2e-3}  # peak learning rate of a model 384 wide
FINE_TUNED_LR_AT_384 = 1.6e-4  # of a model that is trained already: more makes it forget what it knows
WARMUP_SHARE = 0.1
MOST_WARMUP = 2000


@dataclass(frozen=True)
class Recipe:
    """`lr` is the peak; `betas` and `eps` are AdamW's; `warmup_steps` are optimiser steps."""

    optimizer: str
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    schedule: str
    warmup_steps: int
    label_smoothing: float = 0.0
    input_noise: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.optimizer}, lr {self.lr:.3g}, {self.schedule}, warm-up {self.warmup_steps}, "
            f"weight decay {self.weight_decay:g}, betas {self.betas[0]:g} {self.betas[1]:g}"
            f"{f', label smoothing {self.label_smoothing:g}' if self.label_smoothing else ''}"
            f"{f', input noise {self.input_noise:g}' if self.input_noise else ''}"
        )


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for, a group of its flags; None where it leaves the choice to `recipe`."""

    recipe: Literal["tuned", "classic"] = flag(
        "tuned",
        "tuned：我们测得最好的；classic：祖先 GPT2-Chinese 的",
        "tuned, the best that we measured; classic, that of GPT2-Chinese",
    )
    optimizer: Literal["adamw", "muon", "adamw8bit"] | None = flag(
        None,
        "优化器；muon 管各层的矩阵，其余归 adamw；adamw8bit 要装 bitsandbytes",
        "optimiser; muon for the blocks' matrices, adamw for the rest; adamw8bit needs bitsandbytes",
        shown="muon；硬件没有 bf16、或有 --pretrained_model 则 adamw / muon; adamw where the hardware has no bf16, or with --pretrained_model",
    )
    lr: float | None = flag(
        None,
        "学习率的峰值，或 auto",
        "peak learning rate, or auto",
        POSITIVE,
        kind=number_or_auto,
        shown="auto：按模型宽度，有 --pretrained_model 则小得多 / by the model's width, with --pretrained_model much lower",
    )
    warmup_steps: float | None = flag(
        None,
        "预热多少次更新；小于 1 则是占总数的比例",
        "optimiser steps of warm-up; below 1 a share of the run",
        NOT_NEGATIVE,
        shown="总步数的十分之一，至多 2000 / a tenth of all, at most 2000",
    )
    schedule: Literal["linear", "cosine", "wsd"] | None = flag(
        None,
        "预热之后学习率怎样降到 0：linear 直线；cosine 余弦；wsd 先不变，最后五分之一直线下降",
        "how the learning rate falls to 0 after the warm-up: linear; cosine; wsd, constant, then linear in the last fifth",
        shown="linear",
    )
    weight_decay: float | None = flag(
        None, "权重衰减，只作用于矩阵", "weight decay, on matrices only", NOT_NEGATIVE, shown="0.1"
    )
    betas: tuple[float, float] | None = flag(
        None, "AdamW 的两个动量系数，如 0.9,0.95", "AdamW's two momentum coefficients, as in 0.9,0.95", shown="0.9,0.95"
    )
    label_smoothing: float = flag(
        0.0,
        "标签平滑：训练目标有多少分给各词元，按其频率；文字少而轮数多时 0.1 更好；报出的 loss 仍是文字本身的",
        "label smoothing: share of the training target that goes to all tokens by their frequency; 0.1 helps where little text is read often; the losses shown stay those of the text",
        BELOW_HALF,
    )
    input_noise: float = flag(
        0.0,
        "输入噪声：训练时读到的词元换成别的，只出现一次的按这个概率，后面跟什么越固定的换得越少；文字少而轮数多时 0.2 更好",
        "noise on the inputs: a token that occurs once is read as another one with this probability, those whose followers are settled less often; 0.2 helps where little text is read often",
        SHARE,
    )


def choose_recipe(wishes: Wishes, n_embd: int, n_steps: int, fast_bf16: bool, pretrained: bool = False) -> Recipe:
    """The recipe of a run.

    Args:
        wishes: its `recipe` is "tuned", ours; or "classic", GPT2-Chinese's: AdamW as it was then, 2,000 steps of warm-up however
            short the run.
        n_embd: width of the model. n_steps: optimiser steps of the run.
        fast_bf16: the hardware multiplies bf16, which Muon does whatever the precision of the run.
        pretrained: the model is trained already, and is to learn another text without forgetting too much.
    """
    if wishes.recipe == "classic":
        usual = Recipe("adamw", 1.5e-4, (0.9, 0.999), 1e-6, 0.0, "linear", 2000)
    else:
        optimizer = wishes.optimizer or ("muon" if fast_bf16 and not pretrained else "adamw")
        lr_at_384 = FINE_TUNED_LR_AT_384 if pretrained else LR_AT_384[optimizer]
        usual = Recipe(
            optimizer,
            lr_at_384 * math.sqrt(384 / n_embd),
            (0.9, 0.95),
            1e-8,
            0.1,
            "linear",
            min(MOST_WARMUP, math.ceil(WARMUP_SHARE * n_steps)),
        )
    warmup = usual.warmup_steps if wishes.warmup_steps is None else wishes.warmup_steps
    return Recipe(
        optimizer=wishes.optimizer or usual.optimizer,
        lr=usual.lr if wishes.lr is None else wishes.lr,
        betas=wishes.betas or usual.betas,
        eps=usual.eps,
        weight_decay=usual.weight_decay if wishes.weight_decay is None else wishes.weight_decay,
        schedule=wishes.schedule or usual.schedule,
        warmup_steps=math.ceil(warmup * n_steps) if warmup < 1 else int(warmup),
        label_smoothing=wishes.label_smoothing,
        input_noise=wishes.input_noise,
    )
