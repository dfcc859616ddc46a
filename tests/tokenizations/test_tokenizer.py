"""Vocabulary files and tokenizers: ids as the ancestor's, control tokens that no novel can type, decode(encode(x))."""

import json
import random
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from gpt2zh.errors import UserError
from tokenizations.loading import load_bytes, load_model_tokenizer, load_tokenizer, tokenizer_for_model
from tokenizations.pipelines import DIGITS, build_characters, build_verbatim, build_words
from tokenizations.tokenizer import Tokenizer
from tokenizations.vocabulary import CONTROL_TOKENS, SPACE, fill, first_word, read_vocabulary

SMALL = ROOT / "cache" / "vocab_small.txt"


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return load_tokenizer(SMALL)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    entries = [
        *CONTROL_TOKENS,
        SPACE,
        "，",
        "。",
        "的",
        "我们",
        "喜欢",
        "hello",
        "中文",
        "模型",
        *"我们喜欢中文模型很hewrdlo!2019",
    ]
    path.write_text("\n".join(dict.fromkeys(entries)) + "\n", encoding="utf-8")
    return load_tokenizer(path)


def write(path: Path, *entries: str) -> Path:
    path.write_text("\n".join(entries) + "\n", encoding="utf-8")
    return path


# ----- the vocabulary that is shipped --------------------------------------------------------------------------------


def test_shipped_vocabulary_is_what_its_script_makes(tmp_path: Path) -> None:
    for name in ("cache", "data", "gpt2zh", "tokenizations"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("tokenized*", "__pycache__"))
    (tmp_path / "cache" / "vocab_small.txt").unlink()
    subprocess.run([sys.executable, "cache/make_vocab_small.py"], cwd=tmp_path, check=True)
    assert (tmp_path / "cache" / "vocab_small.txt").read_bytes() == SMALL.read_bytes()


def test_shipped_vocabulary_has_13317_entries_and_what_novels_need(small: Tokenizer) -> None:
    assert len(small) == len(SMALL.read_text(encoding="utf-8").splitlines()) == 13317
    gb2312 = [
        bytes([lead, trail]).decode("gb2312", "ignore") for lead in range(0xB0, 0xF8) for trail in range(0xA1, 0xFF)
    ]
    needed = (
        "…—–―“”‘’「」『』《》·0123456789!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~！？，。；：（）"
        + "".join(gb2312)
        + "們說國東風龍"
    )
    assert small.unknown_in_prefix(needed) == []


# ----- characters ----------------------------------------------------------------------------------------------------


def ancestor_tokens(text: str, vocabulary: set[str]) -> list[str]:
    """The ancestor's algorithm from its description: clean, split, lower, longest pieces first. Accents are kept."""
    cleaned = ""
    for character in text:
        category = unicodedata.category(character)
        if character in "\t\r\n" or category == "Zs":
            cleaned += " "
        elif category[0] == "C" or character == "\ufffd":
            continue
        elif character.isdigit() or is_han(ord(character)):
            cleaned += f" {character} "
        elif category[0] == "P" or (ord(character) < 128 and not character.isalnum()):
            cleaned += f" {character} "
        else:
            cleaned += character.lower()
    tokens = []
    for word in cleaned.split():
        pieces, start = [], 0
        while start < len(word):
            end = next(
                (end for end in range(len(word), start, -1) if ("##" if start else "") + word[start:end] in vocabulary),
                None,
            )
            if end is None or len(word) > 100:
                pieces = ["[UNK]"]
                break
            pieces.append(("##" if start else "") + word[start:end])
            start = end
        tokens += pieces
    return tokens


def is_han(code: int) -> bool:
    blocks = [
        (0x4E00, 0x9FFF),
        (0x3400, 0x4DBF),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F),
        (0x2B820, 0x2CEAF),
        (0xF900, 0xFAFF),
        (0x2F800, 0x2FA1F),
    ]
    return any(first <= code <= last for first, last in blocks)


