"""Texts -> characters as a Unigram pipeline sees them, and its units, by tables.

What the pipeline does to a character does not depend on the others, but for blanks of the words pipeline; where a unit
starts depends on two neighbours. So each new character is shown to the pipeline once, alone and in company.

In: a pipeline of build_words or build_unigram, texts. Out: symbols (numbers of characters), starts of units.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tokenizers

from gpt2zh.system.files import unify_line_ends

# What the table of code points says of each: symbol | class << CLASS | flags; NEW until it is first seen.
NEW = -1
SYMBOLS = (1 << 20) - 1
CLASS, CLASSES = 20, 32
DROPPED, BLANK, BEFORE, AFTER = (1 << bit for bit in range(25, 29))
SEPARATOR = 0x110000  # one beyond Unicode: stands after each text; class 0, alone


class Characters(NamedTuple):
    """A batch of texts as the pipeline sees it: without what it drops, and where its units start."""

    code_points: np.ndarray
    symbols: np.ndarray
    unit_starts: np.ndarray
    unit_lengths: np.ndarray
    separators: np.ndarray  # position after the last character of each text


class Alphabet:
    """Normalising and splitting by tables. Each new character is shown to the pipeline once, alone and in company."""

    def __init__(self, pipeline: tokenizers.Tokenizer, symbols: dict[str, int]) -> None:
        self.normalizer, self.splitter, self.symbols = pipeline.normalizer, pipeline.pre_tokenizer, symbols
        self.folds_blanks = self.normalizer.normalize_str(" ") == ""  # words: kept only between Latin words
        self.table = np.full(SEPARATOR + 1, NEW, dtype=np.int32)
        self.table[SEPARATOR] = 0
        self.images: dict[int, str] = {}
        self.expansions: dict[str, str] = {}  # characters that become several
        self.classes: dict[tuple[bool, ...], str] = {(): "\n"}  # how it borders on others -> one such character
        self.borders = np.ones((CLASSES, CLASSES), dtype=bool)

    def read(self, texts: Sequence[str]) -> Characters:
        """Normalise and split texts."""
        while True:
            texts = [self._plain(text) for text in texts]
            code_points = np.frombuffer("\0".join([*texts, ""]).encode("utf-32-le"), dtype=np.uint32).copy()
            code_points[np.cumsum([len(text) + 1 for text in texts]) - 1] = SEPARATOR
            packed = self.table.take(code_points)
            if packed.min() >= 0:
                break
            self._learn([chr(code) for code in np.unique(code_points[packed == NEW]).tolist()])
        if (packed & DROPPED).any():
            kept = np.flatnonzero(packed & DROPPED == 0)
            code_points, packed = code_points.take(kept), packed.take(kept)
        if self.folds_blanks and (packed & BLANK).any():
            kept = self._without_blanks(packed)
            code_points, packed = code_points.take(kept), packed.take(kept)
        classes = (packed >> CLASS).astype(np.uint16) & (CLASSES - 1)
        border = np.ones(len(packed) + 1, dtype=bool)
        border[1:-1] = self.borders.take(classes[:-1] * CLASSES + classes[1:])
        starts = np.flatnonzero(border)
        separators = np.flatnonzero(packed == 0)
        units = np.ones(len(starts) - 1, dtype=bool)
        units[np.searchsorted(starts, separators)] = False
        return Characters(
            code_points, packed & SYMBOLS, starts[:-1][units], (starts[1:] - starts[:-1])[units], separators
        )

    def text(self, code_points: np.ndarray) -> str:
        """Characters after normalising, as a string."""
        return "".join(map(self.images.__getitem__, code_points.tolist()))

    def _plain(self, text: str) -> str:
        text = unify_line_ends(text)
        for character, image in self.expansions.items():
            if character in text:
                text = text.replace(character, image)
        return text

    @staticmethod
    def _without_blanks(packed: np.ndarray) -> np.ndarray:
        """Positions that stay: no blanks, but the last of a run between a letter, digit or stop and a letter or digit."""
        keep = packed & BLANK == 0
        solid = np.flatnonzero(keep)
        after = np.flatnonzero(np.diff(solid) > 1)
        before, behind = packed.take(solid.take(after)), packed.take(solid.take(after + 1))
        keep[solid.take(after + 1)[(before & BEFORE != 0) & (behind & AFTER != 0)] - 1] = True
        return np.flatnonzero(keep)

    def _learn(self, characters: list[str]) -> None:
        lines = [f"a{c}a\n{c} a\na {c}" if c != "\n" else "a a\n\n" for c in characters]
        normal = self.normalizer.normalize_str("\n".join(lines)).split("\n")
        for character, inside, first, last in zip(characters, normal[::3], normal[1::3], normal[2::3]):
            image = inside[1:-1] if character != "\n" else "\n"
            if len(image) > 1:
                self.expansions[character] = image
                continue
            flags = DROPPED * (image == "") | BLANK * (image == " ")
            flags |= BEFORE * (first == f"{image} a") | AFTER * (last == f"a {image}")
            class_ = self._class_of(image) if image else 0
            self.images[ord(character)] = image
            self.table[ord(character)] = self.symbols.get(image, 0) | class_ << CLASS | flags

    def _class_of(self, character: str) -> int:
        """Number of the class of characters that border on others as this one does."""
        company = f"一{character}一!{character}!a{character}a {character} {character}{character}"
        borders = self._starts(company)
        signature = tuple(place in borders for place in (1, 2, 4, 5, 7, 8, 10, 11, 12))
        if signature not in self.classes:
            self.classes[signature] = character
            for n, a in enumerate(self.classes.values()):
                for m, b in enumerate(self.classes.values()):
                    self.borders[n, m] = n == 0 or m == 0 or 1 in self._starts(a + b)
        return list(self.classes).index(signature)

    def _starts(self, text: str) -> set[int]:
        return {start for _, (start, _) in self.splitter.pre_tokenize_str(text)}
