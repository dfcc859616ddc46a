"""Dirt goes, text stays, and cleaning twice changes nothing."""

import json
import unicodedata

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.cleaning.characters import same_characters
from gpt2zh.cleaning.rules import RULES, clean

BOOK = json.loads((ROOT / "data/example.json").read_text(encoding="utf-8"))
PLAYS = json.loads((ROOT / "data/shakespeare.json").read_text(encoding="utf-8"))
PARAGRAPHS = [line for piece in BOOK[:6] for line in piece.split("\n") if len(line) > 60][:40]
PROSE = "\n".join(PARAGRAPHS)
PAIR = "\n".join(PARAGRAPHS[:2])


def wrapped(text: str, width: int, indent: str = "    ") -> str:
    lines = []
    for paragraph in text.split("\n"):
        paragraph = indent + paragraph
        while paragraph:
            columns = end = 0
            while end < len(paragraph) and columns < width - 1:
                columns += 1 if paragraph[end].isascii() else 2
                end += 1
            lines.append(paragraph[:end])
            paragraph = paragraph[end:]
    return "\n".join(lines)


def test_the_shipped_books_are_clean() -> None:
    for text in BOOK:
        cleaned = clean(text)
        assert cleaned.text == text.rstrip("\n"), cleaned.examples
    changed = [clean(text).counts for text in PLAYS if clean(text).text != text]
    assert sum(sum(counts.values()) for counts in changed) <= 6, "trailing blanks and doubled empty lines only"
    assert set().union(*changed) <= {"blanks", "empty_lines"}


DIRT = [
    ("line_ends", "上文。\r\n下文。\r再下。", "上文。\n下文。\n再下。"),
    ("markup", "<p>上文。<br/>下文。</p><!-- 1.html --><script>x<1</script>", "上文。\n下文。"),
    ("markup", "《野草》与<需鬼>，a < b，c <b and d> e，〖目夹〗", None),
    ("entities", "沿着&times;&times;路&nbsp;走，AT&T; 与 &foo;", "沿着××路 走，AT&T; 与 &foo;"),
    ("entities", "&amp;lt;三&amp;gt;", "<三>"),
    ("invisible", "\ufeff无\u200b论\x00事\ufffd业", "无论事业"),
    ("private_use", "又\ue266\ue266的下起雨来", "又□□的下起雨来"),
    ("private_use", "第一回\ue004避灾荒\ue004演迷信", "第一回 避灾荒 演迷信"),
    ("blanks", "\u3000\u3000上文。\t \n\xa0下文，　　中间。", "上文。\n下文， 中间。"),
    ("fences", "```text\n上文。\n```\n下文。", "上文。\n下文。"),
    ("page_headers", "做个水浒全传?741?\n\n    庆喜筵席。大棍水浒全传?912?打几十。再水浒全传?913?打。", "做个庆喜筵席。大棍打几十。再打。"),
    ("page_headers", "水浒传?12?对吗，我说水浒传?13?不对，你说水浒传?11?罢。", None),
    ("page_headers", "你多大了?20?还是?21?他问。", None),
    ("advertisements", "上文。\nwＷ w.xia oshuotxＴ.nett-xt-小,说--天.堂\n下文。", "上文。\n下文。"),
    ("advertisements", "上文。\nＷＷＷ.xiＡosＨuoＴＸＴ.nettxt?小说/\\天、堂\n下文。", "上文。\n下文。"),
    ("advertisements", "上文。天才一秒记住本站地址：www.abc.com，无广告！\n下文。", "上文。\n下文。"),
    ("advertisements", "某某小说网 http://www.abc.com 提供电子书免费下载\n上文。", "上文。"),
    ("advertisements", "上文。\n更多精彩小说，请登录某某网。本书由某某书屋整理。\n下文。", "上文。\n下文。"),
    ("advertisements", "（本书由某某网TXT论坛整理上传）\n下文。", "下文。"),
    ("advertisements", "他免费下载了一本小说，在手机上阅读，记住了网址。", None),
    ("advertisements", "只一秒记住了她。他在找电子书下载，收藏了几本。本书由王先生整理。", None),
    ("advertisements", "“what www is,” he said. It was new.", None),
    ("advertisements", "请收藏网址，这是他留给我的最后一句话。\n最新章节请明天再看，她说。\n“手机用户请到二楼办理。”", None),
    ("advertisements", "“无弹窗，无广告！”\n他说：“24小时内删除，懂吗？”\n“更多好看的小说，请到三楼借阅。”", None),
    ("advertisements", "“请记住本书的作者是个疯子。”\n本书由北京图书网络公司整理出版。", None),
    ("urls", "上文。\nhttp://abc.org/d?e=1\n下文。", "上文。\n下文。"),
    ("urls", "写下：www.example.com，然后走了。看[这里](https://abc.org)。", None),
    ("markup", "向量 vector<a> 与 i<b>j，他写 <p>你好</p>", None),
    ("chapter_ends", "他把“（未完待续）”四个字打上。\n待续", None),
    ("urls", "见（http://abc.org/d?e=1）此处。", "见此处。"),
    ("rulers", "上文。\n====================\n下文。", "上文。\n下文。"),
    ("chapter_ends", "上文。\n(本章完)\n下文。\n——未完待续——\n终。（未完待续）", "上文。\n下文。\n终。"),
    ("chapter_ends", "这件事还没有完。\n本章完了他才走。", None),
    ("footnotes", "凉榻上的竹夫人①摆好。\n①竹夫人，竹青篾编成。\n下文。", "凉榻上的竹夫人摆好。\n下文。"),
    ("footnotes", "三件事：①吃；②睡。\n①吃，每天三次。", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "dirty", "expected"), DIRT)
