"""A model folder's weights by their stock names, checked, without transformers.

In: a folder, the shape that its config.json gives. Out: {name: tensor}, fp32, on the CPU.
Refuses: files that changed since they were saved, that cannot be read, or hold other weights than the shape's.
"""

import json
from pathlib import Path

import safetensors.torch
import torch

from gpt2zh.errors import UserError
from gpt2zh.model.shape import Shape
from gpt2zh.system.files import require_file
from gpt2zh.system.folders import WEIGHTS, require_unchanged

LEGACY_BUFFERS = (".attn.bias", ".attn.masked_bias")  # masks that old folders saved among the weights
TRUNK = "transformer."  # the hub's first GPT-2 files leave it out


def read_weights(folder: Path, shape: Shape, vocab_size: int) -> dict[str, torch.Tensor]:
    """The weights in `folder`, to be used with a vocabulary of `vocab_size` entries.

    Raises:
        UserError: another vocabulary size, weights that cannot be read, or that are not those of config.json.
    """
    for name in WEIGHTS:
        require_unchanged(folder / name)
    if shape.vocab_size != vocab_size:
        raise UserError(
            f"词表与模型不一致：词表有 {vocab_size} 个词条，{folder} 的 vocab_size 是 {shape.vocab_size}。请用训练这个模型的词表。",
            f"vocabulary and model disagree: the vocabulary has {vocab_size} entries, {folder} has vocab_size {shape.vocab_size}. Give the vocabulary that this model was trained with.",
        )
    try:
        found = _plain(_read(folder))
    except UserError:
        raise
    except Exception as error:  # safetensors, pickle and the operating system each raise their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{folder} 的权重读不出来：{reason}", f"the weights in {folder} cannot be read: {reason}"
        ) from None
    if not any(name.startswith(TRUNK) for name in found):
        found = {name if name.startswith("lm_head") else TRUNK + name: tensor for name, tensor in found.items()}
    expected = shape.weight_shapes()
    wrong = [
        f"{name} 形状/shape {tuple(found[name].shape)} != {wanted}"
        for name, wanted in expected.items()
        if name in found and tuple(found[name].shape) != wanted
    ]
    wrong += [f"{name} 缺失/missing" for name in expected if name not in found]
    wrong += [
        f"{name} 多余/not in config"
        for name in found
        if name not in expected and name != "lm_head.weight" and not name.endswith(LEGACY_BUFFERS)
    ]
    if wrong:
        raise UserError(
            f"{folder} 的权重与 config.json 不符，{len(wrong)} 处，如：{wrong[0]}。",
            f"the weights in {folder} do not fit config.json in {len(wrong)} places, for one: {wrong[0]}.",
        )
    numbers = {name: found[name].float() for name in expected}
    odd = next((name for name, tensor in numbers.items() if not tensor.isfinite().all()), None)
    if odd is not None:
        raise UserError(
            f"{folder} 的权重 {odd} 里有 NaN 或无穷大，写不出文字：训练时发散了，或文件损坏。请换一个模型文件夹。",
            f"the weights {odd} in {folder} have NaN or infinities, so that nothing can be written: training diverged, or the file is damaged. Give another model folder.",
        )
    return numbers


def _plain(found: object) -> dict[str, torch.Tensor]:
    """`found` as named tensors that lie in memory as they are. Raises ValueError for anything else that a pickle may hold."""
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__} where a dictionary of tensors is expected")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{name}: a {type(tensor).__name__}, not a tensor")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.dtype.is_floating_point:
            if not name.endswith(LEGACY_BUFFERS):
                raise ValueError(f"{name}: {tensor.layout}, {tensor.device}, {tensor.dtype}, not plain numbers")
        elif any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)):
            raise ValueError(f"{name}: one number stands for many")
    return found


def _read(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the weight files, in whichever of the forms they are."""
    whole, index, pickled = (folder / name for name in WEIGHTS)
    if whole.exists():
        return safetensors.torch.load_file(whole)
    if index.exists():
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        for part in parts:
            require_file(folder / part)
        return {name: one for part in parts for name, one in safetensors.torch.load_file(folder / part).items()}
    return torch.load(pickled, map_location="cpu", weights_only=True)
