"""How a run learns: optimiser, learning rate, schedule, chosen for the model and the length of the run.

In: what the user gave (None: not given) and the sizes. Out: `Recipe`. A given value is always obeyed.
The figures behind the defaults are in docs/log.md, "Which recipe".
"""

import math
from dataclasses import dataclass

LR_AT_384 = {"muon": 5e-3, "adamw": 2e-3, "adamw8bit": 2e-3}  # peak learning rate of a model 384 wide
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

    def __str__(self) -> str:
        return (
            f"{self.optimizer}, lr {self.lr:.3g}, {self.schedule}, warm-up {self.warmup_steps}, "
            f"weight decay {self.weight_decay:g}, betas {self.betas[0]:g} {self.betas[1]:g}"
        )


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for; None where it leaves the choice to the recipe. `warmup_steps` below 1 is a share of the run.

    Args:
        recipe: "tuned", ours; "classic", GPT2-Chinese's: AdamW as it was then, 2,000 steps of warm-up however short the run.
    """

    recipe: str = "tuned"
    optimizer: str | None = None
    lr: float | None = None
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    warmup_steps: float | None = None


def choose_recipe(wishes: Wishes, n_embd: int, n_steps: int, fast_bf16: bool) -> Recipe:
    """The recipe of a run.

    Args:
        n_embd: width of the model. n_steps: optimiser steps of the run.
        fast_bf16: the hardware multiplies bf16, which Muon does whatever the precision of the run.
    """
    if wishes.recipe == "classic":
        usual = Recipe("adamw", 1.5e-4, (0.9, 0.999), 1e-6, 0.0, "linear", 2000)
    else:
        optimizer = wishes.optimizer or ("muon" if fast_bf16 else "adamw")
        usual = Recipe(
            optimizer,
            LR_AT_384[optimizer] * math.sqrt(384 / n_embd),
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
    )
