"""The arithmetic of a run, and what looks wrong in it, said before the first step.

In: shards, batches, a schedule. Out: lines of the `RunLog`.
"""

from typing import TYPE_CHECKING

from gpt2zh.training.runlog import RunLog
from gpt2zh.training.schedule import Schedule

if TYPE_CHECKING:
    from gpt2zh.shards.batches import TrainingBatches
    from gpt2zh.shards.format import Shards

UNKNOWN_SHARE_TO_WARN = 0.01


def announce(log: RunLog, data: "Shards", batches: "TrainingBatches", schedule: Schedule, recipe: str) -> None:
    """Say what will be trained on, in what steps, by which recipe; `recipe` is its name."""
    say_corpus(log, data)
    log.line(
        f"每轮 {batches.n_windows} 个窗口（{batches.n_ctx} 词元，步长 {batches.stride}），每步 {batches.batch_size} x "
        f"{batches.accumulation} 个：每轮 {batches.steps_per_epoch} 步，共 {schedule.n_steps} 步",
        f"{batches.n_windows} windows an epoch ({batches.n_ctx} tokens, stride {batches.stride}), {batches.batch_size} x "
        f"{batches.accumulation} a step: {batches.steps_per_epoch} steps an epoch, {schedule.n_steps} in all",
    )
    log.line(f"配方 {recipe}：{schedule.recipe}", f"recipe: {recipe}")
    warn_of_steps(log, batches, schedule)
    if not len(data.val):
        log.line(
            "没有验证集（文章太少，或 --val_ratio 0）：不评估，也不存 best_model。",
            "no validation set (too few documents, or --val_ratio 0): no evaluation, no best_model.",
        )


def say_corpus(log: RunLog, data: "Shards") -> None:
    """Documents, tokens, and characters that the vocabulary lacks."""
    documents, characters, settings = data.manifest.documents, data.manifest.characters, data.manifest.settings
    n_tokens = len(data.train) + len(data.val)
    unknown_share = sum(file.unknown for file in data.manifest.train + data.manifest.val) / n_tokens
    per_token = (characters.train + characters.val) / n_tokens
    log.line(
        f"文章 {documents.read} 篇：训练 {documents.train}，验证 {documents.val}，"
        f"短于 {settings.min_length} 字不收 {documents.too_short}（{characters.too_short} 字）",
        f"{documents.read} documents: {documents.train} to train on, {documents.val} to validate, {documents.too_short} "
        f"left out as shorter than {settings.min_length} characters ({characters.too_short} characters)",
    )
    log.line(
        f"词元：训练 {len(data.train)}，验证 {len(data.val)}；每词元 {per_token:.3f} 字；[UNK] {unknown_share:.3%}",
        f"tokens: {len(data.train)} to train on, {len(data.val)} to validate; {per_token:.3f} characters each; [UNK] {unknown_share:.3%}",
    )
    if missing := data.manifest.missing:
        shown = " ".join(f"{character}×{count}" for character, count in missing.items())
        log.line(
            f"词表没有的字（最多的 {len(missing)} 个）：{shown}。cache/make_vocab.py --patch_vocab 可把它们放进 [unusedN] 空位。",
            f"the vocabulary lacks these characters (the {len(missing)} most frequent are shown); cache/make_vocab.py --patch_vocab puts them into its free [unusedN] entries.",
        )
    if unknown_share > UNKNOWN_SHARE_TO_WARN:
        log.line(
            f"注意：{unknown_share:.1%} 的词元是 [UNK]，词表与语料可能不配。可用 cache/make_vocab.py 造词表。",
            f"note: {unknown_share:.1%} of the tokens are [UNK]; the vocabulary may not fit the corpus. cache/make_vocab.py makes one that does.",
        )


def warn_of_steps(log: RunLog, batches: "TrainingBatches", schedule: Schedule) -> None:
    """What looks wrong in stride, warm-up and batch size."""
    recipe, n_steps = schedule.recipe, schedule.n_steps
    if batches.skipped_share:
        log.line(
            f"注意：--stride {batches.stride} 大于 n_ctx {batches.n_ctx}，每轮有 {batches.skipped_share:.0%} 的词元训练不到。请用 --stride {batches.n_ctx} 或更小。",
            f"note: --stride {batches.stride} is larger than n_ctx {batches.n_ctx}, so {batches.skipped_share:.0%} of the tokens are skipped each epoch. Use --stride {batches.n_ctx} or less.",
        )
    if recipe.warmup_steps >= n_steps:
        reached = recipe.lr * n_steps / recipe.warmup_steps
        log.line(
            f"注意：预热 {recipe.warmup_steps} 步不少于总步数 {n_steps}，学习率最高只到 {reached:.2g}（峰值 {recipe.lr:.2g}）。可用 --warmup_steps {n_steps // 10}。",
            f"note: a warm-up of {recipe.warmup_steps} steps is no shorter than the run, {n_steps} steps: the learning rate only reaches {reached:.2g} (its peak is {recipe.lr:.2g}). Consider --warmup_steps {n_steps // 10}.",
        )
    if batches.batch_size % batches.n_ranks:
        log.line(
            f"注意：--batch_size {batches.batch_size} 不是进程数 {batches.n_ranks} 的倍数，有的进程会等别的进程。",
            f"note: --batch_size {batches.batch_size} is not a multiple of {batches.n_ranks} processes: some will wait for others.",
        )
