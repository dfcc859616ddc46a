"""How many threads compute a step: all, or one where the others would keep it waiting.

The threads of a step meet at ten barriers a layer. A small model's step is over in less time than a busy machine takes to wake a
thread that waits there: beside other programs two threads are then many times slower than one, and alone up to twice as fast
(docs/log.md). Which of the two it is cannot be told beforehand, so both are tried while writing.

In: how long steps took. Out: the number of threads for the next one.
"""

STEPS = 8  # that are timed together, at most
WORK_PER_TRIAL = 50  # seconds of work for each second that the last trial of the slower way took


class ThreadChoice:
    """One thread or all, whichever took less time of late; at first one, and soon a trial of all."""

    def __init__(self) -> None:
        self.one = True  # how the next step is to be computed
        self._mean = {True: 0.0, False: 0.0}  # by one thread, by all: seconds a step when last timed; 0 before that
        self._n_steps, self._seconds = 0, 0.0  # timed together until now
        self._is_trial, self._work_left = False, 0.0  # seconds to the next trial

    def count(self, most: int) -> int:
        """Threads for the next step, of `most` that there are."""
        return 1 if self.one else most

    def took(self, seconds: float) -> None:
        """Take note of how long a step took."""
        self._n_steps += 1
        self._seconds += seconds
        other = self._mean[not self.one]
        if self._n_steps == STEPS or self._seconds > STEPS * other > 0:  # no need to wait for what is slower already
            self._mean[self.one] = mean = self._seconds / self._n_steps
            self._work_left = WORK_PER_TRIAL * self._seconds if self._is_trial else self._work_left - self._seconds
            self._n_steps, self._seconds = 0, 0.0
            self._is_trial = (mean <= other and self._work_left <= 0) or not other
            if self._is_trial or mean > other:
                self.one = not self.one
