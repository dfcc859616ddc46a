"""One training run, told from top to bottom: novels and a vocabulary in, a model folder out.

python train.py --raw --raw_data_path data/train.json --tokenizer_path cache/vocab_small.txt
"""

import argparse
import math
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

from gpt2zh.errors import Diverged, EnvironmentFault, Stopped, UserError, run_script, say
from gpt2zh.flags.command_line import Interval
from gpt2zh.flags.old_flags import train_flags
from gpt2zh.model.shape import shape_of
from gpt2zh.shards import format as shards
from gpt2zh.shards.batches import TrainingBatches, evaluation_batches
from gpt2zh.shards.ensure import ensure_shards
from gpt2zh.shards.prefetch import Prefetch
from gpt2zh.system.files import require_writable
from gpt2zh.system.folders import clear_leftovers
from gpt2zh.system.signals import StopSignals
from gpt2zh.training.processes import SingleProcess, start_processes
from gpt2zh.training.recipe import WARMUP_SHARE, Budget, Recipe, Wishes, choose_recipe
from gpt2zh.training.resume import command_to_continue, compare, set_aside
from gpt2zh.training.runlog import RunLog, SilentLog, SpokenLog
from gpt2zh.training.spikes import Spikes
from tokenizations.loading import load_bytes, load_model_tokenizer, load_tokenizer, require_same

UNKNOWN_SHARE_TO_WARN = 0.01
SAMPLE_TOKENS = 120  # length of the sample text after each epoch
MOST_SKIPPED = 10  # steps in a row whose gradients are not finite


def main() -> None:
    with start_processes() as processes:  # one, or those that torchrun started
        flags = train_flags()
        with processes.only_owner(flags.output_dir):
            train(flags, processes)


