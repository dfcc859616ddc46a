"""Model folders and configurations -> GPT2LMHeadModel, stock and plain.

In: a config JSON and a vocabulary's size, or a folder with config.json and weights. Out: the model.
Refuses: a shape that is none (heads that do not divide the width, say), another architecture, a vocabulary that is not
the weights', weights that are missing or unreadable.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from gpt2zh.errors import UserError, UserErrors
from gpt2zh.files import read_json_object, require_model_folder

logging.set_verbosity_error()
logging.disable_progress_bar()

SIZES = ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size")


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
    problems = []
    if values.get("model_type", "gpt2") != "gpt2":
        problems.append(
            (
                f"{path} 的 model_type 是 {values['model_type']}，应是 gpt2",
                f"{path}: model_type is {values['model_type']}, must be gpt2",
            )
        )
    values.setdefault("n_positions", values.get("n_ctx", GPT2Config().n_positions))
    values.setdefault("n_ctx", values["n_positions"])
    if values["n_ctx"] != values["n_positions"]:
        problems.append(
            (
                f"{path} 的 n_ctx {values['n_ctx']} 与 n_positions {values['n_positions']} 不一致",
                f"{path}: n_ctx {values['n_ctx']} and n_positions {values['n_positions']} disagree",
            )
        )
    sizes = {name: values.get(name, getattr(GPT2Config(), name)) for name in SIZES}
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.append(
                (
                    f"{path} 的 {name} 是 {value!r}，应是正整数",
                    f"{path}: {name} is {value!r}, must be a positive integer",
                )
            )
    if not problems and sizes["n_embd"] % sizes["n_head"]:
        problems.append(
            (
                f"{path} 的 n_embd {sizes['n_embd']} 不能被 n_head {sizes['n_head']} 整除",
                f"{path}: n_embd {sizes['n_embd']} is not divisible by n_head {sizes['n_head']}",
            )
        )
    if problems:
        raise UserErrors(problems)
    try:
        return GPT2Config(**values)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path} 不是可用的 GPT-2 配置：{error}。", f"{path} is no usable GPT-2 configuration: {error}."
        ) from None


def new_model(config: GPT2Config, vocab_size: int, ids: ControlIds) -> GPT2LMHeadModel:
    """A model with fresh weights for a vocabulary of `vocab_size` entries, whatever the configuration says of it."""
    config.vocab_size = vocab_size
    return with_fused_gelu(GPT2LMHeadModel(with_ids(config, ids)))


def load_model(folder: Path, vocab_size: int | None = None) -> GPT2LMHeadModel:
    """The model in `folder`, fp32, on the CPU.

    Args:
        vocab_size: entries of the vocabulary that is to be used with it; None where nothing is to be compared.
    """
    require_model_folder(folder)
    config = read_config(folder / "config.json")
    if vocab_size is not None and config.vocab_size != vocab_size:
        raise UserError(
            f"词表与模型不一致：词表有 {vocab_size} 个词条，{folder} 的 vocab_size 是 {config.vocab_size}。请用训练这个模型的词表。",
            f"vocabulary and model disagree: the vocabulary has {vocab_size} entries, {folder} has vocab_size {config.vocab_size}. Give the vocabulary that this model was trained with.",
        )
    try:
        model, loading = GPT2LMHeadModel.from_pretrained(
            folder, config=config, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{folder} 的权重读不出来：{reason}", f"the weights in {folder} cannot be read: {reason}"
        ) from None
    wrong = sorted(
        {*loading["missing_keys"], *(key for key, *_ in loading.get("mismatched_keys", []))} - {"lm_head.weight"}
    )
    if wrong:
        raise UserError(
            f"{folder} 的权重与 config.json 不符，缺 {len(wrong)} 个张量，如 {wrong[0]}。",
            f"the weights in {folder} do not fit config.json: {len(wrong)} tensors are missing, {wrong[0]} for one.",
        )
    return with_fused_gelu(model)


def with_fused_gelu(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """Compute gelu_new by torch's fused tanh form: the same function without its six temporaries. The config keeps its name."""
    for block in model.transformer.h:
        if model.config.activation_function == "gelu_new":
            block.mlp.act = nn.GELU(approximate="tanh")
    return model


def with_ids(config: GPT2Config, ids: ControlIds) -> GPT2Config:
    """Record where a document starts and ends."""
    config.bos_token_id, config.eos_token_id, config.pad_token_id = ids.document_start, ids.document_end, ids.pad
    return config


def count_parameters(model: GPT2LMHeadModel) -> int:
    """Number of weights; the output layer shares the embedding's and is not counted twice."""
    return sum(parameter.numel() for parameter in model.parameters())


def shape_of(model: GPT2LMHeadModel) -> str:
    """The model's shape, for people."""
    config = model.config
    return json.dumps({name: getattr(config, name) for name in SIZES})
