"""So little memory that not even torch can be loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS")
def test_too_little_memory_for_the_libraries_is_a_message_of_the_environment(workdir: Path) -> None:
    import resource

    command = [
        sys.executable,
        ROOT / "train.py",
        "--device",
        "cpu",
        "--model_config",
        "tiny.json",
        "--tokenizer_path",
        "vocab.txt",
    ]
    run = subprocess.run(
        command, cwd=workdir, capture_output=True, encoding="utf-8",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20)),
    )  # fmt: skip
    assert run.returncode == 3 and "out of memory" in run.stderr and "Traceback" not in run.stderr, run.stderr
