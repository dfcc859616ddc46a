"""Filters against their definitions; the decoding loop against a model without cache; samples independent of batches."""

import numpy as np
import pytest
import torch
from conftest import TINY_CONFIG
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.errors import UserError
from gpt2zh.model import ControlIds, new_model
from gpt2zh.sampling import SamplingSettings, choose, generate, keep_top_k, keep_top_p, penalise_repetition

END, V = 2, 40


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(3)
    model = new_model(GPT2Config(**{**TINY_CONFIG, "initializer_range": 0.3}), V, ControlIds(4, END, 0)).eval()
    return model


def settings(**changes: object) -> SamplingSettings:
    values = {"temperature": 1.0, "top_k": 0, "top_p": 0.0, "repetition_penalty": 1.0, "never": [0, 1], "end": END}
    return SamplingSettings(**{**values, **changes})


# ----- filters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 3, V, 1000])
def test_top_k_keeps_the_k_largest(k: int) -> None:
    logits = torch.randn(5, V)
    kept = keep_top_k(logits, k)
    for row, row_kept in zip(logits.numpy(), kept.numpy()):
        expected = set(range(V)) if k == 0 else set(np.argsort(-row)[:k].tolist())
        assert set(np.nonzero(np.isfinite(row_kept))[0].tolist()) == expected


def test_top_k_keeps_ties_with_the_kth() -> None:
    assert torch.isfinite(keep_top_k(torch.tensor([[1.0, 2.0, 2.0, 0.0]]), 1)).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_top_p_keeps_the_smallest_set_that_reaches_p(p: float) -> None:
    logits = torch.randn(5, V) * 2
    for row, row_kept in zip(logits, keep_top_p(logits, p)):
        order = row.argsort(descending=True)
        size = V if p in (0, 1) else int((row.softmax(-1)[order].cumsum(-1) < p).sum()) + 1
        assert set(order[:size].tolist()) == set(torch.isfinite(row_kept).nonzero().flatten().tolist())


@pytest.mark.parametrize("p", [0.3, 0.6])
def test_top_p_always_leaves_the_most_probable(p: float) -> None:
    assert torch.isfinite(keep_top_p(torch.tensor([[9.0, 0.0, 0.0]]), p)).tolist() == [[True, False, False]]


def test_the_penalty_lowers_positive_and_negative_logits_of_what_occurred() -> None:
    logits = torch.tensor([[2.0, -2.0, 0.5, -0.5]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalise_repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 0.5, -0.5]]


def test_choosing_follows_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.0, 0.0, 0.1, 0.2, 0.3, 0.4]])).clamp(min=-1e9)
    n = 20_000
    uniform = torch.tensor(np.random.default_rng(0).random(n))
    chosen = choose(logits.expand(n, -1).clone(), settings(), torch.zeros(n, 6, dtype=torch.bool), uniform)
    shares = torch.bincount(chosen, minlength=6) / n
    assert torch.allclose(shares, logits[0].softmax(-1), atol=0.015)  # four standard errors


def test_a_banned_or_filtered_token_is_never_chosen_even_at_the_edges() -> None:
    logits = torch.zeros(3, 6)
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    chosen = choose(logits, settings(never=[0, 5]), torch.zeros(3, 6, dtype=torch.bool), uniform)
    assert set(chosen.tolist()) <= {1, 2, 3, 4}


@pytest.mark.parametrize("change", [{"temperature": 1e-40}, {"temperature": float("inf")}])
def test_probabilities_that_are_no_numbers_are_an_error_not_a_token(change: dict) -> None:
    logits = torch.randn(2, V) if change["temperature"] < 1 else torch.full((2, V), torch.inf)
    with pytest.raises(UserError, match="--temperature"):
        choose(logits, settings(**change), torch.zeros(2, V, dtype=torch.bool), torch.full((2,), 0.5))


def test_temperature_zero_is_greedy() -> None:
    logits = torch.randn(4, V)
    expected = logits.clone()
    expected[:, [0, 1]] = -torch.inf
    assert (
        choose(logits, settings(temperature=0.0), torch.zeros(4, V, dtype=torch.bool), torch.zeros(4)).tolist()
        == expected.argmax(-1).tolist()
    )


# ----- the loop ------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def plain_greedy(model: GPT2LMHeadModel, prefix: list[int], length: int, never: list[int]) -> list[int]:
    """Without a cache, every id read anew; the window is what `generate` promises."""
    n_ctx = model.config.n_positions
    ids, window = list(prefix), list(prefix)
    if len(window) > n_ctx:
        window = window[-(n_ctx // 2) :]
    for _ in range(length):
        if len(window) > n_ctx:
            window = ids[-(n_ctx // 2) :]
        logits = model(torch.tensor([window])).logits[0, -1]
        logits[never] = -torch.inf
        token = int(logits.argmax())
        if token == END:
            break
        ids.append(token)
        window.append(token)
    return ids[len(prefix) :]


@pytest.mark.parametrize("n_prefix", [1, 5, 31, 32, 33, 70])
def test_the_cache_changes_nothing_within_the_window_and_past_it(model: GPT2LMHeadModel, n_prefix: int) -> None:
    prefix = np.random.default_rng(n_prefix).integers(5, V, n_prefix).tolist()
    never = [0, 1, END]
    ours = generate(model, prefix, 90, [0], 0, settings(temperature=0.0, never=never))[0]
    assert len(ours) == 90
    assert ours == plain_greedy(model, prefix, 90, never)


def test_greedy_is_stock_generate(model: GPT2LMHeadModel) -> None:
    stock = model.generate(
        torch.tensor([[5, 6, 7]]), max_new_tokens=20, do_sample=False, suppress_tokens=[0, 1], eos_token_id=END
    )[0, 3:].tolist()
    ours = generate(model, [5, 6, 7], 20, [0], 0, settings(temperature=0.0))[0]
    assert ours == [token for token in stock if token != END]


def test_a_sample_depends_on_its_number_and_seed_not_on_its_batch(model: GPT2LMHeadModel) -> None:
    alone = [generate(model, [5], 40, [number], 9, settings())[0] for number in range(4)]
    assert generate(model, [5], 40, range(4), 9, settings()) == alone
    assert generate(model, [5], 40, [2, 0], 9, settings()) == [alone[2], alone[0]]
    assert len({tuple(sample) for sample in alone}) == 4
    assert generate(model, [5], 40, [0], 10, settings())[0] != alone[0]


def test_samples_stop_at_the_end_of_their_document_and_hold_nothing_banned(model: GPT2LMHeadModel) -> None:
    samples = generate(model, [5], 300, range(8), 1, settings(temperature=2.0))
    assert any(len(sample) < 300 for sample in samples)
    assert not {0, 1, END} & {token for sample in samples for token in sample}


def test_the_penalty_reaches_the_prefix_and_makes_repeats_rarer(model: GPT2LMHeadModel) -> None:
    def distinct(penalty: float) -> int:
        (sample,) = generate(
            model, [5, 6], 60, [0], 0, settings(temperature=0.0, never=[0, 1, END], repetition_penalty=penalty)
        )
        return len(set(sample))

    assert distinct(5.0) > distinct(1.0)
