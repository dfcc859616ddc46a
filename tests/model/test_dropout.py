"""Dropout on a CPU: what torch's own does, by other random numbers."""

import pytest
import torch
from torch import nn

from gpt2zh.model.dropout import drop, kept


@pytest.mark.parametrize("share", [0.1, 0.15, 0.5, 0.9])
def test_the_share_is_met_and_elements_do_not_depend_on_each_other(share: float) -> None:
    torch.manual_seed(0)
    mask = kept(torch.empty(1 << 10, 1 << 10), share).float()
    deviation = (share * (1 - share)) ** 0.5
    assert abs(mask.mean().item() - (1 - share)) < 5 * deviation / 2**10
    flat = (mask.flatten() - (1 - share)) / deviation
    for apart in (1, 2, 3, 4, 5, 1 << 10):  # four share a random number
        assert abs((flat[apart:] * flat[:-apart]).mean().item()) < 5 / 2**10


def test_almost_all_is_dropped_where_that_is_asked_for() -> None:
    assert kept(torch.empty(1 << 10, 1 << 10), 0.999999).float().mean() < 0.001


def test_what_is_kept_is_made_larger_and_the_gradient_is_of_the_same_elements() -> None:
    x = torch.randn(33, 7, requires_grad=True)
    out = drop(x, nn.Dropout(0.25))
    out.sum().backward()
    is_kept = out != 0
    assert 0 < is_kept.sum() < is_kept.numel()
    torch.testing.assert_close(out, torch.where(is_kept, x / 0.75, 0.0))
    torch.testing.assert_close(x.grad, is_kept / 0.75)


def test_a_generator_put_back_draws_the_same_again() -> None:
    state = torch.get_rng_state()
    x = torch.empty(5, 3)
    one, other = kept(x, 0.5), kept(x, 0.5)
    torch.set_rng_state(state)
    assert kept(x, 0.5).equal(one) and not one.equal(other)


@pytest.mark.parametrize(("share", "training"), [(0.5, False), (0.0, True)])
def test_where_nothing_is_to_be_dropped_nothing_is(share: float, training: bool) -> None:
    x = torch.randn(9, 9)
    assert drop(x, nn.Dropout(share).train(training)).equal(x)
