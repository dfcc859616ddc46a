"""--batch_size auto: the largest micro-batch that fits, by trial on GPUs and by measurement on CPUs; and what it leaves alone."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from test_train import train_losses, weights, with_dropout
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.device import choose_device
from gpt2zh.errors import UserError
from gpt2zh.model.loss import LanguageModelLoss
from gpt2zh.system import memory
from gpt2zh.training.optim import build_optimizer
from gpt2zh.training.trial import USUAL, Trial, choose_micro_batch, largest_below, try_sizes

Train = Callable[..., list[dict[str, float]]]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell a process its peak")


def small_model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    shape = GPT2Config(n_layer=2, n_embd=64, n_head=2, n_positions=64, vocab_size=1000, bos_token_id=1, eos_token_id=2)
    return GPT2LMHeadModel(shape)


def trial_of(model: GPT2LMHeadModel, optimizer: str = "adamw", limit: int | None = None) -> Trial:
    device = choose_device("cpu", "fp32")
    loss = LanguageModelLoss(model) if limit is None else OutOfMemoryAbove(limit, LanguageModelLoss(model))
    built = build_optimizer(model, optimizer, 1e-3, 0.1, (0.9, 0.95), 1e-8)
    return Trial(device.spread(loss), built, device, model.config.n_positions)


class OutOfMemoryAbove(nn.Module):
    """A loss that has room for `limit` windows and meets more with a GPU's error, as it comes in the forward pass."""

    def __init__(self, limit: int, loss: nn.Module) -> None:
        super().__init__()
        self.limit, self.loss, self.tried = limit, loss, []

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.tried.append(len(inputs))
        if len(inputs) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.loss(inputs, targets)


