"""Model folders, and checkpoints from which a run goes on bit for bit.

    config.json, generation_config.json, model.safetensors   stock transformers
    tokenizer.json, tokenizer_config.json                    AutoTokenizer gives the ids of training
    training.json                                            step, losses and the command line behind the weights
    SHA256SUMS                                               checksums of these files
    state.json, state.safetensors                            in checkpoints/step_N only (state.py)

In: a model, a tokenizer, a `RunState`. Out: the folder, written beside and renamed: a kill leaves the old one.
Refuses: checkpoints that are damaged.
"""

import errno
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from transformers import GPT2LMHeadModel

from gpt2zh.errors import UserErrors, say
from gpt2zh.system.files import read_json_object, write_text
from gpt2zh.system.folders import faults, new_folder, remove, seal
from gpt2zh.training.state import STATE, RunState, copied, write_state

RECORD = "training.json"
FOLDER = re.compile(r"step_\d+")
NEWEST = ("", "auto", "latest", "newest", "true")  # other trainers' words for it
RETRY = 60.0  # seconds until a checkpoint that could not be written is tried again


@dataclass(frozen=True)
class ModelRecord:
    """What training.json says of a model: how its weights came about. What is None is not written.

    Args:
        flags: of train.py, by name. command: the command line, in words.
        epoch: the number, from 1, of the epoch. step: optimiser steps made.
        val: the last validation's figures by name: loss in nats a token, perplexity, bits_per_character.
    """

    flags: dict[str, str]
    command: list[str]
    epoch: int | None = None
    step: int | None = None
    val: dict[str, float] | None = None

    def as_json(self) -> str:
        """The file's text."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(known, indent=1, ensure_ascii=False) + "\n"


def came_about(folder: Path) -> dict[str, Any]:
    """What training.json of a model folder says of its weights: `epoch`, `step` and `val` of a ModelRecord, where they are known."""
    said = read_json_object(folder / RECORD)
    return {name: said[name] for name in ("epoch", "step", "val") if name in said}


class FolderWriter(Protocol):
    """What a model folder asks of a tokenizer."""

    def save(self, folder: Path, n_ctx: int) -> None: ...


def save_model(
    folder: Path,
    model: GPT2LMHeadModel,
    tokenizer: FolderWriter,
    record: ModelRecord,
    weights: dict[str, torch.Tensor] | None = None,
    state: RunState | None = None,
) -> None:
    """Write a model folder, with `state` a checkpoint, in place of `folder`. `record` goes into training.json; `weights`, if given, replace the model's."""
    with disk_faults(folder), new_folder(folder) as beside:
        # save_pretrained empties what it is given
        model.save_pretrained(beside, state_dict=None if weights is None else dict(weights))
        tokenizer.save(beside, model.config.n_positions)
        write_text(beside / RECORD, record.as_json())
        if state is not None:
            write_state(beside, state)
        seal(beside)


@contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Have a full disk raise OSError, for which safetensors has an error of its own."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(folder)) from error


# ----- the checkpoints of a run ---------------------------------------------------------------------------------------


