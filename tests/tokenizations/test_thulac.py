"""Our decoder against thulac itself: the same words for every line, and the list form of both segmenters."""

import contextlib
import io
import json
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
from conftest import ROOT

from gpt2zh.errors import UserError
from tokenizations.thulac_port.decoder import BATCH, CLASS_OF, LONGEST, ThulacSegmenter, split_line
from tokenizations.words import SEGMENTERS, load_segmenter

Cut = Callable[[str], list[str]]

ODD_LINES = [
    *["", " ", "　", "　 　x ", "\n", "\n\n", "甲\n乙", " 今天 \n", "好", "，", "的", "a", "😀", "\0", "\t", "\r"],
    *["一九二一年三月", "１９２１年３月５日12时30分", "2024年1月1日下午3点25分", "二十世纪初叶", "第一百二十回"],
    *["《红楼梦》", "《红 楼 梦》", "《《西游记》》》", "《》", "《 》", "《a》", "《一二三四五六七八九十》", "《一二三四五六七八九十零》"],
    *["《，》", "《的确》", "《未完", "完》", " 吧的地方", "你呢不是", "了吧的呢不么", "……", "——", "！！！？？", "。”", "“‘’”", "＃#＃"],
    *["中华人民共和国中央人民政府", "顾前不顾后白墅", "容膝之地阴沟", "画蛇", "添足", "…", "…", "—", "—", "画蛇添足，一心一意，亡羊补牢", "北京市海淀区中关村", "臺灣的國語學術和龍門客棧", "𠀀𪛖鿿", "\ud800\udfff\ud83d"],
    *["To be, or not to be: that is the question.", "ＡＢＣ　ｄｅｆ", "\0北京", "北京\0\0，\0", "\x7f~\x80", "\uffff\U0010ffff"],
]  # fmt: skip


@pytest.fixture(scope="module")
def thulac_cut() -> Cut:
    import thulac

    with contextlib.redirect_stdout(io.StringIO()):  # it prints "Model loaded succeed"
        model = thulac.thulac(seg_only=True)
    return lambda line: [word for word, _ in model.cut(line)]


@pytest.fixture(scope="module")
def segmenter() -> ThulacSegmenter:
    return ThulacSegmenter()


def assert_same(segmenter: ThulacSegmenter, thulac_cut: Cut, lines: list[str]) -> None:
    ours = segmenter.segment(lines)
    assert len(ours) == len(lines)
    for line, words in zip(lines, ours):
        assert words == thulac_cut(line), ascii(line)


@pytest.mark.slow
def test_lines_of_the_books_are_cut_as_thulac_cuts_them(
    segmenter: ThulacSegmenter, thulac_cut: Cut, book: list[str]
) -> None:
    lines = [line for document in book for line in document.split("\n")][::3]
    english = json.loads((ROOT / "data" / "shakespeare.json").read_text(encoding="utf-8"))
    lines += english[0].split("\n")[:500]
    assert sum(map(len, lines)) > BATCH  # several batches
    assert_same(segmenter, thulac_cut, lines)


def test_odd_lines_are_cut_as_thulac_cuts_them(segmenter: ThulacSegmenter, thulac_cut: Cut) -> None:
    assert_same(segmenter, thulac_cut, ODD_LINES)
    assert_same(segmenter, thulac_cut, [" ".join(ODD_LINES).replace("\n", ""), *map("，".join, pairwise(ODD_LINES))])
    for line in ODD_LINES:  # alone as in company
        assert segmenter.segment([line]) == [thulac_cut(line)]
    assert segmenter.segment([]) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_mixes_are_cut_as_thulac_cuts_them(
    segmenter: ThulacSegmenter, thulac_cut: Cut, book: list[str], seed: int
) -> None:
    chance = random.Random(seed)
    text = "".join(book).replace("\n", "")
    pools = [
        *CLASS_OF.values(), "  ", "《》", "的了不也", "abcXYZ", "0123456789", "０１２３", "年月日时点分秒号一二三十百", "臺灣國學術",
        "\0\x01\x7f\t\r\u2028\ud800\uffff", "\U00020000\U0002a6d6\U0001f600\u200d", [chr(code) for code in range(0x4E00, 0x9FFF, 7)],
        [text[start : start + 9] for start in range(0, len(text), 997)], ["中华人民共和国", "画蛇添足", "北京市", "……", "——"],
    ]  # fmt: skip
    lines = []
    for _ in range(700):
        chosen = chance.sample(pools, chance.randint(1, 4))
        size = chance.choice([1, 2, 3, 5, 8, 13, 30, 80])
        lines.append("".join(chance.choice(chance.choice(chosen)) for _ in range(size)))
    assert_same(segmenter, thulac_cut, lines)


@pytest.mark.slow
def test_lines_too_long_for_thulac_are_taken_apart_as_it_does(
    segmenter: ThulacSegmenter, thulac_cut: Cut, book: list[str]
) -> None:
    text = "".join(book).replace("\n", "")
    line = text[: LONGEST - 1] + "；"  # just too long
    assert len(split_line(line)) == 2
    assert_same(segmenter, thulac_cut, [line])


def test_a_sentence_that_thulac_refuses_is_decoded_whole(segmenter: ThulacSegmenter) -> None:
    sentence = "今天天气很好" * (LONGEST // 6 + 1)
    (words,) = segmenter.segment([sentence])
    assert "".join(words) == sentence and words[:600] == segmenter.segment([sentence[:3000]])[0][:600]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_segmenter_that_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"pip install {name}"):
        load_segmenter(name)


def test_jieba_gives_the_words_of_each_line() -> None:
    import jieba

    lines = ["我来到北京清华大学", "", "小明硕士毕业于中国科学院计算所"]
    assert load_segmenter("jieba")(lines) == [jieba.lcut(line) for line in lines]


def test_thulac_lends_its_files_and_is_not_imported() -> None:
    code = "import sys; from tokenizations.words import load_segmenter as load; print(load('thulac')(['今天天气很好']), 'thulac' in sys.modules)"
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[['今天', '天气', '很', '好']] False"
