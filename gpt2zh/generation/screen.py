"""A text shown while it is written.

In: the events of one text after the other. Out: new characters on stdout, and a word where the text was taken back.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from gpt2zh.console import visible
from gpt2zh.generation.requests import Event
from gpt2zh.generation.samples import END_OF_BLOCK, block_title

CHARACTERS_AFTER_A_LOOP = 20


class Stream(Protocol):
    """Ids -> the text that each completes: `text_stream.TextStream`."""

    def push(self, id_: int) -> str: ...


class Screen:
    """One text after the other as they grow.

    Args:
        new_stream, decode: of the tokenizer.
    """

    def __init__(self, new_stream: Callable[[], Stream], decode: Callable[[Sequence[int]], str]) -> None:
        self.new_stream, self.decode = new_stream, decode
        self.begin()

    def begin(self) -> None:
        """Get ready for a text of which nothing is written yet."""
        self.ids: list[int] = []
        self.stream = self.new_stream()

    def open(self, number: int, prompt: str) -> None:
        """Begin a text under the ancestor's headline. Args: number, from 1."""
        self.begin()
        print(f"{block_title(number)}\n{visible(prompt)}", end="")

    def show(self, event: Event) -> None:
        """Bring the screen up to date with the next step of the text."""
        event.update(self.ids)
        if event.left_loop:
            self.stream = self.new_stream()
            tail = self.decode(self.ids)[-CHARACTERS_AFTER_A_LOOP:]
            print(f"\n（陷入循环，退回到 / a loop, taken back to）……{visible(tail)}", end="", flush=True)
        elif event.token is not None:
            print(visible(self.stream.push(event.token)), end="", flush=True)

    def close(self) -> None:
        """End the block."""
        print(f"\n{END_OF_BLOCK}\n", flush=True)
