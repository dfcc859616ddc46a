"""GPUs, precision and data parallelism: the only file that knows they exist.

In: the --device and --precision flags. Out: a `Device` on which modules run; batches as tensors there.
Refuses: names that are no GPU numbers, and GPUs that are not in this machine.
"""

import contextlib
import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

# Threads that wait for each other on a CPU spin for microseconds, then sleep: GNU OpenMP's default of spinning on makes a
# step 3 to 12 times slower beside any other busy program, sleeping at once costs 4 % alone (docs/log.md).
# Read when torch is loaded, so this file comes first.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np
import torch
from torch import nn

from gpt2zh.errors import UserError, bilingual, is_out_of_memory
from gpt2zh.system import memory

Answer = TypeVar("Answer")
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SPARE = 0.05  # of a GPU's memory, for what comes beside training steps
M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD = -4, -1, -2  # <malloc.h>


@dataclass(frozen=True)
class Device:
    """Where and how a run computes. `gpus` are the GPUs of DataParallel; `dtype` is that of matrix products."""

    main: torch.device
    gpus: list[int]
    dtype: torch.dtype
    notes: list[str]

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Mixed precision for a forward pass: nothing where the dtype is fp32."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.main.type, dtype=self.dtype)

    def spread(self, module: nn.Module) -> nn.Module:
        """Put `module` on the device, in mixed precision, on every GPU by DataParallel where there are several."""
        wrapped = _Autocast(module.to(self.main), self)
        return nn.DataParallel(wrapped, device_ids=self.gpus) if len(self.gpus) > 1 else wrapped

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """A NumPy array on the device."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.main, non_blocking=True) if self.main.type == "cuda" else tensor

    def tensors(self, micro_batches: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """A step's micro-batches on the device."""
        return [(self.tensor(inputs), self.tensor(targets)) for inputs, targets in micro_batches]

    def start_read(self, *numbers: torch.Tensor) -> Callable[[], list[float]]:
        """Begin to copy scalars from the device. The call that is returned waits for them, and for what they are computed from."""
        packed = torch.stack([number.detach().float() for number in numbers])
        if not self.gpus:
            return packed.tolist
        copied = torch.empty_like(packed, device="cpu", pin_memory=True).copy_(packed, non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def read() -> list[float]:
            done.synchronize()
            return copied.tolist()

        return read

    def fits(self, work: Callable[[], None]) -> bool:
        """Whether the GPUs have memory enough for `work`, and SPARE left."""
        self.free_memory()
        try:
            work()
        except torch.OutOfMemoryError:
            return False
        return all(free >= SPARE * total for free, total in map(torch.cuda.mem_get_info, self.gpus))

    def wait(self) -> None:
        """Until all that was asked of the GPUs is done."""
        for gpu in self.gpus:
            torch.cuda.synchronize(gpu)

    def peak_memory(self) -> int | None:
        """Bytes at the peak so far: of the fullest GPU; of the process, where there is none and the system tells."""
        if self.gpus:
            return max(map(torch.cuda.max_memory_allocated, self.gpus))
        return memory.peak()

    def free_memory(self) -> None:
        """Give back what torch keeps of the GPUs' memory for later."""
        if self.gpus:
            torch.cuda.empty_cache()

    def capture(self, work: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        """`work`, whose inputs keep their places, as one launch: a graph on a GPU, itself on a CPU. Not run on a GPU so far."""
        if not self.gpus:
            return work
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # what a graph may not do, allocate for the first time, is done here
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = work()

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay

    def random_states(self) -> list[torch.Tensor]:
        """The states of the generators that a run draws from: the CPU's, then each GPU's; uint8."""
        return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self.gpus)]

    def set_random_states(self, states: list[torch.Tensor]) -> None:
        """Draw on from `states`, as many as `random_states` gives."""
        torch.set_rng_state(states[0])
        for gpu, state in zip(self.gpus, states[1:], strict=True):
            torch.cuda.set_rng_state(state, gpu)

    def within_memory(self, work: Callable[..., Answer], *arguments: object) -> Answer | None:
        """What `work` gives; None where memory ran out, on a GPU or the CPU."""
        try:
            return work(*arguments)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self.free_memory()
        return None

    @property
    def fast_bf16(self) -> bool:
        """Whether the hardware multiplies bf16 natively."""
        return has_fast_bf16(self.main)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling: at work for fp16, a pass-through otherwise."""
        return torch.amp.GradScaler(self.main.type, enabled=self.dtype is torch.float16)

    def __str__(self) -> str:
        name = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]
        where = (
            "CPU" if not self.gpus else ", ".join(f"cuda:{gpu} {torch.cuda.get_device_name(gpu)}" for gpu in self.gpus)
        )
        return f"{where}, {name}"


class _Autocast(nn.Module):
    """Enters autocast inside forward, where DataParallel's threads need it."""

    def __init__(self, module: nn.Module, device: Device) -> None:
        super().__init__()
        self.module = module
        self.device = device

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with self.device.autocast():
            return self.module(*inputs)