def test_each_kind_of_dirt(name: str, dirty: str, expected: str | None) -> None:
    cleaned = clean(f"{PAIR}\n{dirty}\n{PAIR}")
    assert cleaned.text == f"{PAIR}\n{dirty if expected is None else expected}\n{PAIR}"
    if expected is not None:
        assert cleaned.counts[name] > 0
        assert cleaned.examples[name][0][0] != cleaned.examples[name][0][1]


@pytest.mark.parametrize("name", [rule.name for rule in RULES])
def test_a_rule_left_out_does_nothing(name: str) -> None:
    dirty = "\n".join(dirt for rule, dirt, expected in DIRT if expected is not None)
    assert name not in clean(dirty, [rule for rule in RULES if rule.name != name]).counts


@pytest.mark.parametrize(
    ("width", "indent", "gap"), [(76, "    ", "\n\n"), (76, "", "\n\n"), (66, "    ", "\n"), (90, "  ", "\n")]
)
def test_wrapped_lines_are_joined(width: int, indent: str, gap: str) -> None:
    page = gap.join(wrapped(paragraph, width, indent) for paragraph in PARAGRAPHS)
    cleaned = clean(page)
    assert cleaned.counts["unwrap"] > 100
    assert cleaned.text == PROSE


def test_verse_and_lists_of_equal_lines_stay() -> None:
    verse = "\n".join(["春江潮水连海平海上明月共潮生滟滟随波千万里何处春江无"] * 18)
    items = "\n".join(f"{i}. 这是一个很长的列表项目它没有句号结尾一直写到行末为止呢" for i in range(1, 20))
    for text in (verse, items):
        assert clean(text).text == text


def test_a_comment_that_never_ends_takes_nothing_with_it() -> None:
    text = f"<p>{PAIR}</p>\n<p><!-- 上文</p>\n" + "正文很长。\n" * 2000 + "<p>下文 --></p>"
    assert clean(text).text.count("正文很长。") == 2000


def test_english_prose_is_joined_with_blanks_and_verse_is_not() -> None:
    words = ("the quick brown fox jumps over the lazy dog and then goes home to sleep " * 40).split()
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 68:
            lines.append(line.strip())
            line = ""
        line += word + " "
    assert clean("\n".join([*lines, line.strip()])).text == " ".join(words)
    verse = "\n".join(line.capitalize() for line in lines)
    assert clean(verse).text == verse


