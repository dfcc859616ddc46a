"""Noise on what a model reads: how much, of what, and that it is the same whoever makes it."""

import numpy as np
import pytest

from gpt2zh.shards.batches import IGNORE, TrainingBatches
from gpt2zh.shards.format import TokenStream
from gpt2zh.shards.noise import input_noise

# 0 is always followed by 1, 1 by anything else, and these by 0: "0 1 x 0 1 y …"
IDS = np.array([[0, 1, 2 + i % 40] for i in range(2000)], dtype=np.uint16).ravel()
STREAM = TokenStream([IDS[:2500], IDS[2500:]], 50)


def test_a_token_with_many_followers_for_its_count_is_replaced_more_often() -> None:
    noise = input_noise(STREAM, 0.5)
    assert noise.share[0] == pytest.approx(0.5 / 2000) and noise.share[1] == pytest.approx(0.5 * 40 / 2000)
    assert noise.share[2] == pytest.approx(0.5 / 50) and (noise.share[42:] == 0).all()
    rare = input_noise(TokenStream([np.arange(30)], 30), 0.5)
    assert rare.share[:-1] == pytest.approx(0.5)  # each occurs once; the last has no follower
    assert rare.share[-1] == 0


def test_what_replaces_them_is_drawn_by_the_number_of_different_tokens_it_follows() -> None:
    noise = input_noise(TokenStream([np.arange(20).repeat(2)], 20), 1.0)  # each follows itself and the one before
    ids = np.full(40_000, 5)
    noisy = noise(ids, np.random.default_rng(0))
    assert (noisy != 5).mean() == pytest.approx(noise.share[5] * 18.5 / 19.5, abs=0.03)
    drawn = np.bincount(noisy[noisy != 5], minlength=20) / (noisy != 5).sum()
    assert drawn[1:5] == pytest.approx(2 / 37, abs=0.01) and drawn[0] == pytest.approx(1 / 37, abs=0.01)


def test_no_strength_is_no_noise_and_ids_stay_below_the_vocabulary() -> None:
    ids = STREAM.read_circular(0, 6000)
    assert (input_noise(STREAM, 0.0)(ids, np.random.default_rng(0)) == ids).all()
    noisy = input_noise(STREAM, 1.0)(ids, np.random.default_rng(0))
    assert noisy.max() < 42 and (noisy != ids).any()


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_the_noise_of_a_window_is_the_same_for_any_number_of_processes_and_from_any_step(n_ranks: int) -> None:
    noise = input_noise(STREAM, 0.9)
    plain = list(TrainingBatches(STREAM, 16, 16, 6, 2, 3).epoch(1))
    alone = list(TrainingBatches(STREAM, 16, 16, 6, 2, 3, noise=noise).epoch(1))
    for rank in range(n_ranks):
        batches = TrainingBatches(STREAM, 16, 16, 6, 2, 3, rank, n_ranks, noise)
        for step, own in zip(alone[7:], batches.epoch(1, 7), strict=True):
            for (inputs, targets), (own_inputs, own_targets) in zip(step, own, strict=True):
                if (own_targets != IGNORE).any():
                    assert (own_inputs == inputs[rank::n_ranks]).all() and (own_targets == targets[rank::n_ranks]).all()
    for (step,), (noisy,) in zip((s[:1] for s in plain), (s[:1] for s in alone), strict=True):
        assert (step[1] == noisy[1]).all()
    assert any((step[0][0] != noisy[0][0]).any() for step, noisy in zip(plain, alone, strict=True))
    other = next(TrainingBatches(STREAM, 16, 16, 6, 2, 3, noise=noise).epoch(2))
    assert (other[0][0] != alone[0][0][0]).any()