def test_ids_are_the_ancestors_on_the_book_and_on_hard_text(small: Tokenizer, book: list[str]) -> None:
    vocabulary = set(small.tokens)
    hard = [
        "Hello, World's  playing-games 3.14％ ＡＢＣ！ iPhone2019①②ⅧⅡ ½",
        "かな カナ ガラス Ωμέγα café",
        "a" * 101,
        "[CLS][SEP] [unused1]",
        "\u200b零\ufeff宽\u2028行 \x00控制\ufffd",
        "𠮷野家㐀豈",
    ]
    for text in [line for document in book for line in document.split("\n")] + hard:
        assert [small.tokens[id_] for id_ in small.encode(text)] == ancestor_tokens(text, vocabulary), text


def test_ids_are_the_ancestors_on_random_unicode(small: Tokenizer) -> None:
    rng = random.Random(0)
    vocabulary = set(small.tokens)
    pool = [chr(code) for code in range(0x20, 0x30000) if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co")]
    # Characters whose lower case or category the two Unicode tables (Python's, the library's) may see differently are few;
    # those below are stable in both.
    stable = [c for c in pool if len(c.lower()) == 1 and c not in "\n\r\u2028\u2029"]
    for _ in range(300):
        text = "".join(
            rng.choice(stable)
            if rng.random() < 0.3
            else rng.choice(stable[:0x250])
            if rng.random() < 0.5
            else chr(rng.randrange(0x4E00, 0x9FA5))
            for _ in range(40)
        )
        assert [small.tokens[id_] for id_ in small.encode(text)] == ancestor_tokens(text, vocabulary), ascii(text)


def test_the_digit_class_is_pythons_isdigit() -> None:
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(f"[{DIGITS}]"), "removed")
    characters = [
        chr(code) for code in range(0x30000) if unicodedata.category(chr(code)) in ("Nd", "No", "Nl", "Lo", "Ll")
    ]
    isolated = {character for character in characters if not split.pre_tokenize_str(character)}
    assert {c for c in characters if c.isdigit()} == isolated


def test_kana_and_accents_are_kept(small: Tokenizer) -> None:
    assert small.decode(small.encode("が ガ é")) == "がガé"


@pytest.mark.parametrize("text", ["[CLS]", "他说[SEP]就走", "[MASK] [PAD] [UNK] [unused1]"])
def test_control_tokens_typed_in_a_novel_are_text(small: Tokenizer, words: Tokenizer, text: str) -> None:
    for tokenizer in (small, words):
        assert not {tokenizer.control_ids[token] for token in ("[CLS]", "[SEP]", "[MASK]", "[PAD]")} & set(
            tokenizer.encode(text).tolist()
        )


# ----- laws of all kinds ---------------------------------------------------------------------------------------------


def test_documents_are_framed_and_newlines_are_sep(small: Tokenizer) -> None:
    ids = small.encode_documents(["风\n\n起", "雪"])
    assert small.show(ids) == "[MASK]风[SEP][SEP]起[CLS][MASK]雪[CLS]"


def test_documents_have_the_ids_of_the_library(small: Tokenizer, words: Tokenizer, book: list[str]) -> None:
    for tokenizer in (small, words):
        start, end = tokenizer.document_start_id, tokenizer.document_end_id
        expected = [id_ for document in book[:20] for id_ in [start, *tokenizer.encode(document).tolist(), end]]
        assert tokenizer.encode_documents(book[:20]).tolist() == expected


def test_decode_gives_the_book_back(small: Tokenizer, book: list[str]) -> None:
    for document in book:
        shown = small.decode(small.encode(document))
        if "[UNK]" not in shown:
            assert shown.replace(" ", "") == "".join(document.lower().replace("　", " ").split(" ")).replace(" ", "")
            assert "##" not in shown


def test_english_words_keep_one_blank_and_chinese_has_none(small: Tokenizer) -> None:
    assert small.decode(small.encode("他说 Hello,   World !  好 的。")) == "他说hello, world!好的。"


