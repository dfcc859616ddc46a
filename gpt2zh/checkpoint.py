"""Model folders, complete and whole.

    config.json, generation_config.json, model.safetensors   stock transformers
    tokenizer.json, tokenizer_config.json                    AutoTokenizer gives the ids of training
    training.json                                            step, losses and the command line behind the weights

In: a model, a tokenizer. Out: the folder, written beside and renamed: a kill leaves the old one.
"""

import json
from pathlib import Path
from typing import Protocol

import torch
from transformers import GPT2LMHeadModel

from gpt2zh.files import new_folder, write_text


class FolderWriter(Protocol):
    """What a model folder asks of a tokenizer."""

    def save(self, folder: Path, n_ctx: int) -> None: ...


def save_model(
    folder: Path,
    model: GPT2LMHeadModel,
    tokenizer: FolderWriter,
    record: dict[str, object],
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a model folder in place of `folder`. `record` goes into training.json; `weights`, if given, replace the model's."""
    with new_folder(folder) as beside:
        model.save_pretrained(
            beside, state_dict=None if weights is None else dict(weights)
        )  # it empties what it is given
        tokenizer.save(beside, model.config.n_positions)
        write_text(beside / "training.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
