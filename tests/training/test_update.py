"""Updates: Muon and AdamW in one optimiser against torch's two; steps that are left out."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.model.loss import LanguageModelLoss
from gpt2zh.model.stock import ControlIds, new_model
from gpt2zh.training.optim import build_optimizer, clip_gradients, parameter_groups, set_lr, update
from gpt2zh.training.state import split

SETTINGS = (1e-2, 0.1, (0.9, 0.95), 1e-8)  # lr, weight decay, betas, eps


def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return new_model(GPT2Config(n_positions=8, n_embd=32, n_head=2, n_layer=2), 80, ControlIds(4, 2, 0))


def give_gradients(net: nn.Module, step: int) -> None:
    """Random ones, the same for every model in the same step."""
    generator = torch.Generator().manual_seed(step)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def torchs_two(net: GPT2LMHeadModel) -> list[torch.optim.Optimizer]:
    lr, weight_decay, betas, eps = SETTINGS
    matrices = [parameter for parameter in net.transformer.h.parameters() if parameter.dim() == 2]
    rest = [parameter for parameter in net.parameters() if not any(parameter is matrix for matrix in matrices)]
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(parameter_groups(rest, weight_decay), lr=lr, betas=betas, eps=eps, fused=True),
    ]


def test_muon_and_adamw_in_one_are_torchs_two_to_the_bit() -> None:
    ours, theirs = model(), model()
    one, two = build_optimizer(ours, "muon", *SETTINGS), torchs_two(theirs)
    for step in range(8):
        for net in (ours, theirs):
            give_gradients(net, step)
        for optimizer in (one, *two):
            set_lr(optimizer, SETTINGS[0] / (1 + step))
        update(one, torch.amp.GradScaler(enabled=False), torch.ones(()))
        for optimizer in two:
            optimizer.step()
        for (name, weight), other in zip(ours.named_parameters(), theirs.parameters()):
            assert torch.equal(weight, other), (step, name)


def steps_around(
    name: str, spoil: Callable[[nn.Module], None], spoilt: int | None
) -> tuple[nn.Module, dict[str, object]]:
    """A model and the state of its optimiser after four steps, and perhaps one with spoilt gradients among them."""
    net = model()
    optimizer, scaler = build_optimizer(net, name, *SETTINGS), torch.amp.GradScaler(enabled=False)
    for step in range(4):
        if step == spoilt:
            give_gradients(net, 99)
            spoil(net)
            update(optimizer, scaler, clip_gradients(net, 1.0))
        give_gradients(net, step)
        update(optimizer, scaler, clip_gradients(net, 1.0))
    return net, optimizer.state_dict()["state"]


def spoil_one(net: nn.Module) -> None:
    next(net.parameters()).grad.view(-1)[3] = float("nan")


def spoil_all(net: nn.Module) -> None:
    for parameter in net.parameters():
        parameter.grad.fill_(float("inf"))


@pytest.mark.parametrize("name", ["adamw", "muon", "adamw8bit"])
@pytest.mark.parametrize("spoil", [spoil_one, spoil_all])
def test_a_step_whose_gradient_is_not_finite_leaves_no_trace(name: str, spoil: Callable[[nn.Module], None]) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    without, state_without = steps_around(name, spoil, None)
    for spoilt in (0, 2):
        net, state = steps_around(name, spoil, spoilt)
        for weight, other in zip(net.parameters(), without.parameters()):
            assert torch.equal(weight, other)
        (tensors, numbers), (others, other_numbers) = split(state), split(state_without)
        assert numbers == other_numbers and tensors.keys() == others.keys()
        assert all(torch.equal(tensors[key], others[key]) for key in others)


class NoHostReads(TorchDispatchMode):
    """Fails where a number is read from a tensor: on a GPU, the host would wait for it."""

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a number is read from the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_in_no_part_of_a_step_a_number_is_read_from_the_device(name: str) -> None:
    net = model()
    optimizer, loss = build_optimizer(net, name, *SETTINGS), LanguageModelLoss(net)
    ids = torch.randint(80, (2, 9))
    with NoHostReads():
        nats, _ = loss(ids[:, :-1], ids[:, 1:])
        (nats.sum() / 16).backward()
        update(optimizer, torch.amp.GradScaler(enabled=False), clip_gradients(net, 1.0))
    with pytest.raises(AssertionError, match="is read"), NoHostReads():
        nats.sum().item()
