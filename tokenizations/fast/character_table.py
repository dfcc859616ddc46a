"""Texts -> ids of the character-level pipelines, by one table look-up a character; the same ids as the library's, and faster.

    code points  ->  table: id of a character that always stands alone (Han, digits, punctuation, newline)
                     or: dropped, blank, part of a word
    words (Latin, kana …) go through the library once each and are remembered

The table is learnt from the pipeline itself, each code point when it is first met, so it cannot disagree with the
library about what a character is.

In: texts. Out: ids, all texts one after the other, and how many each text has.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np
import tokenizers
from tokenizers import models

from gpt2zh.system.files import unify_line_ends

DROPPED, BLANK, WORD, UNSEEN, BORDER = -1, -2, -3, -4, -5
MOST_WORDS = 1_000_000  # remembered at a time


class CharacterTable:
    """Encodes texts for `pipelines.build_characters` and `build_verbatim`."""

    def __init__(self, pipeline: tokenizers.Tokenizer) -> None:
        self.pipeline = pipeline
        self.table = np.full(0x110000, UNSEEN, dtype=np.int32)
        self.words: dict[str, list[int]] = {}

    @staticmethod
    def can_encode(pipeline: tokenizers.Tokenizer) -> bool:
        """Whether the pipeline is one of those that split characters by themselves, as ours do."""
        splits = pipeline.normalizer is not None and pipeline.pre_tokenizer is not None
        return splits and isinstance(pipeline.model, (models.WordPiece, models.WordLevel))

    def encode_texts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts, int32, and the number of ids of each, int64. Equal to the pipeline's for each text."""
        codes, symbols = self._read(texts)
        if (symbols == WORD).any():
            symbols = self._spell_words(codes, symbols)
        elif (symbols == BLANK).any():
            symbols = symbols[symbols != BLANK]
        borders = np.flatnonzero(symbols == BORDER)
        lengths = np.diff(np.concatenate([[-1], borders, [len(symbols)]])) - 1
        return symbols[symbols != BORDER] if len(borders) else symbols, lengths[: len(texts)]

    def count(self, texts: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
        """How often each character that stands alone, and each word, is in `texts`; as the pipeline writes them."""
        codes, symbols = self._read(texts)
        counts = np.bincount(codes[symbols >= 0])
        characters: Counter[str] = Counter()
        for code in np.flatnonzero(counts).tolist():
            characters[self._pieces(chr(code))[0]] += int(counts[code])
        words: Counter[str] = Counter()
        for word, count in Counter(self._words(codes, np.flatnonzero(symbols == WORD))).items():
            for piece in self._pieces(word):
                words[piece] += count
        return characters, words

    def _pieces(self, text: str) -> list[str]:
        """The words and lone characters of `text`."""
        normalized = self.pipeline.normalizer.normalize_str(text)
        return [piece for piece, _ in self.pipeline.pre_tokenizer.pre_tokenize_str(normalized)]

    def _read(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Code points of all texts and what they are; a BORDER between two texts; what is dropped is gone."""
        joined = "\n".join(texts)
        if "\r" in joined:
            texts = [unify_line_ends(text) for text in texts]
            joined = "\n".join(texts)
        codes = np.frombuffer(joined.encode("utf-32-le"), dtype="<u4")
        symbols = self._look_up(codes)
        symbols[np.cumsum([len(text) + 1 for text in texts[:-1]], dtype=np.int64) - 1] = BORDER
        kept = symbols != DROPPED  # before words are seen: a word goes on across what is dropped
        return (codes, symbols) if kept.all() else (codes[kept], symbols[kept])

    def _look_up(self, codes: np.ndarray) -> np.ndarray:
        symbols = self.table[codes]
        unseen = codes[symbols == UNSEEN]
        if len(unseen):
            for code in np.unique(unseen).tolist():
                self.table[code] = self._symbol(chr(code))
            symbols = self.table[codes]
        return symbols

    def _symbol(self, character: str) -> int:
        """What the pipeline makes of a character between two letters."""
        normalized = self.pipeline.normalizer.normalize_str(f"a{character}a")
        if normalized == "aa":
            return DROPPED
        pieces = self._pieces(f"a{character}a")
        if pieces == ["a", "a"]:
            return BLANK
        ids = self.pipeline.encode(character).ids
        return ids[0] if len(pieces) == 3 and len(ids) == 1 else WORD

    @staticmethod
    def _words(codes: np.ndarray, inside: np.ndarray) -> list[str]:
        """The words whose characters stand at the positions `inside`."""
        letters = codes[inside].tobytes().decode("utf-32-le")
        ends = [*(np.flatnonzero(np.diff(inside) != 1) + 1).tolist(), len(inside)]
        return [letters[start:end] for start, end in zip([0, *ends], ends)]

    def _spell_words(self, codes: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Put the ids of words in the place of their characters, and drop blanks."""
        inside = np.flatnonzero(symbols == WORD)
        words = self._words(codes, inside)
        self._remember(set(words))
        spelled = list(map(self.words.__getitem__, words))
        counts = np.ones(len(symbols), dtype=np.int64)
        counts[symbols == BLANK] = 0
        counts[inside] = 0
        counts[inside[np.diff(inside, prepend=-2) != 1]] = list(map(len, spelled))
        out = np.repeat(symbols, counts)
        out[out == WORD] = np.fromiter(chain.from_iterable(spelled), np.int32)
        return out

    def _remember(self, words: set[str]) -> None:
        if len(self.words) > MOST_WORDS:
            self.words.clear()
        new = [word for word in words if word not in self.words]
        for word, encoding in zip(new, self.pipeline.encode_batch_fast(new, add_special_tokens=False)):
            self.words[word] = encoding.ids
