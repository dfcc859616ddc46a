"""Faults of the machine, put around a run before it starts."""

import itertools
import os
import signal
import time

import torch


def bad_gradients(*steps: int) -> None:
    """The gradients of these steps, from 1, have a NaN among them, as a defective GPU may make one."""
    norm, calls = torch.nn.utils.get_total_norm, itertools.count(1)

    def with_nan(tensors: list[torch.Tensor], *arguments: object) -> torch.Tensor:
        if next(calls) in steps:
            tensors[0].view(-1)[0] = float("nan")
        return norm(tensors, *arguments)

    torch.nn.utils.get_total_norm = with_nan


def clock_jumps() -> None:
    """The wall clock is set an hour back and forth, as by a time server."""
    now, calls = time.time, itertools.count()
    time.time = lambda: now() + (3600 if next(calls) % 7 < 3 else -3600)


def slow_steps(seconds: float) -> None:
    """Each step takes so much longer."""
    norm = torch.nn.utils.get_total_norm

    def slowly(*arguments: object) -> torch.Tensor:
        time.sleep(seconds)
        return norm(*arguments)

    torch.nn.utils.get_total_norm = slowly


def signal_at(step: int, number: int, times: int = 1, seconds: float = 0.0) -> None:
    """The process gets a signal in the middle of a step, `times` times with a pause between."""
    norm, calls = torch.nn.utils.get_total_norm, itertools.count(1)

    def signalled(*arguments: object) -> torch.Tensor:
        if next(calls) == step:
            for _ in range(times):
                os.kill(os.getpid(), number)
                time.sleep(seconds)
        return norm(*arguments)

    torch.nn.utils.get_total_norm = signalled


def signal_while_syncing(nth: int, number: int) -> None:
    """The process gets a signal as it has its `nth` file written to the disk: within a checkpoint."""
    sync, calls = os.fsync, itertools.count(1)

    def signalled(handle: int) -> None:
        if next(calls) == nth:
            os.kill(os.getpid(), signal.Signals(number))
        sync(handle)

    os.fsync = signalled


def retry_soon() -> None:
    """A checkpoint that could not be written is tried again after half a second, not after a minute."""
    from gpt2zh.training import checkpoint

    checkpoint.RETRY = 0.5


def little_memory(megabytes: int) -> None:
    """The process may not grow by more than this."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + megabytes * 2**20, resource.RLIM_INFINITY))


def ignore(number: int) -> None:
    """A signal is ignored from the start."""
    signal.signal(number, signal.SIG_IGN)


def reader_goes() -> None:
    """stdout and stderr are a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
