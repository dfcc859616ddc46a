"""Noise on what a model reads, so that it does not learn a small text by heart: some tokens of a window are other ones.

In: a token stream, and how strong. Out: ids of which some are replaced; what is to be predicted stays as it is.

Method: Xie et al. 2017, "Data Noising as Smoothing in Neural Network Language Models" (ICLR), bigram Kneser-Ney noise: a token that
has been followed by many different ones, for how often it occurs, says little about the next and is replaced more often; what replaces
it is drawn by the number of different tokens that it has followed.
"""

from dataclasses import dataclass

import numpy as np

from gpt2zh.shards.format import TokenStream


@dataclass(frozen=True)
class InputNoise:
    """Counts of a training text.

    Args:
        share: (V,), how likely each token is replaced. cumulative: (V,), sums of what replaces them, up to 1.
    """

    share: np.ndarray
    cumulative: np.ndarray

    def __call__(self, ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """`ids`, (T,) int64, with some replaced."""
        replaced = rng.random(ids.shape) < self.share[ids]
        noisy = ids.copy()
        noisy[replaced] = np.searchsorted(self.cumulative, rng.random(int(replaced.sum())), side="right")
        return noisy


def input_noise(stream: TokenStream, strength: float) -> InputNoise:
    """The noise for a training text. `strength`: how likely a token is replaced that no token has followed twice."""
    n_vocab = stream.vocab_size
    counts = sum(np.bincount(piece, minlength=n_vocab) for piece in stream.pieces)
    pairs = np.unique(
        np.concatenate([np.unique(piece[:-1].astype(np.int64) * n_vocab + piece[1:]) for piece in stream.pieces])
    )
    followers, followed = (np.bincount(ids, minlength=n_vocab) for ids in (pairs // n_vocab, pairs % n_vocab))
    cumulative = np.cumsum(followed) / max(1, followed.sum())
    return InputNoise(strength * followers / np.maximum(counts, 1), np.append(cumulative[:-1], 1.0))
