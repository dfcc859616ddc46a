"""A trained model writes on: prefix in, samples on the screen and in mnt/.

python generate.py --model_path model/final_model --prefix 秋天的后半夜 --length 350 --save_samples
python generate.py --model_path model/final_model --interactive
"""

import argparse
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from gpt2zh.errors import UserError, run_script, say
from gpt2zh.flags.old_model_flags import DEFAULT_PREFIX, generate_flags
from gpt2zh.generation.interactive import converse
from gpt2zh.generation.samples import SavedSamples, sample_block
from gpt2zh.generation.screen import Screen
from gpt2zh.system.files import finished_models, read_text, require_writable, write_text
from tokenizations.loading import tokenizer_for_model
from tokenizations.text_stream import TextStream
from tokenizations.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gpt2zh.generation.draft import Draft

DEFAULT_MODEL = Path("model/final_model")  # the ancestor's; stands for "the run I just made"
TOKENS_A_SENTENCE = 150  # at most, where --sentences is given and --length is not
TOKENS_A_TURN = 100  # of --interactive, where --length is not given


def main() -> None:
    flags = generate_flags()
    folder = chosen_model(flags.model_path)
    flags.seed = secrets.randbelow(10**9) if flags.seed is None else flags.seed
    if flags.titles or flags.titles_file:
        write_articles(flags, folder)
    elif flags.interactive:
        author = Author(flags, folder)
        converse(author.continue_text, start="" if flags.prefix == DEFAULT_PREFIX else flags.prefix)
    elif flags.all_epochs:
        compare_epochs(flags, models_of_epochs(folder))
    else:
        with SavedSamples(flags.save_samples_path, flags.save_samples, flags.save_json, vars(flags)) as saved:
            if flags.num_beams > 1:
                search_beams(flags, folder, saved)
                return
            author = Author(flags, folder, [flags.prefix])
            for _ in author.samples(flags.prefix, flags.nsamples, saved.add):
                pass
            saved.about["tokens_per_second"] = author.tokens_per_second
        author.report()


# ----- what the flags ask for, one function each ----------------------------------------------------------------------


def write_articles(flags: argparse.Namespace, folder: Path) -> None:
    """Some articles for each title, a file each, as the ancestor's generate_texts.py."""
    titles = read_text(flags.titles_file).split("\n") if flags.titles_file else flags.titles.split()
    titles = [title.strip() for title in titles if title.strip()]
    if not titles:
        raise UserError(f"{flags.titles_file} 里没有标题。", f"there are no titles in {flags.titles_file}.")
    require_writable(flags.save_samples_path)
    author = Author(flags, folder, titles)
    for i, title in enumerate(titles):
        for sample in author.samples(title, flags.articles_per_title):
            write_text(flags.save_samples_path / f"{i}-{sample['number'] - 1}.txt", sample["text"] + "\n")
    say(
        f"{len(titles)} 个标题、各 {flags.articles_per_title} 篇已存入 {flags.save_samples_path}/<标题序号>-<篇序号>.txt，序号从 0 起",
        f"{flags.articles_per_title} articles for each of {len(titles)} titles saved to {flags.save_samples_path}/<title>-<article>.txt",
    )
    author.report()


def compare_epochs(flags: argparse.Namespace, folders: Sequence[Path]) -> None:
    """The same prefix and seed through the model of each epoch, side by side in one page."""
    require_writable(flags.save_samples_path)
    page = flags.save_samples_path / "all_epochs.md"
    texts: dict[str, list[str]] = {}
    for folder in folders:
        author = Author(flags, folder, [flags.prefix])
        texts[folder.name] = [str(sample["text"]) for sample in author.samples(flags.prefix, flags.nsamples)]
        parts = [f"# {folder.parent}：{flags.prefix}（--seed {flags.seed}）\n"]
        for number in range(flags.nsamples):
            parts.append(f"\n## SAMPLE {number + 1}\n")
            parts += [f"\n### {name}\n\n{several[number]}\n" for name, several in texts.items()]
        write_text(page, "".join(parts))
    say(f"{len(folders)} 个模型的样本并排存在 {page}", f"samples of {len(folders)} models side by side in {page}")


