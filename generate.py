"""A trained model writes on: prefix in, samples on the screen and in mnt/.

python generate.py --model_path model/final_model --prefix 秋天的后半夜 --length 350 --save_samples
python generate.py --model_path model/final_model --interactive
"""

import gpt2zh.needs  # noqa: F401

# isort: split

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2zh.console import visible
from gpt2zh.errors import UserError, run_script, say
from gpt2zh.flags.command_line import named_values
from gpt2zh.flags.generate import DEFAULT_PREFIX, GenerateFlags, generate_flags
from gpt2zh.generation.folders import chosen_model, models_of_epochs
from gpt2zh.generation.interactive import converse
from gpt2zh.generation.samples import Sample, SavedSamples, sample_block
from gpt2zh.system.files import read_text, require_writable, write_text
from tokenizations.loading import tokenizer_for_model
from tokenizations.text_stream import TextStream
from tokenizations.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gpt2zh.generation.writer import Writer

TOKENS_A_SENTENCE = 150  # at most, where --sentences is given and --length is not
TOKENS_A_TURN = 100  # of --interactive, where --length is not given


def main(argv: Sequence[str] | None = None) -> None:
    flags = generate_flags(argv)
    folder = chosen_model(flags.model.model_path)
    if flags.text.seed is None:
        flags = replace(flags, text=replace(flags.text, seed=secrets.randbelow(10**9)))
    if flags.text.prefix_file:
        flags = replace(flags, text=replace(flags.text, prefix=read_text(flags.text.prefix_file).removesuffix("\n")))
    if flags.text.titles or flags.text.titles_file:
        write_articles(flags, folder)
    elif flags.text.interactive:
        writer = load_writer(flags, folder)
        converse(writer.continue_text, start="" if flags.text.prefix == DEFAULT_PREFIX else flags.text.prefix)
    elif flags.text.all_epochs:
        compare_epochs(flags, models_of_epochs(folder))
    elif flags.search.num_beams > 1:
        search_beams(flags, folder)
    else:
        write_samples(flags, folder)


# ----- the ways to write ----------------------------------------------------------------------------------------------


def write_samples(flags: GenerateFlags, folder: Path) -> None:
    """Some texts after the prefix."""
    with saved_samples(flags) as saved:
        writer = load_writer(flags, folder, [flags.text.prefix])
        for _, sample in writer.samples([flags.text.prefix], flags.text.nsamples):
            saved.add(sample)
        saved.tokens_per_second = writer.tokens_per_second
    writer.report()


def write_articles(flags: GenerateFlags, folder: Path) -> None:
    """Some articles for each title, a file each, as the ancestor's generate_texts.py."""
    titles = read_text(flags.text.titles_file).split("\n") if flags.text.titles_file else flags.text.titles.split()
    titles = [title.strip() for title in titles if title.strip()]
    if not titles:
        raise UserError(f"{flags.text.titles_file} 里没有标题。", f"there are no titles in {flags.text.titles_file}.")
    require_writable(flags.output.save_samples_path)
    writer = load_writer(flags, folder, titles)
    for i, sample in writer.samples(titles, flags.text.articles_per_title):
        write_text(flags.output.save_samples_path / f"{i}-{sample.number - 1}.txt", sample.text + "\n")
    say(
        f"{len(titles)} 个标题、各 {flags.text.articles_per_title} 篇已存入 {flags.output.save_samples_path}/<标题序号>-<篇序号>.txt，序号从 0 起",
        f"{flags.text.articles_per_title} articles for each of {len(titles)} titles saved to {flags.output.save_samples_path}/<title>-<article>.txt",
    )
    writer.report()


def compare_epochs(flags: GenerateFlags, folders: Sequence[Path]) -> None:
    """The same prefix and seed through the model of each epoch, side by side in one page."""
    require_writable(flags.output.save_samples_path)
    page = flags.output.save_samples_path / "all_epochs.md"
    texts: dict[str, list[str]] = {}
    for folder in folders:
        samples = [
            sample
            for _, sample in load_writer(flags, folder, [flags.text.prefix]).samples(
                [flags.text.prefix], flags.text.nsamples
            )
        ]
        texts[folder.name] = [sample.text for sample in sorted(samples, key=lambda sample: sample.number)]
        parts = [f"# {folder.parent}：{flags.text.prefix}（--seed {flags.text.seed}）\n"]
        for number in range(flags.text.nsamples):
            parts.append(f"\n## SAMPLE {number + 1}\n")
            parts += [f"\n### {name}\n\n{several[number]}\n" for name, several in texts.items()]
        write_text(page, "".join(parts))
    say(f"{len(folders)} 个模型的样本并排存在 {page}", f"samples of {len(folders)} models side by side in {page}")


