"""What to expect of 8, 64, 512 GPUs: efficiency computed from one GPU's measured speed and the links' bandwidth.

    python benchmarks/scaling.py --params 82e6 --tokens_per_second 150000 --tokens 16384 --inside 20 --between 3 --gpu_memory 24

Nothing is measured here: every number put in is yours, and the table is arithmetic (docs/scaling.md explains it).
Latency, stragglers and other traffic are left out, so what a cluster reaches lies below `best`, often below `worst`.
"""

import argparse
import math
from dataclasses import dataclass

GRADIENT_BYTES = 4  # a parameter, fp32, as weights are
STATE_BYTES = 16  # a parameter: weight, gradient and Adam's two moments, all fp32
BACKWARD_SHARE = 2 / 3  # of a micro-batch's time: two matrix products of three
ENOUGH = 0.9  # efficiency from which on nothing need be changed


@dataclass(frozen=True)
class Cluster:
    """The reader's numbers.

    Args:
        params: of the model.
        tokens_per_second: of one GPU, measured alone.
        tokens: a micro-batch on one GPU.
        accumulation: micro-batches an optimiser step.
        inside, between: GB/s that a collective reaches inside a machine, and between two machines (one way, the whole machine).
        per_machine: GPUs in a machine.
    """

    params: float
    tokens_per_second: float
    tokens: int
    accumulation: int
    inside: float
    between: float
    per_machine: int

    @property
    def micro_batch_seconds(self) -> float:
        """Forward and backward of one micro-batch."""
        return self.tokens / self.tokens_per_second

    def bandwidth(self, n: int) -> float:
        """Bytes a second through the narrowest link of a ring of `n` GPUs."""
        return 1e9 * (self.inside if n <= self.per_machine else min(self.inside, self.between))

    def ddp_seconds(self, n: int) -> float:
        """Exchange of a step: one ring all-reduce of the gradients, 2 (n - 1) / n times their bytes through every link."""
        return 2 * (n - 1) / n * GRADIENT_BYTES * self.params / self.bandwidth(n)

    def fsdp_seconds(self, n: int) -> float:
        """Exchange of a micro-batch: weights gathered for forward and for backward, gradients scattered: 3 (n - 1) / n."""
        return 3 * (n - 1) / n * GRADIENT_BYTES * self.params / self.bandwidth(n)

    def ddp_efficiency(self, n: int, overlap: bool) -> float:
        """Share of n times one GPU's speed. With overlap, the last backward pass hides what it can of the exchange."""
        hidden = BACKWARD_SHARE * self.micro_batch_seconds if overlap else 0.0
        work = self.accumulation * self.micro_batch_seconds
        return work / (work + max(0.0, self.ddp_seconds(n) - hidden))

    def fsdp_efficiency(self, n: int, overlap: bool) -> float:
        """The same for --shard_model, whose exchange comes with every micro-batch, and hides behind all of it."""
        work = self.micro_batch_seconds
        return work / (work + max(0.0, self.fsdp_seconds(n) - (work if overlap else 0.0)))

    def enough_accumulation(self, n: int) -> int:
        """Micro-batches a step from which on DDP, with overlap, is `ENOUGH` efficient."""
        exposed = max(0.0, self.ddp_seconds(n) - BACKWARD_SHARE * self.micro_batch_seconds)
        return max(1, math.ceil(ENOUGH / (1 - ENOUGH) * exposed / self.micro_batch_seconds - 1e-9))

    def advice(self, n: int, gpu_memory: float) -> str:
        """Which switch to use on `n` GPUs of `gpu_memory` GB, half of which is left to activations."""
        state = STATE_BYTES * self.params / 1e9
        if state > gpu_memory / 2:
            fits = state / n <= gpu_memory / 2
            return "--shard_model" if fits else f"--shard_model on {math.ceil(2 * state / gpu_memory)} or more"
        if n == 1:
            return "python train.py"
        if self.ddp_efficiency(n, overlap=True) >= ENOUGH:
            return "torchrun (DDP)"
        return f"torchrun, --gradient_accumulation {self.enough_accumulation(n)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=float, required=True, help="parameters of the model; train.py prints them")
    parser.add_argument("--tokens_per_second", type=float, required=True, help="of one GPU, as train.py reports")
    parser.add_argument("--tokens", type=int, required=True, help="a micro-batch on one GPU: windows x n_ctx")
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches a step (1)")
    parser.add_argument("--inside", type=float, required=True, help="GB/s of a collective inside a machine")
    parser.add_argument(
        "--between", type=float, required=True, help="GB/s between machines, the whole machine, one way"
    )
    parser.add_argument("--per_machine", type=int, default=8, help="GPUs in a machine (8)")
    parser.add_argument("--gpu_memory", type=float, required=True, help="GB of one GPU")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 8, 64, 512], help="(1 2 8 64 512)")
    flags = vars(parser.parse_args())
    gpu_memory, gpus = flags.pop("gpu_memory"), flags.pop("gpus")
    cluster = Cluster(**flags)
    print(f"a step of one GPU: {1e3 * cluster.accumulation * cluster.micro_batch_seconds:.1f} ms of work")
    print(f"state: {STATE_BYTES * cluster.params / 1e9:.2f} GB a copy, beside activations\n")
    print(
        "| GPUs | tokens a step | exchange, DDP | DDP worst | DDP best | tokens/s, best | FSDP worst | FSDP best | use |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for n in gpus:
        ddp, fsdp = (
            [kind(n, overlap) for overlap in (False, True)]
            for kind in (cluster.ddp_efficiency, cluster.fsdp_efficiency)
        )
        print(
            f"| {n} | {n * cluster.tokens * cluster.accumulation:,} | {1e3 * cluster.ddp_seconds(n):.1f} ms | {ddp[0]:.0%} | {ddp[1]:.0%} "
            f"| {n * ddp[1] * cluster.tokens_per_second:,.0f} | {fsdp[0]:.0%} | {fsdp[1]:.0%} | {cluster.advice(n, gpu_memory)} |"
        )


if __name__ == "__main__":
    main()
