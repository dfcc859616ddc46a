"""A trained model writes on: prefix in, samples on the screen and in mnt/samples.txt.

python generate.py --model_path model/final_model --prefix 秋天的后半夜 --length 350 --save_samples
"""

import secrets
from pathlib import Path

from tqdm import tqdm

from gpt2zh.errors import run_script, say
from gpt2zh.files import finished_models, write_text
from gpt2zh.flags import generate_flags
from tokenizations.loading import tokenizer_for_model
from tokenizations.tokenizer import Tokenizer

DEFAULT_MODEL = Path("model/final_model")  # the ancestor's; stands for "the run I just made"


def main() -> None:
    flags = generate_flags()
    folder = chosen_model(flags.model_path)
    tokenizer = tokenizer_for_model(folder, flags.tokenizer_path, flags.segment)
    prefix = prefix_ids(tokenizer, flags.prefix)

    # The torch layer only now: --help and a typing error in a path answer at once.
    from gpt2zh.device import choose_device
    from gpt2zh.model import load_model
    from gpt2zh.sampling import SamplingSettings, generate

    device = choose_device(flags.device, flags.precision)
    for note in device.notes:
        print(note)
    model = load_model(folder, len(tokenizer)).to(device.main).eval()
    n_ctx = model.config.n_positions
    length = n_ctx if flags.length == -1 else flags.length
    if flags.length != -1 and len(prefix) + length > n_ctx:
        say(
            f"前缀 {len(prefix)} + 新写 {length} 词元超过上下文 {n_ctx}：写满后丢掉较早的一半，接着写。",
            f"prefix {len(prefix)} + {length} new tokens exceed the context of {n_ctx}: when it is full the older half is dropped.",
        )
    seed = secrets.randbelow(10**9) if flags.seed is None else flags.seed
    say(f"{folder}，{device}，种子 {seed}", f"--seed {seed} gives this text again")

    settings = SamplingSettings(
        flags.temperature,
        flags.topk,
        flags.topp,
        flags.repetition_penalty,
        tokenizer.never_sampled,
        tokenizer.document_end_id,
    )
    blocks: list[str] = []
    with (
        tqdm(total=flags.nsamples * length, unit="tok", disable=None) as bar,
        device.autocast(),
    ):
        for first in range(0, flags.nsamples, flags.batch_size):
            numbers = range(first, min(first + flags.batch_size, flags.nsamples))
            for number, ids in zip(numbers, generate(model, prefix, length, numbers, seed, settings, bar.update)):
                blocks.append(sample_block(number + 1, tokenizer.decode_after(flags.prefix, prefix, ids)))
                tqdm.write(blocks[-1].rstrip("\n"))
    if flags.save_samples:
        path = flags.save_samples_path / "samples.txt"
        write_text(path, "".join(blocks))
        say(f"{len(blocks)} 篇已存入 {path}", f"{len(blocks)} samples saved to {path}")


def chosen_model(folder: Path) -> Path:
    """`folder`, or the newest finished run where the default folder is empty: said, and for that one path only."""
    finished = finished_models()
    if folder.is_dir() or folder != DEFAULT_MODEL or not finished:
        return folder
    say(
        f"没有 {folder}，改用最近训练完的 {finished[0]}。",
        f"there is no {folder}: using the newest finished run, {finished[0]}.",
    )
    return finished[0]


def prefix_ids(tokenizer: Tokenizer, prefix: str) -> list[int]:
    """Ids of the prefix, after saying what it really became and which characters the vocabulary lacks."""
    ids = tokenizer.encode_prefix(prefix)
    unknown = tokenizer.unknown_in_prefix(prefix)
    if unknown:
        say(
            f"前缀里有词表之外的字：{' '.join(unknown)}（按 [UNK] 处理）",
            f"characters of the prefix that the vocabulary lacks: {' '.join(unknown)} (read as [UNK])",
        )
    say(f"实际前缀：{tokenizer.show(ids)}", "the prefix as the model reads it")
    return ids


def sample_block(number: int, text: str) -> str:
    """One sample as the ancestor's samples.txt has it."""
    return f"{'=' * 40} SAMPLE {number} {'=' * 40}\n{text}\n{'=' * 90}\n\n"


if __name__ == "__main__":
    run_script(main)
