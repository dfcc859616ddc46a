"""Ids that come one by one -> text that can be shown at once.

In: a `tokenizers` pipeline, ids. Out: the characters that each id completes; what a later id may change waits.
"""

import tokenizers

HALF_A_CHARACTER = "\ufffd"
LONGEST, CONTEXT = 64, 16  # ids decoded together at most; of these, how many the next ones are read after


class TextStream:
    """Text as it comes. Letters are decoded together with what is before them, as blanks between pieces depend on it."""

    def __init__(self, pipeline: tokenizers.Tokenizer) -> None:
        self.pipeline = pipeline
        self.pending: list[int] = []
        self.shown = 0  # characters of what is pending

    def push(self, id_: int) -> str:
        """The new text, "" while a character is not whole."""
        self.pending.append(id_)
        text = self.pipeline.decode(self.pending, skip_special_tokens=False)
        if text.endswith(HALF_A_CHARACTER) and len(self.pending) < 2 * LONGEST:
            return ""
        new, self.shown = text[self.shown :], len(text)
        if (text and not text[-1].isascii()) or text.endswith("\n"):
            self.pending, self.shown = [], 0
        elif len(self.pending) >= LONGEST:
            self.pending = self.pending[-CONTEXT:]
            self.shown = len(self.pipeline.decode(self.pending, skip_special_tokens=False))
        return new