def machine(root: Path, free_kilobytes: int) -> Path:
    """A tree of the system's files in which so much memory is free and the process is in no control group."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {free_kilobytes} kB\n", encoding="ascii")
    (root / "proc/self/cgroup").write_text("", encoding="ascii")
    return root


# ----- which size ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", range(1, 26))
def test_the_largest_divisor_that_does_not_run_out_of_memory_is_found_from_above(limit: int) -> None:
    sizes = [24, 12, 8, 6, 4, 3, 2, 1]
    trial = trial_of(small_model(), limit=limit)
    size, _ = try_sizes(trial, sizes)
    assert size == max(size for size in sizes if size <= limit)
    assert trial.loss.module.tried == [1, *sizes[: sizes.index(size) + 1]]


def test_where_not_even_one_window_fits_no_size_is_found() -> None:
    assert try_sizes(trial_of(small_model(), limit=0), [2, 1])[0] is None


def test_an_error_of_ours_is_not_taken_for_lack_of_memory() -> None:
    trial = trial_of(small_model())
    with pytest.raises(IndexError):
        trial.device.fits(lambda: trial.loss(torch.full((1, 64), 1000), torch.zeros(1, 64, dtype=torch.int64)))


@pytest.mark.parametrize(
    ("one", "two", "room", "size"),
    [
        (100, 150, 450, 8),  # 100 + 7 x 50
        (100, 150, 449, 4),
        (100, 150, 100, 1),
        (100, 150, 99, None),
        (100, 90, 100, 8),  # noise: more windows never take less
    ],
)
def test_sizes_lie_on_the_line_through_one_and_two_windows(one: int, two: int, room: int, size: int | None) -> None:
    assert largest_below([8, 4, 2, 1], one, two, room) == size


@LINUX
def test_less_memory_gives_smaller_micro_batches_and_none_a_message_with_what_to_try(tmp_path: Path) -> None:
    found = []
    for megabytes in (10_000, 150, 35, 10):
        root = machine(tmp_path / str(megabytes), 1000 * megabytes)
        found.append(choose_micro_batch(trial_of(small_model()), 64, root)[0])
    assert found[0] == 64 and all(64 % size == 0 for size in found)
    assert found == sorted(found, reverse=True) and found[-1] < 64
    with pytest.raises(UserError, match=r"n_ctx .* 32.*--gradient_checkpointing|--gradient_checkpointing.* 32"):
        choose_micro_batch(trial_of(small_model()), 64, machine(tmp_path / "none", 100))


def test_a_system_that_tells_nothing_gets_the_usual_size(tmp_path: Path) -> None:
    size, note = choose_micro_batch(trial_of(small_model()), 3 * USUAL, tmp_path)
    assert size == USUAL and "3" in note


def growths(script: str) -> list[int]:
    """What a script prints, in a process of its own: pytest's has memory that is taken and freed by others."""
    script = f"""
import sys
from functools import partial
from statistics import median_low as median
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests", sys.argv[1] + "/tests/training"]
from gpt2zh.system import memory
{script}
"""
    done = subprocess.run([sys.executable, "-c", script, ROOT], capture_output=True, encoding="utf-8", check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.slow
@LINUX
def test_what_two_windows_tell_of_eight_is_enough_and_not_much_too_much() -> None:
    one, two, eight = growths("""
from test_microbatch import trial_of
from transformers import GPT2Config, GPT2LMHeadModel
model = GPT2LMHeadModel(GPT2Config(n_layer=4, n_embd=128, n_head=4, n_positions=512, vocab_size=500, bos_token_id=1, eos_token_id=2))
trial = trial_of(model)
trial.loss.train()
trial.fill()
print(*(median(memory.growth(partial(trial.micro_batch, n)) for _ in range(3)) for n in (1, 2, 8)))
""")
    assert 0 < one < two < eight
    assert 0.9 * eight < one + 7 * (two - one) < 1.6 * eight, (one, two, eight)


# ----- nothing is changed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adamw", "muon", "adamw8bit"])
@pytest.mark.parametrize("limit", [None, 2], ids=["measured", "tried"])
def test_the_trial_leaves_weights_gradients_moments_and_random_numbers(name: str, limit: int | None) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    model = small_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trial = trial_of(model, name, limit)
    state = torch.get_rng_state()
    if limit is None:
        choose_micro_batch(trial, 4)
    else:  # what choose_micro_batch does where there are GPUs
        with torch.random.fork_rng([]):
            assert try_sizes(trial, [4, 2, 1])[0] == limit
        trial.clear()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not trial.optimizer.state


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_auto_trains_as_the_same_size_given_by_hand(
    train: Train, optimizer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model_config", with_dropout(0.1), "--optimizer", optimizer, "--val_ratio", 0]
    auto = train(*flags, "--batch_size", "auto", "--gradient_accumulation", 3, output="auto")
    size, times = re.search(r"每步 (\d+) x (\d+) 个", capsys.readouterr().out).groups()
    assert int(size) * int(times) == 3 * USUAL
    hand = train(*flags, "--batch_size", size, "--gradient_accumulation", times, "--log_step", times, output="hand")
    assert train_losses(auto) == train_losses(hand) and len(train_losses(auto)) > 3
    a, b = weights("auto/final_model"), weights("hand/final_model")
    assert all(torch.equal(a[name], b[name]) for name in a)


# ----- what the system says ------------------------------------------------------------------------------------------


def test_the_tightest_limit_around_the_process_counts_and_files_do_not(tmp_path: Path) -> None:
    machine(tmp_path, 8_000_000)
    assert memory.available(tmp_path) == 8_192_000_000
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/box/job\n1:cpu:/\n0::/box/job\n", encoding="ascii")
    for folder, limit, used, files in (
        ("sys/fs/cgroup/box", "5000", "3000", "inactive_file 1000"),
        ("sys/fs/cgroup/box/job", "max", "2000", "inactive_file 0"),
    ):
        place = tmp_path / folder
        place.mkdir(parents=True)
        for name, text in (("memory.max", limit), ("memory.current", used), ("memory.stat", f"anon 1\n{files}\n")):
            (place / name).write_text(text + "\n", encoding="ascii")
    assert memory.available(tmp_path) == 5000 - 3000 + 1000
    old = tmp_path / "sys/fs/cgroup/memory"  # a container of version 1: its own group is seen as the root
    old.mkdir()
    for name, text in (("limit_in_bytes", "900"), ("usage_in_bytes", "500"), ("stat", "total_inactive_file 7")):
        (old / f"memory.{name}").write_text(text + "\n", encoding="ascii")
    assert memory.available(tmp_path) == 900 - 500 + 7


@LINUX
def test_growth_is_the_peak_and_not_what_is_left() -> None:
    peak, nothing = growths("""
def work() -> None:
    bytearray(b"x") * 30_000_000
    bytearray(b"x") * 10_000_000

print(memory.growth(work), memory.growth(lambda: None))
""")
    assert 30_000_000 * 0.9 < peak < 30_000_000 * 1.2 and nothing < 3_000_000


@LINUX
def test_this_machine_says_what_is_free() -> None:
    assert 0 < memory.available() <= 1024 * memory.number(Path("/proc/meminfo"), "MemTotal:")
