"""Page numbers and running titles go, the sentence closes over them, and nothing else goes."""

import json

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.cleaning.pages import pages
from gpt2zh.cleaning.rules import clean

PARAGRAPHS = [
    line.strip()
    for document in json.loads((ROOT / "data/example.json").read_text(encoding="utf-8"))[5:40]
    for line in document.split("\n")
    if len(line) > 60 and not any(character.isascii() for character in line)
]
FEET = [
    "{n}",
    "- {n} -",
    "· {n} ·",
    "第 {n} 页",
    "第{n}页 / 共{last}页",
    "{n} / {last}",
    "Page {n}",
    "【{n}】",
    "旧桥夜话 {n}",
]
HEADS = ["", "旧桥夜话", "旧桥夜话　　第一章　河边"]


def printed(paragraphs: list[str], width: int, n_lines: int, head: str, foot: str, first: int, feed: str) -> str:
    """Paragraphs as pdftotext writes them: `width` characters a line, `n_lines` a page."""
    lines = [line[i : i + width] for line in ("　　" + p for p in paragraphs) for i in range(0, len(line), width)]
    cut = [lines[i : i + n_lines] for i in range(0, len(lines), n_lines)]
    out = []
    for number, page in enumerate(cut, first):
        out.append("\n".join([*([head] if head else []), *page, foot.format(n=number, last=first + len(cut) - 1)]))
    return feed.join(f"{page}\n" for page in out)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, len(PARAGRAPHS) - 61),
    st.integers(24, 40),
    st.integers(18, 40),
    st.sampled_from(HEADS),
    st.sampled_from(FEET),
    st.sampled_from([1, 7, 195]),
    st.sampled_from(["\f", "", "\n"]),
)
def test_what_a_page_adds_goes_and_the_sentence_closes_over_it(  # type: ignore[no-untyped-def]
    start, width, n_lines, head, foot, first, feed
) -> None:
    paragraphs = PARAGRAPHS[start : start + 60]
    text = printed(paragraphs, width, n_lines, head, foot, first, feed)
    assert clean(text).text.split("\n") == paragraphs


@pytest.mark.parametrize("document", range(71))
def test_a_text_without_pages_stays(document: int) -> None:
    text = json.loads((ROOT / "data/example.json").read_text(encoding="utf-8"))[document]
    assert pages(text).text == text


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PARAGRAPHS) - 61), st.integers(2, 6), st.sampled_from(["{n}", "第{n}章", "（{n}）", "{n}."]))
def test_numbers_of_sections_stay(start: int, n_paragraphs: int, form: str) -> None:
    """They come as regularly as pages, but after the end of a sentence."""
    parts = []
    for number in range(1, 10):
        parts += [form.format(n=number), *PARAGRAPHS[start + number * n_paragraphs :][:n_paragraphs]]
    text = "\n".join(parts)
    assert pages(text).text == text


def test_years_dates_and_lists_stay() -> None:
    lines = [line for p in PARAGRAPHS[:40] for line in (p, "1926", "十二月三日", "1. 其一", "2. 其二")]
    assert pages("\n".join(lines)).text == "\n".join(lines)
