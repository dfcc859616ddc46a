"""One training run, told from top to bottom: novels and a vocabulary in, a model folder out.

python train.py --raw --raw_data_path data/train.json --tokenizer_path cache/vocab_small.txt
"""

import argparse
import math
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

from gpt2zh import shard_builder, shards
from gpt2zh.batches import TrainingBatches, evaluation_batches
from gpt2zh.corpus import Corpus, corpus_sha256
from gpt2zh.errors import UserError, run_script, say
from gpt2zh.files import require_writable
from gpt2zh.flags import train_flags
from gpt2zh.prefetch import Prefetch
from gpt2zh.processes import Alone, joined
from gpt2zh.recipe import Recipe, Wishes, choose_recipe
from gpt2zh.runlog import RunLog, SilentLog
from tokenizations.loading import load_bytes, load_model_tokenizer, load_tokenizer, require_same
from tokenizations.tokenizer import Tokenizer

UNKNOWN_SHARE_TO_WARN = 0.01
SAMPLE_TOKENS = 120  # length of the sample text after each epoch


def main() -> None:
    with joined() as processes:  # one, or those that torchrun started
        train(train_flags(), processes)


def train(flags: argparse.Namespace, processes: Alone) -> None:
    # ----- 1. what the user named: tokenizer, model shape -----------------------------------------------------------
    tokenizer = (
        load_bytes(flags.encoder_json, flags.vocab_bpe)
        if flags.bpe_token
        else load_tokenizer(flags.tokenizer_path, flags.segment)
    )

    # The torch layer only now: --help and a typing error in a path answer at once.
    import torch

    from gpt2zh import device as devices
    from gpt2zh import optim
    from gpt2zh.checkpoint import save_model
    from gpt2zh.evaluation import evaluate
    from gpt2zh.loss import LanguageModelLoss
    from gpt2zh.microbatch import USUAL, Trial, choose_micro_batch
    from gpt2zh.model import ControlIds, count_parameters, load_model, new_model, read_config, record_ids, shape_of
    from gpt2zh.sampling import SamplingSettings, generate
    from gpt2zh.throughput import choose_compile, flops_per_token, measured_peak

    if flags.optimizer == "adamw8bit":
        optim.adamw8bit()  # not installed: better said before the corpus is read
    if flags.batch_size is None and processes.count > 1:
        raise UserError(
            "--batch_size auto 只用于一个进程；用 torchrun 时请给出数目（所有进程合计）。",
            "--batch_size auto is for one process; under torchrun give the number, over all processes.",
        )
    device = devices.choose_device(flags.device, "fp16" if flags.fp16 else flags.precision, processes.place)
    for note in device.notes:
        print(note)
    processes.connect(device, flags.shard_model, flags.peer_timeout, flags.output_dir)
    ids = ControlIds(tokenizer.document_start_id, tokenizer.document_end_id, tokenizer.pad_id)
    devices.seed_everything(flags.seed)
    if flags.pretrained_model:
        folder = Path(flags.pretrained_model)
        model = load_model(folder, len(tokenizer))
        require_same(load_model_tokenizer(folder), tokenizer, folder)
        record_ids(model, ids)
    else:
        config = read_config(flags.model_config)
        if config.vocab_size != len(tokenizer):
            say(
                f"{flags.model_config} 的 vocab_size 是 {config.vocab_size}，词表有 {len(tokenizer)} 个词条：按词表建模型。",
                f"vocab_size is {config.vocab_size}, the vocabulary has {len(tokenizer)} entries: the model follows it.",
            )
        model = new_model(config, len(tokenizer), ids)
    n_ctx = model.config.n_positions

    writer_dir = flags.writer_dir or Path("runs") / flags.output_dir.resolve().name
    for folder in (flags.output_dir, flags.tokenized_data_path, writer_dir):
        processes.first(require_writable, folder)

    # ----- 2. shards ------------------------------------------------------------------------------------------------
    processes.first(tokenize, flags, tokenizer)
    data = shards.open_shards(flags.tokenized_data_path)
    shards.check_tokenizer(data, tokenizer.fingerprint, tokenizer.source)
    shards.check_documents(data, flags.min_length, flags.val_ratio)

    # ----- 3. batches: from here on the number of steps is known ----------------------------------------------------
    batches = TrainingBatches(
        data.train,
        n_ctx,
        flags.stride or n_ctx,
        flags.batch_size or USUAL,
        flags.gradient_accumulation,
        flags.seed,
        processes.rank,
        processes.count,
    )
    n_steps = flags.max_steps or batches.steps_per_epoch * flags.epochs
    n_epochs = math.ceil(n_steps / batches.steps_per_epoch)

    made = {"model": shape_of(model), "shards": str(data.manifest["settings"])}
    processes.agree({**made, "dtype": f"{device.main.type} {device.dtype}", **same_everywhere(flags)})

    # ----- 4. recipe, optimisers, compilation -----------------------------------------------------------------------
    wishes = Wishes(
        flags.optimizer, flags.lr, flags.betas, flags.weight_decay, flags.schedule, warmup=flags.warmup_steps
    )
    muon_pays = device.fast_bf16 and not flags.shard_model
    recipe = choose_recipe(flags.recipe, wishes, model.config.n_embd, n_steps, muon_pays)
    processes.agree({"recipe": str(recipe)})
    processes.part_random_numbers(flags.seed)
    flops = flops_per_token(model.config)
    compiled, note = choose_compile(flags.compile, device, flops * n_steps * batches.tokens_per_step)
    if note:
        print(note)
    module = LanguageModelLoss(model, compiled, flags.gradient_checkpointing)
    loss = processes.spread(module, module.run.blocks, device)
    optimizer = optim.build_optimizer(model, recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.betas, recipe.eps)
    if flags.batch_size is None:  # auto: the same windows a step, in the largest micro-batches that fit
        plain = device.spread(LanguageModelLoss(model, checkpointing=flags.gradient_checkpointing))
        windows = USUAL * flags.gradient_accumulation
        size, note = choose_micro_batch(Trial(plain, optimizer, device, n_ctx), windows)
        print(note)
        batches = replace(batches, batch_size=size, accumulation=windows // size)
    scaler = device.scaler()
    peak = measured_peak(device)
    log_every = math.ceil(flags.log_step / flags.gradient_accumulation)

    record: dict[str, object] = {
        "flags": {name: str(value) for name, value in vars(flags).items()},
        "command": sys.argv,
    }
    best = math.inf
    with SilentLog() if processes.rank else RunLog(flags.output_dir, writer_dir) as log:
        announce(log, flags, batches, n_steps, recipe, data)
        log.line(
            f"模型 {shape_of(model)}：{count_parameters(model) / 1e6:.2f} M 参数；{device}{processes}"
            f"{'，torch.compile' if compiled else ''}；实测矩阵乘法峰值 {peak / 1e12:.2f} TFLOP/s",
            f"model: {count_parameters(model)} parameters; {peak / 1e12:.2f} TFLOP/s at most",
        )

        def validate(epoch: int, step: int) -> None:
            """Score what was held out, where anything was; keep the best model."""
            nonlocal best
            if not len(data.val):
                return
            started = time.perf_counter()
            windows = evaluation_batches(data.val, n_ctx, None, batches.batch_size, processes.rank, processes.count)
            score = evaluate(loss, windows, data.manifest["characters"]["val"], device, processes.total)
            record.update(epoch=epoch + 1, step=step, val=score.metrics())
            log.line(
                f"第 {epoch + 1} 轮，第 {step} 步：验证 loss {score.loss:.4f}，每字 {score.bits_per_character:.4f} 比特",
                f"epoch {epoch + 1}: validation {score.bits_per_character:.4f} bits per character",
            )
            if score.loss < best:
                best = score.loss
                folder = flags.output_dir / "best_model"
                processes.first(save_model, folder, model, tokenizer, record, processes.weights(model))
            seconds = time.perf_counter() - started
            log.report(
                step, {**{f"val/{name}": value for name, value in score.metrics().items()}, "val/seconds": seconds}
            )

        def report(
            step: int,
            lr: float,
            nats: torch.Tensor,
            n_tokens: int,
            grad_norm: torch.Tensor,
            seconds: float,
            waited: float,
        ) -> None:
            """The numbers of the steps up to `step`. Called when the next step is under way, so that no GPU waits for it."""
            mean = processes.total(float(nats))[0] / n_tokens
            if not math.isfinite(mean):
                raise UserError(
                    f"第 {step} 步的 loss 是 {mean}，训练发散了。请减小 --lr（现在 {recipe.lr:.3g}）。",
                    f"the loss of step {step} is {mean}: the run diverged. Lower --lr (now {recipe.lr:.3g}).",
                )
            numbers = {
                "loss": mean,
                "lr": lr,
                "grad_norm": grad_norm.item(),
                "tokens_per_second": n_tokens / seconds,
                "utilisation": n_tokens / seconds * flops / (peak * processes.count),
                "data_wait": waited / seconds,
            }
            log.report(step, {f"train/{name}": value for name, value in numbers.items()})

        # ----- 5. the loop ------------------------------------------------------------------------------------------
        log.start_bar(n_steps)
        due = None
        step, nats, n_tokens, clock = 0, 0.0, 0, time.perf_counter()
        for epoch in range(n_epochs):
            loss.train()
            steps = Prefetch(islice(batches.epoch(epoch), n_steps - step), device.tensors)
            for micro_batches in steps:
                lr = recipe.lr * optim.lr_factor(step, recipe.warmup_steps, n_steps, recipe.schedule)
                optim.set_lr(optimizer, lr)
                n_targets = batches.n_targets(step)
                for number, (inputs, targets) in enumerate(micro_batches, 1):
                    processes.exchange_gradients(number == len(micro_batches))
                    micro_nats, _ = loss(inputs, targets)
                    # Divided by the whole step's targets: accumulation adds up to exactly the large batch's mean. Times
                    # the number of processes, because these average their gradients where a sum is meant.
                    scaler.scale(micro_nats.sum() * processes.count / n_targets).backward()
                    nats += micro_nats.detach().sum()  # stays on the device until it is reported
                scaler.unscale_(optimizer)
                grad_norm = optim.clip_gradients(model, flags.max_grad_norm)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
                step += 1
                n_tokens += n_targets
                # ----- the step ends here; below is only reporting --------------------------------------------------

                log.advance()
                ends_epoch = step % batches.steps_per_epoch == 0 or step == n_steps
                if step % log_every == 0 or ends_epoch:
                    now = time.perf_counter()
                    if due is not None:
                        report(*due)
                    due = step, lr, nats, n_tokens, grad_norm, now - clock, steps.take_waited()
                    nats, n_tokens, clock = 0.0, 0, now
                if flags.eval_every and step % flags.eval_every == 0 and not ends_epoch:
                    pause = time.perf_counter()
                    validate(epoch, step)
                    clock += time.perf_counter() - pause

            # ----- after each epoch: validate, sample, save ---------------------------------------------------------
            report(*due)
            due, pause = None, time.perf_counter()
            record.update(epoch=epoch + 1, step=step)
            validate(epoch, step)
            if not flags.shard_model:  # in parts, a model would have to be put together anew for every token
                loss.eval()
                with device.autocast():
                    settings = SamplingSettings(1.0, 8, 0.0, 1.0, tokenizer.never_sampled, tokenizer.document_end_id)
                    sample = generate(model, [tokenizer.document_start_id], SAMPLE_TOKENS, [0], flags.seed, settings)[0]
                log.text(step, "sample", tokenizer.decode(sample))
            weights = processes.weights(model)
            processes.first(save_model, flags.output_dir / f"model_epoch{epoch + 1}", model, tokenizer, record, weights)
            clock += time.perf_counter() - pause

        # ----- 6. the end -------------------------------------------------------------------------------------------
        processes.first(save_model, flags.output_dir / "final_model", model, tokenizer, record, weights)
        log.line(f"训练完成，{step} 步：{flags.output_dir / 'final_model'}", f"done after {step} steps")
        chosen = "best_model" if len(data.val) else "final_model"
        if len(data.val):
            log.line(
                f"验证 loss 最低的是 {flags.output_dir / chosen}：{best:.4f}", f"lowest validation loss: {best:.4f}"
            )
        log.line("续写：", f"write on: python generate.py --model_path {flags.output_dir / chosen} --prefix TEXT")


def tokenize(flags: argparse.Namespace, tokenizer: Tokenizer) -> None:
    """Build the shards that the flags ask for, where they are missing, stale or --raw is given."""
    folder = flags.tokenized_data_path
    if flags.raw or flags.raw_data_path.exists():
        corpus = Corpus(flags.raw_data_path)
        settings = shards.ShardSettings(
            corpus_sha256=corpus_sha256(flags.raw_data_path),
            tokenizer=tokenizer.fingerprint,
            vocab_size=len(tokenizer),
            min_length=flags.min_length,
            val_ratio=flags.val_ratio,
            num_pieces=flags.num_pieces,
        )
        changed = shards.differences(folder, settings)
        if flags.raw or changed:
            if not flags.raw:
                say(f"{folder} 的分片没有或已过时，重新切分：", f"missing or stale, built anew: {'; '.join(changed)}")
            # Pieces of a build with these settings that was killed are taken over; --raw makes finished shards anew.
            shard_builder.build_shards(folder, corpus, tokenizer, settings, anew=not changed)
            for note in corpus.notes():
                say(*note)
            say(
                f"语料 {corpus.path}：另有空白 {corpus.n_empty} 篇",
                f"corpus: {corpus.n_empty} blank documents left out",
            )


def same_everywhere(flags: argparse.Namespace) -> dict[str, str]:
    """The flags that all processes of a run must have in common: not those that say where something lies."""
    return {
        f"--{name}": str(value)
        for name, value in vars(flags).items()
        if not isinstance(value, Path) and name not in ("device", "pretrained_model", "raw", "writer_dir")
    }


def announce(
    log: RunLog,
    flags: argparse.Namespace,
    batches: TrainingBatches,
    n_steps: int,
    recipe: Recipe,
    data: shards.Shards,
) -> None:
    """The arithmetic of the run, and what looks wrong in it, before the first step."""
    documents, characters = data.manifest["documents"], data.manifest["characters"]
    n_tokens = len(data.train) + len(data.val)
    unknown = sum(entry["unknown"] for split in ("train", "val") for entry in data.manifest[split])
    unknown_share, missing = unknown / n_tokens, data.manifest["missing"]
    per_token = (characters["train"] + characters["val"]) / n_tokens
    log.line(
        f"文章 {documents['read']} 篇：训练 {documents['train']}，验证 {documents['val']}，"
        f"短于 {flags.min_length} 字不收 {documents['too_short']}（{characters['too_short']} 字）",
        f"documents: {documents['train']} train, {documents['val']} validate, {documents['too_short']} too short",
    )
    log.line(
        f"词元：训练 {len(data.train)}，验证 {len(data.val)}；每词元 {per_token:.3f} 字；[UNK] {unknown_share:.3%}",
        f"tokens: {len(data.train)} train, {len(data.val)} validate; {per_token:.3f} characters each",
    )
    if missing:
        shown = " ".join(f"{character}×{count}" for character, count in missing.items())
        log.line(
            f"词表没有的字（最多的 {len(missing)} 个）：{shown}。cache/make_vocab.py --patch_vocab 可把它们放进 [unusedN] 空位。",
            "characters that the vocabulary lacks, the most frequent; make_vocab.py --patch_vocab puts them into free slots",
        )
    log.line(
        f"每轮 {batches.n_windows} 个窗口（{batches.n_ctx} 词元，步长 {batches.stride}），每步 {batches.batch_size} x "
        f"{batches.accumulation} 个：每轮 {batches.steps_per_epoch} 步，共 {n_steps} 步",
        f"{batches.n_windows} windows and {batches.steps_per_epoch} steps an epoch, {n_steps} steps",
    )
    log.line(f"配方 {flags.recipe}：{recipe}", f"recipe: {flags.recipe}")
    if unknown_share > UNKNOWN_SHARE_TO_WARN:
        log.line(
            f"注意：{unknown_share:.1%} 的词元是 [UNK]，词表与语料可能不配。可用 cache/make_vocab.py 造词表。",
            f"note: {unknown_share:.1%} of the tokens are [UNK]. cache/make_vocab.py makes a vocabulary that fits.",
        )
    if batches.skipped_share:
        log.line(
            f"注意：--stride {batches.stride} 大于 n_ctx {batches.n_ctx}，每轮有 {batches.skipped_share:.0%} 的词元训练不到。",
            f"note: {batches.skipped_share:.0%} of the tokens are skipped each epoch. Use --stride {batches.n_ctx} or less.",
        )
    if recipe.warmup_steps >= n_steps:
        reached = recipe.lr * n_steps / recipe.warmup_steps
        log.line(
            f"注意：预热 {recipe.warmup_steps} 步不少于总步数 {n_steps}，学习率最高只到 {reached:.2g}（峰值 {recipe.lr:.2g}）。",
            f"note: the learning rate never reaches its peak. Consider --warmup_steps {n_steps // 10}.",
        )
    if flags.log_step % flags.gradient_accumulation:
        log.line(
            f"--log_step {flags.log_step} 不是 --gradient_accumulation {flags.gradient_accumulation} 的倍数，向上取整。",
            "--log_step is rounded up to whole updates.",
        )
    if batches.batch_size % batches.n_ranks:
        log.line(
            f"注意：--batch_size {batches.batch_size} 不是进程数 {batches.n_ranks} 的倍数，有的进程会等别的进程。",
            f"note: --batch_size {batches.batch_size} is no multiple of {batches.n_ranks} processes: some will wait for others.",
        )
    if flags.shard_model:
        log.line(
            "--shard_model：每轮之后不写样本；用 generate.py --model_path 看 model_epochN。",
            "--shard_model: no sample text after an epoch; write with generate.py --model_path model_epochN.",
        )
    if not len(data.val):
        log.line(
            "没有验证集（文章太少，或 --val_ratio 0）：不评估，也不存 best_model。",
            "no validation set (too few documents, or --val_ratio 0): no evaluation, no best_model.",
        )


if __name__ == "__main__":
    run_script(main)
