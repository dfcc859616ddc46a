"""Strangers' files and command lines, by the thousand: each script with inputs that were harmed at random.

    python tests/faults/fuzz.py [--minutes 30] [--seed 0] [--folder fuzz] [--only CASE]

A case is a fork of this process (torch is loaded once) that harms a copy of small files and runs a script's own `main` over them. It
fails where the script ends with a traceback or by a signal, takes more than 10 s of processor time, writes outside the folders that
the command names, changes a file that was given to it, or prints an escape sequence. The folder keeps what failed; --only runs a case again.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conftest import ROOT, call, furnish
from fuzz_cases import GENERATE, KINDS, TRAIN, Command, sha256

from gpt2zh.errors import run_script

SECONDS = 10  # of processor time
MEMORY = 12 << 30  # bytes of address space, of which torch takes half
DEVICES = ("/dev/null", "/dev/full")  # that a command line may name, and that the superuser could replace
WRITTEN = ("out/", "logs/", "runs/", "mnt/", "tmp/", "data/tokenized/")  # folders a case may write into

# ----- one case -------------------------------------------------------------------------------------------------------


def run_case(template: Path, folder: Path, seed: int, number: int) -> tuple[str, list[str]]:
    """Run a case in `folder`, which is removed unless it fails. Returns the kind, and what is wrong."""
    chance = Random(f"{seed}-{number}")
    kind = chance.choice(KINDS)
    shutil.copytree(template, folder)
    pid = os.fork()
    if pid == 0:
        child(folder, kind, chance)
    code, seconds = wait(pid)
    printed = (folder / "printed.txt").read_text(encoding="utf-8", errors="replace")
    command = json.loads((folder / "command.json").read_text(encoding="utf-8"))
    wrong = list(faults(folder, kind.__name__, code, seconds, printed, command))
    if wrong:
        (folder / "wrong.txt").write_text("\n".join([f"case {number}", *wrong, ""]), encoding="utf-8")
    else:
        shutil.rmtree(folder)
    return kind.__name__, wrong


def child(folder: Path, kind: Callable[[Random], Command], chance: Random) -> None:
    """The process of a case; never returns."""
    code = 1
    try:
        os.chdir(folder)
        script, arguments = kind(chance)
        inputs = {str(path): sha256(path) for path in Path().rglob("*") if path.is_file()}
        Path("command.json").write_text(json.dumps([script, arguments, inputs]), encoding="utf-8")
        output = os.open("printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(HOME=str(folder.parent / "home"), TMPDIR=str(folder / "tmp"), HF_HUB_OFFLINE="1")
        resource.setrlimit(resource.RLIMIT_CPU, (used_seconds() + SECONDS, used_seconds() + SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        run_script(lambda: call(script, *arguments))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def used_seconds() -> int:
    """Processor time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_utime + usage.ru_stime) + 1


def wait(pid: int) -> tuple[int, float]:
    """The exit code, negative for a signal, and seconds on the clock; a process that only waits is killed after 60."""
    began = time.monotonic()
    while True:
        done, status, _ = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), time.monotonic() - began
        if time.monotonic() - began > 6 * SECONDS:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def faults(folder: Path, kind: str, code: int, seconds: float, printed: str, command: list[Any]) -> Iterator[str]:
    """What is wrong with how a case ended."""
    if code < 0:
        yield f"ended by {signal.Signals(-code).name} after {seconds:.0f} s"
    elif code not in (0, 2, 3, 4):
        yield f"exit code {code}"
    for mark in ("Traceback (most recent call last)", "panicked at", "\x1b", "\u202e"):
        if mark in printed:
            yield f"printed {mark!r}"
    if kind != "command_line":  # there any file may be named as an output
        yield from touched(folder, command[2])
    for device in DEVICES:
        if not Path(device).is_char_device():
            yield f"{device} is no device any more"
    for path in folder.parent.iterdir():
        if path.name not in ("template", "home") and not path.name.startswith("case"):
            yield f"wrote {path.name} beside its folder"


def touched(folder: Path, inputs: dict[str, str]) -> Iterator[str]:
    """Inputs that were changed, and files outside the folders that a case may write into."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in inputs and sha256(path) != inputs[name] and not name.startswith(WRITTEN):
            yield f"changed {name}"
        elif name not in inputs and not name.startswith(WRITTEN) and name not in ("printed.txt", "command.json"):
            yield f"wrote {name}"


# ----- all cases ------------------------------------------------------------------------------------------------------


def make_template(template: Path) -> None:
    """Small files of every kind, made by the scripts themselves."""
    book = json.loads((ROOT / "data" / "example.json").read_text(encoding="utf-8"))
    characters = sorted(set("".join(sorted(book, key=len)[:12])) - {"\n", " "})
    template.mkdir()
    (template.parent / "home").mkdir()
    furnish(template, book, "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]) + "\n")
    os.chdir(template)
    call("train.py", *TRAIN, "--raw", "--raw_data_path", "data/train.json", "--output_dir", "model", "--tokenized_data_path", "data/tokenized", "--save_every", 1)  # fmt: skip
    call("generate.py", *GENERATE, "--model_path", "model/best_model")
    for name in ("logs", "runs", "out"):
        shutil.rmtree(name, ignore_errors=True)
    for name in ("out", "tmp"):
        (template / name).mkdir()
    os.chdir(ROOT)


def work(folder: Path, seed: int, first: int, step: int, until: float, most: int) -> tuple[Counter[str], int]:
    """Cases first, first + step, ... until a time or a number. Returns how many there were of each kind, and how many failed."""
    kinds: Counter[str] = Counter()
    failed = 0
    for number in range(first, most, step):
        if time.monotonic() > until:
            break
        kind, wrong = run_case(folder / "template", folder / f"case{number}", seed, number)
        kinds[kind] += 1
        failed += bool(wrong)
        if wrong:
            print(f"case {number} ({kind}): {'; '.join(wrong)}", flush=True)
    return kinds, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--cases", type=int, default=10**9, help="at most so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("fuzz"))
    parser.add_argument("--only", type=int, help="the number of one case")
    flags = parser.parse_args()
    folder = flags.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HOME"] = str(folder / "home")
    make_template(folder / "template")
    if flags.only is not None:
        print(*run_case(folder / "template", folder / f"case{flags.only}", flags.seed, flags.only))
        return
    n_workers, until = os.cpu_count() or 1, time.monotonic() + 60 * flags.minutes
    pipes = []
    for first in range(n_workers):
        reader, writer = os.pipe()
        if os.fork() == 0:
            done = work(folder, flags.seed, first, n_workers, until, flags.cases)
            os.write(writer, json.dumps(done).encode())
            os._exit(0)
        os.close(writer)
        pipes.append(reader)
    results = [json.loads(os.fdopen(reader).read()) for reader in pipes]
    kinds = sum((Counter(counts) for counts, _ in results), Counter[str]())
    failed = sum(n for _, n in results)
    print(f"{kinds.total()} cases ({', '.join(f'{name} {n}' for name, n in sorted(kinds.items()))}): {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
