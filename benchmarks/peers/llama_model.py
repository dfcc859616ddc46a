"""A stock GPT-2 folder -> a GGUF file, for timing llama.cpp: weights only, no tokenizer."""

from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file
from transformers import GPT2Config

TYPES = {
    "fp32": gguf.GGMLQuantizationType.F32,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "int8": gguf.GGMLQuantizationType.Q8_0,
}
NAMES = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def write_gguf(folder: Path, path: Path, kind: str) -> None:
    """Matrices in the type `kind` (fp32, bf16, int8), all else in fp32."""
    config, weights = GPT2Config.from_pretrained(folder), load_file(folder / "model.safetensors")
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(config.n_positions)
    writer.add_block_count(config.n_layer)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")

    def add(name: str, array: np.ndarray, quantise: bool) -> None:
        type_ = TYPES[kind] if quantise else TYPES["fp32"]
        writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(array), type_), raw_dtype=type_)

    add("token_embd.weight", weights["transformer.wte.weight"], True)
    add("position_embd.weight", weights["transformer.wpe.weight"], False)
    for part in ("weight", "bias"):
        add(f"output_norm.{part}", weights[f"transformer.ln_f.{part}"], False)
        for layer in range(config.n_layer):
            for theirs, name in NAMES.items():
                array = weights[f"transformer.h.{layer}.{theirs}.{part}"]
                add(f"blk.{layer}.{name}.{part}", array.T, array.ndim == 2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
