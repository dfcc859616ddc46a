"""benchmarks/scaling.py: its arithmetic against what is known of collectives."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import ROOT

spec = importlib.util.spec_from_file_location("scaling", ROOT / "benchmarks" / "scaling.py")
scaling = importlib.util.module_from_spec(spec)
sys.modules["scaling"] = scaling  # a dataclass looks its module up
spec.loader.exec_module(scaling)

CLUSTER = scaling.Cluster(
    params=1e8, tokens_per_second=1e5, tokens=10_000, accumulation=1, inside=20, between=2, per_machine=8
)  # 100 ms a micro-batch, 400 MB of gradients


def test_one_gpu_loses_nothing() -> None:
    for overlap in (False, True):
        assert CLUSTER.ddp_efficiency(1, overlap) == CLUSTER.fsdp_efficiency(1, overlap) == 1


def test_an_all_reduce_is_a_scatter_and_a_gather_and_sharding_gathers_once_more() -> None:
    assert CLUSTER.ddp_seconds(2) == pytest.approx(0.4 / 20)  # each GPU sends its half, and the other's sum back
    for n in (2, 8, 512):
        assert CLUSTER.fsdp_seconds(n) == pytest.approx(1.5 * CLUSTER.ddp_seconds(n))
    assert CLUSTER.ddp_seconds(10**6) == pytest.approx(2 * 0.4 / 2, rel=1e-5)  # twice the bytes, by the slow link


def test_the_slow_link_counts_from_the_second_machine_on() -> None:
    assert CLUSTER.ddp_seconds(8) == pytest.approx(7 / 4 * 0.4 / 20)
    assert CLUSTER.ddp_seconds(16) == pytest.approx(15 / 8 * 0.4 / 2)


def test_overlap_and_accumulation_hide_the_exchange() -> None:
    assert CLUSTER.ddp_efficiency(8, overlap=True) == 1 > CLUSTER.ddp_efficiency(8, overlap=False)
    assert CLUSTER.ddp_efficiency(64, overlap=True) < 0.5
    enough = CLUSTER.enough_accumulation(64)
    assert replace(CLUSTER, accumulation=enough).ddp_efficiency(64, overlap=True) >= 0.9
    assert replace(CLUSTER, accumulation=enough - 1).ddp_efficiency(64, overlap=True) < 0.9
    assert replace(CLUSTER, accumulation=9).fsdp_efficiency(64, True) == CLUSTER.fsdp_efficiency(64, True)


def test_the_advice_follows_memory_then_speed() -> None:
    assert CLUSTER.advice(1, 24) == "python train.py"
    assert CLUSTER.advice(8, 24) == "torchrun (DDP)"
    assert CLUSTER.advice(64, 24) == f"torchrun, --gradient_accumulation {CLUSTER.enough_accumulation(64)}"
    large = replace(CLUSTER, params=7e9)  # 112 GB of state
    assert large.advice(64, 24) == "--shard_model" and large.advice(2, 24) == "--shard_model on 10 or more"


def test_the_command_of_its_page_prints_the_table_of_its_page() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    commands = [line for line in page.splitlines() if line.startswith("python benchmarks/scaling.py")]
    assert commands
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=True
        )
        table = [line for line in done.stdout.splitlines() if line.startswith("|")]
        assert len(table) > 3 and "\n".join(table) in page
