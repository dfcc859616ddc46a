"""A `Run`, and the one place where it is put together: forty names meet here, once, before the first step.

In: train.py's flags. Out: a `Run`. Refuses: what does not fit together, and to go on from a checkpoint of another run.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from transformers import GPT2LMHeadModel

from gpt2zh.device import Device, choose_device
from gpt2zh.errors import UserError, say
from gpt2zh.flags.command_line import named_values
from gpt2zh.flags.train import TrainFlags
from gpt2zh.model.loss import LanguageModelLoss
from gpt2zh.model.shape import shape_of
from gpt2zh.model.stock import count_parameters
from gpt2zh.run.inputs import make_batches, make_model, measure_held_out, open_data
from gpt2zh.shards.batches import TrainingBatches
from gpt2zh.shards.format import Shards, TokenStream
from gpt2zh.system.files import is_writable, require_writable
from gpt2zh.training import optim
from gpt2zh.training.banner import announce
from gpt2zh.training.checkpoint import ModelRecord, came_about
from gpt2zh.training.processes import SingleProcess
from gpt2zh.training.recipe import choose_recipe
from gpt2zh.training.resume import compare
from gpt2zh.training.run_folder import Earlier, RunFolder, find_earlier, make_way
from gpt2zh.training.runlog import RunFiles, RunLog
from gpt2zh.training.schedule import Schedule
from gpt2zh.training.state import Progress
from gpt2zh.training.throughput import choose_compile, flops_per_token, measured_peak
from gpt2zh.training.trial import Trial, choose_micro_batch
from gpt2zh.training.yardstick import Yardstick
from tokenizations.tokenizer import Tokenizer


@dataclass
class Run:
    """Built once by `set_up`; only `at`, `schedule` and `most_windows` change afterwards."""

    flags: TrainFlags
    processes: SingleProcess  # or Distributed: the same calls
    device: Device
    tokenizer: Tokenizer
    data: Shards
    batches: TrainingBatches
    model: GPT2LMHeadModel
    loss: nn.Module  # (inputs, targets), each (B, T) -> sum of nats, number of targets
    optimizer: Optimizer
    scaler: torch.amp.GradScaler  # at work for fp16 only
    schedule: Schedule
    peak: float  # operations a second, at most
    settings: dict[str, Any]  # what a checkpoint says of the run, for --resume to compare
    at: Progress
    output: RunFolder
    log: RunLog
    n_characters: int  # of the held-out text
    yardstick: Yardstick

    def __post_init__(self) -> None:
        self.most_windows = self.batches.batch_size  # at a time; fewer once memory ran out


def set_up(flags: TrainFlags, processes: SingleProcess, tokenizer: Tokenizer, command: list[str]) -> Run:
    """Make what a run is made of, and say what it will do. `command`: the words of the command line, for --resume."""
    device = name_device(flags, processes)
    earlier = find_earlier(flags.output.output_dir, flags.checkpoints.resume, processes)
    model = make_model(flags, tokenizer, earlier, processes)
    data = open_data(flags, tokenizer, earlier, processes)
    batches = make_batches(flags, data, model.config.n_positions, earlier, processes)
    require_same_everywhere(flags, device, model, data, processes)
    n_characters, ngrams = processes.on_first(measure_held_out, flags, data, tokenizer)
    processes.connect(device, flags.several.shard_model, flags.several.peer_timeout)
    schedule = make_schedule(flags, model, batches, device, processes)
    recipe = schedule.recipe
    processes.seed_apart(flags.steps.seed)
    n_tokens = batches.tokens_per_step * schedule.n_steps
    loss, compiled = make_loss(flags, model, data.train, n_tokens, device, processes)
    optimizer = optim.build_optimizer(model, recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.betas, recipe.eps)
    if flags.steps.batch_size is None and earlier is None:
        batches = fit_into_memory(flags, batches, model, optimizer, device)
    scaler, peak = device.scaler(), measured_peak(device)
    settings = {
        **settings_of(flags, data, batches, schedule),
        "device": str(device),
        "processes": processes.count,
        "compiled": compiled,
    }
    changes = compare(earlier.state.settings, settings) if earlier else []
    at = earlier.restore(model, optimizer, scaler, device, processes) if earlier else Progress()
    if earlier and earlier.ends_again(flags.steps.max_hours):
        schedule.end(at.closed)
    at.finished = False
    log = open_log(flags, earlier, at, processes)
    output = open_output(flags, earlier, model, tokenizer, log, command, processes)
    announce(log, data, batches, schedule, flags.recipe.recipe)
    log.line(
        f"模型 {shape_of(model.config.to_dict())}：{count_parameters(model) / 1e6:.2f} M 参数；{device}{processes}"
        f"{'，torch.compile' if compiled else ''}；实测矩阵乘法峰值 {peak / 1e12:.2f} TFLOP/s",
        f"model: {count_parameters(model) / 1e6:.2f} M parameters; {peak / 1e12:.2f} TFLOP/s measured for matrix products",
    )
    yardstick = Yardstick(ngrams, at, log)
    yardstick.announce()
    going_on = earlier.notes(changes, schedule.n_steps) if earlier else []
    for note in (*notes_on(flags), *going_on):
        log.line(*note)
    return Run(
        flags, processes, device, tokenizer, data, batches, model, loss, optimizer, scaler, schedule, peak, settings, at, output, log,
        n_characters, yardstick,
    )  # fmt: skip


# ----- where ----------------------------------------------------------------------------------------------------------


def name_device(flags: TrainFlags, processes: SingleProcess) -> Device:
    """Where and how to compute; and that the folders can be written to."""
    if flags.recipe.optimizer == "adamw8bit":
        optim.adamw8bit()  # not installed: better said before the corpus is read
    if flags.steps.batch_size is None and processes.count > 1:
        raise UserError(
            "--batch_size auto 只用于一个进程；用 torchrun 时请给出数目（所有进程合计）。",
            "--batch_size auto is for one process; under torchrun give the number, over all processes.",
        )
    if flags.several.shard_model and processes.place is None:
        raise UserError(
            "--shard_model 把模型分给多个进程，要用 torchrun 启动，如：torchrun --nproc_per_node 2 train.py --shard_model …（见 docs/many_gpus.md）。",
            "--shard_model parts the model among processes, which torchrun starts, as in: torchrun --nproc_per_node 2 train.py --shard_model … (see docs/many_gpus.md).",
        )
    precision = "fp16" if flags.compute.fp16 else flags.compute.precision
    device = choose_device(flags.compute.device, precision, processes.place)
    for note in device.notes:
        print(note)
    for folder in (flags.output.output_dir, flags.output.tensorboard_dir):
        processes.on_first(require_writable, folder)
    return device


def require_same_everywhere(
    flags: TrainFlags, device: Device, model: GPT2LMHeadModel, data: Shards, processes: SingleProcess
) -> None:
    """Raise UserError where the processes of a run differ in flags (but those that say where something lies), model or data."""
    named = {
        f"--{name}": str(value)
        for name, value in named_values(flags).items()
        if not isinstance(value, Path) and name not in ("device", "pretrained_model", "raw", "segment", "writer_dir")
    }
    made = {
        "model": str(shape_of(model.config.to_dict())),
        "shards": str(asdict(data.manifest.settings)),
        "dtype": f"{device.main.type} {device.dtype}",
    }
    processes.require_same({**made, **named})


# ----- how it learns --------------------------------------------------------------------------------------------------


def make_schedule(
    flags: TrainFlags, model: GPT2LMHeadModel, batches: TrainingBatches, device: Device, processes: SingleProcess
) -> Schedule:
    """The recipe, and the length of the run."""
    n_steps = flags.steps.max_steps or batches.steps_per_epoch * flags.steps.epochs
    muon_pays = device.fast_bf16 and not flags.several.shard_model
    recipe = choose_recipe(flags.recipe, model.config.n_embd, n_steps, muon_pays, bool(flags.model.pretrained_model))
    processes.require_same({"recipe": str(recipe)})
    hours = flags.steps.max_hours
    return Schedule(recipe, n_steps, None if hours is None else 3600 * hours, flags.recipe.warmup_steps is None)


def make_loss(
    flags: TrainFlags,
    model: GPT2LMHeadModel,
    train: TokenStream,
    n_tokens: int,
    device: Device,
    processes: SingleProcess,
) -> tuple[nn.Module, bool]:
    """The module to train, (inputs, targets) to nats and targets, and whether it is compiled. `n_tokens`: of the whole run."""
    compiled, note = choose_compile(
        flags.compute.compile, device, flops_per_token(model.config) * n_tokens, model.config
    )
    if note:
        print(note)
    smoothing = None
    if share := flags.recipe.label_smoothing:
        frequencies = sum(np.bincount(piece, minlength=train.vocab_size) for piece in train.pieces) / len(train)
        smoothing = torch.from_numpy(share * frequencies).float()
    module = LanguageModelLoss(model, compiled, flags.compute.gradient_checkpointing, smoothing)
    return processes.wrap(module, module.run.blocks, device), compiled


def fit_into_memory(
    flags: TrainFlags, batches: TrainingBatches, model: GPT2LMHeadModel, optimizer: Optimizer, device: Device
) -> TrainingBatches:
    """--batch_size auto: the same windows a step, in the largest micro-batches that fit."""
    plain = device.spread(LanguageModelLoss(model, checkpointing=flags.compute.gradient_checkpointing))
    size, note = choose_micro_batch(Trial(plain, optimizer, device, batches.n_ctx), batches.windows_per_step)
    print(note)
    return replace(batches, batch_size=size, accumulation=batches.windows_per_step // size)


# ----- going on -------------------------------------------------------------------------------------------------------


def settings_of(flags: TrainFlags, data: Shards, batches: TrainingBatches, schedule: Schedule) -> dict[str, Any]:
    """What a checkpoint says of its run beside the model's configuration, as JSON has it; `resume.compare` knows what must stay."""
    return {
        **data.manifest.settings.decide_text(),
        "stride": batches.stride,
        "seed": batches.seed,
        "windows_per_step": batches.windows_per_step,
        "batch_size": batches.batch_size,
        "gradient_accumulation": batches.accumulation,
        **asdict(schedule.recipe),
        "betas": list(schedule.recipe.betas),
        "n_steps": schedule.most,
        "max_hours": flags.steps.max_hours,
        "max_grad_norm": flags.steps.max_grad_norm,
        "gradient_checkpointing": flags.compute.gradient_checkpointing,
    }


