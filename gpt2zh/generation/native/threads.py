"""How many threads compute a step: all, or one where the others would keep it waiting.

The threads of a step meet at ten barriers a layer. A small model's step is over in less time than a busy machine takes to wake a
thread that waits there: beside other programs two threads are then many times slower than one, and alone up to twice as fast
(docs/log.md). Which of the two it is cannot be told beforehand, so both are tried while writing.

In: how long steps took. Out: the number of threads for the next one.
"""

STEPS = 8  # of a trial
WORK_PER_TRIAL = 50  # seconds of work for each second that the last trial took


class ThreadChoice:
    """One thread or all, whichever took less time of late; at first one, and soon a trial of all."""

    def __init__(self) -> None:
        self.one = True  # how the next step is to be computed
        self._best_is_one = True
        self._best_mean = 0.0  # seconds a step by the better way, of late
        self._n_steps, self._seconds = 0, 0.0  # since the last change of any of these
        self._work_left = 0.0  # seconds to the next trial

    def count(self, most: int) -> int:
        """Threads for the next step, of `most` that there are."""
        return 1 if self.one else most

    def took(self, seconds: float) -> None:
        """Take note of how long a step took."""
        self._n_steps += 1
        self._seconds += seconds
        is_trial = self.one != self._best_is_one
        if is_trial and (self._n_steps == STEPS or self._seconds > STEPS * self._best_mean):
            self._work_left = WORK_PER_TRIAL * self._seconds
            if self._seconds / self._n_steps < self._best_mean:
                self._best_is_one, self._best_mean = self.one, self._seconds / self._n_steps
            self.one = self._best_is_one
        elif not is_trial and self._n_steps == STEPS:
            self._best_mean = self._seconds / STEPS
            self._work_left -= self._seconds
            if self._work_left <= 0:
                self.one = not self.one
        else:
            return
        self._n_steps, self._seconds = 0, 0.0
