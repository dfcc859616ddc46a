"""Which GPUs are used for which wish, and what a CPU does instead."""

import pytest
import torch

from gpt2zh.device import choose_device, choose_gpus, own_gpu
from gpt2zh.errors import UserError


@pytest.mark.parametrize(
    ("wish", "n_gpus", "gpus", "said"),
    [
        ("0,1", 2, [0, 1], False),
        ("1", 2, [1], False),
        ("2,3", 4, [2, 3], False),
        ("0,1,2,3", 2, [0, 1], True),
        (None, 3, [0, 1, 2], False),
        ("cpu", 2, [], False),
        ("0,1", 0, [], True),
        (None, 0, [], False),
        ("1,1", 2, [1], False),
    ],
)
def test_the_gpus_that_are_wished_and_there_are_used(
    wish: str | None, n_gpus: int, gpus: list[int], said: bool
) -> None:
    notes: list[str] = []
    assert choose_gpus(wish, n_gpus, notes) == gpus
    assert len(notes) == said


@pytest.mark.parametrize(("wish", "n_gpus"), [("first", 1), ("0;1", 1), ("4,5", 2)])
def test_a_wish_for_no_gpu_at_all_is_refused(wish: str, n_gpus: int) -> None:
    with pytest.raises(UserError, match="--device"):
        choose_gpus(wish, n_gpus, [])


def test_each_process_of_a_machine_takes_one_of_the_gpus_and_too_many_are_refused() -> None:
    assert [own_gpu([1, 3], process, 2) for process in range(2)] == [1, 3]
    for process in range(3):  # by all of them, the first ones too
        with pytest.raises(UserError, match="--nproc_per_node 3.*2 GPUs"):
            own_gpu([1, 3], process, 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_fp16_on_a_cpu_falls_back_and_says_so() -> None:
    device = choose_device("cpu", "fp16")
    assert device.dtype in (torch.bfloat16, torch.float32) and len(device.notes) == 1
    assert not device.scaler().is_enabled()
