"""A book is cut at its headings and nowhere else, and no character is lost."""

import json

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.cleaning.chapters import is_heading, number, split_chapters

BODY = "话说天下大势，分久必合，合久必分。\n第二回见他时，已是秋天了。\n"
PROSE = json.loads((ROOT / "data/example.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "line",
    [
        "第一回 甄士隐梦幻识通灵 贾雨村风尘怀闺秀",
        "第一回避灾荒村奴择主演迷信少妇求儿",
        "　　第１２章　重逢",
        "第一百零三章",
        "第廿五節 歸來",
        "第3章 你是谁？",
        "上卷 第一回 灵根育孕源流出",
        "第二卷 风起",
        "卷三",
        "第一卷 第二章 入城",
        "楔子",
        "自序",
        "番外 那年夏天",
        "番外一",
        "大结局",
        "Chapter 12",
        "CHAPTER IV: The Sea",
    ],
)
def test_headings(line: str) -> None:
    assert is_heading(line)


@pytest.mark.parametrize(
    "line",
    [
        "第二回见他时，已是秋天了。",
        "第一部分是这样的。",
        "第三节课",
        "他翻到第一章，读了起来。",
        "第二回合",
        "序幕就这样拉开了，谁也没有料到。",
        "“第一章！”他念道",
        "第一章" + "很" * 60,
        "尾声渐渐远了。",
        "chapter and verse were quoted to him by everyone who cared to do so, and many did",
    ],
)
def test_sentences_are_no_headings(line: str) -> None:
    assert not is_heading(line)


def test_chapters_volumes_and_the_title_page() -> None:
    text = f"《某书》\n\n楔子\n{BODY}第一卷 风\n\n第一回 起\n{BODY}第二回 承\n{BODY}第二卷 云\n第三回 转\n{BODY}后记\n{BODY}"
    pieces = split_chapters(text)
    assert "".join(pieces) == text
    assert [piece.split("\n", 1)[0] for piece in pieces] == ["《某书》", "第一卷 风", "第二回 承", "第二卷 云", "后记"]


def test_a_table_of_contents_makes_no_chapters() -> None:
    headings = [f"第{numeral}回 某事某人" for numeral in "一二三四五六"]
    text = "某书\n\n" + "\n".join(headings) + "\n\n" + "".join(f"{heading}\n{BODY}" for heading in headings)
    pieces = split_chapters(text)
    assert "".join(pieces) == text
    assert [piece.split("\n", 1)[0] for piece in pieces] == ["某书", *headings]


@pytest.mark.parametrize(
    "numerals", [["一", "二", "三", "四"], ["1.", "2.", "3.", "4."], ["一、来", "二、去", "三、归", "四、终"]]
)
def test_bare_numbers_count_when_they_run_through_the_text(numerals: list[str]) -> None:
    assert len(split_chapters("".join(f"{numeral}\n{BODY * 10}" for numeral in numerals))) == 4
    assert len(split_chapters(BODY * 40 + "\n".join(numerals) + f"\n{BODY}")) == 1, "a list at the end"
    assert len(split_chapters("".join(f"{numeral}\n{BODY * 10}" for numeral in numerals[1:]))) == 1, (
        "does not begin at 1"
    )


def test_pieces_without_chapters_stay_whole() -> None:
    assert split_chapters("") == []
    short = [text for text in PROSE if len(text) < 3000]
    assert len(short) > 20
    assert all(split_chapters(text) == [text] for text in short)


def test_numbers() -> None:
    assert [number(numeral) for numeral in ("7", "十", "十二", "二十", "一百零二", "九十九")] == [
        7,
        10,
        12,
        20,
        102,
        99,
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["第一回 起", "第二卷", "楔子", "一", "二", "三", "1.", "2.", "3.", "Chapter 2", "", "　", BODY]
            ),
            st.text(max_size=20),
        )
    )
)
def test_no_character_is_lost(lines: list[str]) -> None:
    text = "\n".join(lines)
    pieces = split_chapters(text)
    assert "".join(pieces) == text
    assert all(pieces)


@pytest.mark.parametrize(
    "line",
    ["第一回见到她", "第八回头客", "第三卷起袖子", "第四回答", "第一部署", "番外地人", "第一回来到这里的时候他很高兴", "Chapter one thing leads to another"],
)  # fmt: skip
def test_words_that_begin_like_a_heading_are_none(line: str) -> None:
    assert not is_heading(line)


@pytest.mark.parametrize(
    "line",
    ["第一回灵根育孕源流出，心性修持大道生", "第五回:误参芩", "第十二回", "第三章陨落的天才", "番外一", "Chapter 12 The Storm", "Chapter Twenty-one: Home", "CHAPTER XII."],
)  # fmt: skip
def test_headings_with_and_without_a_gap(line: str) -> None:
    assert is_heading(line)
