"""One training run, told from top to bottom: novels and a vocabulary in, a model folder out.

    python train.py --raw --raw_data_path data/train.json --tokenizer_path cache/vocab_small.txt

`set_up` makes what a run is made of, `fit` is its loop, `train_step` and `accumulate` are one step. To train in another way, write
another `fit` over the same parts.
"""

import gpt2zh.needs  # noqa: F401

# isort: split

import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gpt2zh.console import command_line
from gpt2zh.errors import EnvironmentFault, run_script
from gpt2zh.flags.train import train_flags
from gpt2zh.shards.batches import evaluation_batches
from gpt2zh.shards.prefetch import Prefetch
from gpt2zh.system.signals import StopSignals
from gpt2zh.training.meter import Meter
from gpt2zh.training.processes import start_processes
from tokenizations.loading import load_bytes, load_tokenizer

if TYPE_CHECKING:
    import torch

    from gpt2zh.run.set_up import Run
    from gpt2zh.training.state import RunState

    MicroBatches = Sequence[tuple[torch.Tensor, torch.Tensor]]  # inputs and targets, each (B, T)

SAMPLE_TOKENS = 120  # length of a sample text
EARLY_SAMPLES = (0.01, 0.02, 0.05, 0.1)  # of the run, when the first ones come; then one after each validation


def main(argv: Sequence[str] | None = None) -> None:
    command = [sys.argv[0], *(sys.argv[1:] if argv is None else argv)]
    with start_processes() as processes:  # one, or those that torchrun started
        flags = train_flags(command[1:])
        with processes.only_owner(flags.output.output_dir):
            named = flags.vocabulary
            tokenizer = (
                load_bytes(named.encoder_json, named.vocab_bpe)
                if named.bpe_token
                else load_tokenizer(named.tokenizer_path)
            )

            from gpt2zh.run.set_up import (
                set_up,  # loads torch: --help and a typing error in a path have been answered by now
            )

            run = set_up(flags, processes, tokenizer, command)
            with run.log, run.output, StopSignals(processes.others_failed) as stop:
                rehearse(run) if flags.output.dry_run else fit(run, stop)


# ----- the loop -------------------------------------------------------------------------------------------------------


def fit(run: "Run", stop: StopSignals) -> None:
    """Train to the end of the run."""
    from gpt2zh.training.optim import set_lr
    from gpt2zh.training.throughput import flops_per_token

    flags, at, batches, schedule, output = run.flags, run.at, run.batches, run.schedule, run.output
    log_every = math.ceil(flags.output.log_step / flags.steps.gradient_accumulation)  # steps
    flops = flops_per_token(run.model.config)
    meter = Meter(at, run.log, run.processes, run.device, batches, run.scaler, flops, run.peak)
    schedule.begin(at.seconds)
    stop_early(run)
    run.log.start_bar(schedule.n_steps)
    asked, early = ask(run, stop), [share for share in EARLY_SAMPLES if at.step < share * schedule.n_steps]
    while at.closed < schedule.n_steps:
        epoch = at.closed // batches.steps_per_epoch
        run.loss.train()
        left = batches.epoch(epoch, at.step - epoch * batches.steps_per_epoch) if at.step < schedule.n_steps else ()
        steps = Prefetch(left, run.device.tensors)
        for micro_batches in steps:
            lr = schedule.lr(at.step)
            set_lr(run.optimizer, lr)
            nats, grad_norm = train_step(run, micro_batches)
            at.step += 1
            # ----- the step ends here; below is only reporting and saving ---------------------------------------------

            stop_number, save_due, schedule.n_steps = asked()
            run.log.advance(schedule.n_steps)
            ends_epoch = at.step % batches.steps_per_epoch == 0 or at.step >= schedule.n_steps
            meter.step(lr, nats, grad_norm, steps.take_waited(), at.step % log_every == 0 or ends_epoch)
            if early and at.step >= early[0] * schedule.n_steps and not ends_epoch:
                early = [share for share in early if at.step < share * schedule.n_steps]
                with meter.paused():
                    write_sample(run)
            if flags.steps.eval_every and at.step % flags.steps.eval_every == 0 and not ends_epoch:
                with meter.paused():
                    validate(run, epoch)
                    write_sample(run)
            if run.processes.count == 1:
                stop_number = stop.number  # nobody has to be asked
            if stop_number or save_due:
                with meter.paused():
                    if stop_number or not at.skipped_in_a_row:
                        output.save_checkpoint(state_of(run))
                if stop_number:
                    output.leave(at.step, stop.number or signal.SIGTERM)
            if at.step >= schedule.n_steps:
                break
            asked = ask(run, stop)
        with meter.paused():
            close_epoch(run, epoch)
    finish(run)


