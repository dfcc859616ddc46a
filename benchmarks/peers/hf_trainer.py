"""transformers.Trainer with a GPT2LMHeadModel: `python hf_trainer.py job.json` (steps.py says what a job is).

All arguments are the Trainer's defaults but those that the job names; it wants the package accelerate.
"""

from pathlib import Path

import torch
from steps import Steps, read_job
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from gpt2zh.shards.format import TokenStream, open_shards


class Windows(Dataset):
    """The stream in windows of n_ctx ids, side by side; labels are the inputs, as the model shifts them itself."""

    def __init__(self, stream: TokenStream, n_ctx: int) -> None:
        self.stream, self.n_ctx = stream, n_ctx

    def __len__(self) -> int:
        return len(self.stream) // self.n_ctx

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.from_numpy(self.stream.read_circular(index * self.n_ctx, self.n_ctx))  # (T,)
        return {"input_ids": ids, "labels": ids}


def main() -> None:
    job = read_job()
    shape = {name: job[name] for name in ("n_layer", "n_embd", "n_head", "vocab_size")}
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), job["dropout"])
    model = GPT2LMHeadModel(GPT2Config(n_positions=job["n_ctx"], **shape, **dropout))
    arguments = TrainingArguments(
        "hf_trainer",
        max_steps=job["warmup"] + job["steps"] + 1,
        per_device_train_batch_size=job["batch_size"],
        bf16=job["precision"] == "bf16",
        torch_compile=job["compile"],
        use_cpu=job["device"] == "cpu",
        save_strategy="no",
        report_to="none",
        seed=job["seed"],
    )
    data = Windows(open_shards(Path(job["shards"])).train, job["n_ctx"])
    trainer = Trainer(model=model, args=arguments, train_dataset=data)
    Steps(job).run(trainer.train)


if __name__ == "__main__":
    main()
