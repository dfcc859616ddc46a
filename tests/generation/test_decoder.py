"""Both decoders against transformers' own forward pass; rows that do not know of each other; what is compiled."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_CONFIG
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.device import Device, choose_device, has_fast_bf16
from gpt2zh.errors import UserError
from gpt2zh.generation.decoder import Decoder, load_decoder, make_decoder
from gpt2zh.generation.native import build as native
from gpt2zh.generation.native.decoder import GELU
from gpt2zh.generation.torch_decoder import ACTIVATIONS, TorchDecoder
from gpt2zh.model.shape import shape_of
from gpt2zh.model.weights import read_weights

V = 300
FORMS = [("fp32", False), *([("bf16", False)] if has_fast_bf16(torch.device("cpu")) else []), ("fp32", True)]


def is_built(precision: str, quantize: bool) -> bool:
    """Whether this machine has a compiler, and a processor, for the C++ of this form."""
    try:
        native.load("kernel.cpp", BITS=8 if quantize else 16 if precision == "bf16" else 32)
    except native.NotBuilt:
        return False
    return True


NATIVE_FORMS = [form for form in FORMS if is_built(*form)]
WAYS = [*(("off", *form) for form in FORMS), *(("on", *form) for form in NATIVE_FORMS)]  # torch's operators, C++
needs_compiler = pytest.mark.skipif(len(NATIVE_FORMS) < len(FORMS), reason="no C++ compiler, or AVX-512 VNNI missing")


def cpu(precision: str = "fp32") -> Device:
    return choose_device("cpu", precision)


def stock(**changes: object) -> GPT2LMHeadModel:
    torch.manual_seed(3)
    values = {**TINY_CONFIG, "vocab_size": V, "n_embd": 64, "initializer_range": 0.1, **changes}
    return GPT2LMHeadModel(GPT2Config(**values)).eval()


def decoder_for(model: GPT2LMHeadModel, compile: str, precision: str = "fp32", quantize: bool = False) -> Decoder:
    return make_decoder(model.state_dict(), shape_of(model.config.to_dict()), cpu(precision), quantize, compile)


def all_logits(decoder: Decoder, ids: list[int]) -> torch.Tensor:
    """What comes next after each of `ids`, a step for each: (T, V)."""
    cache = decoder.new_cache(1, len(ids))
    return torch.cat([cache.step([id_]) for id_ in ids])


def some_ids(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, V, n).tolist()


# ----- the same function ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"tie_word_embeddings": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
        {"n_inner": 96, "layer_norm_epsilon": 0.01},
        *({"activation_function": name} for name in ACTIVATIONS),
    ],
    ids=str,
)
def test_the_logits_are_transformers(change: dict) -> None:
    model, ids = stock(**change), some_ids(32)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0]
    native_too = NATIVE_FORMS and change.get("activation_function", "gelu_new") in GELU
    for compile in ("off", "on" if native_too else "auto"):
        torch.testing.assert_close(all_logits(decoder_for(model, compile), ids), expected, rtol=1e-4, atol=1e-4)


def test_an_activation_that_is_unknown_is_named() -> None:
    with pytest.raises(UserError, match="'mish'"):
        decoder_for(stock(activation_function="mish"), "auto")


@pytest.mark.parametrize("compile, precision, quantize", WAYS)
@pytest.mark.parametrize("n_read", [1, 7, 31])
def test_steps_after_reading_are_those_without(precision: str, quantize: bool, n_read: int, compile: str) -> None:
    decoder, ids = decoder_for(stock(), compile, precision, quantize), some_ids(32)
    expected = all_logits(decoder, ids)
    cache = decoder.new_cache(1, 32)
    cache.read(ids[:n_read], 0)
    for place in range(n_read, 32):
        logits = cache.step(ids[place : place + 1])[0]
        if compile == "on":
            assert torch.equal(logits, expected[place])
        likeness = 0.99999 if precision == "fp32" and not quantize else 0.999
        assert torch.nn.functional.cosine_similarity(logits, expected[place], dim=0) > likeness
    assert cache.lengths == [32]


@pytest.mark.parametrize("compile, precision, quantize", WAYS)
def test_a_row_is_the_same_to_the_last_bit_whatever_stands_beside_it(
    precision: str, quantize: bool, compile: str
) -> None:
    """Also with inner layers as wide as those of real models, where kernels sum in blocks."""
    decoder = decoder_for(stock(n_embd=768, n_head=12, n_positions=64, n_ctx=64), compile, precision, quantize)
    texts = [some_ids(40, seed) for seed in range(20)]

    def written(rows: list[int], starts: list[int]) -> torch.Tensor:
        """Logits of the first row's last step; each row has read `start` ids and takes 8 steps."""
        cache = decoder.new_cache(len(rows), 64)
        for row, (text, start) in enumerate(zip(rows, starts)):
            cache.read(texts[text][:start], row)
        for step in range(8):
            logits = cache.step([texts[text][start + step] for text, start in zip(rows, starts)])
        return logits[0]

    alone = written([0], [20])
    several = [([0, 1], [20, 20]), ([0, 1, 2], [20, 5, 20]), ([0, 5, 4, 3, 2, 1], [20, 20, 31, 31, 20, 1])]
    for rows, starts in [*several, (list(range(11)), [20] * 11), (list(range(20)), [20, *range(1, 20)])]:
        assert torch.equal(written(rows, starts), alone)


