"""What the machine's matrix products reach: `python ceiling.py job.json` (steps.py says what a job is).

The products of the model's layers for one batch, x (B T, in) @ weight (in, out), results into memory that is there
already; the result holds the fastest one's operations a second, by dtype.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from steps import read_job

SECONDS = 1.0  # for each product
FEWEST = 5


def median_seconds(product: Callable[[], object], wait: Callable[[], object]) -> float:
    product()
    wait()
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < FEWEST:
        start = time.perf_counter()
        product()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def operations_per_second(n: int, inputs: int, outputs: int, dtype: torch.dtype, device: str) -> float:
    x = torch.randn(n, inputs, device=device).to(dtype)
    weight = torch.randn(inputs, outputs, device=device).to(dtype)
    out = torch.empty(n, outputs, device=device, dtype=dtype)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    return 2 * n * inputs * outputs / median_seconds(lambda: torch.matmul(x, weight, out=out), wait)


def main() -> None:
    job = read_job()
    width = job["n_embd"]
    sizes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width), (width, job["vocab_size"])]
    result = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        rates = [operations_per_second(job["batch_size"] * job["n_ctx"], *size, dtype, job["device"]) for size in sizes]
        print(name, dict(zip(sizes, rates)))
        result[name] = max(rates)
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
