"""A conversation: turns, lines that a terminal garbles, saving."""

from pathlib import Path

import pytest

from gpt2zh.generation.interactive import converse, repaired, save


def test_a_conversation_takes_turns_back_and_writes_them_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []

    def write_on(text: str, attempt: int) -> str:
        asked.append((text, attempt))
        return f"<{attempt}>"

    saves = [f"/save {place}" for place in (tmp_path / "a" / "b.txt", tmp_path, tmp_path / "a" / "b.txt" / "c")]
    lines = ["甲", "", "/undo", "乙", "/retry", "/nosuch", "/show", *saves, "/undo", "/undo", "/undo"]

    def read_line(prompt: str) -> str:
        if not lines:
            raise EOFError
        return lines.pop(0)

    assert converse(write_on, read_line) == ""
    assert asked == [("甲", 1), ("甲<1>", 2), ("甲<1>乙", 3), ("甲<1>乙", 4)]
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "甲<1>乙<4>\n"
    assert (tmp_path / "interactive.txt").read_text(encoding="utf-8") == "甲<1>乙<4>\n"
    printed = capsys.readouterr()
    assert "/nosuch" in printed.out and "还没有可撤回的" in printed.out and str(tmp_path) in printed.err


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (b"\xe5\xa5\xbd\xe7\x9a", "好"),  # 好的, and a Backspace that took one byte
        ("我好\ufeff".encode()[:-1], "我好"),
        ("你好，世界".encode("gb18030"), "你好，世界"),
        ("好的".encode(), "好的"),
        (b"plain", "plain"),
    ],
)
def test_a_line_with_bytes_that_are_no_utf8_is_repaired(typed: bytes, line: str) -> None:
    assert repaired(typed.decode("utf-8", "surrogateescape")) == line


def test_a_text_is_saved_under_a_name_or_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, path in (("mnt", "mnt/interactive.txt"), ("a.txt", "a.txt"), ("mnt", "mnt/interactive.txt")):
        save(Path(name), "文字")
        assert Path(path).read_text(encoding="utf-8") == "文字\n"
