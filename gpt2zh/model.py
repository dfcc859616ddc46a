"""Model folders and configurations -> GPT2LMHeadModel, stock and plain.

In: a config JSON and a vocabulary's size, or a folder with config.json and weights. Out: the model.
Refuses: a shape that is none (heads that do not divide the width, say), another architecture, a vocabulary that is not
the weights', weights that are missing or unreadable.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from gpt2zh.errors import UserError, UserErrors
from gpt2zh.files import WEIGHTS, read_json_object, require_model_folder
from gpt2zh.folders import require_unchanged

logging.set_verbosity_error()
logging.disable_progress_bar()

SIZES = ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size")
FRACTIONS = {"attn_pdrop", "embd_pdrop", "resid_pdrop", "initializer_range", "layer_norm_epsilon"}
LEGACY_BUFFERS = (".attn.bias", ".attn.masked_bias")  # masks that old folders saved among the weights


@dataclass(frozen=True)
class ControlIds:
    """Ids that a model folder records, so that stock `generate` starts, stops and pads as training did."""

    document_start: int
    document_end: int
    pad: int


def read_config(path: Path) -> GPT2Config:
    """Read and check a model configuration; n_ctx and n_positions are one thing under two names.

    Raises:
        UserError: not a GPT-2, or a number that cannot be; all problems at once.
    """
    values = read_json_object(path)
    values.setdefault("n_positions", values.get("n_ctx"))
    values.setdefault("n_ctx", values["n_positions"])
    problems = []

    def demand(holds: bool, name: str, zh: str, en: str) -> None:
        if not holds:
            value = values.get(name)
            problems.append((f"{path} 的 {name} 是 {value!r}，应{zh}", f"{path}: {name} is {value!r}, must be {en}"))

    demand(values.get("model_type", "gpt2") == "gpt2", "model_type", "是 gpt2", "gpt2")
    for name in SIZES:
        demand(type(values.get(name)) is int and values[name] > 0, name, "是正整数", "a positive integer")
    for name in FRACTIONS & values.keys():
        number = type(values[name]) in (int, float)
        demand(number and 0 <= values[name] <= 1, name, "在 0 到 1 之间", "between 0 and 1")
        values[name] = float(values[name]) if number else values[name]  # the class takes no 0 for 0.0
    if not problems:
        n_positions, n_head = values["n_positions"], values["n_head"]
        demand(values["n_ctx"] == n_positions, "n_ctx", f"等于 n_positions {n_positions}", f"n_positions {n_positions}")
        demand(values["n_embd"] % n_head == 0, "n_embd", f"能被 n_head {n_head} 整除", f"divisible by n_head {n_head}")
    if problems:
        raise UserErrors(problems)
    try:
        return GPT2Config(**values)
    except Exception as error:  # the class raises kinds of its own for a key that it checks
        raise unusable(str(path), error) from None


def unusable(place: str, error: Exception) -> UserError:
    """The message for a configuration that transformers refuses."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{place} 不是可用的 GPT-2 配置：{reason}", f"{place} is no usable GPT-2 configuration: {reason}")


def new_model(config: GPT2Config, vocab_size: int, ids: ControlIds) -> GPT2LMHeadModel:
    """A model with fresh weights for a vocabulary of `vocab_size` entries, whatever the configuration says of it."""
    config.vocab_size = vocab_size
    try:
        model = GPT2LMHeadModel(config)
    except Exception as error:  # an unknown activation, more weights than memory …
        raise unusable("--model_config", error) from None
    record_ids(model, ids)
    return with_fused_gelu(model)


def load_model(folder: Path, vocab_size: int) -> GPT2LMHeadModel:
    """The model in `folder`, fp32, on the CPU, to be used with a vocabulary of `vocab_size` entries.

    Raises:
        UserError: another vocabulary size, weights that cannot be read, or that are not those of config.json.
    """
    require_model_folder(folder)
    for name in WEIGHTS:
        require_unchanged(folder / name)
    config = read_config(folder / "config.json")
    if config.vocab_size != vocab_size:
        raise UserError(
            f"词表与模型不一致：词表有 {vocab_size} 个词条，{folder} 的 vocab_size 是 {config.vocab_size}。请用训练这个模型的词表。",
            f"vocabulary and model disagree: the vocabulary has {vocab_size} entries, {folder} has vocab_size {config.vocab_size}. Give the vocabulary that this model was trained with.",
        )
    try:
        model, loading = GPT2LMHeadModel.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # safetensors, pickle and the operating system each raise their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{folder} 的权重读不出来：{reason}", f"the weights in {folder} cannot be read: {reason}"
        ) from None
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    wrong = [
        f"{name} 形状/shape {tuple(there)} != {tuple(wanted)}" for name, there, wanted in loading["mismatched_keys"]
    ]
    wrong += [f"{name} 缺失/missing" for name in sorted(set(loading["missing_keys"]) - tied)]
    wrong += [
        f"{name} 多余/not in config" for name in sorted(loading["unexpected_keys"]) if not name.endswith(LEGACY_BUFFERS)
    ]
    if wrong:
        raise UserError(
            f"{folder} 的权重与 config.json 不符，{len(wrong)} 处，如：{wrong[0]}。",
            f"the weights in {folder} do not fit config.json in {len(wrong)} places, for one: {wrong[0]}.",
        )
    return with_fused_gelu(model)


def record_ids(model: GPT2LMHeadModel, ids: ControlIds) -> None:
    """Record where a document starts and ends, for stock transformers."""
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id, config.pad_token_id = ids.document_start, ids.document_end, ids.pad


def with_fused_gelu(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """Compute gelu_new by torch's fused tanh form: the same function without its six temporaries. The config keeps its name."""
    for block in model.transformer.h:
        if model.config.activation_function == "gelu_new":
            block.mlp.act = nn.GELU(approximate="tanh")
    return model


def count_parameters(model: GPT2LMHeadModel) -> int:
    """Number of weights; the output layer shares the embedding's and is not counted twice."""
    return sum(parameter.numel() for parameter in model.parameters())


def shape_of(config: GPT2Config) -> str:
    """A model's shape, for people."""
    return json.dumps({name: getattr(config, name) for name in SIZES})
