"""Losses that jump.

In: the loss of each report. Out: whether it is far above those before it, for the log.
"""

import math
import statistics
from collections import deque

REPORTS = 128  # that are compared with
FEWEST = 32
DEVIATIONS = 6.0


class Spikes:
    """The last losses of a run. A spike is DEVIATIONS standard deviations above their mean (OLMo's measure); it joins them all the same."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=REPORTS)

    def is_spike(self, loss: float) -> bool:
        """Whether `loss`, mean nats a token, is one. Losses that are not finite are none, and are forgotten."""
        if not math.isfinite(loss):
            return False
        enough = len(self.losses) >= FEWEST
        spike = enough and loss > statistics.fmean(self.losses) + DEVIATIONS * statistics.pstdev(self.losses)
        self.losses.append(loss)
        return spike
