"""config.json -> a GPT-2's shape, checked, without torch.

In: a configuration file, which may be a stranger's. Out: those of its values that make a GPT-2, or the `Shape` that they give.
Refuses: another architecture, numbers that cannot be (heads that do not divide the width, say); all problems at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2zh.errors import UserErrors
from gpt2zh.system.files import read_json_object

SIZES = ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size")
MOST = {"n_layer": 1000, "n_head": 1000, "n_embd": 10**5, "n_positions": 10**6, "vocab_size": 10**7}  # beyond any GPT-2
MOST_INNER = 10**6
LONGEST_SHOWN = 60  # characters of a value in a message
FRACTIONS = {"attn_pdrop", "embd_pdrop", "resid_pdrop", "initializer_range", "layer_norm_epsilon"}
SWITCHES = {"scale_attn_weights", "scale_attn_by_inverse_layer_idx", "tie_word_embeddings"}
ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh", "gelu", "relu", "silu", "swish", "tanh")
# All that is read of a configuration: what else other programs write changes nothing here, and is not handed on.
KNOWN = {"model_type", "n_ctx", "n_inner", "activation_function", *SIZES, *FRACTIONS, *SWITCHES}


@dataclass(frozen=True)
class Shape:
    """What a forward pass has to know besides the weights; the names and defaults of transformers' GPT2Config."""

    n_layer: int
    n_head: int
    n_embd: int
    n_positions: int
    vocab_size: int
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True

    def attention_scale(self, layer: int) -> float:
        """What the scores of layer number `layer` (from 0) are multiplied with."""
        scale = (self.n_embd // self.n_head) ** -0.5 if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight of a stock GPT2LMHeadModel; its layers' matrices are (in, out)."""
        width, inner = self.n_embd, self.n_inner or 4 * self.n_embd
        shapes: dict[str, tuple[int, ...]] = {
            "transformer.wte.weight": (self.vocab_size, width),
            "transformer.wpe.weight": (self.n_positions, width),
        }
        norms = ["transformer.ln_f"]
        for layer in range(self.n_layer):
            place = f"transformer.h.{layer}"
            norms += [f"{place}.ln_1", f"{place}.ln_2"]
            for name, n_in, n_out in (
                ("attn.c_attn", width, 3 * width),
                ("attn.c_proj", width, width),
                ("mlp.c_fc", width, inner),
                ("mlp.c_proj", inner, width),
            ):
                shapes |= {f"{place}.{name}.weight": (n_in, n_out), f"{place}.{name}.bias": (n_out,)}
        shapes |= {f"{norm}.{part}": (width,) for norm in norms for part in ("weight", "bias")}
        return shapes if self.tie_word_embeddings else {**shapes, "lm_head.weight": (self.vocab_size, width)}

    def __str__(self) -> str:
        return json.dumps({name: getattr(self, name) for name in SIZES})


def shape_of(values: Mapping[str, Any]) -> Shape:
    """The shape among a configuration's values."""
    return Shape(**{name: values[name] for name in Shape.__dataclass_fields__ if name in values})


def read_values(path: Path) -> dict[str, Any]:
    """Read and check a model configuration; n_ctx and n_positions are one thing under two names. Other keys are left out.

    Raises:
        UserErrors: not a GPT-2, or a number that cannot be; all problems at once.
    """
    values: dict[str, Any] = {name: value for name, value in read_json_object(path).items() if name in KNOWN}
    values.setdefault("n_positions", values.get("n_ctx"))
    values.setdefault("n_ctx", values["n_positions"])
    problems = []

    def demand(holds: bool, name: str, zh: str, en: str) -> None:
        if not holds:
            value = repr(values.get(name))
            value = value if len(value) < LONGEST_SHOWN else value[:LONGEST_SHOWN] + "…"
            problems.append((f"{path} 的 {name} 是 {value}，应{zh}", f"{path}: {name} is {value}, must be {en}"))

    demand(values.get("model_type", "gpt2") == "gpt2", "model_type", "是 gpt2", "gpt2")
    for name, most in MOST.items():
        right = type(values.get(name)) is int and 0 < values[name] <= most
        demand(right, name, f"是正整数，不超过 {most}", f"a positive integer, at most {most}")
    inner = values.get("n_inner")
    right = inner is None or (type(inner) is int and 0 < inner <= MOST_INNER)
    demand(
        right, "n_inner", f"是 null 或正整数，不超过 {MOST_INNER}", f"null or a positive integer, at most {MOST_INNER}"
    )
    activation = values.get("activation_function", ACTIVATIONS[0])
    known = isinstance(activation, str) and activation in ACTIVATIONS
    demand(known, "activation_function", f"是 {' '.join(ACTIVATIONS)} 之一", f"one of {' '.join(ACTIVATIONS)}")
    for name in SWITCHES & values.keys():
        demand(isinstance(values[name], bool), name, "是 true 或 false", "true or false")
    for name in FRACTIONS & values.keys():
        right = type(values[name]) in (int, float) and 0 <= values[name] <= 1
        demand(right, name, "在 0 到 1 之间", "between 0 and 1")
        values[name] = float(values[name]) if right else values[name]  # GPT2Config takes no 0 for 0.0
    if not problems:
        n_positions, n_head = values["n_positions"], values["n_head"]
        demand(values["n_ctx"] == n_positions, "n_ctx", f"等于 n_positions {n_positions}", f"n_positions {n_positions}")
        demand(values["n_embd"] % n_head == 0, "n_embd", f"能被 n_head {n_head} 整除", f"divisible by n_head {n_head}")
    if problems:
        raise UserErrors(problems)
    return values
