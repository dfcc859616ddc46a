"""Model folders of strangers: read as data, refused by name, and nothing of them runs, hangs or reaches a person as a traceback."""

import json
import os
import struct
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
import torch
from conftest import ROOT, TINY_CONFIG
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config

from gpt2zh.errors import UserError
from gpt2zh.model.shape import KNOWN
from gpt2zh.model.stock import ControlIds, load_model, new_model, read_config
from gpt2zh.system.folders import require_model_folder, seal
from tokenizations.character_map import require_sound
from tokenizations.loading import load_tokenizer, load_tokenizer_json

IDS = ControlIds(document_start=4, document_end=2, pad=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model's folder."""
    new_model(GPT2Config(**TINY_CONFIG), 50, IDS).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"activation_function": "evil"}, "activation_function"),
        ({"activation_function": ["gelu"]}, "activation_function"),
        ({"n_inner": -5}, "n_inner"),
        ({"n_inner": 0}, "n_inner"),
        ({"n_embd": 2**40}, "n_embd"),
        ({"n_layer": 10**9}, "n_layer"),
        ({"n_layer": 10**400}, "n_layer"),
        ({"n_layer": float("nan")}, "n_layer"),
        ({"n_head": True}, "n_head"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"layer_norm_epsilon": float("inf")}, "layer_norm_epsilon"),
        ({"layer_norm_epsilon": 10**400}, "layer_norm_epsilon"),
        ({"resid_pdrop": -(10**400)}, "resid_pdrop"),
        ({"n_embd": 10**5, "n_head": 100, "n_layer": 1000}, "n_layer"),
    ],
)
def test_a_model_that_cannot_be_made_is_an_error_of_the_configuration(tmp_path: Path, change: dict, key: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps({**TINY_CONFIG, **change}), encoding="utf-8")
    with pytest.raises(UserError, match=key):
        new_model(read_config(tmp_path / "c.json"), 50, IDS)


UNKNOWN = st.text().filter(lambda name: name not in KNOWN)


@given(st.dictionaries(UNKNOWN, st.none() | st.booleans() | st.integers() | st.floats() | st.text(), max_size=5))
def test_what_else_a_configuration_says_changes_nothing(extra: dict) -> None:
    """attn_implementation, quantization_config, auto_map: of a stranger's folder only the shape is read."""
    names = ("attn_implementation", "_attn_implementation", "quantization_config", "output_attentions", "auto_map")
    extra |= {name: "evil/kernel" for name in names}
    plain, other = Path("a.json"), Path("b.json")
    with TemporaryDirectory() as folder:
        for path, values in ((plain, TINY_CONFIG), (other, {**extra, **TINY_CONFIG})):
            (folder / path).write_text(json.dumps(values), encoding="utf-8")
        assert read_config(folder / plain).to_dict() == read_config(folder / other).to_dict()


def pickled(folder: Path, value: object) -> None:
    """Put a pickle in the place of the weights."""
    (folder / "model.safetensors").unlink()
    torch.save(value, folder / "pytorch_model.bin")


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder, 50).state_dict()


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("list", "list"),
        ("text", "str"),
        ("sparse", "sparse"),
        ("meta", "meta"),
        ("one for many", "one number stands for many"),
        ("integers", "int64"),
        ("nan", "NaN"),
        ("infinite", "NaN"),
    ],
)
def test_a_pickle_of_anything_but_plain_tensors_is_refused(folder: Path, kind: str, word: str) -> None:
    weights = {name: tensor.clone() for name, tensor in state(folder).items()}
    name = "transformer.wpe.weight"
    match kind:
        case "list":
            pickled(folder, [1, 2])
        case "text":
            pickled(folder, {name: "text"})
        case "sparse":
            pickled(folder, weights | {name: weights[name].to_sparse()})
        case "meta":
            pickled(folder, weights | {name: weights[name].to("meta")})
        case "one for many":
            pickled(folder, weights | {name: torch.zeros(1, 1).expand(*weights[name].shape)})
        case "integers":
            pickled(folder, weights | {name: weights[name].long()})
        case _:
            weights[name][3, 1] = float("nan") if kind == "nan" else float("inf")
            pickled(folder, weights)
    with pytest.raises(UserError, match=word):
        load_model(folder, 50)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pipe_in_a_model_folder_is_refused_and_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match=f"{name} is a pipe"):
        load_model(folder, 50)