def search_beams(flags: argparse.Namespace, folder: Path, saved: SavedSamples) -> None:
    """The most probable text that transformers' beam search finds."""
    tokenizer = tokenizer_for_model(folder, flags.tokenizer_path, flags.segment)
    prefix = read_prefix(tokenizer, flags.prefix, flags.raw_prefix)

    import torch

    from gpt2zh.device import choose_device
    from gpt2zh.model.stock import load_model

    device = choose_device(flags.device, flags.precision)
    model = load_model(folder, len(tokenizer)).to(device.main).eval()
    n_ctx = model.config.n_positions
    length = n_ctx - len(prefix) if flags.length == -1 else flags.length
    if length < 1 or len(prefix) + length > n_ctx:
        raise UserError(
            f"--num_beams 不能越过上下文：前缀 {len(prefix)} + --length {flags.length} 超过 {n_ctx} 词元。请改短。",
            f"--num_beams cannot go beyond the context: prefix {len(prefix)} + --length {flags.length} exceed {n_ctx} tokens. Make them shorter.",
        )
    with device.autocast():
        found = model.generate(
            torch.tensor([prefix], device=device.main),
            num_beams=flags.num_beams,
            max_new_tokens=length,
            do_sample=False,
            suppress_tokens=tokenizer.never_sampled,
            repetition_penalty=flags.repetition_penalty,
            no_repeat_ngram_size=flags.no_repeat_ngram,
        )
    text = tokenizer.decode_after(flags.prefix, prefix, found[0, len(prefix) :].tolist())
    print(sample_block(1, text))
    saved.add({"number": 1, "text": text})


# ----- a model at work ------------------------------------------------------------------------------------------------


