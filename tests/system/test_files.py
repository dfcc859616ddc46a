"""Files and folders that are written beside, by processes that are killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from gpt2zh.system.files import new_file, write_text
from gpt2zh.system.folders import new_folder

WRITES = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from gpt2zh.system.files import new_file
from gpt2zh.system.folders import new_folder
with new_file(Path("there/file")) as file, new_folder(Path("there/folder")) as folder:
    (folder / "part").write_text("half")
    print("begun", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> subprocess.Popen[str]:
    """A process that is writing there/file and there/folder."""
    monkeypatch.chdir(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", WRITES, ROOT], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "begun\n"
    return process


def beside() -> list[str]:
    return sorted(path.name.split(".")[1] for path in Path("there").glob(".*"))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_what_a_killed_process_left_beside_goes_when_its_path_is_written_again(writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert beside() == ["file", "folder"]
    write_text(Path("there/other"), "new")
    assert beside() == ["file", "folder"]
    with new_file(Path("there/file")) as file:
        file.write(b"whole")
    with new_folder(Path("there/folder")) as folder:
        (folder / "all").touch()
    assert sorted(path.name for path in Path("there").rglob("*")) == ["all", "file", "folder", "other"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_what_a_living_process_is_writing_is_left_alone(writer: subprocess.Popen[str]) -> None:
    write_text(Path("there/file"), "ours")
    assert beside() == ["file", "folder"]
    writer.send_signal(signal.SIGINT)
    writer.wait()
    assert beside() == [] and Path("there/file").read_text(encoding="utf-8") == "ours"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_folder_that_was_being_replaced_comes_back(writer: subprocess.Popen[str]) -> None:
    """Where folders cannot be exchanged in one step, a kill may come between two renames."""
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    Path(f"there/.folder.{writer.pid}.old").mkdir()
    with pytest.raises(KeyError), new_folder(Path("there/folder")):
        assert Path("there/folder").is_dir()
        raise KeyError
    assert Path("there/folder").is_dir() and beside() == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="devices and pipes have names")
@pytest.mark.parametrize("kind", ["device", "pipe", "link to a device"])
def test_a_device_is_written_to_and_stays_one(tmp_path: Path, kind: str) -> None:
    master, slave = os.openpty()
    path = Path(os.ttyname(slave))
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
        master = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    elif kind == "link to a device":
        path = tmp_path / "link"
        path.symlink_to(os.ttyname(slave))
    before = path.lstat()
    write_text(path, "文字")
    assert os.read(master, 99).decode() == "文字" and list(tmp_path.glob(".*")) == []
    after = path.lstat()
    assert (before.st_ino, before.st_mode, before.st_rdev) == (after.st_ino, after.st_mode, after.st_rdev)
    os.close(master)
    os.close(slave)


@pytest.mark.skipif(sys.platform == "win32", reason="links want a privilege")
def test_what_a_link_points_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("file", "new", "folder"):
        (tmp_path / name).symlink_to(disk / name)
    (disk / "file").write_text("old", encoding="utf-8")
    (disk / "folder").mkdir()
    write_text(tmp_path / "file", "文字")
    write_text(tmp_path / "new", "新")
    with new_folder(tmp_path / "folder") as folder:
        (folder / "one").touch()
    assert all((tmp_path / name).is_symlink() for name in ("file", "new", "folder"))
    assert (disk / "file").read_text(encoding="utf-8") == "文字" and (disk / "new").read_text(encoding="utf-8") == "新"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "disk",
        "file",
        "file",
        "folder",
        "folder",
        "new",
        "new",
        "one",
    ]