class Checkpoints:
    """The newest checkpoints of a run, in `root`, written by a thread while training goes on.

    Args:
        every_steps, every_seconds: how often one is due; None: not by that measure.
        keep_last: how many are kept.
        say: called with a line in both languages.
    """

    def __init__(
        self,
        root: Path,
        every_steps: int | None,
        every_seconds: float | None,
        keep_last: int,
        say: Callable[[str, str], None],
    ) -> None:
        self.root, self.keep_last, self.say = root, keep_last, say
        self.every_steps, self.every_seconds = every_steps, every_seconds
        self.saved_at = time.monotonic()
        self.failed = False
        self.bug: Exception | None = None
        self.writer: threading.Thread | None = None

    def due(self, step: int) -> bool:
        """Whether to save after `step` steps; after a failure, in a minute again."""
        passed = time.monotonic() - self.saved_at
        if self.failed:
            return passed > RETRY
        by_steps = self.every_steps is not None and step % self.every_steps == 0
        return by_steps or (self.every_seconds is not None and passed > self.every_seconds)

    def save(
        self,
        state: RunState,
        model: GPT2LMHeadModel,
        tokenizer: FolderWriter,
        record: ModelRecord,
        weights: dict[str, torch.Tensor] | None,
    ) -> None:
        """Copy all that is to be written, and have it written. Waits for the one before."""
        self.wait()
        weights = copied(weights if weights is not None else dict[str, torch.Tensor](model.named_parameters()))
        state = replace(state, optimizer=copied(state.optimizer), random=copied(state.random))
        self.saved_at, self.failed = time.monotonic(), False
        folder = self.root / f"step_{state.progress.step:08d}"
        write = partial(save_model, folder, model, tokenizer, record, weights, state)
        self.writer = threading.Thread(target=self._write, args=(folder, write), name="checkpoint", daemon=True)
        self.writer.start()

    def wait(self) -> bool:
        """Wait for what is being written. Returns whether it, or where nothing is the last one, was saved."""
        if self.writer is not None:
            self.writer.join()
            self.writer = None
        if self.bug is not None:
            raise self.bug
        return not self.failed

    def _write(self, folder: Path, write: Callable[[], None]) -> None:
        """The thread's work: `write` makes `folder`, then the oldest go."""
        try:
            write()
        except OSError as error:
            self.failed = True
            reason = " ".join(str(error).split())[:200]
            self.say(
                f"注意：检查点 {folder} 没有写成（{reason}）。训练继续，{RETRY:.0f} 秒后再试；之前的检查点还在。请检查磁盘空间与权限。",
                f"note: {folder} could not be written ({reason}). Training goes on; trying again in {RETRY:.0f} s; the checkpoints before it are kept. Check the disk's space and permissions.",
            )
            return
        except Exception as error:  # a bug: raised where the run waits for this thread
            self.bug = error
            return
        for old in in_order(self.root)[: -self.keep_last]:
            remove(old)


def in_order(root: Path) -> list[Path]:
    """The checkpoints in `root`, the oldest first."""
    return sorted(path for path in root.glob("step_*") if FOLDER.fullmatch(path.name))


def set_newer_aside(root: Path, step: int) -> None:
    """Rename the checkpoints of later steps, damaged or of a way not taken, so that neither a later --resume nor tidying meets them."""
    for path in in_order(root):
        if int(path.name.removeprefix("step_")) > step:
            path.rename(path.with_name(f"unused_{path.name}_{datetime.now():%Y%m%d-%H%M%S-%f}"))


def find_checkpoint(root: Path, wanted: str) -> Path | None:
    """The checkpoint to go on from; None where `root` has none and none is named.

    Args:
        wanted: a checkpoint's folder; "" (and words for it) or the run's own folder is the newest whole one in `root`. Damaged ones that
            are passed over are said.

    Raises:
        UserErrors: `wanted` is no checkpoint or damaged, or all that are there are damaged.
    """
    named = Path(wanted)
    newest = wanted.lower() in NEWEST or named.resolve() in (root.resolve(), root.parent.resolve())
    if not newest and not (named / STATE).exists():
        there = in_order(root)[::-1][:1]
        raise UserErrors(
            [
                (f"{wanted} 不是检查点：里面没有 {STATE}。", f"{wanted} is not a checkpoint: it has no {STATE}."),
                (f"最新的检查点是 {there[0]}。", f"The newest checkpoint is {there[0]}.")
                if there
                else (f"{root} 里也没有检查点。", f"There is none in {root} either."),
            ]
        )
    damaged: list[tuple[str, str]] = []
    for folder in in_order(root)[::-1] if newest else [named]:
        wrong = faults(folder)
        if not wrong:
            for zh, en in damaged:
                say(f"{zh}改用前一个。", f"{en} Taking the one before.")
            return folder
        zh, en = ("；".join(texts) for texts in zip(*wrong))
        damaged.append((f"检查点 {folder} 不完整或已损坏：{zh}。", f"the checkpoint {folder} is damaged: {en}."))
    if damaged:
        way_out = "请换一个检查点，或不加 --resume 重新训练。", "Give another one, or train anew without --resume."
        raise UserErrors([*damaged, way_out])
    return None