class Author:
    """A loaded model, its tokenizer and how it is to write.

    Args:
        prompts: what it will be asked to continue; said before anything slow is loaded.
    """

    def __init__(self, flags: argparse.Namespace, folder: Path, prompts: Sequence[str] = ()) -> None:
        self.tokenizer = tokenizer_for_model(folder, flags.tokenizer_path, flags.segment)
        prefixes = [read_prefix(self.tokenizer, prompt, flags.raw_prefix) for prompt in prompts]

        # The torch layer only now: --help and a typing error in a path answer at once.
        from gpt2zh.device import choose_device
        from gpt2zh.generation.decoder import load_decoder
        from gpt2zh.generation.logits import SamplingSettings

        device = choose_device(flags.device, flags.precision)
        self.decoder = load_decoder(folder, len(self.tokenizer), device, flags.quantize == "int8", flags.compile)
        for note in device.notes:
            print(note)
        self.seed, self.batch_size = flags.seed, flags.batch_size
        self.stream, self.raw_prefix = flags.stream, flags.raw_prefix
        self.turn_length = TOKENS_A_TURN if flags.length == -1 else flags.length
        self.n_written, self.seconds = 0, 0.0
        self.settings = SamplingSettings(
            temperature=0.0 if flags.greedy else flags.temperature,
            top_k=flags.topk,
            top_p=flags.topp,
            min_p=flags.min_p,
            typical_p=flags.typical_p,
            repetition_penalty=flags.repetition_penalty,
            presence_penalty=flags.presence_penalty,
            frequency_penalty=flags.frequency_penalty,
            penalty_window=flags.penalty_window,
            no_repeat_ngram=flags.no_repeat_ngram,
            break_loops=not flags.keep_loops,
            sentences=flags.sentences,
            finish_sentence=flags.finish_sentence,
            ignore_end=flags.ignore_end,
        )
        n_ctx = self.decoder.shape.n_positions
        unset = max(n_ctx, TOKENS_A_SENTENCE * flags.sentences)
        self.length = unset if flags.length == -1 else flags.length
        if prefixes:
            self._say_what_is_beyond(max(map(len, prefixes)), n_ctx, flags.length)
        form = "CPU, int8" if flags.quantize == "int8" else str(device)
        say(f"{folder}，{form}，种子 {self.seed}", f"--seed {self.seed} gives this text again")

    @staticmethod
    def _say_what_is_beyond(n_prefix: int, n_ctx: int, length: int) -> None:
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

    def samples(
        self, prompt: str, n: int, keep: Callable[[dict[str, object]], None] = lambda sample: None
    ) -> Iterator[dict[str, object]]:
        """Write n texts; each is kept as it ends, shown and yielded when its turn has come: number (from 1), text, ids, ended, loops."""
        from gpt2zh.sampling import write

        prefix = self.tokenizer.encode_prefix(prompt, self.raw_prefix)
        held: dict[int, dict[str, object]] = {}
        screen = self._screen(prompt) if self.stream else None
        began, due = time.perf_counter(), 0
        with tqdm(total=n * self.length, unit="tok", disable=True if screen else None) as bar:

            def on_step(drafts: Sequence["Draft"]) -> None:
                bar.update(len(drafts))
                self.n_written += len(drafts)
                if screen:
                    screen.show(drafts[0])

            for sample in write(
                self.decoder, prefix, range(n), self.length, self.seed, self.settings, self.tokenizer, self.batch_size, on_step
            ):  # fmt: skip
                text = self.tokenizer.decode_after(prompt, prefix, sample.ids)
                held[sample.number] = {
                    "number": sample.number + 1, "text": text, "ids": sample.ids, "ended": sample.ended, "loops": sample.loops
                }  # fmt: skip
                keep(held[sample.number])
                while due in held:
                    if screen:
                        screen.close()
                    else:
                        tqdm.write(sample_block(due + 1, held[due]["text"]).rstrip("\n"))
                    if loops := held[due]["loops"]:
                        tqdm.write(f"（退出循环 {loops} 次 / taken out of {loops} loops）")
                    yield held.pop(due)
                    due += 1
        self.seconds += time.perf_counter() - began

    def continue_text(self, text: str, attempt: int) -> str:
        """Write on after `text`, showing it; Ctrl-C ends it early. Attempts with other numbers write other texts."""
        from gpt2zh.sampling import write

        prefix = self.tokenizer.encode_prefix(text, self.raw_prefix)
        screen, written = self._screen(None), []

        def on_step(drafts: Sequence["Draft"]) -> None:
            screen.show(drafts[0])
            written[:] = drafts[0].written

        try:
            texts = write(
                self.decoder, prefix, [attempt], self.turn_length, self.seed, self.settings, self.tokenizer, 1, on_step
            )
            written[:] = next(texts).ids
        except KeyboardInterrupt:
            pass
        print(flush=True)
        shown, whole = self.tokenizer.decode(prefix), self.tokenizer.decode([*prefix, *written])
        return whole[len(shown) :] if whole.startswith(shown) else self.tokenizer.decode(written)

    def _screen(self, prompt: str | None) -> Screen:
        return Screen(lambda: TextStream(self.tokenizer.pipeline), self.tokenizer.decode, prompt)

    @property
    def tokens_per_second(self) -> float:
        """Tokens written, those taken back included, per second of writing."""
        return round(self.n_written / self.seconds, 1) if self.seconds else 0.0

    def report(self) -> None:
        """Say how fast it was."""
        say(
            f"写了 {self.n_written} 词元，每秒 {self.tokens_per_second} 个",
            f"{self.n_written} tokens written, {self.tokens_per_second} a second",
        )


# ----- what the user named --------------------------------------------------------------------------------------------


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


def models_of_epochs(folder: Path) -> list[Path]:
    """The model_epochN folders of a run, in order; `folder` is the run's, or that of one of its models."""
    for run in (folder, folder.parent):
        epochs = {int(path.name[11:]): path for path in run.glob("model_epoch*") if path.name[11:].isdecimal()}
        if epochs:
            return [epochs[number] for number in sorted(epochs)]
    raise UserError(
        f"{folder} 和 {folder.parent} 里都没有 model_epoch1 这样的文件夹。--model_path 应是一次训练的输出文件夹。",
        f"no folder like model_epoch1 in {folder} or {folder.parent}. --model_path must be a run's output folder.",
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
