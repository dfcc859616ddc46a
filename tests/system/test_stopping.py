"""Ctrl-C where work hears none; SIGTERM where an error is on its way."""

import signal
import subprocess
import sys

import pytest

from gpt2zh.system.signals import interruptible

WAITS = """
import ctypes
from gpt2zh.system.signals import interruptible
print("begun", flush=True)
interruptible(lambda: ctypes.CDLL(None).usleep(10**9) and None)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a process")
def test_ctrl_c_ends_what_hears_no_signal() -> None:
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)  # it would take a quarter of an hour
    assert "KeyboardInterrupt" in errors


@pytest.mark.parametrize("kind", [ValueError, TimeoutError])
def test_what_goes_wrong_in_it_is_raised(kind: type[Exception]) -> None:
    def work() -> None:
        raise kind("so")

    with pytest.raises(kind, match="so"):
        interruptible(work)


ENDS = """
import os, signal
from gpt2zh.system.signals import StopSignals
class Told(Exception):
    pass
signal.signal(signal.SIGTERM, lambda *_: exit(99))
try:
    with StopSignals(lambda: None):
        raise Told
except Told:
    os.kill(os.getpid(), signal.SIGTERM)
    with StopSignals(lambda: None):
        pass
    print("told")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM to a process")
def test_a_sigterm_that_follows_an_error_does_not_take_its_place() -> None:
    run = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True)
    assert run.stdout == "told\n" and run.returncode == 0
