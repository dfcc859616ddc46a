"""Model, shards, batches of a run, and how well counting alone does on what is held out.

In: train.py's flags. Out: the parts of a `Run` that are read, not made up. Refuses: what cannot be read or does not fit together.
"""

from pathlib import Path

from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.device import seed_everything
from gpt2zh.errors import say
from gpt2zh.evaluation.ngrams import ngram_bits
from gpt2zh.flags.train import TrainFlags
from gpt2zh.model.initial import add_previous_token_heads
from gpt2zh.model.shape import KNOWN
from gpt2zh.model.stock import ControlIds, load_model, new_model, read_config, record_ids
from gpt2zh.shards.batches import TrainingBatches
from gpt2zh.shards.ensure import ensure_shards
from gpt2zh.shards.format import Shards, ShardSettings, check_documents, check_tokenizer, open_shards
from gpt2zh.shards.noise import input_noise
from gpt2zh.training.processes import SingleProcess
from gpt2zh.training.resume import compare
from gpt2zh.training.run_folder import Earlier
from gpt2zh.training.trial import USUAL
from gpt2zh.training.yardstick import Ngram
from tokenizations.loading import load_model_tokenizer, require_same
from tokenizations.tokenizer import Tokenizer
from tokenizations.vocabulary import entries_in_slots

MODEL = KNOWN - {"model_type", "n_ctx", "initializer_range"}  # what a run that goes on keeps of --model_config


def make_model(
    flags: TrainFlags, tokenizer: Tokenizer, earlier: Earlier | None, processes: SingleProcess
) -> GPT2LMHeadModel:
    """The model: of the checkpoint that the run goes on from, of a folder that was named, or new."""
    seed_everything(flags.steps.seed)
    pretrained, config = flags.model.pretrained_model, None
    if not pretrained:
        config = read_config(flags.model.model_config)
        if config.vocab_size != len(tokenizer):
            say(
                f"{flags.model.model_config} 的 vocab_size 是 {config.vocab_size}，词表有 {len(tokenizer)} 个词条：按词表建模型。",
                f"{flags.model.model_config} has vocab_size {config.vocab_size}, the vocabulary has {len(tokenizer)} entries: the model follows the vocabulary.",
            )
            config.vocab_size = len(tokenizer)
    if earlier is not None:
        compare(earlier.state.settings, {"vocabulary": tokenizer.fingerprint})
        saved = processes.on_first(read_config, earlier.folder / "config.json")
        if config is not None:
            compare(saved.to_dict(), described(config), dict.fromkeys(MODEL, "--model_config"))
        config = saved
    ids = ControlIds(tokenizer.document_start_id, tokenizer.document_end_id, tokenizer.pad_id)
    folder = earlier.folder if earlier is not None else Path(pretrained) if pretrained else None
    if folder is None or (earlier is not None and processes.rank):  # a checkpoint may lie on the first machine only
        assert config is not None
        model = new_model(config, len(tokenizer), ids)
        if flags.recipe.recipe == "tuned":
            add_previous_token_heads(model)
        return model
    model = load_model(folder, len(tokenizer))
    own = load_model_tokenizer(folder)
    if n_new := own and entries_in_slots(own.tokens, tokenizer.tokens):
        say(
            f"{tokenizer.source} 在 {folder} 的词表的 [unusedN] 空位里放了 {n_new} 个词条，别的编号不动：接受，它们从头学起。",
            f"{tokenizer.source} has {n_new} entries in [unusedN] slots of the vocabulary of {folder}, and no other id moved: accepted, these are learned from the start.",
        )
    else:
        require_same(own, tokenizer, folder)
    record_ids(model, ids)
    return model


def described(config: GPT2Config) -> dict[str, object]:
    """What a configuration says of the model and of its dropout."""
    return {name: value for name, value in config.to_dict().items() if name in MODEL}


def open_data(flags: TrainFlags, tokenizer: Tokenizer, earlier: Earlier | None, processes: SingleProcess) -> Shards:
    """The shards, built by the first process where need be; not of another text for a run that goes on."""

    def check(settings: ShardSettings) -> None:
        if earlier is not None:
            compare(earlier.state.settings, settings.decide_text())

    corpus, documents = flags.corpus, flags.documents
    processes.on_first(
        ensure_shards,
        corpus.raw_data_path,
        corpus.tokenized_data_path,
        tokenizer,
        documents.min_length,
        documents.val_ratio,
        documents.num_pieces,
        corpus.raw,
        check,
    )
    data = open_shards(corpus.tokenized_data_path)
    check_tokenizer(data, tokenizer.fingerprint, tokenizer.source)
    check_documents(data, documents.min_length, documents.val_ratio)
    return data


def measure_held_out(flags: TrainFlags, data: Shards, tokenizer: Tokenizer) -> tuple[int, list[Ngram]]:
    """Characters of the held-out text as a model reads it, and the bits of each that n-grams of the training text need."""
    n_characters = sum(int(tokenizer.characters_of_ids[ids].sum()) for ids in data.val.pieces)
    order = 0 if flags.output.dry_run else flags.output.ngram_order
    if not order or not n_characters:
        return n_characters, []
    return n_characters, ngram_bits(data.train, data.val, len(tokenizer), n_characters, order)


def make_batches(
    flags: TrainFlags, data: Shards, n_ctx: int, earlier: Earlier | None, processes: SingleProcess
) -> TrainingBatches:
    """The optimiser steps of an epoch."""
    steps = flags.steps
    batch_size, accumulation = steps.batch_size or USUAL, steps.gradient_accumulation
    if steps.batch_size is None and earlier is not None:  # auto: as it was found when the run began
        settings = earlier.state.settings
        batch_size, accumulation = settings["batch_size"], settings["gradient_accumulation"]
    noise = input_noise(data.train, flags.recipe.input_noise) if flags.recipe.input_noise else None
    return TrainingBatches(
        data.train, n_ctx, steps.stride or n_ctx, batch_size, accumulation, steps.seed, processes.rank, processes.count, noise
    )  # fmt: skip
