"""Texts that repeat themselves: found while they are written, at a cost that does not grow with the text.

In: one id after the other. Out: how many of the last ids repeat what stood one period before them, for each period; whether that is a loop.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Sequence

LONGEST_PERIOD = 256  # ids
FEWEST_REPEATED = 24  # ids: 哈哈哈哈哈哈 is no loop
COPIES = 2  # that follow the first one


class Repeats:
    """`runs`: for each period p, how many of the last ids in a row equal the one p before them; where that is none, p is left out.

    Args:
        longest: period; 0: of any length, at a cost that grows with the text.
        apart: ids that no run goes across.
    """

    def __init__(self, longest: int, apart: Collection[int] = ()) -> None:
        self.longest, self.apart = longest, apart
        self.places: defaultdict[int, deque[int]] = defaultdict(deque)  # id -> where it stood, `longest` back at most
        self.runs: dict[int, int] = {}
        self.count = 0

    def push(self, id_: int) -> None:
        """Take the next id."""
        now = self.count
        self.count += 1
        if id_ in self.apart:
            self.runs = {}
            return
        places = self.places[id_]
        while self.longest and places and now - places[0] > self.longest:
            places.popleft()
        self.runs = {now - place: self.runs.get(now - place, 0) + 1 for place in places}
        places.append(now)


class LoopWatch(Repeats):
    """Repeats that go on until they are a loop."""

    def __init__(self, ids: Sequence[int] = ()) -> None:
        super().__init__(LONGEST_PERIOD)
        for id_ in ids:
            self.push(id_)

    def loop(self) -> int:
        """The number of ids at the end that are a loop's repetition, 0 where there is none."""
        loops = [period for period, run in self.runs.items() if run >= max(COPIES * period, FEWEST_REPEATED)]
        return self.runs[min(loops)] if loops else 0