def test_words_fall_back_to_characters_never_to_unk(words: Tokenizer) -> None:
    assert [words.tokens[id_] for id_ in words.encode("我们喜欢中文模型")] == ["我们", "喜欢", "中文", "模型"]
    assert [words.tokens[id_] for id_ in words.encode("很喜文")] == ["很", "喜", "文"]
    assert words.unknown_in_prefix("我喜猫") == ["猫"]
    text = "hello world! 我们  喜欢\n2019 hello"
    assert words.decode(words.encode(text)) == "hello world! 我们喜欢\n2019 hello".replace("! ", "!")


def test_verbatim_keeps_case_blanks_and_newlines(tmp_path: Path) -> None:
    text = "ROMEO:\nBut, soft!  what light [SEP]\n\tfie"
    letters = dict.fromkeys(character for character in text if not character.isspace())
    tokenizer = load_tokenizer(write(tmp_path / "v.txt", *CONTROL_TOKENS, SPACE, *letters))
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("\t", " ")
    assert len(tokenizer.encode("ROMEO:\nBut")) == 10


def test_byte_level_bpe_of_gpt2_round_trips_chinese(tmp_path: Path, book: list[str]) -> None:
    import tokenizers

    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(book[:8], vocab_size=600)
    trained.save_model(str(tmp_path))
    tokenizer = load_bytes(tmp_path / "vocab.json", tmp_path / "merges.txt")
    text = "[CLS]我在年青时候\n\n也曾经 Hello 𠮷"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    framed = tokenizer.encode_documents([text])
    assert framed[0] == tokenizer.document_start_id and framed[-1] == tokenizer.document_end_id
    assert np.array_equal(framed[1:-1], tokenizer.encode(text))
    with pytest.raises(UserError, match="不是一对"):
        (tmp_path / "merges.txt").write_text("我 在\n", encoding="utf-8")
        load_bytes(tmp_path / "vocab.json", tmp_path / "merges.txt")
    with pytest.raises(UserError, match="各出现一次"):
        (tmp_path / "vocab.json").write_text('{"a": 0, "b": 2}', encoding="utf-8")
        load_bytes(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_the_fingerprint_knows_merges_and_rules_as_well_as_tokens(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"a": 0, "b": 1, "ab": 2, "ba": 3}', encoding="utf-8")
    prints = set()
    for merges in ("a b\n", "b a\n", "a b\nb a\n"):
        (tmp_path / "m.txt").write_text(merges, encoding="utf-8")
        prints.add(load_bytes(tmp_path / "v.json", tmp_path / "m.txt").fingerprint)
    entries = [*CONTROL_TOKENS, "a", "b"]
    prints |= {
        Tokenizer(build(entries), tmp_path).fingerprint for build in (build_characters, build_verbatim, build_words)
    }
    assert len(prints) == 6


# ----- prefixes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "read"),
    [
        ("萧炎", "萧炎"),
        ("", "[MASK]"),
        ("[CLS]哈利", "[CLS][MASK]哈利"),
        ("[MASK]哈利", "[MASK]哈利"),
        ("[CLS][MASK]哈", "[CLS][MASK]哈"),
        ("风\n起[SEP]", "风[SEP]起[SEP]"),
        ("完[CLS]", "完[CLS][MASK]"),
    ],
)
def test_a_prefix_is_read_as_training_text_is_written(small: Tokenizer, prefix: str, read: str) -> None:
    assert small.show(small.encode_prefix(prefix)) == read


@pytest.mark.parametrize("prefix", ["Ω龘天[SEP]", "[CLS]Ｈello", "", "天 \n"])
def test_a_sample_shows_its_prefix_as_typed_and_no_control_token(small: Tokenizer, prefix: str) -> None:
    shown = small.decode_after(prefix, small.encode_prefix(prefix), small.encode("地。"))
    assert shown.replace("\n", "") == prefix.replace("[SEP]", "").replace("[CLS]", "").strip() + "地。"
    assert shown.count("\n") == ("[SEP]" in prefix) + prefix.count("\n")


def test_a_continuation_piece_in_front_shows_no_marks(small: Tokenizer) -> None:
    pieces = [small.tokens.index("##ing"), small.tokens.index("地")]
    assert small.decode(pieces) == "ing地"


