"""Page numbers and running titles go, the sentence closes over them, and nothing else goes."""

import json

import pytest
from conftest import ROOT
from hypothesis import assume, given, settings
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


def wrapped(paragraphs: list[str], width: int) -> list[str]:
    return [line[i : i + width] for line in ("　　" + p for p in paragraphs) for i in range(0, len(line), width)]


def printed(lines: list[str], n_lines: int, head: str, foot: str, first: int, feed: str) -> str:
    """Lines as pdftotext writes them, so many a page."""
    cut = [lines[i : i + n_lines] for i in range(0, len(lines), n_lines)]
    out = []
    for number, page in enumerate(cut, first):
        out.append("\n".join([*([head] if head else []), *page, foot.format(n=number, last=first + len(cut) - 1)]))
    return feed.join(f"{page}\n" for page in out)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, len(PARAGRAPHS) - 61),
    st.integers(24, 40),
    st.integers(18, 40),
    st.sampled_from(HEADS),
    st.sampled_from(FEET),
    st.sampled_from([1, 7, 195]),
    st.sampled_from(["\f", "", "\n"]),
)
def test_what_a_page_adds_goes_and_all_else_stays(start, width, n_lines, head, foot, first, feed) -> None:  # type: ignore[no-untyped-def]
    """Where pages end inside sentences, or form feeds part them."""
    lines = wrapped(PARAGRAPHS[start : start + 60], width)
    ends = lines[n_lines - 1 :: n_lines]
    assume(feed == "\f" or sum(line[-1].isalnum() for line in ends) >= 0.25 * (len(ends) + 1))
    text = printed(lines, n_lines, head, foot, first, feed)
    assert [line for line in pages(text).text.split("\n") if line.strip(" \f")] == lines


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("foot", FEET)
@pytest.mark.parametrize("feed", ["\f", "", "\n"])
def test_the_sentence_closes_over_it(head: str, foot: str, feed: str) -> None:
    text = printed(wrapped(PARAGRAPHS[:60], 30), 26, head, foot, 1, feed)
    assert clean(text).text.split("\n") == PARAGRAPHS[:60]


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
