"""Headings of all kinds, known by their numbers; and what has numbers without being a heading."""

import json
from pathlib import Path

import pytest
from conftest import ROOT, call
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.cleaning.chapters import split_chapters

PROSE = [
    line
    for document in json.loads((ROOT / "data/example.json").read_text(encoding="utf-8"))
    for line in document.split("\n")
    if len(line) > 80
]
CHINESE = "一二三四五六七八九十"
FRAMES = [
    "【第{}章】{}", "【第{}章 {}】", "☆、第{}章 {}", "== 第{}章 {} ==", "# 第{}章 {}", "## {} {}", "《旧桥夜话》第{}章 {}", "旧桥夜话 第{}章 {}",
    "第{}章 {}，可谁也不认识他", "第{}章 {}！", "第{}更 {}", "Part {} {}", "VOL.{} {}", "EP{} {}", "Ch.{} {}", "Day {}", "{}、{}", "（{}）{}", "{} {}", "{}", "卷第{}",
    "旧时代之死·第{} {}", "その{}", "第{}章——{}", "{}.{}",
]  # fmt: skip
TITLES = ["河边旧事", "他终于回来", "雨", "老汉推车", "你是谁？", "归", "春天的信", "夜", "桥", "再见"]


def as_chinese(n: int) -> str:
    tens, ones = divmod(n, 10)
    return (CHINESE[tens - 1] if tens > 1 else "") + ("十" if tens else "") + (CHINESE[ones - 1] if ones else "")


def book(headings: list[str], seed: int) -> str:
    """A book with a title page; a chapter has a few paragraphs of real prose, and about as much as another."""
    parts = ["旧桥夜话\n作者：某人\n"]
    for number, heading in enumerate(headings):
        lines = [PROSE[(seed + 7 * number + k) % len(PROSE)][:120] for k in range(4)]
        parts.append(f"{heading}\n\n" + "\n".join(lines))
    return "\n".join(parts) + "\n"


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(FRAMES),
    st.sampled_from([str, as_chinese, lambda n: f"{n:03d}"]),
    st.integers(3, 24),
    st.integers(0, 500),
    st.sets(st.integers(2, 20), max_size=1),
    st.booleans(),
)
def test_lines_whose_numbers_grow_through_the_whole_text_are_its_headings(frame, form, n, seed, gap, titled) -> None:  # type: ignore[no-untyped-def]
    numbers = [k for k in range(1, n + 1) if k not in gap] if n > 5 else range(1, n + 1)
    headings = [frame.format(form(k), TITLES[k % len(TITLES)] if titled else "河边").strip() for k in numbers]
    pieces = split_chapters(book(headings, seed))
    assert len(pieces) == len(headings)
    assert all(heading in piece for piece, heading in zip(pieces, headings, strict=True))


@pytest.mark.parametrize(
    "headings",
    [
        ["学而第一", "为政第二", "八佾第三", "里仁第四", "公冶长第五"],
        ["五帝本纪篇第一", "夏本纪篇第二", "三代世表篇第三"],
        ["楔子", "序章", "间章", "终章", "后记"],
        ["前言", "跋", "附录 书信"],
    ],
)
def test_titles_before_their_numbers_and_named_parts_are_headings(headings: list[str]) -> None:
    assert len(split_chapters(book(headings, 3))) == len(headings)


@pytest.mark.parametrize("headings", [["自序"], ["前言", "后记"], ["他得了第一", "她得了第一", "谁是第三"]])
def test_few_of_them_or_others_are_none(headings: list[str]) -> None:
    assert len(split_chapters(book(headings, 3))) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2000), st.integers(3, 9))
def test_a_list_inside_a_text_is_no_series_of_chapters(seed: int, n: int) -> None:
    prose = [PROSE[(seed + k) % len(PROSE)] for k in range(40)]
    listed = [f"{k}. 第{CHINESE[k % 10]}件东西" for k in range(1, n + 1)]
    text = "\n".join([*prose[:20], *listed, *prose[20:], *listed])
    assert len(split_chapters(text)) == 1
    dialogue = "\n".join(f"{line}\n一个人走过，\n二话不说，\n三步并作两步，" for line in prose)
    assert len(split_chapters(dialogue)) == 1


@pytest.mark.parametrize("document", range(0, 71, 10))
def test_stories_without_chapters_stay_whole(document: int) -> None:
    text = json.loads((ROOT / "data/example.json").read_text(encoding="utf-8"))[document]
    assert "".join(split_chapters(text)) == text


def test_a_long_piece_without_a_heading_is_named(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"{line}{number}\n" for number, line in enumerate(PROSE) if number < 600)
    (workdir / "book.txt").write_text(text, encoding="utf-8")
    call("prepare_data.py", "book.txt", "--output", "out.json", "--min_length", 1, "--val_ratio", 0)
    assert "book.txt 有一篇长" in capsys.readouterr().out
