"""Packed layers are the plain product, to the precision of each form."""

import numpy as np
import pytest
import torch
from torch import nn

from gpt2zh.device import has_fast_bf16
from gpt2zh.errors import UserError
from gpt2zh.generation import cpu_linear
from gpt2zh.generation.cpu_linear import Int8, pack


@pytest.mark.parametrize("act", [None, nn.GELU(approximate="tanh"), nn.ReLU()], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 17])
def test_a_packed_layer_is_the_plain_product(act: nn.Module | None, bias: bool, rows: int) -> None:
    torch.manual_seed(0)
    weight, b, x = torch.randn(96, 40), torch.randn(40) if bias else None, torch.randn(rows, 96)
    plain = x @ weight + (b if bias else 0)
    plain = act(plain) if act else plain
    torch.testing.assert_close(pack(weight, b, torch.float32, act)(x), plain, rtol=1e-4, atol=1e-4)
    for dtype, bound in ((torch.bfloat16, 0.01), (torch.int8, 0.02)):
        if dtype is torch.bfloat16 and not has_fast_bf16(torch.device("cpu")):
            continue
        difference = pack(weight, b, dtype, act)(x).float() - plain
        assert difference.norm() < bound * plain.norm()


def test_a_torch_without_onednns_private_operators_multiplies_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_linear, "ONEDNN", ("_gone",))
    weight, b, x = torch.randn(96, 40), torch.randn(40), torch.randn(3, 96)
    torch.testing.assert_close(pack(weight, b, torch.float32)(x), x @ weight + b, rtol=1e-4, atol=1e-4)


def test_what_8_bits_can_hold_is_multiplied_exactly() -> None:
    rng = np.random.default_rng(0)
    x, weight = (torch.from_numpy(rng.integers(-63, 64, size).astype(np.float32)) for size in ((5, 64), (64, 32)))
    x[:, 0], weight[0] = 63.0, 127.0  # the largest of each row and of each output: so the scales are whole
    layer = Int8(weight, None)
    if round(1 / layer.step) == 63:
        torch.testing.assert_close(layer(x), x @ weight)
    else:
        x[:, 0] = 127.0
        torch.testing.assert_close(layer(x), x @ weight)


def test_a_row_of_zeros_stays_zero_in_8_bits() -> None:
    assert pack(torch.randn(8, 4), None, torch.int8)(torch.zeros(2, 8)).tolist() == [[0.0] * 4] * 2


def test_int8_is_refused_where_no_kernel_is() -> None:
    with pytest.raises(UserError, match="--quantize int8"):
        pack(torch.empty(8, 4, device="meta"), None, torch.int8)
