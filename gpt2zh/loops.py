"""Texts that go round in circles: found while they are written, at a cost that does not grow with the text.

In: one id after the other. Out: how many of the last ids repeat what stood one period before them, when it is a loop.
"""

from collections.abc import Sequence

import numpy as np

LONGEST_PERIOD = 256  # ids
FEWEST_REPEATED = 24  # ids: 哈哈哈哈哈哈 is no loop
COPIES = 2  # that follow the first one


class LoopWatch:
    """For each period p, how many of the last ids in a row equal the one p before them."""

    def __init__(self, ids: Sequence[int] = ()) -> None:
        self.recent = np.full(
            2 * LONGEST_PERIOD, -1, dtype=np.int64
        )  # the ids written twice, so that a window is one slice
        self.runs = np.zeros(LONGEST_PERIOD, dtype=np.int64)
        self.enough = np.maximum(COPIES * np.arange(1, LONGEST_PERIOD + 1), FEWEST_REPEATED)
        self.count = 0
        for id_ in ids:
            self.push(id_)

    def push(self, id_: int) -> int:
        """Take the next id. Returns the number of ids at the end that are a loop's repetition, 0 where there is none."""
        place = self.count % LONGEST_PERIOD
        before = self.recent[place : place + LONGEST_PERIOD][::-1]  # the last ids, the latest first
        self.runs = np.where(before == id_, self.runs + 1, 0)
        self.recent[place] = self.recent[place + LONGEST_PERIOD] = id_
        self.count += 1
        loops = self.runs >= self.enough
        return int(self.runs[loops.argmax()]) if loops.any() else 0