def test_a_sealed_folder_is_checked_as_a_whole(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    seal(folder)
    require_model_folder(folder)
    for name in ("config.json", "tokenizer.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole.replace(b"{", b"{ ", 1))
        with pytest.raises(UserError, match=f"{name} is .* delete .*SHA256SUMS"):
            require_model_folder(folder)
        (folder / name).write_bytes(whole)
    (folder / "README.md").write_text("mine", encoding="utf-8")
    require_model_folder(folder)
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes() + b"\n")
    (folder / "SHA256SUMS").unlink()  # as the message says
    require_model_folder(folder)


# ----- tokenizers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory: pytest.TempPathFactory, book: list[str]) -> bytes:
    """A real one, with sentencepiece's own character map."""
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "text.txt").write_text("\n".join(sorted(book, key=len)[:20]), encoding="utf-8")
    trainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "m"), vocab_size=2500, hard_vocab_limit=False,
        minloglevel=2, max_sentence_length=10**6,
    )  # fmt: skip
    return (folder / "m.model").read_bytes()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 1, 4, 60]))
def test_a_sentencepiece_model_with_flipped_bits_is_read_or_refused(
    sentencepiece_model: bytes, seed: int, n_flips: int
) -> None:
    chance, data = Random(seed), bytearray(sentencepiece_model)
    for _ in range(n_flips):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    with TemporaryDirectory() as place:
        path = Path(place, "m.model")
        path.write_bytes(data)
        try:
            tokenizer = load_tokenizer(path)
        except UserError:
            return
        tokenizer.encode_documents(["第一章\n他说：“好。”ＡＢＣ①㍿ café", "".join(map(chr, range(0x3000, 0x3400)))])


def test_a_character_map_of_garbage_is_refused() -> None:
    for data in (b"", b"\0", bytes(400), struct.pack("<I", 2**31) + bytes(100), struct.pack("<I", 0) + bytes(100)):
        with pytest.raises(ValueError):
            require_sound(data)


@pytest.mark.parametrize("data", ["", "AAAA", "not base64", "/////w==" * 8])
def test_a_tokenizer_with_a_garbage_character_map_is_refused(
    tmp_path: Path, sentencepiece_model: bytes, data: str
) -> None:
    (tmp_path / "m.model").write_bytes(sentencepiece_model)
    whole = json.loads(load_tokenizer(tmp_path / "m.model").pipeline.to_str())
    for step in whole["normalizer"]["normalizers"]:
        if step["type"] == "Precompiled":
            step["precompiled_charsmap"] = data
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(UserError, match="tokenizer"):
        load_tokenizer_json(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("id_", [5, 10**6])
def test_ids_that_are_there_twice_or_beyond_the_vocabulary_are_refused(
    tmp_path: Path, book_vocabulary: str, id_: int
) -> None:
    (tmp_path / "v.txt").write_text(book_vocabulary, encoding="utf-8")
    whole = json.loads(load_tokenizer(tmp_path / "v.txt").pipeline.to_str())
    token = next(token for token, number in whole["model"]["vocab"].items() if number == 20)
    whole["model"]["vocab"][token] = id_
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(UserError, match="each once|control tokens"):
        load_tokenizer_json(tmp_path / "tokenizer.json")


def test_a_tokenizer_whose_unknown_token_is_not_in_its_vocabulary_is_refused(tmp_path: Path) -> None:
    value = json.loads(load_tokenizer(ROOT / "cache" / "vocab_small.txt").pipeline.to_str())
    value["model"]["vocab"]["[UNK?]"] = value["model"]["vocab"].pop("[UNK]")
    value["added_tokens"] = [token for token in value["added_tokens"] if token["content"] != "[UNK]"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(UserError, match=r"unknown token \[UNK\] is not in its vocabulary"):
        load_tokenizer_json(tmp_path / "tokenizer.json")
