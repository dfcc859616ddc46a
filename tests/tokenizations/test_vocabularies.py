"""Every kind of vocabulary from a corpus to ids and back: char, word, bpe, unigram, sentencepiece, GPT-2's files."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, call
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.errors import UserError
from tokenizations.fast.character_table import CharacterTable
from tokenizations.loading import load_model_tokenizer, load_tokenizer
from tokenizations.pipelines import build_characters, build_verbatim
from tokenizations.tokenizer import LibraryEncoder, Tokenizer
from tokenizations.vocabulary import CONTROL_TOKENS, SPACE, first_word, put_in_slots, read_vocabulary

SMALL = ROOT / "cache" / "vocab_small.txt"
SPECIAL = ["[标题]", "[结束]"]
TYPES = ["char", "verbatim", "word", "bpe", "unigram"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, book: list[str]) -> dict[str, Tokenizer]:
    """A tokenizer of each type, by make_vocab.py from 25 documents and some English, with two special tokens."""
    folder = tmp_path_factory.mktemp("vocabularies")
    shakespeare = json.loads((ROOT / "data" / "shakespeare.json").read_text(encoding="utf-8"))
    corpus = folder / "train.json"
    corpus.write_text(json.dumps([*book[:25], shakespeare[0][:5000]]), encoding="utf-8")
    tokenizers = {}
    for kind in TYPES:
        target = folder / f"{kind}.{'json' if kind in ('bpe', 'unigram') else 'txt'}"
        options = ["--type", "char", "--verbatim"] if kind == "verbatim" else ["--type", kind]
        if kind != "verbatim":
            options += ["--vocab_size", 6000]
        call("cache/make_vocab.py", *options, "--raw_data_path", corpus, "--vocab_file", target,
             "--special_tokens", ",".join(SPECIAL))  # fmt: skip
        tokenizers[kind] = load_tokenizer(target)
        if target.suffix == ".txt":
            assert (first_word(read_vocabulary(target)) is not None) == (kind == "word")
    return tokenizers


def library_ids(tokenizer: Tokenizer, documents: list[str]) -> list[int]:
    start, end = tokenizer.document_start_id, tokenizer.document_end_id
    return [id_ for document in documents for id_ in [start, *tokenizer.pipeline.encode(document).ids, end]]


ANY_TEXT = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text("我们的中国，。“”……——龘𠮷"),
        st.text("abcXYZ Éß ＡＢ İſΣς 12３①\u3000\xa0\t"),
        st.text("が ガ\u3099 ﷺ\u200b\ufeff\0\x1f\u2028\r\n"),
        st.sampled_from([*CONTROL_TOKENS, *SPECIAL, "[unused1]", "<0x0A>", "##", "Hello world", "\r\n", "é"]),
    ),
    max_size=9,
).map("".join)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
@settings(deadline=None, max_examples=150)
@given(documents=st.lists(ANY_TEXT, min_size=1, max_size=4))
def test_the_fast_encoders_give_the_librarys_ids_on_any_text(
    made: dict[str, Tokenizer], kind: str, documents: list[str]
) -> None:
    assert made[kind].encode_documents(documents).tolist() == library_ids(made[kind], documents)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_the_fast_encoders_give_the_librarys_ids_on_the_books(
    made: dict[str, Tokenizer], kind: str, book: list[str]
) -> None:
    shakespeare = json.loads((ROOT / "data" / "shakespeare.json").read_text(encoding="utf-8"))
    documents = [*book[20:40], shakespeare[1], "[标题]" + book[0] + "[结束]"]
    assert made[kind].encode_documents(documents).tolist() == library_ids(made[kind], documents)
    assert isinstance(made[kind].encoder, LibraryEncoder) == (kind == "bpe")


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@settings(deadline=None, max_examples=150)
@given(text=ANY_TEXT)
def test_decode_of_encode_is_the_normalised_text_whatever_it_is(
    made: dict[str, Tokenizer], kind: str, text: str
) -> None:
    tokenizer = made[kind]
    ids = tokenizer.encode(text)
    # "\n" is [SEP]; both are one id. Documents are stripped when they are decoded.
    assert tokenizer.pipeline.decode(ids.tolist(), skip_special_tokens=False) == normalized(tokenizer, text)
    assert tokenizer.unknown_id not in ids


def normalized(tokenizer: Tokenizer, text: str) -> str:
    """What the pipeline makes of a text before it is cut; special tokens stay as they are."""
    parts = tokenizer.special_pattern.split(text)
    return "".join(
        part if number % 2 else tokenizer.pipeline.normalizer.normalize_str(part) for number, part in enumerate(parts)
    )


@pytest.mark.parametrize("kind", ["char", "verbatim", "word"])
@settings(deadline=None, max_examples=150)
@given(text=st.text(st.sampled_from("我在年青时候也曾经做过许多梦，。“”！？\n—…一二三0123"), max_size=40))
def test_decode_of_encode_is_the_text_where_every_character_is_known(
    made: dict[str, Tokenizer], kind: str, text: str
) -> None:
    tokenizer = made[kind]
    known = "".join(character for character in text if character == "\n" or tokenizer.knows(character))
    assert tokenizer.decode(tokenizer.encode(known)) == known.strip()


@pytest.mark.parametrize("kind", TYPES)
def test_ids_stand_for_the_characters_that_are_read_and_for_no_others(
    made: dict[str, Tokenizer], kind: str, book: list[str]
) -> None:
    tokenizer = made[kind]
    for text in [*book[:8], "𠮷龘é…" if kind in ("bpe", "unigram") else "𠮷", f"{SPECIAL[0]}梦"]:
        for read in (normalized(tokenizer, one) for one in (text, text.replace("\n", "\r\n\u3000"))):
            kept = re.sub(r"[^\S\n]", "", read) if kind == "char" else read
            assert tokenizer.characters_of_ids[tokenizer.encode(read)].sum() == len(kept)
    assert tokenizer.characters_of_ids[tokenizer.encode_documents(["梦", "风起"])].sum() == 3


@pytest.mark.parametrize("kind", TYPES)
def test_special_tokens_are_one_id_in_any_text_and_in_stock_transformers(
    made: dict[str, Tokenizer], kind: str, tmp_path: Path, book: list[str]
) -> None:
    from transformers import AutoTokenizer

    tokenizer = made[kind]
    text = f"[标题]故乡{book[0][:300]}[结束] Hello world [CLS]"
    ids = tokenizer.encode(text).tolist()
    assert ids[0] == tokenizer.special_ids["[标题]"] and ids.count(tokenizer.special_ids["[结束]"]) == 1
    assert tokenizer.document_end_id not in ids
    tokenizer.save(tmp_path, n_ctx=64)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    stock = AutoTokenizer.from_pretrained(tmp_path)
    assert stock(text)["input_ids"] == ids
    assert stock.decode(ids) == tokenizer.pipeline.decode(ids, skip_special_tokens=False)
    assert load_model_tokenizer(tmp_path).encode_documents([text]).tolist()[1:-1] == ids


def test_sizes_are_what_was_asked_for(made: dict[str, Tokenizer]) -> None:
    assert {kind: len(tokenizer) for kind, tokenizer in made.items() if kind != "verbatim"} == dict.fromkeys(
        ("char", "word", "bpe", "unigram"), 6000
    )


def test_subwords_join_characters_and_words_more_than_characters(made: dict[str, Tokenizer], book: list[str]) -> None:
    n_tokens = {kind: len(made[kind].encode_documents(book[:25])) for kind in TYPES}
    assert max(n_tokens["word"], n_tokens["bpe"], n_tokens["unigram"]) < 0.85 * n_tokens["char"]


def test_a_subword_vocabulary_too_small_for_its_characters_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(map(chr, range(0x4E00, 0x4F00))) * 9, encoding="utf-8")
    with pytest.raises(UserError, match="--vocab_size 300.*控制符与字节 261.*--character_coverage"):
        call("cache/make_vocab.py", "--type", "bpe", "--vocab_size", 300, "--raw_data_path", tmp_path / "a.txt")


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_rarest_characters_are_bytes(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.txt").write_text("风起云涌，大江东去。\n" * 2000 + "龘", encoding="utf-8")
    call("cache/make_vocab.py", "--type", kind, "--vocab_size", 300, "--raw_data_path", tmp_path / "a.txt",
         "--vocab_file", tmp_path / "v.json")  # fmt: skip
    tokenizer = load_tokenizer(tmp_path / "v.json")
    assert tokenizer.knows("风") and not tokenizer.knows("龘")
    assert tokenizer.decode(tokenizer.encode("龘风")) == "龘风"
    assert tokenizer.missing_characters(["风龘龘"]) == {"龘": 2}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_a_model_is_trained_and_writes_with_every_type(
    made: dict[str, Tokenizer], kind: str, train: Callable[..., list[dict[str, float]]], workdir: Path
) -> None:
    rows = train("--tokenizer_path", made[kind].source, "--min_length", 1)
    assert rows[-1]["val/bits_per_character"] > 0
    call("generate.py", "--model_path", "model/best_model", "--prefix", "[标题]故乡", "--length", 20, "--nsamples", 2,
         "--device", "cpu", "--save_samples", "--seed", 1)  # fmt: skip
    samples = (workdir / "mnt" / "samples.txt").read_text(encoding="utf-8")
    assert samples.count("[标题]故乡") == 2
    with pytest.raises(UserError, match="不是训练"):
        call("evaluate.py", "--model_path", "model/best_model", "--tokenizer_path", SMALL,
             "--raw_data_path", "data/train.json")  # fmt: skip


# ----- the audit and the free slots ----------------------------------------------------------------------------------


def test_missing_characters_go_into_free_slots_and_no_id_moves(tmp_path: Path, book: list[str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps([book[0] + "𠮷𠮷野家㐀"]), encoding="utf-8")
    call("cache/make_vocab.py", "--patch_vocab", SMALL, "--raw_data_path", tmp_path / "a.json",
         "--special_tokens", "[标题]", "--vocab_file", tmp_path / "v.txt")  # fmt: skip
    before, after = read_vocabulary(SMALL), read_vocabulary(tmp_path / "v.txt")
    changed = [(old, new) for old, new in zip(before, after) if old != new]
    assert len(before) == len(after) and all(old.startswith("[unused") for old, _ in changed)
    assert [new for _, new in changed][:3] == ["[标题]", "𠮷", "㐀"]
    patched = load_tokenizer(tmp_path / "v.txt")
    assert not patched.missing_characters([book[0] + "𠮷𠮷野家㐀"])
    old = load_tokenizer(SMALL).encode(book[0])
    assert np.array_equal(old, patched.encode(book[0])) or not load_tokenizer(SMALL).knows("𠮷")


def test_what_finds_no_slot_is_said_and_a_special_token_without_one_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v.txt").write_text("\n".join([*CONTROL_TOKENS, "[unused1]", "我"]), encoding="utf-8")
    (tmp_path / "a.txt").write_text("我们去去", encoding="utf-8")
    call("cache/make_vocab.py", "--patch_vocab", tmp_path / "v.txt", "--raw_data_path", tmp_path / "a.txt",
         "--vocab_file", tmp_path / "new.txt")  # fmt: skip
    assert read_vocabulary(tmp_path / "new.txt")[5] == "去"
    assert "没有空位的还有 1 个：们" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"没有空位放 \[乙\]"):
        call("cache/make_vocab.py", "--patch_vocab", tmp_path / "v.txt", "--raw_data_path", tmp_path / "a.txt",
             "--special_tokens", "[甲],[乙]", "--vocab_file", tmp_path / "no.txt")  # fmt: skip
    assert not (tmp_path / "no.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--special_tokens", "[UNK]"], r"\[UNK\] 已有别的意思"),
        (["--special_tokens", "[甲],[unused3]"], r"\[unused3\] 已有别的意思"),
        (["--special_tokens", "甲"], "应写成"),
        (["--vocab_file", "a.txt"], "是语料本身"),
        (["--vocab_file", "v.json"], "应以 .txt 结尾"),
        (["--type", "bpe", "--vocab_file", "v.txt"], "应以 .json 结尾"),
        (["--patch_vocab", "v.txt", "--vocab_size", "99"], "--vocab_size"),
    ],
)
def test_what_would_do_harm_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("风起云涌", encoding="utf-8")
    with pytest.raises(UserError, match=words):
        call("cache/make_vocab.py", "--type", "char", "--raw_data_path", "a.txt", *arguments)
    assert Path("a.txt").read_text(encoding="utf-8") == "风起云涌"


def test_slots_are_filled_in_order() -> None:
    entries = ["[PAD]", "[unused1]", "我", "[unused2]"]
    assert put_in_slots(entries, ["们", "我", "们", "的", "了"]) == (["[PAD]", "们", "我", "的"], ["了"])


# ----- counting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [build_characters, build_verbatim])
@settings(deadline=None, max_examples=100)
@given(texts=st.lists(ANY_TEXT, max_size=4))
def test_counts_are_those_of_the_pipelines_own_pieces(build: object, texts: list[str]) -> None:
    pipeline = build([*CONTROL_TOKENS, SPACE])
    characters, words = CharacterTable(pipeline).count(texts)
    expected: dict[str, int] = {}
    for text in texts:
        for piece, _ in pipeline.pre_tokenizer.pre_tokenize_str(pipeline.normalizer.normalize_str(text)):
            expected[piece] = expected.get(piece, 0) + 1
    assert characters + words == expected


# ----- files of other tools ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def lines(book: list[str]) -> list[str]:
    return [line for document in book[:30] for line in document.split("\n") if line]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_sentencepiece_models_give_the_ids_of_sentencepiece(tmp_path: Path, kind: str, lines: list[str]) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(tmp_path / "m"), vocab_size=4000, model_type=kind,
        character_coverage=0.9999, byte_fallback=True, pad_id=3, user_defined_symbols=["[题]", "[题]号"], minloglevel=2,
    )  # fmt: skip
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    ours = load_tokenizer(tmp_path / "m.model")
    odd = ["  Hello   World 　ＡＢＣ 龘龘𠮷 <s>a</s> <0x0A> [MASK][CLS] x", "", "é", "１２３ 一二", "前[题]后[题]号"]
    different = [line for line in [*lines, *odd] if theirs.encode(line) != ours.encode(line).tolist()]
    # sentencepiece adds in 32 bits: where two cuts are equally probable it may take the other one.
    assert len(different) <= 0.001 * len(lines), different[:3]
    assert ours.control_ids["[UNK]"] == 0 and ours.control_ids["[MASK]"] == 1 and ours.control_ids["[CLS]"] == 2
    assert ours.decode(ours.encode_documents(["甲，\n\n乙 x"])) == "甲,\n\n乙 x"  # NFKC is the model's own
    assert ours.encode_documents(lines[:9]).tolist() == library_ids(ours, lines[:9])
    assert ours.encode_documents(odd[-1:]).tolist() == library_ids(ours, odd[-1:])


def test_a_file_that_is_no_sentencepiece_model_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"x", b"[PAD]\n[UNK]\n", bytes(range(256)), SMALL.read_bytes()):
        (tmp_path / "m.model").write_bytes(content)
        with pytest.raises(UserError, match="m.model 不是 sentencepiece"):
            load_tokenizer(tmp_path / "m.model")


def test_a_folder_with_gpt2s_files_loads(tmp_path: Path, book: list[str]) -> None:
    import tokenizers
    from transformers import GPT2TokenizerFast

    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(book[:8], vocab_size=800, special_tokens=["<|endoftext|>"])
    trained.save_model(str(tmp_path))
    ours = load_tokenizer(tmp_path)
    stock = GPT2TokenizerFast(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    assert ours.encode(book[9]).tolist() == stock(book[9])["input_ids"]
    assert ours.decode(ours.encode(book[9])) == book[9]


@pytest.mark.parametrize(
    ("name", "content"), [("v.txt", b""), ("v.json", b""), ("v.json", b"[1]"), ("v.txt", b"\xff\xfe\0")]
)
def test_files_that_are_no_vocabulary_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        load_tokenizer(tmp_path / name)
