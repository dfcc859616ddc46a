"""Books that earlier files have in part, and files of two scripts in one corpus."""

import json
from pathlib import Path

import pytest
from conftest import call


def prepared(*arguments: object) -> list[str]:
    """The corpus that prepare_data.py makes of files in the working folder."""
    call("prepare_data.py", *arguments, "--output", "out.json", "--val_ratio", 0)
    return json.loads(Path("out.json").read_text(encoding="utf-8"))


def test_another_edition_of_a_book_leaves_no_shreds(workdir: Path, book: list[str]) -> None:
    """Where most of a book is there, what is left of it goes too; where little is, its chapters stay whole."""
    stories = sorted(book, key=len)[40:52]
    text = "".join(f"第{number}章\n{story}\n" for number, story in enumerate(stories, 1))
    assert text.count("\n") > 100

    def edition(every: int) -> str:
        """Every so manieth paragraph is told in other words."""
        lines = [
            line if number % every or len(line) < 40 else "".join(reversed(line))
            for number, line in enumerate(text.split("\n"))
        ]
        return "\n".join(lines)

    (workdir / "a.txt").write_text(text, encoding="utf-8")
    arguments = "--near_duplicates", 0, "--min_length", 1
    whole = prepared("a.txt", *arguments)
    (workdir / "b.txt").write_text(edition(4), encoding="utf-8")
    assert prepared("a.txt", "b.txt", *arguments) == whole
    other = "".join(
        f"第{number}章\n{story}\n{book[0][:3000]}{number}\n"
        for number, story in enumerate(sorted(book, key=len)[52:60], 1)
    )
    shared = "\n".join(stories[3].split("\n")[:4])
    (workdir / "c.txt").write_text(other.replace("第3章\n", f"第3章\n{shared}\n"), encoding="utf-8")
    kept = prepared("a.txt", "c.txt", *arguments)[len(whole) :]
    assert any(shared in piece for piece in kept) or all(line not in "".join(kept) for line in shared.split("\n"))


def test_files_of_two_scripts_get_a_hint_at_conversion(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simplified, traditional = "我们说这个时候还没来。" * 30, "我們說這個時候還沒來。" * 30
    for name, text in (("a", simplified + "一"), ("b", simplified + "二"), ("c", traditional)):
        (workdir / f"{name}.txt").write_text(text, encoding="utf-8")
    arguments = "--near_duplicates", 0, "--paragraph_length", 0
    prepared("a.txt", "b.txt", *arguments)
    assert "--convert" not in capsys.readouterr().out
    prepared("a.txt", "b.txt", "c.txt", *arguments)
    assert "c.txt。要统一，请加 --convert t2s" in capsys.readouterr().out


def test_names_and_texts_are_shown_as_text_in_the_report(workdir: Path) -> None:
    name = "<img src=x>_[a](b)\x1b[31m.txt"
    (workdir / name).write_text("<b>一行</b>|字\n" * 9, encoding="utf-8")
    prepared(name, "--min_length", 1)
    report = Path("out_report.md").read_text(encoding="utf-8")
    assert "<img" not in report and "\x1b" not in report and "[a](b)" not in report


def test_what_a_file_has_twice_itself_is_not_said_to_be_in_others(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = ["清晨的集市刚刚开张，卖豆腐的老汉推着车走过石板路。", "雨下了一整夜，河水涨到了桥洞口。"]
    Path("own.json").write_text(json.dumps([entries[0], *entries]), encoding="utf-8")
    prepared("own.json", "--min_length", 1)
    assert "another edition" not in capsys.readouterr().out
    Path("later.json").write_text(json.dumps([*entries, "山顶的庙只剩半堵墙，风从缺口里穿过去。"]), encoding="utf-8")
    prepared("own.json", "later.json", "--min_length", 1)
    assert "of later.json (another edition?)" in capsys.readouterr().out
