"""Which paragraphs are copies of earlier documents' ones, against the plain definition: lists of paragraphs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.cleaning.duplicates import ParagraphCounter, RepeatedParagraphs


def unrepeated(documents: list[list[str]], min_characters: int) -> list[str]:
    counter = ParagraphCounter()
    for paragraphs in documents:
        counter.add(paragraphs)
    repeats = RepeatedParagraphs(counter.repeated(), min_characters)
    left = []
    for paragraphs in documents:
        left += repeats.without(paragraphs)
        repeats.keep(paragraphs)
    return left


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["广告：请收藏本站，最新章节", "　广告：请收藏本站，最新章节\n", "他笑了。", "", "😀" * 9, "第一回"]
        )
    )
)
def test_each_long_paragraph_is_left_once_and_short_ones_always(paragraphs: list[str]) -> None:
    left = unrepeated([[paragraph] for paragraph in paragraphs], 9)
    seen, expected = set(), []
    for paragraph in paragraphs:
        if len(paragraph.strip()) < 9 or paragraph.strip() not in seen:
            expected.append(paragraph)
        seen.add(paragraph.strip())
    assert left == expected


def test_a_book_told_twice_is_left_once(book: list[str]) -> None:
    paragraphs = "\n".join(book).split("\n")
    once = unrepeated([paragraphs], 40)
    again = unrepeated([paragraphs, paragraphs], 40)[len(once) :]
    assert sum(map(len, again)) < 0.06 * sum(map(len, once))  # what stands at the edges of the long paragraphs


def test_short_paragraphs_go_with_the_long_repeats_around_them_if_they_repeat_too() -> None:
    story = ["甲" * 50, "他笑了。", "", "“好。”", "乙" * 50]
    assert unrepeated([story, story], 40) == story
    assert unrepeated([story, [*story[:3], "“不好。”", *story[4:]]], 40) == [*story, "“不好。”"]
    apart = ["他笑了。", "丙" * 50, "他笑了。"]
    assert unrepeated([story, apart, apart], 40) == [*story, *apart, "他笑了。", "他笑了。"]


def test_what_a_document_repeats_of_itself_is_its_own() -> None:
    refrain = ["甲" * 50, "乙" * 60, "甲" * 50]
    assert unrepeated([refrain], 40) == refrain
    assert unrepeated([refrain, ["丙" * 50, "甲" * 50]], 40) == [*refrain, "丙" * 50]


def test_a_document_that_is_not_kept_takes_nothing_with_it() -> None:
    counter = ParagraphCounter()
    for _ in range(2):
        counter.add(["甲" * 50])
    repeats = RepeatedParagraphs(counter.repeated())
    assert repeats.without(["甲" * 50]) == ["甲" * 50]  # and the document is dropped for another reason
    assert repeats.without(["甲" * 50]) == ["甲" * 50]
    repeats.keep(["甲" * 50])
    assert repeats.without(["甲" * 50]) == []
