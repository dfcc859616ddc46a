"""The processes that torchrun started, with one model in all of them: the only file that knows torch.distributed's collectives.

    torchrun --nproc_per_node 2 train.py …           two here, or more on several machines: same flags as for one process

Each process computes its own rows of every micro-batch. In the last backward pass of a step the gradients are averaged
over all (DistributedDataParallel); or weights, gradients and optimiser state lie in parts, one a process (FSDP2).

In: what torchrun sets in the environment. Out: the calls of `SingleProcess`. Refuses: processes that differ in flags or data.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from gpt2zh.errors import UserError, UserErrors, bilingual
from gpt2zh.training.lifeline import LOST, Ended, Lifeline, first_line
from gpt2zh.training.processes import OptimizerState, SingleProcess, parts

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from gpt2zh.device import Device

Answer = TypeVar("Answer")
CONNECT = 300  # seconds for all processes to come and connect
LONG = timedelta(days=7)  # what the first process does alone, tokenising say, may take; the lifeline finds who is lost


class Distributed(SingleProcess):
    """One process of those that torchrun started."""

    launcher = "torchrun …"

    def __init__(self) -> None:
        self.rank, self.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.place = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        self.replica: nn.Module | None = None

    def __enter__(self) -> "Distributed":
        import gpt2zh.device  # noqa: F401, I001 - its settings are read when torch is loaded
        from torch.distributed import rendezvous

        if self.rank:
            sys.stdout = open(os.devnull, "w", encoding="utf-8")
        self.store = next(rendezvous("env://"))[0]
        self.lifeline = Lifeline(self.store, self.rank, self.count, int(os.environ["GROUP_RANK"]), self.place[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import torch.distributed as dist

        if isinstance(error, SystemExit):  # --help
            return
        if error is not None:
            self.lifeline.end(error)
        self.lifeline.finish()
        dist.destroy_process_group()

    def __str__(self) -> str:
        kind = "FSDP2" if self.shard else "DistributedDataParallel"
        return f"；{kind}，{self.count} 个进程 / processes"

    def connect(self, device: "Device", shard: bool, patience: int, output_dir: Path) -> None:
        import torch
        import torch.distributed as dist

        self.shard = shard
        try:
            self.lifeline.meet(CONNECT)
            store, wait = dist.PrefixStore("groups", self.store), timedelta(seconds=CONNECT)
            dist.init_process_group("gloo", store=store, rank=self.rank, world_size=self.count, timeout=wait)
            pulse = dist.new_group(backend="gloo", timeout=timedelta(seconds=patience))
            backend = "cpu:gloo,cuda:nccl" if device.main.type == "cuda" else "gloo"
            self.group = dist.new_group(backend=backend, timeout=LONG)
        except RuntimeError as error:
            raise Ended(
                bilingual(
                    f"{self.count} 个进程没有连成（{first_line(error)}）。请检查每台机器都已启动，防火墙放行，GLOO_SOCKET_IFNAME 是互通的网卡（见 docs/many_gpus.md）。",
                    f"{self.count} processes did not meet. Check that every machine has started, its firewall, and GLOO_SOCKET_IFNAME (see docs/many_gpus.md).",
                ),
                LOST,
            ) from None

        def sums(numbers: list[float]) -> list[float]:
            beat = torch.tensor(numbers)
            dist.all_reduce(beat, group=pulse)
            return beat.tolist()

        self.lifeline.start(sums, output_dir)

    # ----- what the loop asks ---------------------------------------------------------------------------------------

    def require_same(self, values: dict[str, str]) -> None:
        import torch.distributed as dist

        of_first = [values]  # replaced by the first one's
        dist.broadcast_object_list(of_first, 0, self.group)
        different = [
            (
                f"{name}：{socket.gethostname()} 的进程 {self.rank} 是 {mine}，进程 0 是 {of_first[0][name]}。各机器的参数与数据须相同。",
                f"{name}: process {self.rank} on {socket.gethostname()} has {mine}, process 0 has {of_first[0][name]}. Flags and data must be the same on all machines.",
            )
            for name, mine in values.items()
            if mine != of_first[0][name]
        ]
        if different:
            raise UserErrors(different)
        self.all_reduce_sum(0)

    def seed_apart(self, seed: int) -> None:
        from gpt2zh.device import seed_everything

        if self.rank:  # the first goes on as a run of one process does
            seed_everything(seed + self.rank)

    def wrap(self, loss: "nn.Module", blocks: "Iterable[nn.Module]", device: "Device") -> "nn.Module":
        import torch.distributed as dist
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.fsdp import fully_shard
        from torch.nn.parallel import DistributedDataParallel

        if not self.shard:
            self.replica = DistributedDataParallel(
                device.spread(loss), process_group=self.group, gradient_as_bucket_view=True
            )
            return self.replica
        for parameter in loss.parameters():
            dist.broadcast(parameter.data, 0, self.group)
        mesh = DeviceMesh.from_group(self.group, device.main.type)
        for module in (*blocks, loss):
            fully_shard(module, mesh=mesh)
        return device.spread(loss)

    def sync_gradients(self, wanted: bool) -> None:
        # In parts, gradients are exchanged each time: to keep them until the end of a step, they would have to be whole.
        if self.replica is not None:
            self.replica.require_backward_grad_sync = wanted

    def start_sum(self, *numbers: float) -> Callable[[], list[float]]:
        import torch
        import torch.distributed as dist

        sums = torch.tensor(numbers, dtype=torch.float64)
        work = dist.all_reduce(sums, group=self.group, async_op=True)

        def wait() -> list[float]:
            work.wait()
            return sums.tolist()

        return wait

    def on_first(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        import torch.distributed as dist

        answer = [work(*arguments) if self.rank == 0 else None]
        dist.broadcast_object_list(answer, 0, self.group)
        return answer[0]

    def gather(self, value: Answer) -> list[Answer]:
        import torch.distributed as dist

        values: list[Answer | None] = [None] * self.count
        dist.all_gather_object(values, value, self.group)
        return values

    def others_failed(self) -> UserError | None:
        return self.lifeline.why_others_failed()

    def full_weights(self, model: "nn.Module") -> "dict[str, torch.Tensor] | None":
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        if not self.shard:
            return None
        weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        own = {name for name, _ in model.named_parameters()}  # a weight that two layers share has one name here
        return {name: weight for name, weight in weights.items() if name in own}

    def optimizer_state(self, model: "nn.Module", optimizer: "Optimizer") -> OptimizerState:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_optimizer_state_dict(model, parts(optimizer), options=options).get("state", {})

    def set_optimizer_state(self, model: "nn.Module", optimizer: "Optimizer", state: OptimizerState) -> None:
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            get_optimizer_state_dict,
            set_optimizer_state_dict,
        )

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        fresh = get_optimizer_state_dict(model, parts(optimizer), options=options)
        whole = {**fresh, "state": state} if self.rank == 0 else {}
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        set_optimizer_state_dict(model, parts(optimizer), whole, options=options)
