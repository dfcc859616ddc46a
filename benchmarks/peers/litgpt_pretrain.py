"""litgpt's pretraining loop, litgpt.pretrain.setup: `python litgpt_pretrain.py job.json` (steps.py says what a job is).

A model of its GPT-NeoX kind (rotary positions) in the job's shape, as litgpt has no GPT-2; the loop always compiles.
"""

import sys
from pathlib import Path

import torch
from steps import Steps, read_job
from torch.utils.data import DataLoader

from gpt2zh.shards.format import open_shards


def main() -> None:
    job = read_job()
    sys.path.insert(0, job["checkout"])
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.config import Config
    from litgpt.data import DataModule
    from litgpt.pretrain import setup

    class Book(DataModule):
        """Windows of n_ctx + 1 ids, side by side."""

        def __init__(self) -> None:
            super().__init__()
            stream = open_shards(Path(job["shards"])).train
            starts = range(0, len(stream) - job["n_ctx"] - 1, job["n_ctx"])
            self.windows = [torch.from_numpy(stream.read_circular(start, job["n_ctx"] + 1)) for start in starts]

        def connect(self, tokenizer: object = None, batch_size: int = 1, max_seq_length: int | None = None) -> None:
            self.batch_size = batch_size

        def train_dataloader(self) -> DataLoader:
            return DataLoader(self.windows, batch_size=self.batch_size, shuffle=True, drop_last=True)

        val_dataloader = train_dataloader  # two batches of it, before the first step

    config = Config(
        name="gpt2-shape",
        block_size=job["n_ctx"],
        parallel_residual=False,
        padding_multiple=64,
        **{name: job[name] for name in ("n_layer", "n_embd", "n_head", "vocab_size")},
    )
    steps = Steps(job)
    steps.run(
        lambda: setup(
            model_name=config.name,
            model_config=config,
            out_dir=Path("out"),
            precision="bf16-mixed" if job["precision"] == "bf16" else "32-true",
            data=Book(),
            train=TrainArgs(
                global_batch_size=job["batch_size"],
                micro_batch_size=job["batch_size"],
                max_tokens=int(1e12),
                max_norm=1.0,
                lr_warmup_steps=2000,
                tie_embeddings=True,
            ),
            eval=EvalArgs(interval=1_000_000),
            devices=1,
            logger_name="csv",
            seed=job["seed"],
        )
    )


if __name__ == "__main__":
    main()
