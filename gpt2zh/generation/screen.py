"""A text shown while it is written.

In: after each step, the text so far. Out: its new characters on stdout, and a word where it was taken back.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from gpt2zh.generation.samples import END_OF_BLOCK, block_title

CHARACTERS_AFTER_A_LOOP = 20


class Draft(Protocol):
    """A text being written: `sampling.Draft`."""

    number: int
    loops: int

    @property
    def written(self) -> list[int]: ...


class Stream(Protocol):
    """Ids -> the text that each completes: `text_stream.TextStream`."""

    def push(self, id_: int) -> str: ...


class Screen:
    """One text after the other as they grow.

    Args:
        new_stream, decode: of the tokenizer.
        prompt: shown first, under the ancestor's headline; None: nothing is shown but what is written.
    """

    def __init__(
        self, new_stream: Callable[[], Stream], decode: Callable[[Sequence[int]], str], prompt: str | None = None
    ) -> None:
        self.new_stream, self.decode, self.prompt = new_stream, decode, prompt
        self.number = -1

    def show(self, draft: Draft) -> None:
        """Bring the screen up to date with a text that has one id more, or was taken back."""
        written = draft.written
        if draft.number != self.number:
            self.number, self.loops, self.n_shown, self.stream = draft.number, 0, 0, self.new_stream()
            if self.prompt is not None:
                print(f"{block_title(draft.number + 1)}\n{self.prompt}", end="")
        if draft.loops != self.loops:
            self.loops, self.n_shown, self.stream = draft.loops, len(written), self.new_stream()
            tail = self.decode(written)[-CHARACTERS_AFTER_A_LOOP:]
            print(f"\n（陷入循环，退回到 / a loop, taken back to）……{tail}", end="")
        print("".join(map(self.stream.push, written[self.n_shown :])), end="", flush=True)
        self.n_shown = max(self.n_shown, len(written))

    def close(self) -> None:
        """End the block."""
        print(f"\n{END_OF_BLOCK}\n", flush=True)