def test_verse_dialogue_and_short_paragraphs_keep_their_lines() -> None:
    verse = "\n".join(["白日依山尽，", "黄河入海流。", "欲穷千里目，", "更上一层楼。"] * 10)
    dialogue = "\n".join(f"“{paragraph[:18]}。”他说。" for paragraph in PARAGRAPHS)
    for text in (verse, dialogue):
        assert clean(text).text == text


def test_a_repeated_table_of_contents_goes() -> None:
    headings = [f"第{numeral}回 某事某人" for numeral in "一二三四五六"]
    body = "\n".join(f"{heading}\n{PAIR}" for heading in headings)
    cleaned = clean("某书\n目录\n" + "\n".join(heading.replace(" ", "　") for heading in headings) + "\n" + body)
    assert cleaned.text == f"某书\n{body}"
    only_list = "\n".join(["某书", *headings, PAIR])
    assert clean(only_list).text == only_list, "headings that stand only once stay"


def test_cleaning_twice_changes_nothing() -> None:
    dirty = "\n\n".join(dirt for _, dirt, _ in DIRT)
    for text in (dirty, wrapped(PROSE, 76), f"```\n{wrapped(PROSE, 60, '　　')}\n```", *BOOK[:20], *PLAYS[:5]):
        once = clean(text).text
        again = clean(once)
        assert (again.text, again.counts) == (once, {})


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [dirt for _, dirt, _ in DIRT]
                + ["<", ">", "&", "lt;", "amp;", "br", "w", ".com", "（", "）", "```", "\n"]
            ),
            st.sampled_from(
                [
                    "\r",
                    "\u3000",
                    " ",
                    "\t",
                    "①",
                    "①竹夫人，",
                    "竹夫人",
                    "第一回 起\n",
                    "本章完",
                    "题目?1?",
                    "题目?2?",
                    "请收藏本站",
                ]
            ),
            st.sampled_from(PARAGRAPHS).map(lambda paragraph: paragraph[:40] + "\n"),
            st.text(max_size=5),
        ),
        max_size=40,
    )
)
def test_cleaning_any_text_twice_changes_nothing(pieces: list[str]) -> None:
    once = clean("".join(pieces)).text
    again = clean(once)
    assert (again.text, again.counts) == (once, {})


def test_a_book_on_one_line_is_cleaned() -> None:
    line = "".join(PARAGRAPHS) * 100
    assert clean(line).text == line


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("第⼀章 ⼭中来客，⽼⼈听见⻛声，⻔外⻄边", "第一章 山中来客，老人听见风声，门外西边"),
        ("\uf900\ufa0e\U0002f800", "豈﨎丽"),  # U+FA0E is no compatibility ideograph
        ("か\u3099き\u3099 ハ\u309a cafe\u0301 n\u0303", "がぎ パ café ñ"),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"),
        ("﨎 x\u0303", "﨎 x\u0303"),  # nothing to change
        ("，。！？（）：；ＡＢ１２½①㈠℃…—“”", "，。！？（）：；ＡＢ１２½①㈠℃…—“”"),  # not the same to a reader
    ],
)
def test_other_codes_of_a_character_become_the_usual_one(text: str, wanted: str) -> None:
    edit = same_characters(text)
    assert edit.text == wanted
    assert (edit.n_places > 0) == (text != wanted)
    assert same_characters(wanted).text == wanted


def test_every_radical_of_unicode_has_a_character() -> None:
    """All of both blocks but the one radical that is no character's, and the two codes that are not taken."""
    for code in (*range(0x2E80, 0x2E9A), *range(0x2E9B, 0x2EF4), *range(0x2F00, 0x2FD6)):
        usual = same_characters(chr(code)).text
        assert usual != chr(code) or code == 0x2E80, hex(code)
        assert unicodedata.category(usual) == "Lo" or code == 0x2E80
