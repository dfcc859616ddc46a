"""Judge a model on a text: loss, perplexity, bits per character; every token counts exactly once.

python evaluate.py --model_path model/best_model --raw_data_path 另一本书.txt
python evaluate.py --model_path model/best_model --tokenized_data_path data/tokenized/    # what training held out
"""

import numpy as np
from tqdm import tqdm

from gpt2zh import shards
from gpt2zh.batches import evaluation_batches
from gpt2zh.corpus import read_corpus
from gpt2zh.errors import UserError, run_script, say
from gpt2zh.flags import evaluate_flags
from tokenizations.tokenizer import tokenizer_for_model


def main() -> None:
    flags = evaluate_flags()
    tokenizer = tokenizer_for_model(flags.model_path, flags.tokenizer_path, flags.segment)
    if flags.raw_data_path is not None:
        corpus = read_corpus(flags.raw_data_path)
        stream = shards.TokenStream([np.concatenate(tokenizer.encode_documents(corpus.documents))])
        n_characters, source = corpus.n_characters, flags.raw_data_path
    else:
        data = shards.open_shards(flags.tokenized_data_path)
        shards.check_tokenizer(data, tokenizer.fingerprint, tokenizer.source)
        stream, source = data.val, flags.tokenized_data_path
        n_characters = data.manifest["characters"]["val"]
        if not len(stream):
            raise UserError(
                f"{source} 里没有留作验证的文章。请改用 --raw_data_path 给一段文字。",
                f"{source} holds no validation documents. Give a text with --raw_data_path.",
            )

    from gpt2zh.device import choose_device
    from gpt2zh.evaluation import evaluate
    from gpt2zh.loss import LanguageModelLoss
    from gpt2zh.model import load_model

    device = choose_device(flags.device, flags.precision)
    for note in device.notes:
        print(note)
    model = load_model(flags.model_path, len(tokenizer))
    batches = list(evaluation_batches(stream, model.config.n_positions, flags.stride, flags.batch_size))
    score = evaluate(
        device.spread(LanguageModelLoss(model)), tqdm(batches, unit="batch", disable=None), n_characters, device
    )
    say(
        f"{source}：{score.n_characters} 字，{score.n_tokens} 词元（{device}）",
        f"{score.n_characters} characters, {score.n_tokens} tokens",
    )
    say(f"loss {score.loss:.4f} nats/词元", "nats per token")
    say(f"困惑度 {score.perplexity:.2f}", "perplexity per token, comparable only within one vocabulary")
    say(f"每字比特数 {score.bits_per_character:.4f}", "bits per character, comparable across vocabularies")


if __name__ == "__main__":
    run_script(main)
