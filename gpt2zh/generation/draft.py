"""A text while it is written: what must not come next, and whether it has ended.

In: a request, then one id after the other. Out: ids that are forbidden, penalties' counts, an end: the document's, the length, a
sentence's; a text that goes round in circles becomes shorter again. An id costs the same however long the text is.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpt2zh.generation.loops import LoopWatch, Repeats
from gpt2zh.generation.requests import End, Finished, Request

MOST_LOOPS = 20  # that a text is taken out of; at the next it ends
LONGEST_DRY, MOST_DRY = 20, 1e30  # of the exponent, of the penalty: fp32 ends at 1e38
IDS_A_CHARACTER = 4  # at most: bytes of UTF-8
EXTRA_TO_FINISH = 64  # tokens beyond the length, at most, to the end of the sentence


class Vocabulary(Protocol):
    """What writing has to know of a tokenizer: which ids mean what."""

    @property
    def document_end_id(self) -> int: ...

    @property
    def newline_id(self) -> int: ...

    @property
    def never_sampled(self) -> Sequence[int]: ...

    @property
    def punctuation_ids(self) -> Sequence[int]:
        """Not penalised; the newline is among them."""

    @property
    def sentence_end_ids(self) -> Sequence[int]: ...

    @property
    def closing_ids(self) -> Sequence[int]:
        """Quotes and brackets that close, and may follow a sentence's end."""

    def decode(self, ids: Sequence[int]) -> str: ...


