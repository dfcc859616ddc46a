"""Two machines: network namespaces with a cable between them, torchrun's c10d rendezvous across it, gloo on the CPU.

Needs Linux and the right to make network namespaces (root); skipped with the reason elsewhere. `make test-hosts` runs it alone.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import TORCHRUN, TRAIN, metrics_of, require_same_run
from launched import Launched

pytest_plugins = ["launching"]
pytestmark = pytest.mark.slow

Launch = Callable[..., Launched]
ADDRESSES = ("10.99.7.1", "10.99.7.2")  # inside the namespaces alone
NAMES = tuple(f"gpt2zh-{os.getpid()}-{host}" for host in range(2))


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@pytest.fixture
def hosts() -> Iterator[list[list[str]]]:
    """The beginning of a command on each of two hosts."""
    inside = [["ip", "netns", "exec", name] for name in NAMES]
    made: list[str] = []
    try:
        try:
            for name in NAMES:
                ip("netns", "add", name)
                made.append(name)
            ip("link", "add", "cable", "netns", NAMES[0], "type", "veth", "peer", "name", "cable", "netns", NAMES[1])
            for name, address in zip(NAMES, ADDRESSES):
                ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
                for device in ("lo", "cable"):
                    ip("-n", name, "link", "set", device, "up")
                subprocess.run([*inside[NAMES.index(name)], "true"], check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("no `ip` command here")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not permitted here: {error.stderr.decode(errors='replace').strip()}")
        yield inside
    finally:
        for name in made:
            ip("netns", "delete", name)


def c10d(host: int) -> list[object]:
    """Hosts that find their order themselves. `is_host` is said, as the machine's name has no address in the namespaces."""
    place = ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"{ADDRESSES[0]}:29500", "--rdzv_id", "test"]
    return [*place, "--rdzv_conf", f"is_host={1 - host}", "--local_addr", ADDRESSES[host]]


def numbered(host: int) -> list[object]:
    """Hosts whose order is given."""
    return ["--node_rank", host, "--master_addr", ADDRESSES[0], "--master_port", 29500]


def on_both(
    rendezvous: Callable[[int], list[object]],
    hosts: list[list[str]],
    folders: list[Path],
    begin: Launch,
    *flags: object,
) -> list[Launched]:
    """One process on each host."""
    size = ["--nnodes", 2, "--nproc_per_node", 1]
    return [
        begin(
            folder,
            [*inside, "env", "GLOO_SOCKET_IFNAME=cable", *TORCHRUN, *size, *rendezvous(host), *TRAIN, *flags],
            "torchrun",
            real=True,
        )
        for host, (inside, folder) in enumerate(zip(hosts, folders))
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, place: Path) -> list[Path]:
    """A folder for each host: the corpus on the first, the same shards on both; and `alone`, the run of one process."""
    both = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    for folder in both:
        for file in ("vocab.txt", "plain.json"):
            shutil.copy(place / file, folder)
        shutil.copytree(place / "data" / "tokenized", folder / "data" / "tokenized")
    shutil.copy(place / "data" / "train.json", both[0] / "data")
    shutil.copytree(place / "alone", both[0] / "alone")
    return both


def test_two_hosts_train_as_one(hosts: list[list[str]], folders: list[Path], start: Launch) -> None:
    runs = on_both(c10d, hosts, folders, start)
    assert [run.wait() for run in runs] == [0, 0], runs[0].text + runs[1].text
    require_same_run(folders[0] / "alone", folders[0] / "model")
    assert not (folders[1] / "model").exists() and not (folders[1] / "logs").exists()
    shutil.rmtree(folders[0] / "model")


def test_when_the_cable_is_cut_both_hosts_end_and_say_so_and_the_run_goes_on_from_what_is_saved(
    hosts: list[list[str]], folders: list[Path], start: Launch
) -> None:
    endless = ["--epochs", 100000, "--warmup_steps", 0, "--peer_timeout", 6, "--save_every", 3]
    runs = on_both(numbered, hosts, folders, start, *endless)
    deadline = time.monotonic() + 120
    while not (folders[0] / "model" / "model_epoch1").exists():
        assert time.monotonic() < deadline, runs[0].text + runs[1].text
        time.sleep(0.05)
    ip("-n", NAMES[1], "link", "set", "cable", "down")
    for run in runs:
        assert run.wait() == 1
        assert len(re.findall("错误 / error: 与别的进程断了联系", run.text)) == 1
        assert re.findall(r"exitcode\s+: (-?\d+)", run.text) == ["3"] and run.text.count("Traceback") == 1  # torchrun's
    before = metrics_of(folders[0] / "model")
    saved = max(int(path.name[len("step_") :]) for path in (folders[0] / "model" / "checkpoints").glob("step_*"))
    again = start(folders[0], [sys.executable, *TRAIN, *endless, "--max_steps", saved + 5, "--resume"])
    assert again.wait() == 0, again.text
    after = metrics_of(folders[0] / "model")
    assert after[-1]["step"] == saved + 5
    kept = [row for row in before if row["step"] <= saved]
    assert after[: len(kept)] == kept
