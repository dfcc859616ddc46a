"""What train.py asks of the processes of its run. One alone has little to do; those of torchrun are in `distributed`.

    python train.py …                                one process: `SingleProcess`, for which nothing of torch is loaded
    torchrun --nproc_per_node 2 train.py …           two: `distributed.Distributed`, the same calls

In: what torchrun sets in the environment. Out: calls for train.py's loop. Refuses: flags that need several processes.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from gpt2zh.errors import UserError
from gpt2zh.system.lock import only_owner

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from gpt2zh.device import Device

Answer = TypeVar("Answer")
# By name of parameter, then of value: tensors, numbers, dictionaries of these.
OptimizerState = dict[str, dict[str, object]]


class SingleProcess:
    """A run of one process. What follows is what train.py asks of its processes, and here there is little to do.

    The order, for the others' sake:

        with start_processes() as processes:          `on_first` from here on
            with processes.only_owner(output_dir):
                …                                     all that takes one process longer than another: model, shards
                processes.require_same(values)        the processes wait for each other, for any time
                processes.connect(…)                  and are connected: all other calls from here on, by all at once

    From then on a process that keeps the others waiting for `patience` seconds is lost to them, but within `on_first`.

    Attributes:
        rank: the number of this process, of `count`; the first, 0, alone writes anything.
        place: its number among the processes of its machine, and how many those are; None without torchrun.
        launcher: what a command line begins with, for people.
    """

    rank, count = 0, 1
    launcher = "python"
    place: tuple[int, int] | None = None

    def __enter__(self) -> "SingleProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __str__(self) -> str:
        return ""

    def only_owner(self, folder: Path) -> AbstractContextManager[None]:
        """Hold `folder`, in which the run is saved, for the length of a block; the first process does. Raises as `lock.only_owner`."""
        return only_owner(folder)

    def connect(self, device: "Device", shard: bool, patience: int) -> None:
        """Connect the processes, right after a `require_same`.

        Args:
            shard: part the model among the processes, where each would have a copy otherwise; needs torchrun (a `place`).
            patience: seconds for which a process may keep the others waiting, from then on.
        """

    def require_same(self, values: dict[str, str]) -> None:
        """Wait for all processes, for any time. Raise UserErrors where they have other values; the names are the same in all."""

    def seed_apart(self, seed: int) -> None:
        """Give each process its own dropout; called when the model, equal in all, is made."""

    def wrap(self, loss: "nn.Module", blocks: "Iterable[nn.Module]", device: "Device") -> "nn.Module":
        """The module to train, on the device, its gradients those of all processes. `blocks` are parted one by one."""
        return device.spread(loss)

    def sync_gradients(self, wanted: bool) -> None:
        """Whether the next backward pass ends with the gradients of all processes: in the last one of a step."""

    def all_reduce_sum(self, *numbers: float) -> list[float]:
        """Each number's sum over the processes."""
        return self.start_sum(*numbers)()

    def start_sum(self, *numbers: float) -> Callable[[], list[float]]:
        """Begin to sum each number over the processes. The call that is returned waits for the sums, in fp64."""
        return lambda: [float(number) for number in numbers]

    def on_first(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        """Let the first process do `work`; the others wait, for any time. All are given what it returns."""
        return work(*arguments)

    def gather(self, value: Answer) -> list[Answer]:
        """The values of all processes, in their order."""
        return [value]

    def others_failed(self) -> UserError | None:
        """The end of another process, where one has ended before this one was done."""
        return None

    def full_weights(self, model: "nn.Module") -> "dict[str, torch.Tensor] | None":
        """The weights, put together from their parts for the first process; None where `model` has them whole."""
        return None

    def optimizer_state(self, model: "nn.Module", optimizer: "Optimizer") -> "OptimizerState":
        """The moments of an optimiser, whole, in the first process. Some may be the optimiser's own tensors, not copies."""
        names, found = names_by_id(model, optimizer), optimizer.state_dict()["state"]
        return {names[number]: values for number, values in found.items()}

    def set_optimizer_state(self, model: "nn.Module", optimizer: "Optimizer", state: "OptimizerState") -> None:
        """Give an optimiser, which is new, the state that the first process has; the other processes' is not read."""
        found = {number: state[name] for number, name in names_by_id(model, optimizer).items() if name in state}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": found})


def names_by_id(model: "nn.Module", optimizer: "Optimizer") -> dict[int, str]:
    """The names of an optimiser's parameters, by the number that its `state_dict` has for each."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {number: names[parameter] for number, parameter in enumerate(parameters)}


def start_processes() -> SingleProcess:
    """The processes of this run; to be entered with `with` before anything is done."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return SingleProcess()
    import gpt2zh.device  # noqa: F401 - its settings are read when torch is loaded, which the next line does
    from gpt2zh.training.distributed import Distributed

    return Distributed()
