"""Inside a trainer's process: its optimiser steps timed, its model validated with the clock stopped.

The programs beside this file each run one trainer, `python hf_trainer.py job.json`. The trainers' own loops run as they
are: torch calls us after every `optimizer.step()`, whoever called that, and `Finished` ends the run.

A job is a JSON object, written by launch.py:

    checkout                        folder of the trainer's code, "" where it is an installed package
    shards, ids                     our shards of the text; the same ids as the trainer wants them (a folder)
    n_layer n_embd n_head n_ctx vocab_size batch_size dropout     shape; batch_size in windows of n_ctx tokens
    precision compile device seed   fp32 | bf16, true | false, cpu | cuda, int
    recipe                          "" for the trainer's defaults at this shape, or the name of its own recipe
    warmup, steps                   speed: steps not timed, then steps timed
    seconds, points                 quality: length of the run, and how often it is validated
    result                          file to write: {"tokens_per_second": x} or {"curve": [[seconds, bits], ...]}
"""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT))

from gpt2zh.shards.batches import IGNORE, evaluation_batches
from gpt2zh.shards.format import open_shards

VALIDATION_BATCH = 16  # windows


class Finished(Exception):
    """The benchmark has what it wanted of this run."""


class Steps:
    """Counts a trainer's steps. `logits` computes (B, T, V) from the ids (B, T), with the trainer's own model."""

    def __init__(self, job: dict, logits: Callable[[nn.Module, torch.Tensor], torch.Tensor] | None = None) -> None:
        self.job = job
        self.logits = logits
        self.n = 0
        self.point = 0  # of job["points"]: the last one that was validated
        self.result: dict[str, object] = {"curve": []}
        self.model: nn.Module | None = None
        self.hook = register_optimizer_step_post_hook(self._after_step)

    def begin(self, model: nn.Module) -> None:
        """Start the clock, at the first call. A compiled model is validated as the plain one that it wraps."""
        if self.model is None:
            self.model = getattr(model, "_orig_mod", model)
            self.started, self.paused = self._now(), 0.0

    def run(self, train: Callable[[], object]) -> None:
        """Train until the benchmark has enough, or the trainer ends by itself."""
        try:
            train()
            if "seconds" not in self.job:
                raise SystemExit(f"SystemExit: the trainer ended by itself after {self.n} steps")
            self._validate()
        except Finished:
            pass
        finally:
            self.hook.remove()
        Path(self.job["result"]).write_text(json.dumps(self.result), encoding="utf-8")

    def _now(self) -> float:
        if self.job["device"] == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _after_step(self, optimizer: Optimizer, arguments: tuple, keywords: dict) -> None:
        self.n += 1
        if "seconds" in self.job:
            seconds = self._now() - self.started - self.paused
            point = int(self.job["points"] * seconds / self.job["seconds"])
            if point > self.point:
                self._validate()
            if point >= self.job["points"]:
                raise Finished
            self.point = point
        elif self.n == self.job["warmup"]:
            self.started = self._now()
        elif self.n == self.job["warmup"] + self.job["steps"]:
            n_tokens = self.job["steps"] * self.job["batch_size"] * self.job["n_ctx"]
            self.result = {"tokens_per_second": n_tokens / (self._now() - self.started)}
            raise Finished

    @torch.no_grad()
    def _validate(self) -> None:
        """Add (seconds trained, bits per character) to the curve; the time that this takes is not the trainer's.

        The windows are those of train.py: n_ctx ids each, half of them context; every held-out id is judged once. The
        precision is the one that the model is trained in.
        """
        pause = self._now()
        data = open_shards(Path(self.job["shards"]))
        nats = 0.0
        self.model.eval()
        for inputs, targets in evaluation_batches(data.val, self.job["n_ctx"], None, VALIDATION_BATCH):
            ids, wanted = (torch.from_numpy(array).to(self.job["device"]) for array in (inputs, targets))
            with torch.autocast(self.job["device"], torch.bfloat16, enabled=self.job["precision"] == "bf16"):
                logits = self.logits(self.model, ids)
            nats += F.cross_entropy(
                logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORE, reduction="sum"
            ).item()
        self.model.train()
        bits = nats / math.log(2) / data.manifest.characters.val
        self.result["curve"].append([pause - self.started - self.paused, bits])
        print(f"step {self.n}: {self.result['curve'][-1]}", flush=True)
        self.paused += self._now() - pause


def read_job() -> dict:
    """The job that the command line names."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
