"""Bytes -> text: the codec by plausibility, damage that costs one character, chunks cut anywhere."""

import json

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.errors import UserError
from gpt2zh.text.decoder import Decoder, decode
from gpt2zh.text.encodings import detect

BOOK = "\n".join(json.loads((ROOT / "data/example.json").read_text(encoding="utf-8"))[:8])
PASSAGE = BOOK[1000:1600]
# Enough of a table to make passages look traditional to a codec that has no simplified characters.
TRADITIONAL = str.maketrans(
    "这来说个们时会过还样见问从长当两间经气点现实动几学无没为国后里发对开爱东车书话声听头读写门马鸟鱼龙",
    "這來說個們時會過還樣見問從長當兩間經氣點現實動幾學無沒為國後裡發對開愛東車書話聲聽頭讀寫門馬鳥魚龍",
)
CODECS = ["utf-8", "gb18030", "big5hkscs", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("traditional", [False, True])
@pytest.mark.parametrize("length", [8, 40, 400])
@pytest.mark.parametrize("codec", CODECS)
def test_chinese_is_recognised_in_both_scripts(codec: str, length: int, traditional: bool) -> None:
    for start in range(0, 6000, 500):
        text = BOOK[start : start + length].translate(TRADITIONAL if traditional else {})
        assert detect(text.encode(codec, "ignore")) == codec, text


def test_big5_that_is_also_valid_gb18030_is_big5() -> None:
    sentences = [sentence.translate(TRADITIONAL) for sentence in BOOK[:20000].split("。") if len(sentence) > 10]
    traps = [
        data for data in (sentence.encode("big5hkscs", "ignore") for sentence in sentences) if _decodes(data, "gb18030")
    ]
    assert len(traps) > 20
    assert {detect(data) for data in traps} == {"big5hkscs"}


def _decodes(data: bytes, codec: str) -> bool:
    try:
        data.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (PASSAGE.encode("utf-8-sig"), "utf-8-sig"),
        (PASSAGE.encode("utf-16"), "utf-16-le"),
        (b"\xfe\xff" + PASSAGE.encode("utf-16-be"), "utf-16-be"),
        (PASSAGE.encode("utf-8")[:-1], "utf-8"),
        (PASSAGE.encode("utf-8")[:300] + b"\xff\xfe\x80" + PASSAGE.encode("utf-8")[303:], "utf-8"),
        (PASSAGE.encode("gb18030")[:-1], "gb18030"),
        (PASSAGE.encode("gb18030")[1:], "gb18030"),
        (PASSAGE.translate(TRADITIONAL).encode("big5hkscs", "ignore")[1:], "big5hkscs"),
        (b"", "utf-8"),
        (b"\xd6", "utf-8"),
        ("一".encode("gb18030"), "gb18030"),
        ("中文".encode(), "utf-8"),
        (b"Bush hid the facts", "utf-8"),
        ("Bush hid the facts".encode("utf-16-le"), "utf-16-le"),
        ("Война и мир, том первый".encode(), "utf-8"),
        ("吾輩は猫である。名前はまだ無い。".encode(), "utf-8"),
    ],
)
def test_codec(data: bytes, codec: str) -> None:
    assert detect(data) == codec


@pytest.mark.parametrize("codec", ["shift_jis", "euc_jp"])
def test_other_encodings_do_not_raise(codec: str) -> None:
    encoding = detect("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n".encode(codec) * 20)
    assert encoding in [*CODECS, "cp932", "cp1252"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\x03\x04\x14\x00", "EPUB"),
        (b"\x89PNG\r\n", "PNG"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "DOC"),
        (bytes(range(256)) * 8, "control"),
        (b"\x00\x00\x00\x01" * 50, "control"),
    ],
)
def test_binary_files_are_named(data: bytes, kind: str) -> None:
    with pytest.raises(UserError, match=kind):
        detect(data)


def common_start(one: str, other: str) -> int:
    return next(at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])


@pytest.mark.parametrize(("codec", "most_lost"), [("utf-8", 1), ("gb18030", 4), ("big5hkscs", 6)])
def test_after_a_lost_byte_the_next_characters_are_found_again(codec: str, most_lost: int) -> None:
    text = PASSAGE.translate(TRADITIONAL if codec == "big5hkscs" else {}).encode(codec, "ignore").decode(codec)
    for at in range(8, len(text) - 8, 5):
        left, character, right = text[:at].encode(codec), text[at].encode(codec), text[at + 1 :].encode(codec)
        if len(character) == 1 or character[-1] < 0x80:
            continue  # what is left of the character is a letter
        for rest in (character[:-1], character[1:]):
            decoded, n_broken = decode(left + rest + right, codec)
            same = common_start(decoded, text) + common_start(decoded[::-1], text[::-1])
            assert same >= len(text) - most_lost
            assert n_broken == decoded.count("\ufffd")
            assert n_broken in {"utf-8": (1, 2), "gb18030": (1,), "big5hkscs": (0, 1)}[codec]


