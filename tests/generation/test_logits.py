"""Filters and penalties against their definitions, and the whole chain against transformers'."""

import numpy as np
import pytest
import torch
from tiny_texts import draft
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from gpt2zh.errors import UserError
from gpt2zh.generation.logits import (
    MOST_IN_NUCLEUS,
    SamplingSettings,
    candidates,
    choose,
    exclude_top,
    keep_min_p,
    keep_top_n_sigma,
    keep_top_p,
    keep_typical,
    penalise,
    penalise_repetition,
)

V = 40


def probabilities(logits: torch.Tensor, settings: SamplingSettings) -> torch.Tensor:
    """What `choose` draws from, as (B, V)."""
    kept, ids = candidates(logits, settings)
    p = kept.softmax(-1)
    return p if ids is None else torch.zeros_like(logits).scatter(-1, ids, p)


@pytest.mark.parametrize("k", [0, 1, 3, V, 1000])
def test_top_k_keeps_the_k_largest(k: int) -> None:
    logits = torch.randn(5, V)
    for row, p in zip(logits.numpy(), probabilities(logits, SamplingSettings(top_k=k)).numpy()):
        expected = set(range(V)) if k == 0 else set(np.argsort(-row)[:k].tolist())
        assert set(np.nonzero(p)[0].tolist()) == expected


@pytest.mark.parametrize("size", [V, 3 * MOST_IN_NUCLEUS])
@pytest.mark.parametrize("spread", [2.0, 5.0, 0.1], ids=["", "few", "more than MOST_IN_NUCLEUS"])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_top_p_keeps_the_smallest_set_that_reaches_p(p: float, spread: float, size: int) -> None:
    logits = torch.randn(5, size, generator=torch.Generator().manual_seed(0)) * spread
    for row, kept in zip(logits, probabilities(logits, SamplingSettings(top_p=p))):
        order = row.argsort(descending=True)
        n = size if p in (0, 1) else int((row.double().softmax(-1)[order].cumsum(-1) < p).sum()) + 1
        assert set(order[:n].tolist()) == set(kept.nonzero().flatten().tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["", "many equal logits"])
def test_top_p_of_a_row_does_not_depend_on_the_others(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    few, many = (torch.randn(2, 3 * MOST_IN_NUCLEUS) * torch.tensor([[2.0], [0.1]])).to(dtype).float()
    settings, uniform = SamplingSettings(top_p=0.9), torch.rand(2000, dtype=torch.float64)
    alone = choose(few.expand(2000, -1), settings, uniform)
    beside = choose(torch.cat([few.expand(2000, -1), many[None]]), settings, torch.cat([uniform, uniform[:1]]))
    assert torch.equal(alone, beside[:-1]) and len(set(alone.tolist())) > 20


@pytest.mark.parametrize("keep", [keep_top_p, keep_typical, keep_min_p])
@pytest.mark.parametrize("p", [0.3, 0.6])
def test_a_filter_always_leaves_one(keep: object, p: float) -> None:
    assert torch.isfinite(keep(torch.tensor([[9.0, 0.0, 0.0]]), p)).tolist() == [[True, False, False]]


def test_min_p_is_a_share_of_the_most_probable() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    assert torch.isfinite(keep_min_p(logits, 0.31)).tolist() == [[True, True, False, False]]


def test_typical_prefers_the_expected_to_the_most_probable() -> None:
    logits = torch.log(
        torch.tensor([[0.45, 0.11, 0.11, 0.11, 0.11, 0.11]])
    )  # entropy 1.57 nats; 0.8 against 2.2 of the others
    assert torch.isfinite(keep_typical(logits, 0.5)).tolist() == [[False, True, True, True, True, True]]


@pytest.mark.parametrize("n", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("temperature", [0.7, 1.6])
def test_top_n_sigma_keeps_what_is_near_the_highest_whatever_the_temperature(n: float, temperature: float) -> None:
    logits = torch.randn(6, V, generator=torch.Generator().manual_seed(2)) * 3
    logits[:, :4] = -torch.inf  # what may not come does not count
    kept = probabilities(logits, SamplingSettings(temperature=temperature, top_n_sigma=n)) > 0
    for row, of_row in zip(logits[:, 4:].double().numpy(), kept[:, 4:].numpy()):
        assert of_row.tolist() == (row >= row.max() - n * row.std()).tolist()
    assert not kept[:, :4].any()
    assert torch.equal(keep_top_n_sigma(logits, 0.0), logits)


def test_xtc_leaves_of_the_most_probable_the_least() -> None:
    logits = torch.log(torch.tensor([[0.3, 0.05, 0.4, 0.15, 0.1]])).repeat(2, 1)
    kept = exclude_top(logits, 0.12, torch.tensor([True, False])).isfinite()
    assert kept.tolist() == [[False, True, False, True, True], [True] * 5]
    assert exclude_top(logits, 0.35, torch.tensor([True, True])).isfinite().all(), "one alone above stays"


def test_xtc_acts_with_its_probability_and_after_the_other_filters() -> None:
    logits, n = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]])).expand(4000, -1), 4000
    uniform = torch.tensor(np.random.default_rng(0).random(n))
    rows = torch.tensor(np.random.default_rng(1).random(n) < 0.5)
    settings = SamplingSettings(top_k=3, xtc_probability=0.5, xtc_threshold=0.25)
    shares = torch.bincount(choose(logits.clone(), settings, uniform, rows), minlength=4) / n
    plain, acted = torch.tensor([4 / 9, 3 / 9, 2 / 9, 0]), torch.tensor([0, 3 / 5, 2 / 5, 0])
    assert torch.allclose(shares, (plain + acted) / 2, atol=0.03)