def open_log(flags: TrainFlags, earlier: Earlier | None, at: Progress, processes: SingleProcess) -> RunLog:
    """The log of the run, of which a rehearsal, and a process that is not the first, write nothing."""
    if flags.output.dry_run:
        return RunLog(None, at.step, at.n_rows)
    processes.on_first(make_way, flags.output.output_dir, earlier)
    if processes.rank:
        return RunLog(None, at.step, at.n_rows)
    output_dir, logs_dir = flags.output.output_dir, Path("logs")
    if not is_writable(logs_dir):
        say(f"logs/ 不能写，日志写在 {output_dir}。", f"logs/ cannot be written to: the log is in {output_dir}.")
        logs_dir = output_dir
    files = RunFiles(output_dir, flags.output.tensorboard_dir, at.step, at.n_rows, logs_dir)
    return RunLog(files, at.step, at.n_rows)


def open_output(
    flags: TrainFlags,
    earlier: Earlier | None,
    model: GPT2LMHeadModel,
    tokenizer: Tokenizer,
    log: RunLog,
    command: list[str],
    processes: SingleProcess,
) -> RunFolder:
    """What writes models and checkpoints."""
    so_far = processes.on_first(came_about, earlier.folder) if earlier else {}
    record = ModelRecord({name: str(value) for name, value in named_values(flags).items()}, command, **so_far)
    folder, when = flags.output.output_dir, flags.checkpoints
    every = when.save_every
    return RunFolder(
        folder, processes, model, tokenizer, record, log, every.steps, every.seconds, when.keep_last, when.keep_epochs
    )  # fmt: skip


# ----- what there is to say of it -------------------------------------------------------------------------------------


def notes_on(flags: TrainFlags) -> list[tuple[str, str]]:
    """What the flags do that one may not expect."""
    notes, log_step, accumulation = [], flags.output.log_step, flags.steps.gradient_accumulation
    if log_step % accumulation:
        notes.append(
            (
                f"--log_step {log_step} 不是 --gradient_accumulation {accumulation} 的倍数，向上取整。",
                f"--log_step {log_step} is not a multiple of --gradient_accumulation {accumulation}: it is rounded up.",
            )
        )
    if flags.several.shard_model:
        notes.append(
            (
                "--shard_model：每轮之后不写样本；用 generate.py --model_path 看 model_epochN。",
                "--shard_model: no sample text after an epoch; write with generate.py --model_path model_epochN.",
            )
        )
    return notes
