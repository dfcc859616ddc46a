"""Other generators, timed: `python generation.py job.json`.

A job is a JSON object, written by launch.py:

    engine          transformers | ctranslate2 | llama | ancestor | ancestor-fast
    type            fp32 | bf16 | int8, for those that have several
    model           a model folder with a tokenizer that AutoTokenizer loads
    batch_size      texts at a time
    length          new tokens of each text
    top_k           of the sampling, temperature 1
    device          cpu | cuda; cuda is for transformers
    checkout        of the ancestor
    result          file to write: {"tokens_per_second": x}

Each engine writes `length` tokens twice after the same prefix, and the second time counts; none may end a text early.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

PREFIX = "秋天的后半夜"
WARM = 16  # tokens of the first time, for engines whose first call is slow


def transformers_generate(job: dict, ids: list[int]) -> Callable[[int], object]:
    from transformers import GPT2LMHeadModel

    dtype = torch.bfloat16 if job["type"] == "bf16" else torch.float32
    model = GPT2LMHeadModel.from_pretrained(job["model"], dtype=dtype).eval().to(job["device"])
    prefix = torch.tensor([ids] * job["batch_size"], device=job["device"])
    mask = torch.ones_like(prefix)
    # .cpu() waits for the last token
    return lambda n: model.generate(
        prefix, max_new_tokens=n, min_new_tokens=n, do_sample=True, top_k=job["top_k"], attention_mask=mask
    ).cpu()


def ctranslate2_generate(job: dict, ids: list[int]) -> Callable[[int], object]:
    import ctranslate2
    from transformers import AutoTokenizer

    folder = Path("ct2").resolve()
    ctranslate2.converters.TransformersConverter(job["model"]).convert(str(folder), force=True)
    kind = {"fp32": "float32", "int8": "int8", "bf16": "bfloat16"}[job["type"]]
    engine = ctranslate2.Generator(str(folder), device="cpu", compute_type=kind, intra_threads=0)
    prefix = [AutoTokenizer.from_pretrained(job["model"]).convert_ids_to_tokens(ids)] * job["batch_size"]
    return lambda n: engine.generate_batch(
        prefix, max_length=n, min_length=n, sampling_topk=job["top_k"], include_prompt_in_result=False
    )


class OldModel:
    """A model as the ancestor calls it: `model(ids, past=past)` gives (logits, past)."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def __call__(self, input_ids: torch.Tensor, past: object = None, **ignored: object) -> tuple:
        cached = self.fast
        out = self.model(input_ids, past_key_values=past, use_cache=cached)
        return out.logits, out.past_key_values

    fast = False


class OldTokenizer:
    """What the ancestor's slow path asks of a tokenizer."""

    def __init__(self, unknown: int) -> None:
        self.unknown = unknown

    def convert_tokens_to_ids(self, token: str) -> int:
        return self.unknown


def ancestor_generate(job: dict, ids: list[int]) -> Callable[[int], object]:
    from transformers import AutoTokenizer, GPT2LMHeadModel

    sys.path.insert(0, job["checkout"])
    import generate as ancestor

    ancestor.trange = range
    model = OldModel(GPT2LMHeadModel.from_pretrained(job["model"]).eval())
    model.fast = job["engine"] == "ancestor-fast"
    tokenizer = OldTokenizer(AutoTokenizer.from_pretrained(job["model"]).unk_token_id)
    n_ctx = model.model.config.n_positions
    return lambda n: ancestor.generate(
        n_ctx, model, ids, n, tokenizer, temperature=1, top_k=job["top_k"], is_fast_pattern=model.fast
    )


def llama_generate(job: dict, ids: list[int]) -> Callable[[int], object]:
    import llama_cpp
    from llama_model import write_gguf

    path = Path("model.gguf").resolve()
    write_gguf(Path(job["model"]), path, job["type"])
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    rows, rng = job["batch_size"], np.random.default_rng(0)
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_seq_max = rows * (len(ids) + job["length"] + 8), 512, rows
    settings.n_threads = settings.n_threads_batch = torch.get_num_threads()
    if job["type"] != "fp32":
        settings.flash_attn_type = 1  # on: its best, as measured
    context = llama_cpp.llama_init_from_model(model, settings)
    batch = llama_cpp.llama_batch_init(512, 0, 1)

    def decode(tokens: list[tuple[int, int, int]]) -> None:
        """(row, position, token) of each; logits of the last for every row."""
        batch.n_tokens = len(tokens)
        for place, (row, position, token) in enumerate(tokens):
            batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, position, 1
            batch.seq_id[place][0], batch.logits[place] = row, 1
        assert llama_cpp.llama_decode(context, batch) == 0

    def choose(place: int) -> int:
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, place), (n_vocab,))
        top = np.argpartition(logits, -job["top_k"])[-job["top_k"] :]
        weights = np.exp(logits[top] - logits[top].max())
        return int(rng.choice(top, p=weights / weights.sum()))

    def run(n: int) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        for row in range(rows):
            decode([(row, position, token) for position, token in enumerate(ids)])
        tokens = [choose(len(ids) - 1) for _ in range(rows)]
        for position in range(len(ids), len(ids) + n - 1):
            decode([(row, position, token) for row, token in enumerate(tokens)])
            tokens = [choose(row) for row in range(rows)]

    return run


ENGINES = {
    "transformers": transformers_generate,
    "ctranslate2": ctranslate2_generate,
    "llama": llama_generate,
    "ancestor": ancestor_generate,
    "ancestor-fast": ancestor_generate,
}


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(job["model"])(PREFIX)["input_ids"]
    torch.manual_seed(0)
    run = ENGINES[job["engine"]](job, ids)
    run(WARM)
    began = time.perf_counter()
    run(job["length"])
    speed = job["batch_size"] * job["length"] / (time.perf_counter() - began)
    Path(job["result"]).write_text(json.dumps({"tokens_per_second": speed}), encoding="utf-8")


if __name__ == "__main__":
    main()