@pytest.mark.parametrize("precision, quantize", NATIVE_FORMS)
def test_the_kernel_is_torchs_operators(precision: str, quantize: bool) -> None:
    """Where the inner layers are as wide as those of real models; what bf16 and int8 lose is no more than there."""
    model, ids = stock(n_embd=768, n_head=12, n_positions=64, n_ctx=64, n_inner=1040), some_ids(64)
    with torch.no_grad():
        exact = model(torch.tensor([ids])).logits[0]
    lost = [
        (all_logits(decoder_for(model, compile, precision, quantize), ids) - exact).norm() for compile in ("off", "on")
    ]
    assert lost[1] < (1e-5 * exact.norm() if (precision, quantize) == ("fp32", False) else 1.05 * lost[0])


def test_rows_of_a_fixed_shape_under_a_mask_are_the_same(precision: str = "fp32") -> None:
    """What runs on a GPU as a captured graph; here without capture."""
    decoder = decoder_for(stock(), "off")
    texts, starts = [some_ids(20, seed) for seed in range(3)], [4, 9, 9]
    cache, plain = decoder.new_cache(4, 32), decoder.new_cache(4, 32)
    for held in (cache, plain):
        for row, (text, start) in enumerate(zip(texts, starts)):
            held.read(text[:start], row)
    for step in range(5):
        tokens = [text[start + step] for text, start in zip(texts, starts)]
        expected = plain.step(tokens)
        positions = torch.tensor(cache.lengths[:3])
        cache.lengths[:3] = [n + 1 for n in cache.lengths[:3]]
        replay = cache.replays.get(3) or cache._replay(3)
        replay.tokens.copy_(torch.tensor(tokens))
        replay.positions.copy_(positions)
        torch.testing.assert_close(replay.run(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("compile", ["off", *(["on"] if NATIVE_FORMS else [])])
def test_a_copied_row_goes_on_as_the_one_it_came_from(compile: str) -> None:
    decoder, ids = decoder_for(stock(), compile), some_ids(20)
    cache = decoder.new_cache(3, 32)
    cache.read(ids[:10], 2)
    cache.copy_row(2, 0)
    cache.copy_row(2, 1)
    logits = cache.step([ids[10], ids[10]])
    assert torch.equal(logits[0], logits[1]) and cache.lengths == [11, 11, 10]
    assert torch.equal(logits[0], all_logits(decoder, ids[:11])[10]) or compile == "off"


# ----- what is compiled -----------------------------------------------------------------------------------------------


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, of a user who has a compiler."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gpt2zh"


@pytest.mark.slow
@needs_compiler
def test_the_kernel_is_compiled_once(cache_folder: Path) -> None:
    for _ in range(2):
        decoder_for(stock(), "on")
    (library,) = cache_folder.glob("*.so")
    compiled = library.stat().st_mtime_ns
    decoder_for(stock(), "on", quantize=True)
    assert len([*cache_folder.glob("*.so")]) == 2 and library.stat().st_mtime_ns == compiled


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("harm", [b"", b"cut off", None])
def test_a_library_that_is_not_whole_is_made_anew_and_never_loaded(
    harm: bytes | None, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder_for(stock(), "on", quantize=True)
    (library,) = cache_folder.glob("*.so")
    there = tmp_path / "another" / "gpt2zh"  # what is loaded stays loaded, so another one is harmed
    shutil.copytree(cache_folder, there)
    whole = library.read_bytes()
    (there / library.name).write_bytes(whole[: len(whole) // 2] if harm is None else harm)
    monkeypatch.setenv("XDG_CACHE_HOME", str(there.parent))
    decoder_for(stock(), "on", quantize=True)
    assert native.is_whole(there / library.name) and len((there / library.name).read_bytes()) == len(whole)


@pytest.mark.slow
@needs_compiler
def test_without_a_home_the_kernel_lies_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")  # as pathlib has it for a user without an entry

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    decoder_for(stock(), "on")
    (folder,) = tmp_path.iterdir()
    assert [*folder.glob("*.so")] and folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_processor_with_shorter_vectors_computes_the_same(
    precision: str, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = some_ids(32)
    expected = all_logits(decoder_for(stock(), "on", precision), ids)
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-march=x86-64-v3"))  # AVX2: the last one counts
    logits = all_logits(decoder_for(stock(), "on", precision), ids)
    assert (logits - expected).norm() < (1e-6 if precision == "fp32" else 0.01) * expected.norm()
    assert len([*cache_folder.glob("*.so")]) == 2


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("cause", ["no compiler", "no command", "compiler fails", "processor", "others write there"])
def test_where_it_cannot_be_compiled_torchs_operators_write(
    cause: str, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cause == "no compiler":
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("CXX", raising=False)
    elif cause == "compiler fails":
        monkeypatch.setenv("CXX", "false")
    elif cause == "processor":  # without 8-bit products
        monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-march=x86-64-v3"))
    elif cause == "no command":
        monkeypatch.setenv("CXX", "'")
    else:
        cache_folder.mkdir()
        cache_folder.chmod(0o777)
    with pytest.raises(UserError, match="--compile on"):
        decoder_for(stock(), "on", quantize=True)
    device = cpu()
    decoder = make_decoder(stock().state_dict(), shape_of(stock().config.to_dict()), device, True, "auto")
    assert isinstance(decoder, TorchDecoder) and "no C++ kernel" in device.notes[0] and "\n" not in device.notes[0]


@needs_compiler
def test_what_no_row_has_room_for_is_refused() -> None:
    decoder = decoder_for(stock(), "on")
    cache = decoder.new_cache(1, 16)
    cache.lengths[0] = 16
    for tokens, start in (([5], 16), ([V], 0), ([-1], 0)):
        cache.lengths[0] = start
        with pytest.raises(IndexError):
            cache.step(tokens)


# ----- model folders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["whole", "in parts", "without the trunk's name", "pickled", "bf16"])
def test_weights_are_read_in_all_their_forms(form: str, tmp_path: Path) -> None:
    model = stock()
    model.save_pretrained(tmp_path, max_shard_size="50KB" if form == "in parts" else "1GB")
    whole = tmp_path / "model.safetensors"
    expected = model.state_dict()
    if form == "in parts":
        assert not whole.exists()
    elif form != "whole":
        whole.unlink()
        if form == "pickled":
            torch.save(expected, tmp_path / "pytorch_model.bin")
        else:
            trunk = {name: value.clone() for name, value in expected.items() if name.startswith("transformer.")}
            if form == "bf16":
                expected = {name: value.bfloat16().float() for name, value in expected.items()}
                save_file({name: value.bfloat16() for name, value in trunk.items()}, whole)
            else:
                save_file({name.removeprefix("transformer."): value for name, value in trunk.items()}, whole)
    weights = read_weights(tmp_path, shape_of(json.loads((tmp_path / "config.json").read_text())), V)
    assert all(torch.equal(value, expected[name]) and value.dtype is torch.float32 for name, value in weights.items())
    assert {*weights} == {name for name in expected if name != "lm_head.weight"}
    ids = some_ids(9)
    assert all_logits(load_decoder(tmp_path, V, cpu()), ids).shape == (9, V)
