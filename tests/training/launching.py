"""A plugin of pytest: what the tests of several processes start with, for `pytest_plugins`."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import TRAIN, furnish
from forked_torchrun import Forked, Zygote
from launched import Launched, ended_after_use


@pytest.fixture(scope="session")
def torchruns() -> Iterator[Zygote]:
    """What forks them."""
    zygote = Zygote()
    yield zygote
    zygote.process.kill()
    zygote.process.wait()


@pytest.fixture
def start(torchruns: Zygote) -> Iterator[Callable[..., Launched]]:
    """Start commands, `real` ones anew, as a user does; what still runs at the end of the test is ended."""
    with ended_after_use() as launched:

        def begin(folder: Path, command: list[object], name: str = "command", real: bool = False) -> Launched:
            launched.append(Launched(folder, command, name) if real else Forked(folder, command, name, torchruns))
            return launched[-1]

        yield begin


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, torchruns: Zygote, book: list[str], book_vocabulary: str) -> Path:
    """A folder with a corpus, its shards, and `alone`, the run of one process, with a checkpoint every 5 of its 14 steps."""
    folder = tmp_path_factory.mktemp("processes")
    furnish(folder, book, book_vocabulary)
    command = [sys.executable, *TRAIN, "--output_dir", "alone", "--save_every", 5, "--keep_last", 9]
    assert Forked(folder, command, "alone", torchruns).wait() == 0
    return folder
