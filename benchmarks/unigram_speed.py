"""Encoding speed of unigram vocabularies: ours, the `tokenizers` library, sentencepiece, and thulac for words.

    python benchmarks/unigram_speed.py [corpus] [tokenizer.json]

Subwords: the given tokenizer, or one that sentencepiece trains on the corpus (32,000 pieces, or as many as it gives).
Words: a vocabulary of thulac's words of a sample. Two processes read one half of the documents each, ours with a
Lattice of its own. Interleaved runs, medians; first, ours must give the library's ids. Cores: taskset says how many.
"""

import contextlib
import io
import math
import multiprocessing
import multiprocessing.connection
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import tokenizers

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpt2zh.text.corpus import Corpus
from tokenizations.fast.lattice import Lattice
from tokenizations.pipelines import BYTES, build_unigram, build_words
from tokenizations.vocabulary import CONTROL_TOKENS, NEWLINE, SPACE
from tokenizations.words import load_segmenter

RUNS = 5
PIECES = 32_000
THULAC_SAMPLE = 100_000  # characters

Work = Callable[[list[str]], object]


def train_sentencepiece(texts: list[str]) -> bytes | None:
    """A sentencepiece model of the texts' lines; None where the package is missing."""
    try:
        import sentencepiece
    except ImportError:
        return None
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts for line in text.split("\n") if line.strip()),
        model_writer=model,
        model_type="unigram",
        vocab_size=PIECES,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        byte_fallback=True,
        max_sentence_length=1_000_000,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def as_pipeline(model: bytes) -> tokenizers.Tokenizer:
    """The same pieces and scores as our pipeline."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_proto=model)
    numbers = range(processor.get_piece_size())
    scores = {
        processor.id_to_piece(n).replace("▁", " "): processor.get_score(n)
        for n in numbers
        if processor.get_score(n) < 0
    }
    control = ["\n" if token == NEWLINE else token for token in CONTROL_TOKENS]
    return build_unigram([*((token, 0.0) for token in [*control, *BYTES]), *scores.items()])


def word_pipeline(texts: list[str], sample: list[str]) -> tuple[tokenizers.Tokenizer, float]:
    """A word vocabulary of thulac's words, and thulac's characters a second on the sample, a line at a time."""
    cut = load_segmenter("thulac")
    rules = build_words(CONTROL_TOKENS)
    lines = [rules.normalizer.normalize_str(line) for line in sample]
    start = time.perf_counter()
    words = [cut(line) for line in lines]
    speed = sum(map(len, lines)) / (time.perf_counter() - start)
    counts = Counter(
        piece for line in words for word in line for piece, _ in rules.pre_tokenizer.pre_tokenize_str(word)
    )
    counts.update(dict.fromkeys(rules.normalizer.normalize_str("".join(texts)), 0))
    known = [word for word, _ in counts.most_common() if word not in ("\n", " ", "")]
    return build_words([*CONTROL_TOKENS, SPACE, *known]), speed


def worker(connection: multiprocessing.connection.Connection, form: str | bytes, texts: list[str]) -> None:
    """Encode `texts` each time it is asked to: `form` is a pipeline (str) or a sentencepiece model (bytes)."""
    if isinstance(form, str):
        encode: Work = Lattice(tokenizers.Tokenizer.from_str(form)).encode_texts
    else:
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor(model_proto=form)
        texts = [line for text in texts for line in text.split("\n")]  # its search grows with the square of a line
        encode = partial(processor.encode, num_threads=1)
    encode(texts)
    connection.send(None)
    with contextlib.suppress(EOFError):  # the other end has gone: done
        while connection.recv():
            encode(texts)
            connection.send(None)


class Workers:
    """Processes that encode a part of the texts each; `run` waits for all of them."""

    def __init__(self, form: str | bytes, texts: list[str], n: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connections = []
        for index in range(n):
            here, there = context.Pipe()
            context.Process(target=worker, args=(there, form, texts[index::n]), daemon=True).start()
            self.connections.append(here)
        for connection in self.connections:
            connection.recv()

    def run(self) -> None:
        for connection in self.connections:
            connection.send(True)
        for connection in self.connections:
            connection.recv()


def compare(title: str, contestants: dict[str, Callable[[], object]], texts: list[str]) -> dict[str, float]:
    """Characters a second of each, in interleaved runs."""
    n_characters, n_bytes = sum(map(len, texts)), sum(len(text.encode()) for text in texts)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(RUNS):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{title}: {n_characters:,} characters, {RUNS} runs")
    for name, seconds in medians.items():
        ratio = seconds / medians["ours, 2 processes"]
        print(
            f"  {name:28} {n_characters / seconds / 1e6:7.2f} M characters/s {n_bytes / seconds / 1e6:7.1f} MB/s"
            f"   ours with 2 processes: {ratio:5.2f} x"
        )
    return {name: n_characters / seconds for name, seconds in medians.items()}


def check(pipeline: tokenizers.Tokenizer, lines: list[str]) -> None:
    """Ours must give the library's ids; anything else is no benchmark."""
    assert Lattice.can_encode(pipeline)
    ids, lengths = Lattice(pipeline).encode_texts(lines)
    encodings = pipeline.encode_batch_fast(lines, add_special_tokens=False)
    assert lengths.tolist() == [len(encoding.ids) for encoding in encodings]
    assert ids.tolist() == [id_ for encoding in encodings for id_ in encoding.ids]


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "data" / "example.json"
    texts = list(Corpus(path))
    # Parts of equal work for two processes, and enough of it for a small corpus.
    lines = [line for text in texts for line in text.split("\n")]
    parts = ["\n".join(lines[i : i + 200]) for i in range(0, len(lines), 200)]
    parts *= math.ceil(2_000_000 / sum(map(len, parts)))
    model = train_sentencepiece(texts)
    given = tokenizers.Tokenizer.from_file(sys.argv[2]) if len(sys.argv) > 2 else None
    if given is not None or model is not None:
        pipeline = given or as_pipeline(model)
        check(pipeline, lines)
        contestants = {
            f"ours, {n} process{'es'[: n * 2 - 2]}": Workers(pipeline.to_str(), parts, n).run for n in (1, 2)
        }
        contestants["tokenizers, all cores"] = lambda: pipeline.encode_batch_fast(parts, add_special_tokens=False)
        if model is not None:
            for n in (1, 2):
                contestants[f"sentencepiece, {n} process{'es'[: n * 2 - 2]}"] = Workers(model, parts, n).run
        compare(f"unigram, {pipeline.get_vocab_size()} pieces", contestants, parts)
    step = max(1, sum(map(len, texts)) // THULAC_SAMPLE)
    pipeline, thulac_speed = word_pipeline(texts, [line for line in lines[::step] if line])
    check(pipeline, lines)
    contestants = {f"ours, {n} process{'es'[: n * 2 - 2]}": Workers(pipeline.to_str(), parts, n).run for n in (1, 2)}
    contestants["tokenizers, all cores"] = lambda: pipeline.encode_batch_fast(parts, add_special_tokens=False)
    speeds = compare(f"words, {pipeline.get_vocab_size()} entries", contestants, parts)
    print(f"  thulac, a line at a time     {thulac_speed / 1e6:7.3f} M characters/s")
    for name, speed in speeds.items():
        print(f"  {name:28} {speed / thulac_speed:7.0f} x thulac")


if __name__ == "__main__":
    main()
