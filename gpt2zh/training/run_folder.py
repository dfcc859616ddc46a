"""The output folder of a run: what is written there, by the first process, and what an earlier run left there.

    checkpoints/step_N   to go on from, the newest few      best_model   the lowest validation loss so far
    model_epochN         after each epoch                   final_model  at the end

In: states and weights. Out: whole folders; the end of a run that is asked to stop. Refuses: damaged checkpoints.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage
from types import TracebackType
from typing import NoReturn

import torch
from torch.optim import Optimizer
from transformers import GPT2LMHeadModel

from gpt2zh.device import Device, seed_everything
from gpt2zh.errors import EnvironmentFault, Stopped, say
from gpt2zh.system.files import clear_leftovers
from gpt2zh.system.folders import remove
from gpt2zh.training.checkpoint import (
    Checkpoints,
    FolderWriter,
    ModelRecord,
    find_checkpoint,
    save_model,
    set_newer_aside,
)
from gpt2zh.training.optim import require_moments
from gpt2zh.training.processes import SingleProcess
from gpt2zh.training.resume import command_to_continue, set_aside
from gpt2zh.training.runlog import RunLog
from gpt2zh.training.state import Progress, RunState, no_checkpoint, read_state, require_same_shapes

CHECKPOINTS = "checkpoints"

# ----- what an earlier run left ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Earlier:
    """The checkpoint that a run goes on from; `state` without the optimiser's moments."""

    folder: Path
    state: RunState

    def restore(
        self,
        model: GPT2LMHeadModel,
        optimizer: Optimizer,
        scaler: torch.amp.GradScaler,
        device: Device,
        processes: SingleProcess,
    ) -> Progress:
        """Give optimiser, loss scaling and random generators the state that was saved. Returns where the run stands.

        Raises:
            UserError: the state does not fit the model.
        """
        state, rank = self.state, processes.rank
        now = processes.gather(device.random_states())
        same_devices = [len(states) for states in state.random] == [len(states) for states in now]
        try:
            moments = {} if rank else read_state(self.folder).optimizer
            if not rank and state.progress.step:
                require_moments(model, optimizer, moments)
            if same_devices:
                require_same_shapes(state.random, now)
            processes.set_optimizer_state(model, optimizer, moments)
            scaler.load_state_dict(state.scaler)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise no_checkpoint(self.folder, error) from None
        if same_devices:
            device.set_random_states(state.random[rank])
        else:  # other devices than then: dropout draws anew
            seed_everything(state.settings["seed"] + state.progress.step * processes.count + rank)
        return (
            replace(state.progress, nats=0.0) if rank else state.progress
        )  # the first process has what all of them had

    def ends_again(self, max_hours: float | None) -> bool:
        """Whether the run had come to its end because its time was up, and is given no more."""
        had, at = self.state.settings.get("max_hours"), self.state.progress
        if had is None or max_hours is None or not at.finished:
            return False
        return at.closed < self.state.settings["n_steps"] and max_hours <= had

    def notes(self, changes: list[tuple[str, str]], n_steps: int) -> list[tuple[str, str]]:
        """What is other than it was, and how far the run is: lines for people. `n_steps`: of the whole run."""
        done = self.state.progress.step
        left = max(0, n_steps - done)
        complete = (
            "训练已经完成，不再训练。要接着训练，请加大 --epochs、--max_steps 或 --max_hours。",
            "the run is complete: nothing is trained. To train further, raise --epochs, --max_steps or --max_hours.",
        )
        return [
            *((f"与检查点不同：{zh}", f"not as in the checkpoint: {en}") for zh, en in changes),
            (
                f"接着训练：{self.folder}，已完成 {done} 步，还有 {left} 步。",
                f"going on from {self.folder}: {done} steps done, {left} to go.",
            ),
            *([] if left else [complete]),
        ]


def find_earlier(output_dir: Path, wanted: str | None, processes: SingleProcess) -> Earlier | None:
    """What to go on from; None where the run begins.

    Args:
        wanted: None: nothing; "": the newest checkpoint that is whole; else a checkpoint's folder.

    Raises:
        UserErrors: `wanted` is damaged or not there, or all that are there are damaged.
    """
    saved = output_dir / CHECKPOINTS
    for folder in (output_dir, saved):
        processes.on_first(clear_leftovers, folder)
    if wanted is None:
        return None
    checkpoint = processes.on_first(find_checkpoint, saved, wanted)
    if checkpoint is None:
        say(f"{saved} 里没有检查点：从头开始。", f"there is no checkpoint in {saved}: starting from the beginning.")
        return None
    return Earlier(checkpoint, processes.on_first(read_state, checkpoint, False))


def make_way(output_dir: Path, earlier: Earlier | None) -> None:
    """Move out of the way of a run what it would otherwise mix with: later checkpoints, or all of an earlier run."""
    if earlier is not None:
        set_newer_aside(output_dir / CHECKPOINTS, earlier.state.progress.step)
    elif aside := set_aside(output_dir):
        say(
            f"{output_dir} 里原有的一次训练已移到 {aside}（要接着它训练，请加 --resume；不再需要可删去）。",
            f"an earlier run in {output_dir} was moved to {aside} (--resume would have gone on with it; delete it when it is not needed).",
        )


