"""How a run learns: optimiser, learning rate, schedule, chosen for the model and the length of the run.

In: what the user gave (None: not given) and the sizes. Out: `Recipe`. A given value is always obeyed.
The figures behind the defaults are in docs/log.md, "Which recipe".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

LR_AT_384 = {"muon": 5e-3, "adamw": 2e-3, "adamw8bit": 2e-3}  # peak learning rate of a model 384 wide
WARMUP_SHARE = 0.1
MOST_WARMUP = 2000


PACE_AFTER = 10  # steps, before a run with --max_hours is planned by its pace
RESERVE = 0.03  # of the time, for what the pace does not show: the end's validation and saving


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
    """What the command line asks for; None where it leaves the choice to the recipe. `warmup` below 1 is a share of the run."""

    optimizer: str | None = None
    lr: float | None = None
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    warmup: float | None = None


def choose_recipe(name: str, wishes: Wishes, n_embd: int, n_steps: int, fast_bf16: bool) -> Recipe:
    """The recipe of a run.

    Args:
        name: "tuned", ours; "classic", GPT2-Chinese's: AdamW as it was then, 2,000 steps of warm-up however short the run.
        n_embd: width of the model. n_steps: optimiser steps of the run.
        fast_bf16: the hardware multiplies bf16, which Muon does whatever the precision of the run.
    """
    if name == "classic":
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
    warmup = usual.warmup_steps if wishes.warmup is None else wishes.warmup
    return Recipe(
        optimizer=wishes.optimizer or usual.optimizer,
        lr=usual.lr if wishes.lr is None else wishes.lr,
        betas=wishes.betas or usual.betas,
        eps=usual.eps,
        weight_decay=usual.weight_decay if wishes.weight_decay is None else wishes.weight_decay,
        schedule=wishes.schedule or usual.schedule,
        warmup_steps=math.ceil(warmup * n_steps) if warmup < 1 else int(warmup),
    )


@dataclass
class Budget:
    """The time that a run may take, and how many steps go into it.

    Args:
        seconds: in all, from the first step on; None: as long as it takes.
        most: steps of the run if time were no matter.
        spent: seconds before this process took the run over.
        clock: seconds, from anywhere.
    """

    seconds: float | None
    most: int
    spent: float
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        self.started = self.clock()
        self.first: tuple[int, float] | None = None  # a step, and when it was done

    def so_far(self) -> float:
        """Seconds spent."""
        return self.spent + self.clock() - self.started

    def steps(self, step: int) -> int:
        """Steps of the whole run, after `step` of them, at the pace since this process's first ones; validation is in it."""
        now = self.so_far()
        if self.seconds is None:
            return self.most
        if now >= self.seconds:
            return min(self.most, step)
        if self.first is None:
            self.first = step, now
        begun, since = self.first
        if step - begun < PACE_AFTER:
            return self.most
        pace = (now - since) / (step - begun)
        return min(self.most, step + max(0, int(((1 - RESERVE) * self.seconds - now) / pace)))