def test_truncation_is_one_broken_character() -> None:
    for codec in ("utf-8", "gb18030", "utf-16-le"):
        text, n_broken = decode("故乡\r\n".encode(codec) + "书".encode(codec)[:1], codec)
        assert (text, n_broken) == ("故乡\r\n\ufffd", 1), codec


def test_the_byte_order_mark_is_no_text() -> None:
    for codec in ("utf-8-sig", "utf-16", "utf-32"):
        data = PASSAGE.encode(codec)
        assert decode(data, detect(data)) == (PASSAGE, 0)


def test_a_replacement_character_of_the_text_itself_is_not_counted() -> None:
    assert decode("好\ufffd坏".encode(), "utf-8") == ("好\ufffd坏", 0)


@pytest.mark.parametrize("codec", [*CODECS, "utf-8-sig"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_chunks_give_the_same_text(codec: str, data: st.DataObject) -> None:
    pieces = st.one_of(
        st.text("一的這是我，。\n \rab丂𠀀1", max_size=30).map(lambda text: text.encode(codec, "ignore")),
        st.binary(max_size=6),
    )
    whole = b"".join(data.draw(st.lists(pieces, max_size=8)))
    borders = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    decoder = Decoder(codec)
    decoder.LONGEST = data.draw(st.sampled_from([4, Decoder.LONGEST]))
    reference = Decoder(codec)
    reference.LONGEST = decoder.LONGEST
    text = "".join(decoder.decode(whole[start:end]) for start, end in zip([0, *borders], borders, strict=False))
    text += decoder.decode(whole[borders[-1] if borders else 0 :], final=True)
    assert text == reference.decode(whole, final=True)
    assert decoder.n_broken == reference.n_broken


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_crash(data: bytes) -> None:
    try:
        encoding = detect(data)
    except UserError:
        return
    text, n_broken = decode(data, encoding)
    assert "\udfff" not in text
    assert n_broken <= len(data)


LINES = [line for line in BOOK.split("\n") if len(line) > 12][:60]


@pytest.mark.parametrize("first", ["utf-8", "gb18030", "big5hkscs"])
@pytest.mark.parametrize("second", ["utf-8", "gb18030", "big5hkscs"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("run", [1, 7, 30])
def test_chapters_of_different_encodings_are_each_read_in_their_own(
    first: str, second: str, end: str, run: int
) -> None:
    """Runs of so many lines by turns. What Big5 lacks is left out."""
    lines = [line.translate(TRADITIONAL).encode("big5hkscs", "ignore").decode("big5hkscs") for line in LINES]
    if "big5hkscs" not in (first, second):
        lines = LINES
    data = b"".join((line + end).encode((first, second)[i // run % 2]) for i, line in enumerate(lines))
    decoder = Decoder(detect(data))
    assert decoder.decode(data, final=True) == "".join(line + end for line in lines)
    assert decoder.n_broken == 0
    assert set(decoder.others) <= {first, second}


@pytest.mark.parametrize("repeat", [1, 40])
def test_surrogates_written_as_characters_are_the_emoji(repeat: int) -> None:
    text = "好的😀\n明天见👍🏽，早点睡。\n" * repeat
    units = text.encode("utf-16-be")
    halves = [chr(int.from_bytes(units[i : i + 2], "big")) for i in range(0, len(units), 2)]
    data = "".join(halves).encode("utf-8", "surrogatepass")
    assert detect(data) == "utf-8"
    assert decode(data, "utf-8") == (text, 0)


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 3, "cp932"),
        ("“Well,” said he, “it’s a fine day — isn’t it?” The café was closed.\n", "cp1252"),
        ("Il était déjà tard quand la fenêtre s’ouvrit ; personne n’avait entendu.\n" * 3, "cp1252"),
    ],
)
def test_shift_jis_and_cp1252_are_not_taken_for_chinese(text: str, codec: str) -> None:
    assert decode(text.encode(codec), detect(text.encode(codec))) == (text, 0)
    assert detect(text.encode(codec)) == codec
    assert detect(text.encode("utf-8")) == "utf-8"
