"""Judge a model on a text: loss, perplexity, bits per character; every token counts exactly once.

python evaluate.py --model_path model/best_model --raw_data_path 另一本书.txt
python evaluate.py --model_path model/best_model --tokenized_data_path data/tokenized/    # what training held out
"""

import gpt2zh.needs  # noqa: F401

# isort: split

import math
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from gpt2zh.errors import UserError, run_script, say
from gpt2zh.evaluation.ngrams import ngram_bits
from gpt2zh.flags.evaluate import evaluate_flags
from gpt2zh.shards import format as shards
from gpt2zh.shards.batches import evaluation_batches, evaluation_starts
from gpt2zh.text.corpus import Corpus
from tokenizations.loading import tokenizer_for_model

UNKNOWN_SHARE_TO_WARN = 0.001


def main(argv: Sequence[str] | None = None) -> None:
    flags = evaluate_flags(argv)
    tokenizer = tokenizer_for_model(flags.model.model_path, flags.model.tokenizer_path)
    if flags.text.raw_data_path is not None:
        documents = list(Corpus(flags.text.raw_data_path))
        ids = tokenizer.encode_documents(documents)
        stream, source = shards.TokenStream([ids], len(tokenizer)), flags.text.raw_data_path
        n_unknown = int((ids == tokenizer.unknown_id).sum())
    else:
        assert flags.text.tokenized_data_path is not None  # one of the two is given
        data = shards.open_shards(flags.text.tokenized_data_path)
        shards.check_tokenizer(data, tokenizer.fingerprint, tokenizer.source)
        stream, source = data.val, flags.text.tokenized_data_path
        n_unknown = sum(file.unknown for file in data.manifest.val)
        if not len(stream):
            raise UserError(
                f"{source} 里没有留作验证的文章。请改用 --raw_data_path 给一段文字。",
                f"{source} holds no validation documents. Give a text with --raw_data_path.",
            )

    n_characters = sum(int(tokenizer.characters_of_ids[ids].sum()) for ids in stream.pieces)
    if flags.text.ngrams is not None:
        counted = shards.open_shards(Path(flags.text.ngrams or source))
        shards.check_tokenizer(counted, tokenizer.fingerprint, tokenizer.source)

    from gpt2zh.device import choose_device
    from gpt2zh.evaluation.likelihood import evaluate
    from gpt2zh.model.loss import LanguageModelLoss
    from gpt2zh.model.stock import load_model

    device = choose_device(flags.compute.device, flags.compute.precision)
    for note in device.notes:
        print(note)
    model = load_model(flags.model.model_path, len(tokenizer))
    n_ctx = model.config.n_positions
    n_batches = math.ceil(len(evaluation_starts(len(stream), n_ctx, flags.text.stride)) / flags.text.batch_size)
    batches = evaluation_batches(stream, n_ctx, flags.text.stride, flags.text.batch_size)
    score = evaluate(
        device.spread(LanguageModelLoss(model)),
        tqdm(batches, total=n_batches, unit="batch", disable=None),
        n_characters,
        device,
    )
    say(
        f"{source}：{score.n_characters} 字，{score.n_tokens} 词元（{device}）",
        f"{source}: {score.n_characters} characters, {score.n_tokens} tokens ({device})",
    )
    say(f"loss {score.loss:.4f} nats/词元", "nats per token")
    say(f"困惑度 {score.perplexity:.2f}", "perplexity per token, comparable only within one vocabulary")
    say(f"每字比特数 {score.bits_per_character:.4f}", "bits per character, comparable across vocabularies")
    if flags.text.ngrams is not None:
        for zh, en, bits in ngram_bits(counted.train, stream, len(tokenizer), max(1, n_characters)):
            say(f"{zh}组每字比特数 {bits:.4f}", f"bits per character by {en}s of {counted.folder}")
    if n_unknown > UNKNOWN_SHARE_TO_WARN * len(stream):
        say(
            f"注意：{n_unknown / len(stream):.1%} 的词元是 [UNK]，它们很好猜：以上数字偏低，不能与别的词表比。",
            f"note: {n_unknown / len(stream):.1%} of the tokens are [UNK], which is easy to predict: these figures are too low to be compared with another vocabulary's.",
        )


if __name__ == "__main__":
    run_script(main)
