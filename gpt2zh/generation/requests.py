"""What an engine is asked for, and what it tells of it.

In: a `Request` for each text. Out: an `Event` for each text and step; readers (a screen, a progress bar, files) are given them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gpt2zh.generation.wording import NOTHING, Wording

if TYPE_CHECKING:
    from gpt2zh.generation.settings import SamplingSettings

End = Literal["length", "document", "sentence", "loop", "stop"]


@dataclass(frozen=True)
class Request:
    """A text to be written.

    Args:
        prefix: at least one id; if it is longer than the window, only its last n_ctx / 2 ids are read.
        number: of the text; together with the seed it decides what is drawn.
        length: new tokens, at most.
        seed: 0 or above.
        wording: words that are barred, favoured, or end the text.
    """

    prefix: Sequence[int]
    number: int
    length: int
    seed: int
    settings: "SamplingSettings"
    wording: Wording = NOTHING


@dataclass(frozen=True)
class Finished:
    """A text that has ended.

    Args:
        number: the request's.
        ids: what was written, without the prefix and without the document's end.
        ended: why: "length", "document", "sentence" (a whole one), "stop" (a text that ends it came), or "loop" (it found
            no way out).
        loops: how often it was taken back out of a loop.
    """

    number: int
    ids: list[int]
    ended: End
    loops: int


@dataclass(frozen=True)
class Event:
    """What a step did to one text.

    Args:
        id: of the request, as `Engine.add` gave it.
        token: the id that the text has gained at its end; None where it gained none.
        taken_back: number of ids that the text has lost at its end: a loop's, those of a sentence that did not end, or a stop's.
        finished: the whole text, where this was its last step.
    """

    id: int
    token: int | None
    taken_back: int
    finished: Finished | None

    @property
    def left_loop(self) -> bool:
        """Whether the text went round in circles and was taken back to before that."""
        return self.taken_back > 0 and not (self.finished and self.finished.ended in ("length", "stop"))

    def update(self, ids: list[int]) -> None:
        """Do to `ids`, a reader's copy of the text, what the step did to the text."""
        if self.taken_back:
            del ids[-self.taken_back :]
        if self.token is not None:
            ids.append(self.token)
