"""Texts that go round in circles: found while they are written, at a cost that does not grow with the text.

In: one id after the other. Out: how many of the last ids repeat what stood one period before them, when it is a loop.
"""

from collections import defaultdict, deque
from collections.abc import Sequence

LONGEST_PERIOD = 256  # ids
FEWEST_REPEATED = 24  # ids: 哈哈哈哈哈哈 is no loop
COPIES = 2  # that follow the first one


class LoopWatch:
    """For each period p, how many of the last ids in a row equal the one p before them; where that is none, p is left out."""

    def __init__(self, ids: Sequence[int] = ()) -> None:
        self.places: defaultdict[int, deque[int]] = defaultdict(
            deque
        )  # id -> where it stood, LONGEST_PERIOD back at most
        self.runs: dict[int, int] = {}
        self.count = 0
        for id_ in ids:
            self.push(id_)

    def push(self, id_: int) -> int:
        """Take the next id. Returns the number of ids at the end that are a loop's repetition, 0 where there is none."""
        now, places = self.count, self.places[id_]
        while places and now - places[0] > LONGEST_PERIOD:
            places.popleft()
        self.runs = {now - place: self.runs.get(now - place, 0) + 1 for place in places}
        places.append(now)
        self.count += 1
        loops = [period for period, run in self.runs.items() if run >= max(COPIES * period, FEWEST_REPEATED)]
        return self.runs[min(loops)] if loops else 0
