"""A corpus -> subword vocabularies, by the trainers of the `tokenizers` library: BPE and Unigram.

1 the rarest characters, which `coverage` leaves out, become borders: at encoding they are UTF-8 bytes  2 text is split into
units (see `pipelines.UNITS`), as Chinese has no blanks  3 the trainer  4 control tokens, special tokens and the 256 bytes
come first; the pieces follow.

In: texts. Out: a pipeline whose tokenizer.json is the vocabulary file. Refuses: a size that does not hold the characters.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer, models, trainers

from gpt2zh.errors import UserError
from gpt2zh.system.signals import interruptible
from tokenizations.pipelines import BYTES, SURFACE, build_bpe, build_unigram, keep_whole, split_subwords
from tokenizations.vocabulary import CONTROL_TOKENS

LONGEST_PIECE = 16  # characters
KEPT_STEP, SAME_SCORE, SCORE_DIGITS = 1e-4, 1e-5, 6  # of the Unigram trainer's scores, see `settled`


def learn_subwords(
    kind: str, texts: Sequence[str], size: int, coverage: float, special_tokens: Sequence[str]
) -> Tokenizer:
    """A pipeline of `size` entries.

    Args:
        kind: "bpe" or "unigram".
        texts: read twice.
        coverage: share of the characters of `texts` that are entries themselves; the rarest others are bytes.
    """
    head = [SURFACE.get(token, token) for token in CONTROL_TOKENS] + [*special_tokens, *BYTES]
    rare, n_kept = rare_characters(texts, coverage)
    if size < len(head) + n_kept:
        raise UserError(
            f"--vocab_size {size} 放不下：控制符与字节 {len(head)} 个，单字 {n_kept} 个。请至少给 {len(head) + n_kept}，或减小 --character_coverage（现在 {coverage}）。",
            f"--vocab_size {size} is too small for {len(head)} control tokens and bytes and {n_kept} characters. Give at least {len(head) + n_kept}, or lower --character_coverage (now {coverage}).",
        )
    # The newline is learnt as a piece and then left out, as it is among the control tokens.
    room = size - len(head) + 1
    trainer: trainers.Trainer
    if kind == "bpe":
        learner = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(vocab_size=room, max_token_length=LONGEST_PIECE)
    else:
        learner = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=room, max_piece_length=LONGEST_PIECE, shrinking_factor=0.75)
    split_subwords(learner)
    interruptible(lambda: learner.train_from_iterator(without_rare(texts, rare), trainer))
    learnt = json.loads(learner.to_str())["model"]
    known = set(head)
    if kind == "bpe":
        pieces = [piece for piece in sorted(learnt["vocab"], key=learnt["vocab"].__getitem__) if piece not in known]
        vocabulary = {piece: id_ for id_, piece in enumerate([*head, *pieces][:size])}
        merges = [(left, right) for left, right in learnt["merges"] if left + right in vocabulary]
        pipeline = build_bpe(vocabulary, merges)
    else:
        pieces = settled([(piece, score) for piece, score in learnt["vocab"] if piece not in known])
        pipeline = build_unigram([*((token, 0.0) for token in head), *pieces][:size])
    keep_whole(pipeline, special_tokens)
    return pipeline


def settled(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """What the Unigram trainer has learnt, without what differs from one of its runs to the next.

    It goes through hash tables in their order, which is drawn anew each time. The last digits of its sums follow that order, and
    so do the scores of characters that it has to keep though no piece needs them: the lowest score, and steps of 0.0001 above.
    """
    lowest = min(score for _, score in pieces)
    steps = {piece: (score - lowest) / KEPT_STEP for piece, score in pieces if len(piece) == 1}
    found = dict(pieces)
    kept = sorted(piece for piece, n in steps.items() if abs(n - round(n)) < SAME_SCORE)
    found |= zip(kept, sorted((found[piece] for piece in kept), reverse=True))
    rounded = ((piece, round(score, SCORE_DIGITS)) for piece, score in found.items())
    return sorted(rounded, key=lambda item: (-item[1], item[0]))


def rare_characters(texts: Iterable[str], coverage: float) -> tuple[str, int]:
    """The characters that are not among the most frequent which cover `coverage` of the text; and how many are."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    allowed = (1 - coverage) * counts.total()
    rare = []
    for character, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        allowed -= count
        if allowed < 0:
            break
        rare.append(character)
    return "".join(rare), len(counts) - len(rare)


def without_rare(texts: Iterable[str], rare: str) -> Iterator[str]:
    """The texts with a newline in the place of every rare character."""
    borders = np.arange(0x110000, dtype="<u4")
    borders[[ord(character) for character in rare]] = ord("\n")
    for text in texts:
        codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        yield borders[codes].tobytes().decode("utf-32-le")