def choose_device(device: str | None, precision: str, place: tuple[int, int] | None = None) -> Device:
    """Read the flags.

    Args:
        device: "0", "0,1", "cpu", or None for every GPU of the machine.
        precision: auto, fp32, tf32 (fp32 whose products are rounded to 10 bits, on the GPU), bf16 or fp16.
        place: which process of how many on this machine this is, where each takes one of the GPUs.
    """
    notes: list[str] = []
    gpus = choose_gpus(device, torch.cuda.device_count(), notes)
    if gpus and place is not None:
        gpus = [own_gpu(gpus, *place)]
    main = torch.device("cuda", gpus[0]) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(main)
    else:
        keep_freed_memory()
    if precision == "tf32":
        if gpus:
            torch.set_float32_matmul_precision("high")
        else:
            notes.append(bilingual("CPU 没有 tf32：用 fp32。", "a CPU has no tf32: using fp32."))
    if precision == "fp16" and not gpus:
        precision = "auto"
        notes.append(
            bilingual(
                "CPU 上 fp16 慢数十倍：改用 bf16（硬件支持时）或 fp32。",
                "fp16 is tens of times slower on a CPU: using bf16 where the hardware has it, else fp32.",
            )
        )
    return Device(main, gpus, choose_dtype(main, precision), notes)


def choose_gpus(device: str | None, n_gpus: int, notes: list[str]) -> list[int]:
    """Which of the machine's `n_gpus` GPUs to use; [] is the CPU. What differs from the wish is added to `notes`."""
    if device == "cpu":
        return []
    if device is None:
        return list(range(n_gpus))
    try:
        wanted = list(dict.fromkeys(int(number) for number in device.split(",") if number.strip()))
        if not wanted or min(wanted) < 0:
            raise ValueError
    except ValueError:
        raise UserError(
            f"--device {device}：应是显卡编号，如 0 或 0,1，或 cpu。",
            f"--device {device}: must be GPU numbers as in 0 or 0,1, or cpu.",
        ) from None
    if n_gpus == 0:
        notes.append(
            bilingual(
                f"--device {device}：这台机器上没有可用的显卡，改用 CPU。",
                f"--device {device}: no usable GPU in this machine, running on the CPU.",
            )
        )
        return []
    usable = [gpu for gpu in wanted if 0 <= gpu < n_gpus]
    if not usable:
        raise UserError(
            f"--device {device}：这台机器只有显卡 0 到 {n_gpus - 1}。",
            f"--device {device}: this machine has the GPUs 0 to {n_gpus - 1}.",
        )
    if usable != wanted:
        notes.append(
            bilingual(
                f"--device {device}：这台机器只有显卡 0 到 {n_gpus - 1}，使用 {usable}。",
                f"--device {device}: this machine has the GPUs 0 to {n_gpus - 1}, using {usable}.",
            )
        )
    return usable


def own_gpu(gpus: list[int], process: int, n_processes: int) -> int:
    """The GPU of process number `process` (from 0) of a machine, of those in use there."""
    if n_processes > len(gpus):
        raise UserError(
            f"--nproc_per_node {n_processes}：这台机器只用 {len(gpus)} 张显卡（{gpus}），每个进程要一张。请改成 {len(gpus)}。",
            f"--nproc_per_node {n_processes}: {len(gpus)} GPUs ({gpus}) are in use here, and each process needs one. Make it {len(gpus)}.",
        )
    return gpus[process]


def choose_dtype(main: torch.device, precision: str) -> torch.dtype:
    """The dtype of a precision flag; auto is bf16 where the hardware multiplies it natively."""
    if precision != "auto":
        return DTYPES[precision]
    return torch.bfloat16 if has_fast_bf16(main) else torch.float32


def has_fast_bf16(main: torch.device) -> bool:
    """Whether the hardware multiplies bf16 natively."""
    if main.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def keep_freed_memory() -> None:
    """Have glibc keep what a step frees for the next one, instead of mapping and clearing the same pages again each step.

    The values of glibc's MALLOC_MMAP_MAX_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_; other C libraries have no such call.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28)):
        mallopt(parameter, value)


def seed_everything(seed: int) -> None:
    """Seed what draws random numbers in a run: dropout and initial weights, on every device."""
    torch.manual_seed(seed)
