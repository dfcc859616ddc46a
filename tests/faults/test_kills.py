"""kill -9 at random moments: what is started again ends as the run that was left alone, bit for bit."""

import os
import random
import signal
import time

import pytest
from conftest import Place, require_same_end

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("GPT2ZH_KILLS", "20"))  # `make faults` asks for 200


def test_a_run_killed_at_random_moments_ends_as_the_one_left_alone(alone: Place, hurt: Place) -> None:
    started = time.monotonic()
    assert hurt.run().code == 0
    length = time.monotonic() - started
    hurt.forget("model")
    chance = random.Random(0)
    n_kills, finished = 0, False
    while n_kills < KILLS or not finished:
        if finished:  # the run came through; another one, from the start, until there were enough kills
            require_same_end(alone, hurt)
            hurt.forget("model")
        run = hurt.start()
        time.sleep(chance.uniform(0.02, 0.7) * length if n_kills < KILLS else 0)
        if n_kills < KILLS:
            run.kill(signal.SIGKILL)
        code = run.wait()
        assert code in (0, 128 + signal.SIGKILL), run.text
        n_kills += code != 0
        finished = code == 0
    require_same_end(alone, hurt)
