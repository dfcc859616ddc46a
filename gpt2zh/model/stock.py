"""Model folders and configurations -> GPT2LMHeadModel, stock and plain.

In: a config JSON and a vocabulary's size, or a folder with config.json and weights. Out: the model.
Refuses: a shape that cannot be (heads that do not divide the width, say), another architecture, a vocabulary that is not
the weights', weights that are missing or unreadable.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.utils import logging

from gpt2zh.errors import UserError
from gpt2zh.model.shape import read_values, shape_of
from gpt2zh.model.weights import read_weights
from gpt2zh.system import memory
from gpt2zh.system.folders import require_model_folder

logging.set_verbosity_error()
logging.disable_progress_bar()


@dataclass(frozen=True)
class ControlIds:
    """Ids that a model folder records, so that stock `generate` starts, stops and pads as training did."""

    document_start: int
    document_end: int
    pad: int


def read_config(path: Path) -> GPT2Config:
    """Read and check a model configuration.

    Raises:
        UserError: not a GPT-2, or a number that cannot be; all problems at once.
    """
    values = read_values(path)
    try:
        return GPT2Config(**values)
    except Exception as error:  # the class raises kinds of its own for a key that it checks
        raise unusable(str(path), error) from None


def unusable(place: str, error: Exception) -> UserError:
    """The message for a configuration that transformers refuses."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(
        f"{place} 不是可用的 GPT-2 配置：{reason}", f"{place} is not a usable GPT-2 configuration: {reason}"
    )


def new_model(config: GPT2Config, vocab_size: int, ids: ControlIds) -> GPT2LMHeadModel:
    """A model with fresh weights for a vocabulary of `vocab_size` entries, whatever the configuration says of it.

    Raises:
        UserError: a configuration that transformers refuses, or whose weights are more than memory.
    """
    config.vocab_size = vocab_size
    n_weights = sum(math.prod(shape) for shape in shape_of(config.to_dict()).weight_shapes().values())
    room = memory.available()
    if room is not None and 4 * n_weights > room:
        raise UserError(
            f"这个模型有 {n_weights / 1e6:.0f} M 参数，单是权重就要 {4 * n_weights / 1e9:.1f} GB，而可用内存是 {room / 1e9:.1f} GB。请减小 --model_config 里的 n_layer、n_embd。",
            f"this model has {n_weights / 1e6:.0f} M parameters, whose weights alone are {4 * n_weights / 1e9:.1f} GB, and {room / 1e9:.1f} GB of memory are free. Lower n_layer or n_embd in --model_config.",
        )
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
    config = read_config(folder / "config.json")
    weights = read_weights(folder, shape_of(config.to_dict()), vocab_size)
    model = GPT2LMHeadModel.from_pretrained(None, config=config, state_dict=weights, dtype=torch.float32)
    return with_fused_gelu(model)


def record_ids(model: GPT2LMHeadModel, ids: ControlIds) -> None:
    """Record where a document starts and ends, for stock transformers."""
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id, config.pad_token_id = ids.document_start, ids.document_end, ids.pad


def with_fused_gelu(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """Compute gelu_new by torch's fused tanh form: the same function without its six temporaries. The config keeps its name."""
    for block in (cast(GPT2Block, block) for block in model.transformer.h):
        if model.config.activation_function == "gelu_new":
            block.mlp.act = nn.GELU(approximate="tanh")
    return model


def count_parameters(model: GPT2LMHeadModel) -> int:
    """Number of weights; the output layer shares the embedding's and is not counted twice."""
    return sum(parameter.numel() for parameter in model.parameters())
