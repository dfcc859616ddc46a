"""How fast a run could be and how fast it is: operations of a model, peak of the hardware, what torch.compile brings.

    utilisation = tokens a second x operations a token / operations a second of a large matrix product, measured here

In: a model's configuration, a `Device`. Out: numbers.
"""

import functools
import time

import torch
from transformers import GPT2Config

from gpt2zh.device import Device
from gpt2zh.errors import bilingual

# torch.compile costs 10-60 s at the start and makes a step 1.1-1.2 times as fast on a CPU (docs/performance.md), more on
# a GPU: it pays for itself in runs with more operations than these, a few minutes' worth. Known before the first step,
# so that the same command always computes the same way. On a CPU it has its own dropout, which is slower than model/dropout.py.
COMPILE_PAYS = {"cpu": 5e13, "cuda": 1e16}
PEAK_SIZE = {"cpu": 1536, "cuda": 8192}  # of a square matrix: a fraction of a second


def flops_per_token(config: GPT2Config) -> float:
    """Floating-point operations of forward and backward pass, a token.

    6 for each weight that is part of a matrix product, the output layer included, and 6 n_layer n_embd n_ctx for the
    scores and sums of causal attention, of which only half are needed. Source: Kaplan et al. 2020, halved for the mask.
    """
    inner = config.n_inner or 4 * config.n_embd
    block = 4 * config.n_embd**2 + 2 * config.n_embd * inner
    weights = config.n_layer * block + config.vocab_size * config.n_embd
    return 6.0 * weights + 6.0 * config.n_layer * config.n_embd * config.n_positions


def measured_peak(device: Device) -> float:
    """Operations a second of a large matrix product in the run's dtype, over all its GPUs."""
    return product_speed(device.main, device.dtype) * max(1, len(device.gpus))


@functools.cache
def product_speed(place: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product; best of a few tries, measured once in a process."""
    size = PEAK_SIZE[place.type]
    matrix = torch.ones(size, size, dtype=dtype, device=place)
    best = 0.0
    for _ in range(6):
        started = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # reading a number waits for the device
        best = max(best, 2.0 * size**3 / (time.perf_counter() - started))
    return best


def choose_compile(wish: str, device: Device, flops: float, config: GPT2Config) -> tuple[bool, str | None]:
    """Whether to run training steps through torch.compile, and what to tell the user.

    Args:
        wish: "on", "off" or "auto". flops: operations of the whole run. config: of the model.
    """
    kind = device.main.type
    drops = max(config.attn_pdrop, config.embd_pdrop, config.resid_pdrop) > 0
    if wish == "off" or (wish == "auto" and (flops < COMPILE_PAYS[kind] or (kind == "cpu" and drops))):
        return False, None
    if len(device.gpus) > 1:
        note = (
            "DataParallel 下不编译；用 torchrun 启动则可。",
            "not compiled under DataParallel; start with torchrun to compile.",
        )
        return False, bilingual(*note) if wish == "on" else None
    try:
        torch.compile(lambda x: x + 1)(torch.ones(8, device=device.main))
    except Exception as error:  # no compiler, a broken one, no Triton: each raises its own
        reason = " ".join(str(error).split())[:120]
        return False, bilingual(f"torch.compile 用不了，不编译照常训练：{reason}", f"not compiled: {reason}")
    return True, None
