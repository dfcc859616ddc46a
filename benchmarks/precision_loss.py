"""What bf16 and int8 cost when writing: bits per character of held-out text through generate.py's decoder.

    python benchmarks/precision_loss.py --model_path model_demo/best_model --tokenized_data_path data/tokenized_demo/

Windows as evaluate.py's: n_ctx ids, half of them context, every held-out id judged once; logits by gpt2zh/generation/decoder.py in
each precision, a step for each id. The first row is also compared with evaluate.py's own figure in fp32 by its test.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F

from benchmarks.peers.launch import machine
from gpt2zh.device import choose_device, has_fast_bf16
from gpt2zh.evaluation.likelihood import Score
from gpt2zh.generation.decoder import Decoder, load_decoder
from gpt2zh.shards import format as shards
from gpt2zh.shards.batches import IGNORE, evaluation_batches
from tokenizations.loading import load_tokenizer

ROWS = 8  # windows at a time


@torch.inference_mode()
def bits_per_character(decoder: Decoder, data: shards.Shards) -> float:
    """Of what training held out."""
    nats, n_tokens = 0.0, 0
    n_ctx = decoder.shape.n_positions
    for inputs, targets in evaluation_batches(data.val, n_ctx, None, ROWS):  # (B, n_ctx)
        cache = decoder.new_cache(len(inputs), n_ctx)
        for tokens, next_tokens in zip(inputs.T, torch.from_numpy(targets).T):
            logits = cache.step(tokens.tolist())  # (B, V)
            nats += F.cross_entropy(logits, next_tokens, ignore_index=IGNORE, reduction="sum").item()
        n_tokens += int((targets != IGNORE).sum())
    return Score(nats, n_tokens, data.manifest.characters.val).bits_per_character


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", type=Path, default=Path("model_demo/best_model"))
    parser.add_argument("--tokenized_data_path", type=Path, default=Path("data/tokenized_demo/"))
    flags = parser.parse_args()
    data, tokenizer = shards.open_shards(flags.tokenized_data_path), load_tokenizer(flags.model_path)
    print(f"{machine()}; {flags.model_path}, {data.manifest.characters.val:,} characters\n")
    print("| precision | bits per character | above fp32 |\n|---|---|---|")
    plain = 0.0
    for precision, quantize in (("fp32", False), ("bf16", False), ("fp32", True)):
        if precision == "bf16" and not has_fast_bf16(torch.device("cpu")):
            continue
        bits = bits_per_character(
            load_decoder(flags.model_path, len(tokenizer), choose_device("cpu", precision), quantize), data
        )
        plain = plain or bits
        print(f"| {'int8' if quantize else precision} | {bits:.5f} | {bits - plain:+.5f} |", flush=True)


if __name__ == "__main__":
    main()
