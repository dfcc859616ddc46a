"""Text that was read in a wrong encoding before it was saved."""

import json
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from conftest import ROOT, call
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.cleaning.mojibake import mojibake, suspects

LINES = [
    line
    for document in json.loads((ROOT / "data/example.json").read_text(encoding="utf-8"))
    for line in document.split("\n")
]
LONG = [line for line in LINES if len(line) > 30]


def wrongly_read(text: str, wrong: str, right: str) -> str:
    """`text`, saved as `right` and read as `wrong`; cp1252 as Windows has it, which leaves no byte free."""
    if wrong == "cp1252":
        return "".join(
            bytes([b]).decode(wrong) if b not in b"\x81\x8d\x8f\x90\x9d" else chr(b) for b in text.encode(right)
        )
    return text.encode(right).decode(wrong, "replace")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(LONG), min_size=1, max_size=5), st.sampled_from(["utf-8", "gb18030"]))
def test_what_was_read_as_latin_is_undone(lines: list[str], right: str) -> None:
    text = "\n".join(lines)
    assert mojibake(wrongly_read(text, "cp1252", right)).text == text
    assert suspects(wrongly_read(text, "cp1252", right)) == []


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(LONG))
def test_utf8_read_as_gbk_is_undone_but_for_what_is_lost(line: str) -> None:
    """Of a line whose bytes do not pair the last one is lost: of 。 and ” it is known all the same."""
    wrong = wrongly_read(line, "gb18030", "utf-8")
    undone = mojibake(wrong).text
    assert SequenceMatcher(None, undone, line, autojunk=False).ratio() > 0.85
    if undone != line:
        assert suspects(wrong)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([line for line in LONG if len(line) > 40]), st.integers(0, 11))
def test_of_a_line_that_lacks_a_byte_the_rest_is_read_again(line: str, place: int) -> None:
    """But for its end, where the pairs of the shifted bytes stop."""
    data = line.encode("gb18030")
    shifted = (data[:place] + data[place + 1 :]).decode("gb18030", "ignore")
    undone = mojibake(shifted)
    if undone.n_places:
        assert undone.text[12:30] in line
        assert suspects(shifted)


def test_no_line_of_the_book_is_undone_wrongly_without_a_word() -> None:
    wrong = {line: wrongly_read(line, "gb18030", "utf-8") for line in LONG}
    assert [line for line, one in wrong.items() if mojibake(one).text != line and not suspects(one)] == []


def test_short_lines_follow_the_long_ones_of_their_text() -> None:
    text = "\n".join(["好吧。", LONG[0], "第一章 集市", LONG[1], "他说"])
    assert mojibake(wrongly_read(text, "cp1252", "gb18030")).text == text
    assert "好吧。" in mojibake("\n".join(wrongly_read(line, "gb18030", "utf-8") for line in text.split("\n"))).text


@pytest.mark.parametrize("path", sorted((ROOT / "data").glob("example*.json")))
def test_what_is_right_stays(path: Path) -> None:
    for document in json.loads(path.read_text(encoding="utf-8")):
        assert mojibake(document).text == document
        assert suspects(document) == []


@pytest.mark.parametrize(
    "line",
    [
        "骅骝骐骥，騄駬纤离；龙媒紫燕，挟翼骕骦；駃騠银騔，騕褭飞黄；騊駼翻羽，赤兔超光；逾辉弥景，腾雾胜黄；",
        "（啧啧啧啧啧）",
        "“××××××××××××××××，××××。”一想到这个，他就怕再想下去",
        "It was a café on the “quai” — he said it’s naïve, £5 and déjà vu.",
        "Œuvres complètes : l’été, où l’on s’ennuie à mourir, déjà.",
        "吾輩は猫である。名前はまだ無い。",
        "😀👍🏽 ①②③ ■□ →",
    ],
)
def test_rare_characters_are_no_fault(line: str) -> None:
    assert mojibake(line).text == line and suspects(line) == []


def test_what_cannot_be_undone_is_counted_and_named_with_its_lines(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\n".join([LONG[0], "清晨的集市，卖锟斤拷的老汉推着车慢慢走过。", LONG[1], LONG[2]])
    (workdir / "book.txt").write_text(text, encoding="utf-8")
    call("prepare_data.py", "book.txt", "--output", "out.json", "--min_length", 1, "--val_ratio", 0)
    for said in (capsys.readouterr().out, (workdir / "out_report.md").read_text(encoding="utf-8")):
        assert "1 行像是以前解码错了" in said and "1 lines look wrongly decoded before" in said
        assert "2「清晨的集市，卖锟斤拷" in said