def remove_epochs(path: Path, last: int) -> None:
    """Delete the models of the epochs up to `last`."""
    for folder in path.glob("model_epoch*"):
        number = folder.name.removeprefix("model_epoch")
        if number.isdecimal() and int(number) <= last:
            remove(folder)


# ----- what a run writes ----------------------------------------------------------------------------------------------


class RunFolder:
    """Called by all processes of a run at the same steps; the first one writes. Use it as a context manager.

    Args:
        every_steps, every_seconds: how often a checkpoint is due; both None: there are none, but for a run that is stopped.
        keep_last: how many are kept. keep_epochs: as many of the models of epochs; None: all.
    """

    def __init__(
        self,
        path: Path,
        processes: SingleProcess,
        model: GPT2LMHeadModel,
        tokenizer: FolderWriter,
        record: ModelRecord,
        log: RunLog,
        every_steps: int | None,
        every_seconds: float | None,
        keep_last: int,
        keep_epochs: int | None = None,
    ) -> None:
        self.keep_epochs = keep_epochs
        self.path, self.processes, self.model, self.tokenizer, self.log = path, processes, model, tokenizer, log
        self.record = record
        self.is_saved = every_steps is not None or every_seconds is not None
        self.checkpoints = Checkpoints(path / CHECKPOINTS, every_steps, every_seconds, keep_last, log.line)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):  # not Ctrl-C: what is being written is still finished, and its faults are said
            self.checkpoints.wait()

    def disk(self, n_epochs: int, moments: int) -> tuple[int, int]:
        """Bytes that the folder takes at most in a run of so many epochs, and bytes that are free there.

        Args:
            moments: bytes of what an optimiser keeps.
        """
        weights = sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())
        n_models = min(n_epochs, self.keep_epochs or n_epochs) + 3  # the best, the final one, one that is being written
        n_checkpoints = self.checkpoints.keep_last + 1 if self.is_saved else 1
        there = next(folder for folder in (self.path, *self.path.resolve().parents) if folder.exists())
        return n_models * weights + n_checkpoints * (weights + moments), disk_usage(there).free

    def note(self, epoch: int, step: int, val: dict[str, float] | None = None) -> None:
        """What training.json says of the weights from here on. No `val`: the last one's stays."""
        self.record = replace(self.record, epoch=epoch, step=step, val=val or self.record.val)

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due after `step` steps; for the first process to tell the others."""
        return self.checkpoints.due(step)

    def save_checkpoint(self, state: RunState) -> None:
        """Have a checkpoint written while training goes on."""
        weights = self.processes.full_weights(self.model)
        self.log.sync()
        self.processes.on_first(self.checkpoints.save, state, self.model, self.tokenizer, self.record, weights)

    def save_model(self, name: str) -> bool:
        """Write a model folder. A full disk ends nothing as long as there is something to train; returns whether it was written."""
        weights, folder = self.processes.full_weights(self.model), self.path / name

        def written() -> bool:
            try:
                save_model(folder, self.model, self.tokenizer, self.record, weights)
            except OSError as error:
                self.log.line(
                    f"注意：{folder} 没有写成（{error}），训练继续。请检查磁盘空间与权限。",
                    f"note: {folder} could not be written ({error}); training goes on. Check the disk's space and permissions.",
                )
                return False
            return True

        return self.processes.on_first(written)

    def save_epoch(self, epoch: int) -> None:
        """Write the model of epoch number `epoch` (from 1), and remove those that are too old to be kept."""
        if self.save_model(f"model_epoch{epoch}") and self.keep_epochs:
            self.processes.on_first(remove_epochs, self.path, epoch - self.keep_epochs)

    def wait(self) -> bool:
        """Until the last checkpoint is written. Returns whether it could be."""
        return self.processes.on_first(self.checkpoints.wait)

    def leave(self, step: int, number: int) -> NoReturn:
        """End the run after `step` steps as signal `number` asks, once its state is on the disk."""
        again, saved = command_to_continue(self.processes.launcher, self.record.command), self.path / CHECKPOINTS
        if not self.wait():
            raise EnvironmentFault(
                f"停在第 {step} 步，但状态没有存下（见上）。腾出空间后可从 {saved} 里最新的检查点接着训练：{again}",
                f"stopped at step {step}, but its state could not be saved (see above). Make room, then go on from the newest checkpoint in {saved}: {again}",
            )
        raise Stopped(
            f"停在第 {step} 步，已存下。接着训练：{again}",
            f"stopped at step {step}, saved. Go on: {again}",
            number,
        )

    def finish(self) -> Path:
        """Write the last model. Returns its folder."""
        final, weights = self.path / "final_model", self.processes.full_weights(self.model)
        self.processes.on_first(save_model, final, self.model, self.tokenizer, self.record, weights)
        self.wait()
        return final
