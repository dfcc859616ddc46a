"""How many threads compute a step: the faster number of the two, found at little cost, without a bit of difference."""

import numpy as np
import pytest
import torch
from conftest import TINY_CONFIG
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.device import choose_device
from gpt2zh.generation.decoder import make_decoder
from gpt2zh.generation.native.decoder import NativeDecoder
from gpt2zh.generation.native.threads import ThreadChoice
from gpt2zh.model.shape import shape_of

MS = 0.001


def simulate(choice: ThreadChoice, one: float, two: float, seconds: float) -> float:
    """Write for so long with steps that take `one` or `two` seconds by so many threads. Returns steps a second."""
    n_steps, clock = 0, 0.0
    while clock < seconds:
        took = two if choice.count(2) == 2 else one
        choice.took(took)
        clock += took
        n_steps += 1
    return n_steps / clock


@pytest.mark.parametrize("one, two", [(2 * MS, 1 * MS), (1 * MS, 2 * MS), (1 * MS, 300 * MS), (300 * MS, 160 * MS)])
def test_steps_are_nearly_as_fast_as_the_faster_number_of_threads(one: float, two: float) -> None:
    choice = ThreadChoice()
    simulate(choice, one, two, 5)
    assert simulate(choice, one, two, 60) > 0.97 / min(one, two)


@pytest.mark.parametrize(
    "before, after", [((2 * MS, 1 * MS), (2 * MS, 90 * MS)), ((2 * MS, 90 * MS), (2 * MS, 1 * MS))]
)
def test_when_the_machine_becomes_busy_or_quiet_the_other_number_is_found(
    before: tuple[float, float], after: tuple[float, float]
) -> None:
    choice = ThreadChoice()
    simulate(choice, *before, 60)
    simulate(choice, *after, 10)
    assert simulate(choice, *after, 60) > 0.97 / min(after)


def test_one_step_that_the_machine_was_slow_in_costs_little() -> None:
    """A trial that won by chance is found out at the first slow step."""
    choice = ThreadChoice()
    simulate(choice, 1 * MS, 100 * MS, 5)
    while choice.one:
        choice.took(30 * MS)  # the machine is busier than ever
    choice.took(MS)
    choice.took(100 * MS)
    choice.took(100 * MS)
    assert choice.one and simulate(choice, 1 * MS, 100 * MS, 60) > 0.95 / MS


@pytest.mark.parametrize("precision, quantize", [("fp32", False), ("bf16", False), ("fp32", True)])
def test_not_a_bit_depends_on_the_number_of_threads(precision: str, quantize: bool) -> None:
    """Reading and steps, of one row and several, at widths that no number of threads divides."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**{**TINY_CONFIG, "vocab_size": 301, "n_embd": 96, "n_head": 3}))
    device = choose_device("cpu", precision)
    decoder = make_decoder(model.state_dict(), shape_of(model.config.to_dict()), device, quantize)
    if not isinstance(decoder, NativeDecoder):
        pytest.skip("no C++ compiler, or a processor that the kernel does not know")
    before, results = torch.get_num_threads(), []
    try:
        for most, one in ((1, True), (2, False), (3, False), (7, False)):
            torch.set_num_threads(most)
            rng, cache = np.random.default_rng(0), decoder.new_cache(3, 32)
            logits = []
            for row in range(3):
                decoder.threads.one = one
                cache.read(rng.integers(0, 301, 5 + row).tolist(), row)
            for n_rows in (3, 3, 1, 2, 3):
                decoder.threads.one = one
                logits.append(cache.step(rng.integers(0, 301, n_rows).tolist()))
            results.append(torch.cat(logits))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)