# ----- model folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["small", "words"])
def test_stock_auto_tokenizer_gives_the_ids_of_training(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, book: list[str]
) -> None:
    from transformers import AutoTokenizer

    tokenizer: Tokenizer = request.getfixturevalue(kind)
    tokenizer.save(tmp_path, n_ctx=512)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    stock = AutoTokenizer.from_pretrained(tmp_path)
    assert len(stock) == len(tokenizer)
    for text in [*book[:5], "Hello [CLS] “你好”……\n\n2019 我们喜欢中文模型", "𠮷\u200b"]:
        assert stock(text)["input_ids"] == tokenizer.encode(text).tolist()
        assert stock.decode(tokenizer.encode(text)) == tokenizer.decode(tokenizer.encode(text))
    again = load_model_tokenizer(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    assert (stock.bos_token_id, stock.eos_token_id, stock.pad_token_id) == (
        tokenizer.document_start_id,
        tokenizer.document_end_id,
        tokenizer.pad_id,
    )


def test_a_vocabulary_that_is_not_the_models_is_refused_with_the_line(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path, n_ctx=32)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"")
    entries = read_vocabulary(SMALL)
    assert tokenizer_for_model(tmp_path, write(tmp_path / "same.txt", *entries)).fingerprint == small.fingerprint
    entries[7000], entries[7001] = entries[7001], entries[7000]
    with pytest.raises(UserError, match="第 7001 行"):
        tokenizer_for_model(tmp_path, write(tmp_path / "swapped.txt", *entries))


# ----- vocabulary files that are wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([*CONTROL_TOKENS, "我", "", "们"], "第 7 行是空行"),
        ([*CONTROL_TOKENS, "我", "们", "我"], "第 8 行「我」与第 6 行重复"),
        ([*CONTROL_TOKENS[:-1], "我"], r"5 行）没有控制符 \[MASK\]"),
    ],
)
def test_faults_of_a_vocabulary_name_the_line(tmp_path: Path, entries: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_vocabulary(write(tmp_path / "v.txt", *entries))


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_vocabulary(write(tmp_path / "v.txt", "我", "我", "", "们"))
    assert str(error.value).count("\n- ") + 1 == 2 + len(CONTROL_TOKENS)


def test_lines_end_at_newline_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "v.txt", *CONTROL_TOKENS, "\u2028", "\x85", "我")
    assert load_tokenizer(path).encode("我").tolist() == [7]
    path.write_bytes(("\ufeff" + "\r\n".join([*CONTROL_TOKENS, "我"])).encode())
    assert load_tokenizer(path).encode("我").tolist() == [5]


def test_a_vocabulary_tells_whether_it_is_of_words_or_characters(tmp_path: Path) -> None:
    assert first_word(read_vocabulary(SMALL)) is None  # its English words are pieces between characters
    characters = load_tokenizer(write(tmp_path / "c.txt", *CONTROL_TOKENS, "我", "们"))
    words = load_tokenizer(write(tmp_path / "w.txt", *CONTROL_TOKENS, "我", "们", "我们"))
    assert characters.encode("我们").tolist() == [5, 6] and words.encode("我们").tolist() == [7]


def test_fill_gives_exactly_the_size_and_moves_no_id() -> None:
    entries = [*CONTROL_TOKENS, "[unused1]", "我", "们"]
    assert fill(entries, 7) == entries[:7]
    assert fill(entries, 10) == [*entries, "[unused2]", "[unused3]"]
    with pytest.raises(UserError, match="--vocab_size 5"):
        fill(entries, 5)


def test_never_sampled_are_unk_pad_mask_and_free_slots(small: Tokenizer) -> None:
    assert {small.tokens[id_] for id_ in small.never_sampled} == {"[UNK]", "[PAD]", "[MASK]"} | {
        f"[unused{n}]" for n in range(1, 100)
    }


def test_tokenizer_json_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}), encoding="utf-8"
    )
    with pytest.raises(UserError, match="tokenizer.json"):
        load_model_tokenizer(tmp_path)