SETTINGS = [
    SamplingSettings(temperature=0.7),
    SamplingSettings(temperature=1.3, top_k=8),
    SamplingSettings(temperature=0.9, top_p=0.8),
    SamplingSettings(top_k=12, top_p=0.6),
    SamplingSettings(min_p=0.2),
    SamplingSettings(temperature=1.5, top_k=20, min_p=0.1),
    SamplingSettings(typical_p=0.5),
    SamplingSettings(
        temperature=1.2, top_k=15, top_p=0.9, min_p=0.05, typical_p=0.7, repetition_penalty=1.4, penalty_window=0
    ),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_distribution_is_transformers(settings: SamplingSettings) -> None:
    torch.manual_seed(1)
    logits, ids = torch.randn(50, V) * 3, torch.randint(0, V, (50, 10))
    stock = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(settings.repetition_penalty)])
    stock.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k:
        stock.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p:
        stock.append(TopPLogitsWarper(settings.top_p))
    if settings.min_p:
        stock.append(MinPLogitsWarper(settings.min_p))
    if settings.typical_p:
        stock.append(TypicalLogitsWarper(settings.typical_p))
    expected = stock(ids, logits.clone()).softmax(-1)
    counts = torch.zeros(50, V).scatter_add_(1, ids, torch.ones(50, 10))
    ours = probabilities(penalise(logits.clone(), counts, settings), settings)
    torch.testing.assert_close(ours, expected)


def test_the_penalty_lowers_positive_and_negative_logits_of_what_occurred() -> None:
    logits = torch.tensor([[2.0, -2.0, 0.5, -0.5]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalise_repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 0.5, -0.5]]


def test_presence_counts_once_and_frequency_each_time() -> None:
    counts = torch.tensor([[0.0, 1.0, 3.0]])
    settings = SamplingSettings(presence_penalty=0.5, frequency_penalty=0.25)
    assert penalise(torch.ones(1, 3), counts, settings).tolist() == [[1.0, 0.25, -0.25]]


@pytest.mark.parametrize(
    "settings", [SamplingSettings(), SamplingSettings(top_k=4), SamplingSettings(top_p=0.9999)], ids=str
)
def test_choosing_follows_the_distribution(settings: SamplingSettings) -> None:
    logits = torch.log(torch.tensor([[0.0, 0.0, 0.1, 0.2, 0.3, 0.4]])).clamp(min=-1e9)
    n = 20_000
    uniform = torch.tensor(np.random.default_rng(0).random(n))
    shares = torch.bincount(choose(logits.expand(n, -1).clone(), settings, uniform), minlength=6) / n
    assert torch.allclose(shares, logits[0].softmax(-1), atol=0.015)  # four standard errors


def test_what_is_filtered_is_never_chosen_even_at_the_edges() -> None:
    logits = torch.tensor([[-torch.inf, 0, 0, 0, 0, -torch.inf]]).repeat(3, 1)
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert set(choose(logits, SamplingSettings(), uniform).tolist()) <= {1, 2, 3, 4}


@pytest.mark.parametrize("temperature", [1e-40, float("inf")])
def test_probabilities_that_are_no_numbers_are_an_error_not_a_token(temperature: float) -> None:
    logits = torch.randn(2, V) if temperature < 1 else torch.full((2, V), torch.inf)
    with pytest.raises(UserError, match="--temperature"):
        choose(logits, SamplingSettings(temperature=temperature), torch.full((2,), 0.5))


def test_temperature_zero_is_greedy() -> None:
    logits = torch.randn(4, V)
    assert choose(logits, SamplingSettings(temperature=0.0), torch.zeros(4)).tolist() == logits.argmax(-1).tolist()


def test_no_repeated_ngram_bars_what_transformers_bars() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3):
        ids = rng.integers(5, 9, 30).tolist()
        stock = NoRepeatNGramLogitsProcessor(n)(torch.tensor([ids]), torch.zeros(1, V))[0]
        assert set(draft(ids, no_repeat_ngram=n).forbidden()) == set(stock.isinf().nonzero().flatten().tolist())