def train(flags: argparse.Namespace, processes: SingleProcess) -> None:
    # ----- 1. what the user named: tokenizer, model shape -----------------------------------------------------------
    tokenizer = (
        load_bytes(flags.encoder_json, flags.vocab_bpe)
        if flags.bpe_token
        else load_tokenizer(flags.tokenizer_path, flags.segment)
    )

    # The torch layer only now: --help and a typing error in a path answer at once.
    import torch

    from gpt2zh import device as devices
    from gpt2zh.evaluation.likelihood import evaluate
    from gpt2zh.generation.logits import SamplingSettings
    from gpt2zh.model.loss import LanguageModelLoss
    from gpt2zh.model.stock import ControlIds, count_parameters, load_model, new_model, read_config, record_ids
    from gpt2zh.sampling import decoder_of, write
    from gpt2zh.training import optim
    from gpt2zh.training.checkpoint import Checkpoints, find_checkpoint, save_model, set_newer_aside
    from gpt2zh.training.rehearsal import rehearse
    from gpt2zh.training.state import Progress, RunState, read_state
    from gpt2zh.training.throughput import choose_compile, flops_per_token, measured_peak
    from gpt2zh.training.trial import USUAL, Trial, choose_micro_batch

    # ----- 2. where and how to compute -------------------------------------------------------------------------------
    if flags.optimizer == "adamw8bit":
        optim.adamw8bit()  # not installed: better said before the corpus is read
    if flags.batch_size is None and processes.count > 1:
        raise UserError(
            "--batch_size auto 只用于一个进程；用 torchrun 时请给出数目（所有进程合计）。",
            "--batch_size auto is for one process; under torchrun give the number, over all processes.",
        )
    if flags.shard_model and processes.place is None:
        raise UserError(
            "--shard_model 把模型分给多个进程，要用 torchrun 启动，如：torchrun --nproc_per_node 2 train.py --shard_model …（见 docs/many_gpus.md）。",
            "--shard_model parts the model among processes, which torchrun starts, as in: torchrun --nproc_per_node 2 train.py --shard_model … (see docs/many_gpus.md).",
        )
    device = devices.choose_device(flags.device, "fp16" if flags.fp16 else flags.precision, processes.place)
    for note in device.notes:
        print(note)
    writer_dir = flags.writer_dir or Path("runs") / flags.output_dir.resolve().name
    for folder in (flags.output_dir, flags.tokenized_data_path, writer_dir):
        processes.on_first(require_writable, folder)

    # ----- 3. where the run begins: anew, from given weights, or where it stopped -------------------------------------
    saved = flags.output_dir / "checkpoints"
    for folder in (flags.output_dir, saved):
        processes.on_first(clear_leftovers, folder)
    checkpoint = None if flags.resume is None else processes.on_first(find_checkpoint, saved, flags.resume)
    then = None if checkpoint is None else processes.on_first(read_state, checkpoint, False)
    if flags.resume is not None and then is None:
        say(f"{saved} 里没有检查点：从头开始。", "no checkpoint there: starting from the beginning.")
    ids = ControlIds(tokenizer.document_start_id, tokenizer.document_end_id, tokenizer.pad_id)
    devices.seed_everything(flags.seed)
    config = None
    if not flags.pretrained_model:
        config = read_config(flags.model_config)
        if config.vocab_size != len(tokenizer):
            say(
                f"{flags.model_config} 的 vocab_size 是 {config.vocab_size}，词表有 {len(tokenizer)} 个词条：按词表建模型。",
                f"vocab_size is {config.vocab_size}, the vocabulary has {len(tokenizer)} entries: the model follows it.",
            )
            config.vocab_size = len(tokenizer)
    if then:
        named = {} if config is None else {"model": str(shape_of(config.to_dict()))}
        compare(then.settings, {"vocabulary": tokenizer.fingerprint, **named})
    folder = checkpoint or (Path(flags.pretrained_model) if flags.pretrained_model else None)
    if checkpoint:
        config = processes.on_first(read_config, checkpoint / "config.json")
    if folder and not (checkpoint and processes.rank):  # a checkpoint may lie on the first machine only
        model = load_model(folder, len(tokenizer))
        require_same(load_model_tokenizer(folder), tokenizer, folder)
        record_ids(model, ids)
    else:
        model = new_model(config, len(tokenizer), ids)
    n_ctx = model.config.n_positions

    # ----- 4. shards ------------------------------------------------------------------------------------------------
    def check(settings: shards.ShardSettings) -> None:
        """Shards of another text are not built for a run that goes on."""
        if then:
            compare(then.settings, what_decides_text(settings))

    processes.on_first(
        ensure_shards,
        flags.raw_data_path,
        flags.tokenized_data_path,
        tokenizer,
        flags.min_length,
        flags.val_ratio,
        flags.num_pieces,
        flags.raw,
        check,
    )
    data = shards.open_shards(flags.tokenized_data_path)
    shards.check_tokenizer(data, tokenizer.fingerprint, tokenizer.source)
    shards.check_documents(data, flags.min_length, flags.val_ratio)

    # ----- 5. batches: from here on the number of steps is known ----------------------------------------------------
    batch_size, accumulation = flags.batch_size, flags.gradient_accumulation
    if batch_size is None and then:  # auto: as it was found when the run began
        batch_size, accumulation = then.settings["batch_size"], then.settings["gradient_accumulation"]
    batches = TrainingBatches(
        data.train,
        n_ctx,
        flags.stride or n_ctx,
        batch_size or USUAL,
        accumulation,
        flags.seed,
        processes.rank,
        processes.count,
    )
    n_steps = flags.max_steps or batches.steps_per_epoch * flags.epochs

    shape = str(shape_of(model.config.to_dict()))
    made = {"model": shape, "shards": str(asdict(data.manifest.settings))}
    processes.require_same({**made, "dtype": f"{device.main.type} {device.dtype}", **same_everywhere(flags)})
    processes.connect(device, flags.shard_model, flags.peer_timeout)

    # ----- 6. recipe, optimisers, compilation -----------------------------------------------------------------------
    wishes = Wishes(
        flags.optimizer, flags.lr, flags.betas, flags.weight_decay, flags.schedule, warmup=flags.warmup_steps
    )
    muon_pays = device.fast_bf16 and not flags.shard_model
    recipe = choose_recipe(flags.recipe, wishes, model.config.n_embd, n_steps, muon_pays)
    processes.require_same({"recipe": str(recipe)})
    processes.seed_apart(flags.seed)
    flops = flops_per_token(model.config)
    compiled, note = choose_compile(flags.compile, device, flops * n_steps * batches.tokens_per_step)
    if note:
        print(note)
    module = LanguageModelLoss(model, compiled, flags.gradient_checkpointing)
    loss = processes.wrap(module, module.run.blocks, device)
    optimizer = optim.build_optimizer(model, recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.betas, recipe.eps)
    if batch_size is None:  # auto: the same windows a step, in the largest micro-batches that fit
        plain = device.spread(LanguageModelLoss(model, checkpointing=flags.gradient_checkpointing))
        windows = USUAL * flags.gradient_accumulation
        size, note = choose_micro_batch(Trial(plain, optimizer, device, n_ctx), windows)
        print(note)
        batches = replace(batches, batch_size=size, accumulation=windows // size)
    scaler = device.scaler()
    peak = measured_peak(device)
    log_every = math.ceil(flags.log_step / flags.gradient_accumulation)

    # ----- 7. a run that goes on ------------------------------------------------------------------------------------
    settings = {
        **what_decides_text(data.manifest.settings),
        "model": shape,
        "stride": batches.stride,
        "seed": batches.seed,
        "windows_per_step": batches.windows_per_step,
        "batch_size": batches.batch_size,
        "gradient_accumulation": batches.accumulation,
        **asdict(recipe),
        "betas": list(recipe.betas),
        "n_steps": n_steps,
        "device": str(device),
        "processes": processes.count,
        "compiled": compiled,
        "gradient_checkpointing": flags.gradient_checkpointing,
    }
    at = then.progress if then else Progress()
    changes = compare(then.settings, settings) if then else []
    if then:
        moments = {} if processes.rank else read_state(checkpoint).optimizer
        processes.set_optimizer_state(model, optimizer, moments)
        scaler.load_state_dict(then.scaler)
        if [len(states) for states in then.random] == [
            len(states) for states in processes.gather(device.random_states())
        ]:
            device.set_random_states(then.random[processes.rank])
        else:  # dropout draws anew
            devices.seed_everything(flags.seed + at.step * processes.count + processes.rank)

    record: dict[str, object] = {
        "flags": {name: str(value) for name, value in vars(flags).items()},
        "command": sys.argv,
    }
    if then and not flags.dry_run:
        processes.on_first(set_newer_aside, saved, at.step)
    elif not flags.dry_run:
        processes.on_first(make_room, flags.output_dir)

    def open_log() -> RunLog:
        if processes.rank:
            return SilentLog()
        return SpokenLog() if flags.dry_run else RunLog(flags.output_dir, writer_dir, at.step, at.n_rows)

    with (
        open_log() as log,
        StopSignals(processes.others_failed) as stop,
    ):
        announce(log, flags, batches, n_steps, recipe, data)
        log.line(
            f"模型 {shape}：{count_parameters(model) / 1e6:.2f} M 参数；{device}{processes}"
            f"{'，torch.compile' if compiled else ''}；实测矩阵乘法峰值 {peak / 1e12:.2f} TFLOP/s",
            f"model: {count_parameters(model)} parameters; {peak / 1e12:.2f} TFLOP/s at most",
        )
        for zh, en in changes:
            log.line(f"与检查点不同：{zh}", f"other than in the checkpoint: {en}")
        if then:
            log.line(
                f"接着训练：{checkpoint}，已完成 {at.step} 步，还有 {max(0, n_steps - at.step)} 步。",
                f"going on from {checkpoint}: {at.step} steps done, {max(0, n_steps - at.step)} to go.",
            )
        if flags.dry_run:
            trial = Trial(loss, optimizer, device, n_ctx)
            took = rehearse(lambda: trial.step(batches.batch_size, batches.accumulation), device)
            hours = took.seconds * max(0, n_steps - at.step) / 3600
            log.line(
                f"预演：每步 {took.seconds:.3g} 秒，{batches.tokens_per_step / took.seconds:.0f} 词元/秒；内存最多 {(took.peak or 0) / 1e6:.0f} MB；"
                f"余下 {max(0, n_steps - at.step)} 步约 {hours:.2f} 小时（不含验证与存盘）。没有训练。",
                f"rehearsal: {took.seconds:.3g} s a step, about {hours:.2f} hours for the run without validation; nothing was trained.",
            )
            return
        checkpoints = Checkpoints(saved, flags.save_every.steps, flags.save_every.seconds, flags.keep_last, log.line)

        def save_checkpoint() -> None:
            """Have the state between two steps written, while training goes on."""
            here = replace(
                at, nats=processes.all_reduce_sum(float(nats))[0], n_rows=log.n_rows, seconds=budget.so_far()
            )
            state = RunState(
                here,
                settings,
                processes.optimizer_state(model, optimizer),
                processes.gather(device.random_states()),
                scaler.state_dict(),
            )
            processes.on_first(checkpoints.save, state, model, tokenizer, record, processes.full_weights(model))

        def save_folder(name: str) -> bool:
            """Write a model folder. A full disk ends nothing as long as there is something to train."""
            weights = processes.full_weights(model)

            def written() -> bool:
                try:
                    save_model(flags.output_dir / name, model, tokenizer, record, weights)
                except OSError as error:
                    log.line(
                        f"注意：{flags.output_dir / name} 没有写成（{error}），训练继续。请检查磁盘空间与权限。",
                        "note: it could not be written; training goes on. Check the disk's space and permissions.",
                    )
                    return False
                return True

            return processes.on_first(written)

        def leave(number: int) -> NoReturn:
            """End the run as signal `number` asks, once its state is on the disk."""
            again = command_to_continue(processes.launcher, sys.argv)
            if not processes.on_first(checkpoints.wait):
                raise EnvironmentFault(
                    f"停在第 {at.step} 步，但状态没有存下（见上）。腾出空间后可从 {saved} 里最新的检查点接着训练：{again}",
                    f"stopped at step {at.step}, but its state could not be saved. Go on from the newest checkpoint in {saved}: {again}",
                )
            raise Stopped(
                f"停在第 {at.step} 步，已存下。接着训练：{again}",
                f"stopped at step {at.step}, saved. Go on: {again}",
                number,
            )

        def validate(epoch: int) -> None:
            """Score what was held out, where anything was; keep the best model."""
            if not len(data.val):
                return
            started = time.perf_counter()
            windows = evaluation_batches(data.val, n_ctx, None, batches.batch_size, processes.rank, processes.count)
            score = evaluate(loss, windows, data.manifest.characters.val, device, processes.all_reduce_sum)
            record.update(epoch=epoch + 1, step=at.step, val=score.metrics())
            log.line(
                f"第 {epoch + 1} 轮，第 {at.step} 步：验证 loss {score.loss:.4f}，每字 {score.bits_per_character:.4f} 比特",
                f"epoch {epoch + 1}: validation {score.bits_per_character:.4f} bits per character",
            )
            if score.loss < at.best and save_folder("best_model"):
                at.best = score.loss
            seconds = time.perf_counter() - started
            log.report(
                at.step, {**{f"val/{name}": value for name, value in score.metrics().items()}, "val/seconds": seconds}
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
            mean = processes.all_reduce_sum(float(nats))[0] / max(1, n_tokens)
            if n_tokens and spikes.is_spike(mean):
                log.line(
                    f"注意：第 {step} 步的 loss {mean:.4f} 突然升高。", f"note: the loss of step {step} is a spike."
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

        def report_due() -> None:
            """Report what waits, if anything does."""
            nonlocal due
            if due is not None:
                report(*due)
                due = None

        def skipped(epoch: int, nats: torch.Tensor, n_targets: int, grad_norm: torch.Tensor) -> None:
            """Say which step was left out; end a run that makes no more."""
            at.skipped += 1
            at.skipped_in_a_row += 1
            first = (at.step - 1) % batches.steps_per_epoch * batches.windows_per_step
            starts = batches.starts(epoch)[first : first + batches.windows_per_step].tolist()
            mean = processes.all_reduce_sum(float(nats))[0] / n_targets
            log.line(
                f"第 {at.step} 步跳过：loss {mean:.4g}，梯度范数 {float(grad_norm):.4g}；第 {epoch + 1} 轮，窗口起于词元 {starts}",
                f"step {at.step} skipped: its gradient is not finite; windows at tokens {starts}",
            )
            if at.skipped_in_a_row == MOST_SKIPPED:
                checkpoints.wait()
                raise Diverged(
                    f"到第 {at.step} 步，连续 {MOST_SKIPPED} 步的梯度不是有限数（loss {mean}），训练发散了。请减小 --lr（现在 {recipe.lr:.3g}）；之前的检查点在 {saved}。",
                    f"up to step {at.step} the gradients of {MOST_SKIPPED} steps in a row were not finite (loss {mean}): the run diverged. Lower --lr (now {recipe.lr:.3g}); earlier checkpoints are in {saved}.",
                )

        # ----- 8. the loop ------------------------------------------------------------------------------------------
        def accumulate(micro_batches: list[tuple[torch.Tensor, torch.Tensor]], n_targets: int) -> torch.Tensor:
            """The gradients of a step. Returns its nats, which stay on the device until they are reported."""
            pieces = [
                piece for inputs, targets in micro_batches for piece in zip(inputs.split(most), targets.split(most))
            ]
            step_nats = torch.zeros((), device=device.main)
            for number, (inputs, targets) in enumerate(pieces, 1):
                processes.sync_gradients(number == len(pieces))
                micro_nats, _ = loss(inputs, targets)
                # Divided by the whole step's targets: accumulation adds up to exactly the large batch's mean. Times
                # the number of processes, because these average their gradients where a sum is meant.
                scaler.scale(micro_nats.sum() * processes.count / n_targets).backward()
                step_nats += micro_nats.detach().sum()
            return step_nats

        budget = Budget(flags.max_hours and 3600 * flags.max_hours, n_steps, at.seconds, time.monotonic)
        spikes = Spikes()
        most = batches.batch_size  # windows at a time; fewer once memory ran out
        log.start_bar(n_steps)
        due = None
        nats, clock = at.nats if processes.rank == 0 else 0.0, time.perf_counter()
        while at.closed < n_steps:
            epoch = at.closed // batches.steps_per_epoch
            loss.train()
            left = batches.epoch(epoch, at.step - epoch * batches.steps_per_epoch) if at.step < n_steps else ()
            steps = Prefetch(left, device.tensors)
            for micro_batches in steps:
                warmup = recipe.warmup_steps
                if n_steps < budget.most and flags.warmup_steps is None:  # --max_hours made the run shorter
                    warmup = min(warmup, math.ceil(WARMUP_SHARE * n_steps))
                lr = recipe.lr * optim.lr_factor(at.step, warmup, n_steps, recipe.schedule)
                optim.set_lr(optimizer, lr)
                n_targets = batches.n_targets(at.step)
                while (step_nats := device.within_memory(accumulate, micro_batches, n_targets)) is None:
                    optimizer.zero_grad(set_to_none=True)
                    most = fewer_windows(most, processes.count, log)
                scaler.unscale_(optimizer)
                grad_norm = optim.clip_gradients(model, flags.max_grad_norm)
                finite = math.isfinite(grad_norm)
                if finite or scaler.is_enabled():  # fp16's scaler skips by itself, and lowers its scale
                    scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
                at.step += 1
                # ----- the step ends here; below is only reporting and saving ---------------------------------------

                if flags.max_hours:
                    n_steps = int(processes.all_reduce_sum(0 if processes.rank else budget.steps(at.step))[0])
                log.advance(n_steps)
                if finite:
                    nats, at.n_tokens, at.skipped_in_a_row = nats + step_nats, at.n_tokens + n_targets, 0
                elif not scaler.is_enabled() or scaler.get_scale() < 1:
                    skipped(epoch, step_nats, n_targets, grad_norm)
                ends_epoch = at.step % batches.steps_per_epoch == 0 or at.step >= n_steps
                if at.step % log_every == 0 or ends_epoch:
                    now = time.perf_counter()
                    report_due()
                    due = at.step, lr, nats, at.n_tokens, grad_norm, now - clock, steps.take_waited()
                    nats, at.n_tokens, clock = 0.0, 0, now
                pause = time.perf_counter()
                if flags.eval_every and at.step % flags.eval_every == 0 and not ends_epoch:
                    validate(epoch)
                asked, save_now = processes.all_reduce_sum(stop.number, not processes.rank and checkpoints.due(at.step))
                if asked or (save_now and not at.skipped_in_a_row):
                    report_due()
                    save_checkpoint()
                    if asked:
                        leave(stop.number or signal.SIGTERM)
                clock += time.perf_counter() - pause
                if at.step >= n_steps:
                    break

            # ----- after each epoch: validate, sample, save ---------------------------------------------------------
            pause = time.perf_counter()
            report_due()
            record.update(epoch=epoch + 1, step=at.step)
            validate(epoch)
            if not flags.shard_model:  # in parts, a model would have to be put together anew for every token
                start, choice = [tokenizer.document_start_id], SamplingSettings(top_k=8)
                texts = write(decoder_of(model, device), start, [0], SAMPLE_TOKENS, flags.seed, choice, tokenizer)
                log.text(at.step, "sample", tokenizer.decode(next(texts).ids))
            save_folder(f"model_epoch{epoch + 1}")
            at.closed = at.step
            clock += time.perf_counter() - pause

        # ----- 9. the end -------------------------------------------------------------------------------------------
        if flags.save_every != Interval():
            save_checkpoint()
        final = flags.output_dir / "final_model"
        processes.on_first(save_model, final, model, tokenizer, record, processes.full_weights(model))
        checkpoints.wait()
        log.line(f"训练完成，{at.step} 步：{final}", f"done after {at.step} steps")
        if at.skipped:
            log.line(f"其中 {at.skipped} 步因梯度不是有限数而跳过。", f"{at.skipped} of them were skipped.")
        chosen = final
        if len(data.val):
            chosen = flags.output_dir / "best_model"
            log.line(f"验证 loss 最低的是 {chosen}：{at.best:.4f}", f"lowest validation loss: {at.best:.4f}")
        log.line("续写：", f"write on: python generate.py --model_path {chosen} --prefix TEXT")


def fewer_windows(most: int, n_processes: int, log: RunLog) -> int:
    """Windows at a time, of which `most` do not fit into memory. The windows of a step stay the same.

    Raises:
        EnvironmentFault: it cannot be fewer, or other processes would have to go along.
    """
    if most == 1 or n_processes > 1:
        raise EnvironmentFault(
            f"内存不够：{most} 个窗口放不下。请减小 --batch_size（并同倍增大 --gradient_accumulation），或加 --gradient_checkpointing、--optimizer adamw8bit，或减小模型配置里的 n_ctx。",
            f"out of memory with {most} windows. Lower --batch_size (and raise --gradient_accumulation as much), give --gradient_checkpointing or --optimizer adamw8bit, or lower n_ctx.",
        )
    log.line(
        f"内存不够：{most} 个窗口放不下，此后一次算 {most // 2} 个，每次更新的窗口数不变。",
        f"out of memory: {most // 2} windows at a time from here on, as many a step as before.",
    )
    return most // 2


def what_decides_text(settings: shards.ShardSettings) -> dict[str, object]:
    """What decides which ids a run reads, of the settings of shards."""
    return {
        "corpus": settings.corpus_sha256,
        "vocabulary": settings.tokenizer,
        "min_length": settings.min_length,
        "val_ratio": settings.val_ratio,
    }


def make_room(output_dir: Path) -> None:
    """Move an earlier run's files out of the way of a new one."""
    aside = set_aside(output_dir)
    if aside:
        say(
            f"{output_dir} 里原有的一次训练已移到 {aside}（要接着它训练，请加 --resume；不再需要可删去）。",
            "an earlier run's files were moved there; --resume would go on with it. Delete them when they are not needed.",
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
    documents, characters = data.manifest.documents, data.manifest.characters
    n_tokens = len(data.train) + len(data.val)
    unknown = sum(file.unknown for file in data.manifest.train + data.manifest.val)
    unknown_share, missing = unknown / n_tokens, data.manifest.missing
    per_token = (characters.train + characters.val) / n_tokens
    log.line(
        f"文章 {documents.read} 篇：训练 {documents.train}，验证 {documents.val}，"
        f"短于 {flags.min_length} 字不收 {documents.too_short}（{characters.too_short} 字）",
        f"documents: {documents.train} train, {documents.val} validate, {documents.too_short} too short",
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
