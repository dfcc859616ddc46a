"""The ancestor's train.py: `python gpt2_chinese.py job.json` (steps.py says what a job is).

It was written for transformers 2.1 and stops at its imports today. Here the old names are bound to what does the same in
today's libraries, and the checkout's own file runs, with its own flags. Two differences remain: AdamW adds its eps (1e-6
then, and here) after the bias correction, and the tensorboard writer is tensorboardX's.
"""

import json
import random
import runpy
import sys
import types
from collections.abc import Iterable
from pathlib import Path

import torch
import transformers
from steps import ROOT, Steps, read_job
from tensorboardX import SummaryWriter
from torch import nn


class OldTokenizer:
    """The base class of its tokenizer, which is made and not used: the ids are there."""

    def __init__(self, **tokens: str) -> None:
        self.__dict__.update(tokens)


class AdamW(torch.optim.AdamW):
    """With the defaults of transformers 2.1: eps 1e-6, no weight decay."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, correct_bias: bool) -> None:
        super().__init__(parameters, lr=lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)


def old_schedule(optimizer: torch.optim.Optimizer, warmup_steps: int, t_total: int) -> object:
    """WarmupLinearSchedule by today's name."""
    return transformers.get_linear_schedule_with_warmup(optimizer, warmup_steps, t_total)


def bind_old_names(steps: Steps) -> None:
    """Put everything that the ancestor imports where it looks for it."""

    class Model(transformers.GPT2LMHeadModel):
        """Starts the benchmark's clock as its first forward pass begins."""

        def forward(self, **inputs: torch.Tensor) -> object:
            steps.begin(self)
            return super().forward(**inputs)

    today = sys.modules["transformers"]  # which loading a model's class exchanges for another module object
    today.modeling_gpt2 = types.SimpleNamespace(GPT2Config=transformers.GPT2Config, GPT2LMHeadModel=Model)
    today.AdamW = AdamW
    today.WarmupLinearSchedule = old_schedule
    for name, content in (
        ("transformers.tokenization_utils", {"PreTrainedTokenizer": OldTokenizer}),
        ("torch.utils.tensorboard", {"SummaryWriter": SummaryWriter}),
        ("sentencepiece", {}),  # for its subwords, which are not asked for
    ):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(content)


def main() -> None:
    job = read_job()
    # Its recipe moves a window of 1,024 tokens by 768; other windows by the same share.
    stride = job["n_ctx"] * 3 // 4 if job["recipe"] else job["n_ctx"]
    config = {name: job[name] for name in ("n_layer", "n_embd", "n_head", "n_ctx", "vocab_size")}
    config |= {"n_positions": job["n_ctx"]} | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), job["dropout"])
    Path("config.json").write_text(json.dumps(config), encoding="utf-8")
    Path("vocab.txt").write_text("[UNK]\n", encoding="utf-8")
    steps = Steps(job, lambda model, ids: model(input_ids=ids).logits)
    bind_old_names(steps)
    random.seed(job["seed"])
    torch.manual_seed(job["seed"])
    # Ours has a package `tokenizations` too; what is needed of it is loaded.
    sys.path[:] = [job["checkout"], *(place for place in sys.path if place != str(ROOT))]
    sys.argv = [
        "train.py", "--device", "0", "--model_config", "config.json", "--tokenizer_path", "vocab.txt",
        "--tokenized_data_path", f"{job['ids']}/", "--num_pieces", str(len(list(Path(job["ids"]).glob("*train_*")))),
        "--stride", str(stride), "--batch_size", str(job["batch_size"]), "--output_dir", "model/",
        "--writer_dir", "tensorboard/",
    ]  # fmt: skip
    steps.run(lambda: runpy.run_path(f"{job['checkout']}/train.py", run_name="__main__"))


if __name__ == "__main__":
    main()
