"""nanoGPT's train.py: `python nanogpt.py job.json` (steps.py says what a job is).

The checkout is copied and train.py changed there, by these replacements and no others:
- its validation gives way to the benchmark's, which stops the clock;
- the seed is the job's;
- precision bf16 on a CPU: autocast there too, where as shipped a CPU means fp32.
"""

import pickle
import runpy
import shutil
import sys
from pathlib import Path

from steps import Steps, read_job

VALIDATION = (
    "    if iter_num % eval_interval == 0 and master_process:\n",
    "    benchmark.begin(raw_model)\n    if False:\n",
)
SEED = ("torch.manual_seed(1337 + seed_offset)", "torch.manual_seed({seed})")
AUTOCAST = ("ctx = nullcontext() if device_type == 'cpu' else torch.amp.autocast(", "ctx = torch.amp.autocast(")


def patched(source: str, replacements: list[tuple[str, str]]) -> str:
    """`source` with each replacement made; what is to be replaced must be there exactly once."""
    for old, new in replacements:
        if source.count(old) != 1:
            raise SystemExit(f"nanoGPT's train.py has changed: {source.count(old)} times {old.strip()!r}")
        source = source.replace(old, new)
    return source


def lay_out(job: dict, folder: Path) -> None:
    """The checkout's code and the ids, in a new folder."""
    checkout = Path(job["checkout"])
    shutil.copytree(checkout / "config", folder / "config")
    for name in ("model.py", "configurator.py"):
        shutil.copy(checkout / name, folder)
    replacements = [VALIDATION, (SEED[0], SEED[1].format(seed=job["seed"]))]
    if job["device"] == "cpu" and job["precision"] == "bf16":
        replacements.append(AUTOCAST)
    source = (checkout / "train.py").read_text(encoding="utf-8")
    (folder / "train.py").write_text(patched(source, replacements), encoding="utf-8")
    shutil.copytree(job["ids"], folder / "data" / "book")
    (folder / "data" / "book" / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": job["vocab_size"]}))


def arguments(job: dict) -> list[str]:
    """The command line: a recipe of config/, or the defaults at the job's shape."""
    values = {"dataset": "book", "device": job["device"], "compile": job["compile"]}
    if job["device"] == "cuda":
        values["log_interval"] = 10  # as train.py beside it: a line in the log waits for the GPU
    if job["precision"] == "bf16":
        values["dtype"] = "bfloat16"
    if job["recipe"]:
        return [f"config/{job['recipe']}.py", *(f"--{name}={value}" for name, value in values.items())]
    values |= {name: job[name] for name in ("n_layer", "n_embd", "n_head", "batch_size", "dropout")}
    values |= {"block_size": job["n_ctx"], "gradient_accumulation_steps": 1}
    return [f"--{name}={value}" for name, value in values.items()]


def main() -> None:
    job = read_job()
    lay_out(job, Path.cwd())
    sys.path.insert(0, str(Path.cwd()))
    sys.argv = ["train.py", *arguments(job)]
    # Given targets the model returns the logits of all positions.
    steps = Steps(job, lambda model, ids: model(ids, ids)[0])
    steps.run(lambda: runpy.run_path("train.py", init_globals={"benchmark": steps}, run_name="__main__"))


if __name__ == "__main__":
    main()