def train_step(run: "Run", micro_batches: "MicroBatches") -> "tuple[torch.Tensor, torch.Tensor]":
    """One optimiser step. Nothing here waits for a GPU: a step whose gradient is not finite is left out on the device.

    Args:
        micro_batches: inputs and targets, each (B, T), on the device.
    Returns:
        The sum of this process's nats, and the norm of the gradients before clipping: scalars on the device.
    """
    from gpt2zh.training.optim import clip_gradients, update

    n_targets = run.batches.n_targets(run.at.step)  # of all processes
    while (nats := run.device.within_memory(accumulate, run, micro_batches, n_targets)) is None:
        run.optimizer.zero_grad()
        take_fewer_windows(run)
    run.scaler.unscale_(run.optimizer)
    grad_norm = clip_gradients(run.model, run.flags.steps.max_grad_norm)
    update(run.optimizer, run.scaler, grad_norm)
    run.optimizer.zero_grad()
    return nats, grad_norm


def accumulate(run: "Run", micro_batches: "MicroBatches", n_targets: int) -> "torch.Tensor":
    """Add up the gradients of a step, whose mean loss is over `n_targets`. Returns the sum of this process's nats."""
    import torch

    most = run.most_windows
    pieces = [piece for inputs, targets in micro_batches for piece in zip(inputs.split(most), targets.split(most))]
    total = torch.zeros((), device=run.device.main)
    for number, (inputs, targets) in enumerate(pieces, 1):
        run.processes.sync_gradients(number == len(pieces))
        nats, _ = run.loss(inputs, targets)  # (number of GPUs,)
        # Divided by the whole step's targets: accumulation adds up to exactly the large batch's mean. Times the number of
        # processes, because these average their gradients where a sum is meant.
        run.scaler.scale(nats.sum() * run.processes.count / n_targets).backward()
        total += nats.detach().sum()
    return total


def take_fewer_windows(run: "Run") -> None:
    """Memory ran out: halve the windows that are computed at a time. Those of a step stay the same.

    Raises:
        EnvironmentFault: it cannot be fewer, or other processes would have to go along.
    """
    most = run.most_windows
    if most == 1 or run.processes.count > 1:
        raise EnvironmentFault(
            f"内存不够：{most} 个窗口放不下。请减小 --batch_size（并同倍增大 --gradient_accumulation），或加 --gradient_checkpointing、--optimizer adamw8bit，或减小模型配置里的 n_ctx。",
            f"out of memory with {most} windows. Lower --batch_size (and raise --gradient_accumulation as much), give --gradient_checkpointing or --optimizer adamw8bit, or lower n_ctx in the model's configuration.",
        )
    run.most_windows = most // 2
    run.log.line(
        f"内存不够：{most} 个窗口放不下，此后一次算 {most // 2} 个，每次更新的窗口数不变。",
        f"out of memory with {most} windows: {most // 2} at a time from here on, as many a step as before.",
    )


def ask(run: "Run", stop: StopSignals) -> Callable[[], list[int]]:
    """Begin to ask all processes; the answer is read when the next step is made, so that none waits for another.

    Returns:
        A call that gives the signal that asks to stop (0: none), whether a checkpoint is due after the next step, and the steps of the
        whole run.
    """
    next_step = run.at.step + 1
    first = run.processes.rank == 0
    due, n_steps = (run.output.due(next_step), run.schedule.affordable(next_step)) if first else (0, 0)
    sums = run.processes.start_sum(stop.number, due, n_steps)
    return lambda: [int(number) for number in sums()]


# ----- validation, epochs, the end ------------------------------------------------------------------------------------


def validate(run: "Run", epoch: int) -> None:
    """Score what was held out, where anything was; keep the best model."""
    from gpt2zh.evaluation.likelihood import evaluate

    if not len(run.data.val):
        return
    began, at, processes = time.perf_counter(), run.at, run.processes
    held_out = evaluation_batches(
        run.data.val, run.batches.n_ctx, None, run.batches.batch_size, processes.rank, processes.count
    )
    score = evaluate(run.loss, held_out, run.n_characters, run.device, processes.all_reduce_sum)
    run.output.note(epoch + 1, at.step, score.metrics())
    run.log.line(
        f"第 {epoch + 1} 轮，第 {at.step} 步：验证 loss {score.loss:.4f}，每字 {score.bits_per_character:.4f} 比特",
        f"epoch {epoch + 1}, step {at.step}: validation loss {score.loss:.4f}, {score.bits_per_character:.4f} bits per character",
    )
    is_best = score.loss < at.best and run.output.save_model("best_model")
    run.yardstick.validated(score.loss, score.bits_per_character, is_best, run.schedule.seconds())
    numbers = {**score.metrics(), "seconds": time.perf_counter() - began}
    run.log.report(at.step, {f"val/{name}": value for name, value in numbers.items()}, run.yardstick.rows)
    stop_early(run)


