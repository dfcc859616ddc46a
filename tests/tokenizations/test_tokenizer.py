"""Laws of all tokenizers: control tokens that no novel can type, framed documents, decode(encode(x)), prefixes, model folders."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from gpt2zh.errors import UserError
from tokenizations.loading import load_bytes, load_model_tokenizer, load_tokenizer, tokenizer_for_model
from tokenizations.pipelines import build_characters, build_verbatim, build_words
from tokenizations.tokenizer import Tokenizer
from tokenizations.vocabulary import CONTROL_TOKENS, SPACE, read_vocabulary

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


@pytest.mark.parametrize("text", ["[CLS]", "他说[SEP]就走", "[MASK] [PAD] [UNK] [unused1]"])
def test_control_tokens_typed_in_a_novel_are_text(small: Tokenizer, words: Tokenizer, text: str) -> None:
    for tokenizer in (small, words):
        assert not {tokenizer.control_ids[token] for token in ("[CLS]", "[SEP]", "[MASK]", "[PAD]")} & set(
            tokenizer.encode(text).tolist()
        )


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
    assert tokenizer.characters_of_ids[framed].sum() == len(text)
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


def test_never_sampled_are_unk_pad_mask_and_free_slots(small: Tokenizer) -> None:
    assert {small.tokens[id_] for id_ in small.never_sampled} == {"[UNK]", "[PAD]", "[MASK]"} | {
        f"[unused{n}]" for n in range(1, 100)
    }


# ----- prefixes ----------------------------------------------------------------------------------------------------


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


# ----- model folders -----------------------------------------------------------------------------------------------


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