class Meanings:
    """A vocabulary's ids by what they mean, as sets."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.end, self.newline = vocabulary.document_end_id, vocabulary.newline_id
        self.not_penalised = {*vocabulary.punctuation_ids, *vocabulary.never_sampled, self.end}
        self.sentence_ends, self.closing = {*vocabulary.sentence_end_ids}, {*vocabulary.closing_ids}
        self.decode = vocabulary.decode


class Draft:
    """A text while it is written: its ids, what must not come next, whether it has ended."""

    def __init__(self, request: Request, meanings: Meanings) -> None:
        self.request, self.settings, self.meanings = request, request.settings, meanings
        self.ids, self.n_prefix = list(request.prefix), len(request.prefix)
        self.first = 0  # index of the id that the cache begins with
        self.loops = 0
        self.ended: End | None = None
        self.barred: dict[int, set[int]] = {}  # index in ids -> what led into a loop from there
        self._draws = np.random.Generator(np.random.PCG64([request.seed, request.number]))
        self._look_again()

    @property
    def written(self) -> list[int]:
        """The new ids."""
        return self.ids[self.n_prefix :]

    @property
    def n_written(self) -> int:
        """Number of new ids."""
        return len(self.ids) - self.n_prefix

    @property
    def finished(self) -> Finished | None:
        """The text, where it has ended."""
        return Finished(self.request.number, self.written, self.ended, self.loops) if self.ended else None

    def uniform(self) -> float:
        """The next of the text's random numbers, in [0, 1)."""
        return self._draws.random()

    def excludes(self) -> bool:
        """Whether XTC acts on the next id."""
        return self._draws.random() < self.settings.xtc_probability

    def forbidden(self) -> list[int]:
        """Ids that must not come next, besides those that no text of these settings may hold."""
        n = self.settings.no_repeat_ngram
        banned = [*self.barred.get(len(self.ids), ()), *self.request.wording.forbidden(self.ids)]
        if n:
            banned += self._followers.get(tuple(self.ids[len(self.ids) - n + 1 :]), ())
        if self.n_sentences < self.settings.sentences:
            banned.append(self.meanings.end)
        return banned

    def counts(self, n_vocab: int) -> npt.NDArray[np.float32]:
        """How often each id occurred in the penalties' window, (V,), fp32."""
        counts = np.zeros(n_vocab, dtype=np.float32)
        counts[list(self._occurred.keys())] = list(self._occurred.values())
        return counts

    def dry(self) -> dict[int, float]:
        """DRY's penalties: ids that would carry a repetition on, and what their logits lose."""
        settings, longest = self.settings, dict[int, int]()
        for period, run in self._repeats.runs.items():
            id_ = self.ids[len(self.ids) - period]
            if run >= settings.dry_allowed_length and id_ not in self.meanings.not_penalised:
                longest[id_] = max(run, longest.get(id_, 0))
        more = {id_: min(run - settings.dry_allowed_length, LONGEST_DRY) for id_, run in longest.items()}
        return {id_: min(settings.dry_multiplier * settings.dry_base**n, MOST_DRY) for id_, n in more.items()}

    def add(self, token: int) -> None:
        """Take the next id; afterwards the text may have ended, or be shorter than before."""
        if token == self.meanings.end:
            self.ended = "document"
            return
        enough = self._enough()
        if enough and not self.in_sentence and self._opens(token):
            self.ended = "sentence"  # the one before was the last; a closing quote could still have come
            return
        self.ids.append(token)
        self._look_at(len(self.ids) - 1)
        if self.settings.break_loops:
            self._watch.push(token)
        if n_stop := self._stop():
            del self.ids[len(self.ids) - n_stop :]
            self.ended = "stop"
        elif n_repeated := self._watch.loop():
            self._take_back(n_repeated)
        elif not self._finishes():
            self.ended = "length" if self.n_written >= self.request.length else None
        elif self.n_written >= self.request.length + EXTRA_TO_FINISH:
            del self.ids[self.whole if self.whole > self.n_prefix else len(self.ids) :]
            self.ended = "length"

    def _stop(self) -> int:
        """The number of ids at the end that hold one of the texts that end this one; 0 where there is none."""
        stops, decode = self.request.wording.stops, self.meanings.decode
        if not stops:
            return 0
        tail = self.written[-IDS_A_CHARACTER * max(map(len, stops)) :]
        text = decode(tail)
        places = [place for place in map(text.find, stops) if place >= 0]
        if not places:
            return 0
        n = 1
        while n < len(tail) and len(decode(tail[: len(tail) - n])) > min(places):
            n += 1
        return n

    def _finishes(self) -> bool:
        return self.settings.finish_sentence or self.settings.sentences > 0

    def _enough(self) -> bool:
        """Whether the text is to end with its sentence."""
        told = 0 < self.settings.sentences <= self.n_sentences
        return self._finishes() and (told or self.n_written >= self.request.length)

    def _opens(self, token: int) -> bool:
        return token not in self.meanings.closing and token not in self.meanings.sentence_ends

    def _take_back(self, n: int) -> None:
        """Forget the last n ids, which were going round, and bar the way that led there."""
        cut = len(self.ids) - n
        self.loops += 1
        self.barred = {place: ids for place, ids in self.barred.items() if place <= cut}
        self.barred.setdefault(cut, set()).add(self.ids[cut])
        del self.ids[cut:]
        if self.loops > MOST_LOOPS:
            self.ended = "loop"
        self._look_again()

    def _look_again(self) -> None:
        """Build what is known of the ids anew."""
        self.n_sentences, self.in_sentence, self.whole = 0, False, self.n_prefix
        self._watch = LoopWatch(self.written)
        self._followers: dict[tuple[int, ...], list[int]] = {}  # n - 1 ids -> what came after them
        self._occurred: Counter[int] = Counter()
        self._repeats = Repeats(self.settings.penalty_window, self.meanings.not_penalised)
        for place in range(len(self.ids)):
            self._look_at(place)

    def _look_at(self, place: int) -> None:
        """Take note of the id at `place`: n-grams, the penalties' window, sentences."""
        token, n, window = self.ids[place], self.settings.no_repeat_ngram, self.settings.penalty_window
        if n and place >= n - 1:
            self._followers.setdefault(tuple(self.ids[place - n + 1 : place]), []).append(token)
        if self.settings.dry_multiplier:
            self._repeats.push(token)
        if self.settings.counts_tokens:
            if token not in self.meanings.not_penalised:
                self._occurred[token] += 1
            left = self.ids[place - window] if window and place >= window else None
            if left is not None and left not in self.meanings.not_penalised:
                self._occurred[left] -= 1
                if not self._occurred[left]:
                    del self._occurred[left]  # else this would grow with the text
        if place < self.n_prefix or token == self.meanings.newline:
            return
        if token in self.meanings.sentence_ends:
            self.n_sentences += self.in_sentence
            self.in_sentence = False
        elif self.in_sentence or token not in self.meanings.closing:
            self.in_sentence = True
        if not self.in_sentence:
            self.whole = place + 1
