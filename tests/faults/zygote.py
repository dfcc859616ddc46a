"""Runs of train.py as processes that start at once: torch is loaded here, then every run is a fork of this process.

    python zygote.py     reads [folder, arguments, file for its output, faults], JSON, a line; answers with the pid, then the exit code

A run is train.py's own `main` in a process of its own, with its own signals, output and exit code. Faults are put into what
is around it (torch, the clock, the limits of the process), never into the code under test.
"""

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import injected

import train
from gpt2zh.device import choose_device
from gpt2zh.errors import run_script
from gpt2zh.training.throughput import measured_peak

for name in (
    "evaluation.likelihood",
    "model.loss",
    "run",
    "sampling",
    "training.checkpoint",
    "training.optim",
    "training.trial",
):
    import_module(f"gpt2zh.{name}")  # what train.py imports only when it is needed
measured_peak(choose_device("cpu", "fp32"))  # once for all runs
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with Ctrl-C ignored,
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's with SIGHUP
print("ready", flush=True)
for line in sys.stdin:
    folder, arguments, printed, faults = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["train.py", *arguments]
        code = 0
        try:
            for name, *values in faults:
                getattr(injected, name)(*values)
            run_script(train.main, outlasts_console=True)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
