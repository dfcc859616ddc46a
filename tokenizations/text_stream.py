"""Ids that come one by one -> text that can be shown at once.

In: a `tokenizers` pipeline, ids. Out: the characters that each id completes; what a later id may change waits.
"""

import tokenizers

HALF_A_CHARACTER = "\ufffd"


class TextStream:
    """Text as it comes. Words of letters are decoded together from their start, as blanks between pieces depend on it."""

    def __init__(self, pipeline: tokenizers.Tokenizer) -> None:
        self.pipeline = pipeline
        self.pending: list[int] = []
        self.shown = 0  # characters of what is pending

    def push(self, id_: int) -> str:
        """The new text, "" while a character is not whole."""
        self.pending.append(id_)
        text = self.pipeline.decode(self.pending, skip_special_tokens=False)
        if text.endswith(HALF_A_CHARACTER):
            return ""
        new, self.shown = text[self.shown :], len(text)
        if (text and not text[-1].isascii()) or text.endswith("\n"):
            self.pending, self.shown = [], 0
        return new
