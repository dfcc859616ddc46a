"""A console that goes away ends no work, and no text commands a terminal."""

import ast
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from gpt2zh.console import Lasting, command_line, visible
from gpt2zh.errors import UserError, explain
from gpt2zh.needs import lacking

RUN = "from gpt2zh.errors import run_script\n"


def script(tmp_path: Path, body: str, lasts: bool) -> Path:
    """A script that ends as ours do."""
    path = tmp_path / "script.py"
    text = f"import sys, time\nfrom pathlib import Path\nsys.path.insert(0, {str(ROOT)!r})\n{RUN}def main():\n"
    text += "".join(f"    {line}\n" for line in body.split("\n"))
    path.write_text(text + f"run_script(main, outlasts_console={lasts})\n", encoding="utf-8")
    return path


PRINT = "for i in range(2000):\n    print('一行' * 40)\nPath('done').write_text('yes')"


@pytest.mark.parametrize("lasts", [True, False])
def test_a_reader_that_ends_ends_no_training_but_other_scripts(tmp_path: Path, lasts: bool) -> None:
    command = f"set -o pipefail; {sys.executable} {script(tmp_path, PRINT, lasts)} | head -1 >/dev/null"
    run = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True)
    assert run.returncode == (0 if lasts else 141) and b"Traceback" not in run.stderr and b"Exception" not in run.stderr
    assert (tmp_path / "done").exists() == lasts


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("streams", [">/dev/full", ">/dev/full 2>&1", ">&-", ">&- 2>&-"])
def test_output_that_cannot_be_written_ends_no_training(tmp_path: Path, streams: str) -> None:
    run = subprocess.run(["bash", "-c", f"{sys.executable} {script(tmp_path, PRINT, True)} {streams}"], cwd=tmp_path)
    assert run.returncode == 0 and (tmp_path / "done").exists()


def test_a_closed_output_is_no_error_in_any_script(tmp_path: Path) -> None:
    run = subprocess.run(["bash", "-c", f"{sys.executable} {script(tmp_path, PRINT, False)} >&-"], cwd=tmp_path)
    assert run.returncode == 0 and (tmp_path / "done").exists()


def test_what_was_held_back_when_the_reader_went_is_forgotten() -> None:
    reader, writer = os.pipe()
    stream = Lasting(io.TextIOWrapper(os.fdopen(writer, "wb"), encoding="utf-8"))
    os.close(reader)
    stream.write("a line\n")
    stream.flush()
    stream.write("more\n")
    stream.flush()
    assert stream.encoding == "utf-8"


@given(st.text())
def test_visible_text_commands_no_terminal_and_keeps_what_is_text(text: str) -> None:
    shown = visible(text)
    assert not any((c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f" or "\u202a" <= c <= "\u202e" for c in shown)
    assert visible(shown) == shown
    if text.isprintable():
        assert shown == text


def test_messages_show_escape_sequences_as_text_and_bytes_that_are_none_as_a_mark() -> None:
    message = str(UserError("\x1b[31m红\u202e", "a\x9bb\udcb5c"))
    assert message == "\\x1b[31m红\\u202e / a\\x9bb\ufffdc"


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "Make room"), (errno.EMFILE, "ulimit"), (errno.EACCES, "permissions")]
)
def test_a_system_error_names_the_file_and_its_own_cause(number: int, word: str) -> None:
    named, unnamed = OSError(number, os.strerror(number), "some/file"), OSError(number, os.strerror(number))
    for error in (named, unnamed):
        told = explain(error)
        assert told is not None and told[1] == 3 and os.strerror(number) in told[0] and word in told[0]
    text = explain(OSError(errno.ESPIPE, "Illegal seek"))
    assert text is not None and "disk" not in text[0] and " -" not in text[0]
    assert "some/file" in explain(named)[0]


def test_what_is_missing_is_said_before_anything_is_loaded() -> None:
    assert lacking((3, 11), lambda name: True) == "" == lacking((3, 14), lambda name: True)
    assert "3.10" in lacking((3, 10), lambda name: True)
    assert "numpy" in lacking((3, 12), lambda name: name != "numpy")
    told = explain(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert told is not None and told[1] == 3 and "pip install -r requirements.txt" in told[0]
    assert explain(ModuleNotFoundError("No module named 'gpt2zh.x'", name="gpt2zh.x")) is None


def test_the_first_thing_that_scripts_load_is_readable_by_old_pythons() -> None:
    ast.parse((ROOT / "gpt2zh" / "needs.py").read_text(encoding="utf-8"), feature_version=(3, 6))
    for path in (*ROOT.glob("*.py"), ROOT / "cache" / "make_vocab.py", ROOT / "cache" / "make_vocab_small.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
        rooms = [
            node.names[0].name if isinstance(node, ast.Import) else node.module
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        before = {str(room).partition(".")[0] for room in rooms[: rooms.index("gpt2zh.needs")]}
        assert before <= sys.stdlib_module_names, path


def test_a_command_can_be_pasted() -> None:
    assert command_line(["python", "x.py", "--output_dir", Path("a b")]) in (
        "python x.py --output_dir 'a b'",
        'python x.py --output_dir "a b"',
    )
