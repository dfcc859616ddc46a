"""All that a run needs, besides its weights, to go on as if it had not stopped.

    state.json          counters, settings, numbers of the optimiser and of the loss scaling
    state.safetensors   the optimiser's moments by name of parameter; the states of the random generators

In: a `RunState`. Out: two files; nothing is pickled. Refuses: files of another form.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gpt2zh.errors import UserError
from gpt2zh.system.files import read_json_object, write_text
from gpt2zh.system.records import LARGEST, record

STATE, TENSORS = "state.json", "state.safetensors"
FORMAT = 1
COUNTS = ("stride", "windows_per_step", "batch_size", "gradient_accumulation", "n_steps")  # of the settings
LOSSES = ("best", "last")  # are infinite until there is a validation
Tree = TypeVar("Tree")


@dataclass
class Progress:
    """Where a run stands, between two optimiser steps.

    Args:
        step: optimiser steps done, those that were skipped among them.
        closed: the step at which an epoch, or the run, was last brought to its end: validated and written.
        nats, n_tokens: loss and targets since the last report; `n_rows`: reports so far.
        seconds: spent on the run.
        best, last: the lowest and the last validation loss, nats a token; `best_step`: of the lowest; `n_worse`: validations since.
        validated: the step after which the last validation was.
        passed: n-grams that a validation was below, and the seconds that had been spent.
        skipped: steps whose gradients were not finite; `skipped_in_a_row`: of these, the last ones.
        finished: the run came to its end, as it was planned then.
    """

    step: int = 0
    closed: int = 0
    nats: float = 0.0
    n_tokens: int = 0
    n_rows: int = 0
    seconds: float = 0.0
    best: float = math.inf
    last: float = math.inf
    best_step: int = 0
    n_worse: int = 0
    validated: int = 0
    passed: dict[str, float] = field(default_factory=dict)
    skipped: int = 0
    skipped_in_a_row: int = 0
    finished: bool = False


@dataclass(frozen=True)
class RunState:
    """All that a run needs to go on as if it had not stopped.

    Args:
        settings: what must or may be the same (`resume.compare`), as JSON has it.
        optimizer: by name of parameter, then of value: tensors, numbers, or dictionaries of these.
        random: of each process, the states of its generators: the CPU's, then each GPU's.
        scaler: of fp16's loss scaling.
    """

    progress: Progress
    settings: dict[str, Any]
    optimizer: dict[str, dict[str, object]]
    random: list[list[torch.Tensor]]
    scaler: dict[str, float]


def write_state(folder: Path, state: RunState) -> None:
    """Write a state's two files into `folder`."""
    tensors, numbers = split(state.optimizer)
    for process, generators in enumerate(state.random):
        tensors |= {f"random/{process}/{i:03}": generator for i, generator in enumerate(generators)}
    progress = asdict(state.progress) | {name: finite_or_none(getattr(state.progress, name)) for name in LOSSES}
    values = {
        "format": FORMAT,
        "progress": progress,
        "settings": state.settings,
        "scaler": state.scaler,
        "optimizer": numbers,
    }
    save_file(tensors, folder / TENSORS)
    write_text(folder / STATE, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def finite_or_none(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def read_state(folder: Path, with_optimizer: bool = True) -> RunState:
    """The state in a checkpoint, on the CPU; the optimiser's is empty where it is not wanted.

    Raises:
        UserError: there is none, or it is not of this form.
    """
    values: dict[str, Any] = read_json_object(folder / STATE)
    try:
        if values["format"] != FORMAT:
            raise KeyError("format")
        losses = {name: values["progress"].get(name) or math.inf for name in LOSSES}
        progress = record(Progress, asdict(Progress()) | values["progress"] | losses)
        for name in ("settings", "scaler", "optimizer"):
            if not isinstance(values[name], dict):
                raise ValueError(f"{name} is not an object")
        require_possible(progress, values["settings"])
        with safe_open(folder / TENSORS, "pt") as file:
            wanted = [path for path in file.keys() if with_optimizer or path.startswith("random/")]
            tensors = {path: file.get_tensor(path) for path in wanted}
        optimizer: dict[str, Any] = {}
        random: dict[int, list[torch.Tensor]] = {}
        for path, value in sorted({**tensors, **values["optimizer"]}.items()):
            kind, *keys = path.split("/")
            if kind == "random":
                random.setdefault(int(keys[0]), []).append(value)
            elif kind != "optimizer":
                raise ValueError(path)
            elif with_optimizer:
                into = optimizer
                for key in keys[:-1]:
                    into = into.setdefault(key, {})
                into[keys[-1]] = value
        return RunState(progress, values["settings"], optimizer, [random[i] for i in sorted(random)], values["scaler"])
    except Exception as error:  # a key that is missing, safetensors' own kinds
        raise no_checkpoint(folder, error) from None


def require_possible(progress: Progress, settings: Mapping[str, object]) -> None:
    """Raise ValueError where numbers of a state are none that a run comes to."""
    numbers = {name: value for name, value in asdict(progress).items() if isinstance(value, int | float)}
    below_0 = [name for name, value in numbers.items() if value < 0]
    beyond = [name for name in ("closed", "best_step", "validated", "skipped") if numbers[name] > progress.step]
    counts = {name: settings[name] for name in COUNTS if name in settings}
    no_count = [name for name, value in counts.items() if type(value) is not int or not 1 <= value < LARGEST]
    if wrong := [*below_0, *beyond, *no_count]:
        raise ValueError(f"{wrong[0]}: {(numbers | counts)[wrong[0]]}")


def no_checkpoint(folder: Path, error: Exception) -> UserError:
    """The error for a folder whose state is of another form, or does not fit its model."""
    return UserError(
        f"{folder} 不是本工具写的检查点（{type(error).__name__}: {error}）。请换一个，或不加 --resume 重新训练。",
        f"{folder} is not a checkpoint of this toolkit ({type(error).__name__}: {error}). Give another one, or train anew without --resume.",
    )


def require_same_shapes(saved: list[list[torch.Tensor]], now: list[list[torch.Tensor]]) -> None:
    """Raise ValueError where states of random generators, process by process, are of another form than those of now."""
    for process, (then, own) in enumerate(zip(saved, now)):
        forms = [[(state.dtype, state.shape) for state in states] for states in (then, own)]
        if forms[0] != forms[1]:
            raise ValueError(f"random/{process}: {forms[0]}")


def split(tree: Mapping[str, object], path: str = "optimizer") -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """The tensors of nested dictionaries, and their other values, each by its path."""
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, object] = {}
    for key, value in tree.items():
        place = f"{path}/{key}"
        if isinstance(value, dict):
            more_tensors, more_numbers = split(value, place)
            tensors |= more_tensors
            numbers |= more_numbers
        elif isinstance(value, torch.Tensor):
            tensors[place] = value.contiguous()
        else:
            numbers[place] = value
    return tensors, numbers


def copied(value: Tree) -> Tree:
    """A copy in the CPU's memory of nested dictionaries, lists and tensors."""
    if isinstance(value, torch.Tensor):
        return cast(Tree, value.detach().to("cpu", copy=True))
    if isinstance(value, dict):
        return cast(Tree, {key: copied(part) for key, part in value.items()})
    return cast(Tree, [copied(part) for part in value]) if isinstance(value, list) else value