def search_beams(flags: GenerateFlags, folder: Path) -> None:
    """The most probable text that transformers' beam search finds."""
    with saved_samples(flags) as saved:
        tokenizer = tokenizer_for_model(folder, flags.model.tokenizer_path)
        prefix = read_prefix(tokenizer, flags.text.prefix, flags.text.raw_prefix)

        from gpt2zh.device import choose_device
        from gpt2zh.sampling import search_most_probable

        device = choose_device(flags.compute.device, flags.compute.precision)
        ids = search_most_probable(
            folder, tokenizer, device, prefix, flags.text.length, flags.search.num_beams, flags.sampling
        )
        text = tokenizer.decode_after(flags.text.prefix, prefix, ids)
        print(visible(sample_block(1, text)))
        saved.add(Sample(1, text))


def saved_samples(flags: GenerateFlags) -> SavedSamples:
    """Where samples are saved."""
    return SavedSamples(
        flags.output.save_samples_path, flags.output.save_samples, flags.output.save_json, named_values(flags)
    )


# ----- what they share ------------------------------------------------------------------------------------------------


def load_writer(flags: GenerateFlags, folder: Path, prompts: Sequence[str] = ()) -> "Writer":
    """The model in `folder` with its tokenizer. Args: prompts, what it will be asked to continue; said before anything slow is loaded."""
    tokenizer = tokenizer_for_model(folder, flags.model.tokenizer_path)
    prefixes = [read_prefix(tokenizer, prompt, flags.text.raw_prefix) for prompt in prompts]

    # torch only now: --help and a typing error in a path answer at once.
    from gpt2zh.device import choose_device
    from gpt2zh.generation.decoder import load_decoder
    from gpt2zh.generation.writer import Manner, Writer

    device = choose_device(flags.compute.device, flags.compute.precision)
    decoder = load_decoder(folder, len(tokenizer), device, flags.compute.quantize == "int8", flags.compute.compile)
    for note in device.notes:
        print(note)
    n_ctx = decoder.shape.n_positions
    if prefixes:
        say_what_is_beyond(max(map(len, prefixes)), n_ctx, flags.text.length)
    length = flags.text.length
    if length == -1:
        length = TOKENS_A_TURN if flags.text.interactive else max(n_ctx, TOKENS_A_SENTENCE * flags.sampling.sentences)
    words = flags.text
    manner = Manner(
        flags.settings, words.seed or 0, length, words.batch_size, words.raw_prefix, flags.output.stream,
        words.ban, words.bias, words.stop,
    )  # fmt: skip
    form = "CPU, int8" if flags.compute.quantize == "int8" else str(device)
    say(
        f"{folder}，{form}，种子 {flags.text.seed}", f"{folder}, {form}; --seed {flags.text.seed} gives this text again"
    )
    return Writer(tokenizer, decoder, manner, lambda: TextStream(tokenizer.pipeline))


def say_what_is_beyond(n_prefix: int, n_ctx: int, length: int) -> None:
    """Say what of a prefix and a length the context has no room for."""
    if n_prefix > n_ctx:
        say(
            f"前缀有 {n_prefix} 词元，超过上下文 {n_ctx}：只读最后 {n_ctx // 2} 个。",
            f"the prefix has {n_prefix} tokens, the context {n_ctx}: only the last {n_ctx // 2} are read.",
        )
    elif length != -1 and n_prefix + length > n_ctx:
        say(
            f"前缀 {n_prefix} + 新写 {length} 词元超过上下文 {n_ctx}：写满后丢掉较早的一半，接着写。",
            f"prefix {n_prefix} + {length} new tokens exceed the context of {n_ctx}: when it is full the older half is dropped.",
        )


def read_prefix(tokenizer: Tokenizer, prefix: str, raw: bool) -> list[int]:
    """Ids of the prefix, after saying what it really became and which characters the vocabulary lacks."""
    ids = tokenizer.encode_prefix(prefix, raw)
    unknown = tokenizer.unknown_in_prefix(prefix)
    if unknown:
        say(
            f"前缀里有词表之外的字：{' '.join(unknown)}（按 [UNK] 处理）",
            f"characters of the prefix that the vocabulary lacks: {' '.join(unknown)} (read as [UNK])",
        )
    say(f"实际前缀：{tokenizer.show(ids)}", "the prefix as the model reads it")
    return ids


if __name__ == "__main__":
    run_script(main)