def stop_early(run: "Run") -> None:
    """--early_stop: make this the last step where so many validations were no better."""
    most = run.flags.steps.early_stop
    if most and run.at.n_worse >= most:
        run.log.line(
            f"连续 {run.at.n_worse} 次验证没有更好的，提前结束（--early_stop {most}）。",
            f"{run.at.n_worse} validations without a better one: the run ends here (--early_stop {most}).",
        )
        run.schedule.end(run.at.step)


def write_sample(run: "Run") -> None:
    """Show a text that the model writes now, from a document's start."""
    from gpt2zh.generation.settings import USUAL
    from gpt2zh.sampling import continue_ids

    if run.flags.several.shard_model:  # in parts, a model would have to be put together anew for every token
        return
    start, seed = [run.tokenizer.document_start_id], run.flags.steps.seed
    ids = continue_ids(run.tokenizer, run.model, run.device, start, SAMPLE_TOKENS, seed, USUAL)
    run.log.text(run.at.step, "sample", run.tokenizer.decode(ids))


def close_epoch(run: "Run", epoch: int) -> None:
    """Validate, write a sample text, save the model."""
    run.output.note(epoch + 1, run.at.step)
    if run.at.validated < run.at.step:
        validate(run, epoch)
    write_sample(run)
    run.output.save_epoch(epoch + 1)
    run.at.closed = run.at.step


def finish(run: "Run") -> None:
    """Save the last state and the final model; say what came of the run."""
    at, log = run.at, run.log
    at.finished = True
    if run.output.is_saved:
        run.output.save_checkpoint(state_of(run))
    chosen = final = run.output.finish()
    log.line(f"训练完成，{at.step} 步：{final}", f"done after {at.step} steps: {final}")
    if at.skipped:
        log.line(
            f"其中 {at.skipped} 步因梯度不是有限数而跳过。",
            f"{at.skipped} of them were skipped, as their gradients were not finite.",
        )
    if len(run.data.val):
        chosen = run.output.path / "best_model"
        log.line(
            f"验证 loss 最低的是 {chosen}：{at.best:.4f}",
            f"the lowest validation loss is that of {chosen}: {at.best:.4f}",
        )
    run.yardstick.verdict(run.schedule.recipe.lr, at.step / run.batches.steps_per_epoch)
    log.line(
        "续写：", f"write on: {command_line(['python', 'generate.py', '--model_path', chosen, '--prefix', 'TEXT'])}"
    )


def state_of(run: "Run") -> "RunState":
    """All that a run needs to go on as if it had not stopped; asked of all processes at once."""
    from gpt2zh.training.state import RunState

    nats = run.processes.all_reduce_sum(run.at.nats)[0]
    return RunState(
        replace(run.at, nats=nats, n_rows=run.log.n_rows, seconds=run.schedule.seconds()),
        run.settings,
        run.processes.optimizer_state(run.model, run.optimizer),
        run.processes.gather(run.device.random_states()),
        run.scaler.state_dict(),
    )


def rehearse(run: "Run") -> None:
    """--dry_run: what the run will take, from a few steps that change nothing."""
    from gpt2zh.training.trial import Trial
    from gpt2zh.training.trial import rehearse as time_steps

    batches, left = run.batches, max(0, run.schedule.n_steps - run.at.step)
    took = time_steps(
        Trial(run.loss, run.optimizer, run.device, batches.n_ctx), batches.batch_size, batches.accumulation
    )
    n_epochs = math.ceil(run.schedule.n_steps / batches.steps_per_epoch)
    moments = [value for values in run.optimizer.state.values() for value in values.values()]
    disk, free = run.output.disk(n_epochs, sum(value.nbytes for value in moments if hasattr(value, "nbytes")))
    pace, memory, hours = batches.tokens_per_step / took.seconds, (took.peak or 0) / 1e6, took.seconds * left / 3600
    run.log.line(
        f"预演：每步 {took.seconds:.3g} 秒，{pace:.0f} 词元/秒；内存最多 {memory:.0f} MB；磁盘最多 {disk / 1e6:.0f} MB（空闲 {free / 1e6:.0f} MB）；余下 {left} 步约 {hours:.2f} 小时（不含验证与存盘）。没有训练。",
        f"rehearsal: {took.seconds:.3g} s a step, {pace:.0f} tokens/s; {memory:.0f} MB of memory and {disk / 1e6:.0f} MB of disk ({free / 1e6:.0f} MB free) at most; about {hours:.2f} hours for the {left} steps left, without validation and saving. Nothing was trained.",
    )


if __name__ == "__main__":
    run_script(main, outlasts_console=True)
