"""The moments of an optimiser, by name of parameter: as torch's own functions of torch.distributed name and load them."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from gpt2zh.training.optim import build_optimizer, set_lr
from gpt2zh.training.processes import SingleProcess

WHOLE = StateDictOptions(full_state_dict=True)


def model() -> nn.Module:
    from transformers import GPT2Config

    from gpt2zh.model.stock import ControlIds, new_model

    torch.manual_seed(0)
    return new_model(GPT2Config(n_ctx=8, n_positions=8, n_embd=64, n_head=2, n_layer=1), 80, ControlIds(4, 2, 0))


def trained(name: str, steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model and its optimiser after some steps of random gradients, the same in every call."""
    net = model()
    optimizer = build_optimizer(net, name, 1e-2, 0.1, (0.9, 0.95), 1e-8)
    advance(net, optimizer, range(steps))
    return net, optimizer


def advance(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        set_lr(optimizer, 1e-2 / (1 + step))
        torch.manual_seed(step)
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()


def require_equal(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            require_equal(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other)
    else:
        assert one == other


@pytest.mark.parametrize("name", ["adamw", "muon", "adamw8bit"])
def test_one_process_names_and_loads_moments_as_torch_distributed_does(name: str) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    net, optimizer = trained(name, 3)
    state = SingleProcess().optimizer_state(net, optimizer)
    reference = get_optimizer_state_dict(net, optimizer, options=WHOLE)
    require_equal(state, reference["state"])

    ours, theirs = trained(name, 0), trained(name, 0)
    for other, _ in (ours, theirs):
        other.load_state_dict(net.state_dict())
    SingleProcess().set_optimizer_state(*ours, deepcopy(state))
    set_optimizer_state_dict(theirs[0], theirs[1], deepcopy(reference), options=WHOLE)
    loaded = [SingleProcess().optimizer_state(*both) for both in (ours, theirs)]
    require_equal(loaded[0], loaded[1])
    require_equal(loaded[0], state)
    for both in ((net, optimizer), ours, theirs):
        advance(*both, range(3, 5))
    require_equal(dict(ours[0].named_parameters()), dict(net.named_parameters()))
    require_equal(dict(theirs[0].named_parameters()), dict(net.named_parameters()))


def test_moments_take_the_type_of_their_parameter_and_step_stays_in_fp32() -> None:
    net, optimizer = trained("adamw", 2)
    state = SingleProcess().optimizer_state(net, optimizer)
    half = model().bfloat16()
    other = build_optimizer(half, "adamw", 1e-2, 0.1, (0.9, 0.95), 1e-8)
    SingleProcess().set_optimizer_state(half, other, state)
    for values in SingleProcess().optimizer_state(half, other).values():
        assert values["exp_avg"].dtype == torch.bfloat16 and values["step"].dtype == torch.float32


def test_a_state_of_no_step_is_empty_and_stays_so() -> None:
    """torch's function would make a step, and shift the bias correction of all that follow."""
    net, optimizer = trained("adamw", 0)
    assert SingleProcess().optimizer_state(net, optimizer) == {}
    SingleProcess().set_optimizer_state(net, optimizer, {})
    assert not optimizer.state


def test_a_sum_of_one_process_is_what_it_was_given() -> None:
    wait = SingleProcess().start_sum(1, 2.5)
    assert wait() == [1.0, 2.5] and SingleProcess().all_reduce_sum(3) == [3.0]
