"""Time of one loss and its gradients: ours, torch's chunked linear_cross_entropy, and the plain formula.

    python benchmarks/loss_speed.py

Interleaved runs in one process, medians in milliseconds, and the ratio to ours. bf16 autocast on the CPU or the GPU.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gpt2zh.model.loss import CHUNK, linear_cross_entropy

RUNS = 9
SHAPES = [(4096, 256, 3789), (4096, 768, 13317)]  # positions, width, vocabulary: the demo's and seed 000's


def plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="sum")


def library(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=CHUNK)
    return F.linear_cross_entropy(hidden, weight, targets, reduction="sum", options=options)


def milliseconds(
    loss: Callable[..., torch.Tensor], hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> float:
    hidden.grad = weight.grad = None
    start = time.perf_counter()
    with torch.autocast(hidden.device.type, dtype=torch.bfloat16):
        nats = loss(hidden, weight, targets)
    nats.backward()
    hidden.grad.sum().item()  # waits for a GPU
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    losses = {"ours": linear_cross_entropy, "torch chunked": library, "plain": plain}
    for n, width, vocabulary in SHAPES:
        hidden = torch.randn(n, width, device=device, requires_grad=True)
        weight = (torch.randn(vocabulary, width, device=device) * 0.02).requires_grad_()
        targets = torch.randint(0, vocabulary, (n,), device=device)
        times: dict[str, list[float]] = {name: [] for name in losses}
        for run in range(RUNS + 1):
            for name, loss in losses.items():
                took = milliseconds(loss, hidden, weight, targets)
                if run:
                    times[name].append(took)
        ours = statistics.median(times["ours"])
        for name, values in times.items():
            print(
                f"{n} x {width} x {vocabulary}  {name:14} {statistics.median(values):8.1f} ms  {statistics.median(values) / ours:5.2f} x ours"
            )


if __name__ == "__main__":
    main()
