"""One owner for a folder; on a file system without locks the run says so and goes on."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# flock(2) as an NFS mount without lockd answers
NO_LOCKS = '#include <errno.h>\n#include <stdlib.h>\nint flock(int fd, int op) { errno = atoi(getenv("ANSWER")); return -1; }\n'
HOLD = "import sys; sys.path.insert(0, sys.argv[1])\nfrom pathlib import Path\nfrom gpt2zh.errors import run_script\nfrom gpt2zh.system.lock import only_owner\ndef main():\n    with only_owner(Path('held')):\n        Path('held/done').write_text('')\nrun_script(main)"  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What LD_PRELOAD puts in the place of the system's flock."""
    folder = tmp_path_factory.mktemp("flock")
    (folder / "flock.c").write_text(NO_LOCKS, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "flock.so", folder / "flock.c"], check=True)
    return folder / "flock.so"


@pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs Linux and a compiler")
@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_where_there_are_no_locks_this_is_said_and_work_goes_on(tmp_path: Path, library: Path, answer: int) -> None:
    env = {**os.environ, "LD_PRELOAD": str(library), "ANSWER": str(answer)}
    for _ in range(2):  # nothing is left behind that would be in the way of the next one
        run = subprocess.run(
            [sys.executable, "-c", HOLD, ROOT], cwd=tmp_path, env=env, capture_output=True, encoding="utf-8"
        )
        if answer == errno.EIO:
            assert run.returncode == 3 and "Traceback" not in run.stderr
        else:
            assert run.returncode == 0 and "has no locks" in run.stdout and (tmp_path / "held" / "done").exists()
