"""The processes that torchrun started, with one model in all of them: the only file that knows torch.distributed's collectives.

    torchrun --nproc_per_node 2 train.py …           two here, or more on several machines: same flags as for one process

Each process computes its own rows of every micro-batch. In the last backward pass of a step the gradients are averaged
over all (DistributedDataParallel); or weights, gradients and optimiser state lie in parts, one a process (FSDP2).

Until they are connected, and while the first works alone, the processes wait at torchrun's store, for any time. Once connected they wait
for each other in sums, for `--peer_timeout` seconds: the time-out of torch.distributed's group.

In: what torchrun sets in the environment. Out: the calls of `SingleProcess`. Refuses: processes that differ in flags or data.
"""

import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from gpt2zh.device import Device, seed_everything
from gpt2zh.errors import UserErrors, bilingual
from gpt2zh.training.one_end import LOST, Ended, OneEnd, first_line
from gpt2zh.training.processes import OptimizerState, SingleProcess

Answer = TypeVar("Answer")
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Distributed(SingleProcess):
    """One process of those that torchrun started."""

    launcher = "torchrun …"

    def __init__(self) -> None:
        self.rank, self.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.place = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        self.shard = False
        self.wrapped: nn.Module | None = None
        self.n_calls = 0  # of those that go through the store: the same in all processes

    def __enter__(self) -> "Distributed":
        if self.rank:
            sys.stdout = open(os.devnull, "w", encoding="utf-8")
        self.store = next(dist.rendezvous("env://"))[0]
        self.one_end = OneEnd(self.store, self.rank, self.count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, SystemExit):  # --help
            return
        if error is None and dist.is_initialized():
            try:
                dist.barrier()  # nobody leaves, and takes torchrun's store along, before all are done
                dist.destroy_process_group()
            except RuntimeError as lost:
                error = lost
        if error is not None and (end := self.one_end.of(error)) is not error:
            raise end from None

    def __str__(self) -> str:
        kind = "FSDP2" if self.shard else "DistributedDataParallel"
        return f"；{kind}，{self.count} 个进程 / processes"

    def only_owner(self, folder: Path) -> AbstractContextManager[None]:
        self.one_end.output_dir = folder
        return nullcontext() if self.rank else super().only_owner(folder)

    # ----- by torchrun's store: for any time ------------------------------------------------------------------------

    def on_first(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        self.n_calls += 1
        key = f"{self.n_calls} of the first"
        if self.rank == 0:
            answer = work(*arguments)
            self.store.set(key, pickle.dumps(answer))
            return answer
        return cast(Answer, self.one_end.wait_for(key))

    def require_same(self, values: dict[str, str]) -> None:
        self.n_calls += 1
        keys = [f"{self.n_calls} of {rank}" for rank in range(self.count)]
        self.store.set(keys[self.rank], pickle.dumps((socket.gethostname(), values)))
        (_, of_first), *others = [cast(tuple[str, dict[str, str]], self.one_end.wait_for(key)) for key in keys]
        different = [
            (
                f"{name}：{host} 的进程 {rank} 是 {value}，进程 0 是 {of_first[name]}。各机器的参数与数据须相同。",
                f"{name}: process {rank} on {host} has {value}, process 0 has {of_first[name]}. Flags and data must be the same on all machines.",
            )
            for rank, (host, values) in enumerate(others, 1)
            for name, value in values.items()
            if value != of_first[name]
        ]
        if different:
            raise UserErrors(different)

    # ----- by torch.distributed's group: for --peer_timeout seconds --------------------------------------------------

    def connect(self, device: Device, shard: bool, patience: int) -> None:
        self.shard, self.one_end.patience = shard, patience
        backend = "cpu:gloo,cuda:nccl" if device.main.type == "cuda" else "gloo"
        store, wait = dist.PrefixStore("group", self.store), timedelta(seconds=patience)
        try:
            dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.count, timeout=wait)
        except RuntimeError as error:
            message = bilingual(
                f"{self.count} 个进程没有连成（{first_line(error)}）。请检查防火墙放行，GLOO_SOCKET_IFNAME 是互通的网卡（见 docs/many_gpus.md）。",
                f"{self.count} processes could not be connected ({first_line(error)}). Check that the firewall lets them through and that GLOO_SOCKET_IFNAME is the interface that leads to the others (see docs/many_gpus.md).",
            )
            raise Ended(message, LOST) from None
        self.group = cast(dist.ProcessGroup, dist.group.WORLD)

    def seed_apart(self, seed: int) -> None:
        if self.rank:  # the first goes on as a run of one process does
            seed_everything(seed + self.rank)

    def wrap(self, loss: nn.Module, blocks: Iterable[nn.Module], device: Device) -> nn.Module:
        if not self.shard:
            self.wrapped = DistributedDataParallel(
                device.spread(loss), process_group=self.group, gradient_as_bucket_view=True
            )
            return self.wrapped
        for parameter in loss.parameters():
            dist.broadcast(parameter.data, 0, self.group)
        mesh = DeviceMesh.from_group(self.group, device.main.type)
        for module in (*blocks, loss):
            fully_shard(module, mesh=mesh)
        self.wrapped = device.spread(loss)
        return self.wrapped

    def sync_gradients(self, wanted: bool) -> None:
        # In parts, gradients are exchanged each time: to keep them until the end of a step, they would have to be whole.
        if isinstance(self.wrapped, DistributedDataParallel):
            self.wrapped.require_backward_grad_sync = wanted

    def start_sum(self, *numbers: float) -> Callable[[], list[float]]:
        sums = torch.tensor(numbers, dtype=torch.float64)
        work = dist.all_reduce(sums, group=self.group, async_op=True)
        assert work is not None  # this process is of the group

        def wait() -> list[float]:
            work.wait()
            return sums.tolist()

        return wait

    def gather(self, value: Answer) -> list[Answer]:
        values: list[Answer | None] = [None] * self.count
        dist.all_gather_object(values, value, self.group)
        return cast(list[Answer], values)

    def others_failed(self) -> Ended | None:
        return self.one_end.others_failed()

    def full_weights(self, model: nn.Module) -> dict[str, torch.Tensor] | None:
        if not self.shard:
            return None
        weights = cast(dict[str, torch.Tensor], get_model_state_dict(model, options=WHOLE))
        own = {name for name, _ in model.named_parameters()}  # a weight that two layers share has one name here
        return {name: weight for name, weight in weights.items() if name in own}

    def optimizer_state(self, model: nn.Module, optimizer: Optimizer) -> OptimizerState:
        return cast(OptimizerState, get_optimizer_state_dict(model, optimizer, options=WHOLE).get("state", {}))

    def set_optimizer_state(self, model: nn.Module, optimizer: Optimizer, state: OptimizerState) -> None:
        fresh = get_optimizer_state_dict(model, optimizer, options=WHOLE)
        whole = cast(dict[str, Any], {**fresh, "state": state}) if self.rank == 0 else {}
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        set_optimizer_state_dict(model, optimizer, whole, options=options)
