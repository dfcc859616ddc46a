"""Texts that a model writes: several at a time, each as if it were alone, requests that come and go.

    add(request) -> waits -> prefix read -> a row of the cache -> a token a step -> the last event has the finished text

A row whose text has ended goes to the next request that waits. Consecutive requests with the same prefix have it read once. Past the
context window the older half of a text is dropped and the rest read again, once every n_ctx / 2 tokens (GPT-2's positions are
absolute, so cached keys cannot be moved). Each text draws from a generator of its own, a function of (seed, its number): it depends
neither on the number of rows nor on what else is written.

In: a `Decoder`, a vocabulary, `Request`s. Out: `Event`s. Refuses: a request without a prefix, or longer than the cache.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from gpt2zh.generation.decoder import Decoder
from gpt2zh.generation.draft import EXTRA_TO_FINISH, Draft, Meanings, Vocabulary
from gpt2zh.generation.logits import choose, penalise
from gpt2zh.generation.requests import Event, Request
from gpt2zh.generation.settings import SamplingSettings


def room_for(requests: Iterable[Request]) -> int:
    """Positions of a cache's row that are enough for any of `requests`, where the window allows as many."""
    return max(len(request.prefix) + request.length + EXTRA_TO_FINISH + 1 for request in requests)


class Engine:
    """Requests at work, each in a row of the cache, and requests that wait for one.

    Args:
        vocabulary: which ids mean what.
        rows: texts at a time, at most.
        capacity: positions of a row, as `room_for` gives it; None: n_ctx, enough for any request.
    """

    def __init__(self, decoder: Decoder, vocabulary: Vocabulary, rows: int, capacity: int | None = None) -> None:
        self.decoder, self.n_rows = decoder, rows
        self.n_ctx = decoder.shape.n_positions
        self.capacity = min(capacity or self.n_ctx, self.n_ctx)
        self.cache = decoder.new_cache(rows + 1, self.capacity)  # the last row keeps the prefix that was read last
        self._meanings = Meanings(vocabulary)
        never = [*vocabulary.never_sampled]
        self._never = {  # by ignore_end: ids that no text may hold
            ignore_end: torch.tensor([*never, *more], dtype=torch.long, device=decoder.device)
            for ignore_end, more in ((False, []), (True, [vocabulary.document_end_id]))
        }
        self._waiting: deque[tuple[int, Request]] = deque()
        self._rows: list[tuple[int, Draft]] = []  # the request's id and its text, in the order of the cache's rows
        self._n_added = 0
        self._kept: Sequence[int] | None = None  # the prefix in the cache's last row
        self._kept_first = 0  # index of its first id that is held there

    # ----- requests ---------------------------------------------------------------------------------------------------

    def add(self, request: Request) -> int:
        """Have a text written as soon as a row is free. Returns its id, by which events name it.

        Raises:
            ValueError: the prefix is empty; prefix and length need more positions than a row has.
        """
        if not request.prefix:
            raise ValueError("a request needs a prefix of at least one id")
        if min(room_for([request]), self.n_ctx) > self.capacity:
            raise ValueError(f"a request needs {room_for([request])} positions, a row has {self.capacity}")
        self._n_added += 1
        self._waiting.append((self._n_added, request))
        return self._n_added

    def cancel(self, id_: int) -> None:
        """Write no more of a text; its row is free, and no event of it follows. Nothing happens where it has ended already."""
        self._waiting = deque(one for one in self._waiting if one[0] != id_)
        for row, (id_at_work, _) in enumerate(self._rows):
            if id_at_work == id_:
                self._free(row)
                return

    @property
    def busy(self) -> bool:
        """Whether any text is at work or waits."""
        return bool(self._rows or self._waiting)

    # ----- a step -----------------------------------------------------------------------------------------------------

    def step(self) -> list[Event]:
        """Draw a token for each text that has a row. Returns what became of each, in no particular order.

        Raises:
            UserError: probabilities that are not numbers, as of a model that diverged.
        """
        while self._waiting and len(self._rows) < self.n_rows:
            self._start(*self._waiting.popleft())
        if not self._rows:
            return []
        for row, (_, draft) in enumerate(self._rows):
            self._keep_up(row, draft)
        logits = self.cache.step([draft.ids[-1] for _, draft in self._rows])
        drafts = [draft for _, draft in self._rows]
        tokens = next_tokens(logits, drafts, self._never)
        events = [take(id_, draft, token) for (id_, draft), token in zip(self._rows, tokens)]
        for row in reversed(range(len(self._rows))):
            if self._rows[row][1].ended:
                self._free(row)
        return events

    def _start(self, id_: int, request: Request) -> None:
        """Give a request the first row that is free; its prefix is read unless the last row has it."""
        draft, prefix = Draft(request, self._meanings), request.prefix
        if self._kept is not prefix and self._kept != prefix:
            n = len(prefix) if len(prefix) <= self.n_ctx else half(self.n_ctx)
            self._kept = None  # in case reading is interrupted
            self._kept_first = self._read_last(self.n_rows, prefix, n)
            self._kept = prefix
        draft.first = self._kept_first
        self.cache.copy_row(self.n_rows, len(self._rows))
        self._rows.append((id_, draft))

    def _free(self, row: int) -> None:
        """Take a text from its row; the last one moves there, so that those at work lie together."""
        last = self._rows.pop()
        if row < len(self._rows):
            self._rows[row] = last
            self.cache.copy_row(len(self._rows), row)

    def _keep_up(self, row: int, draft: Draft) -> None:
        """Have `row` hold all of a text but its last id: shorter where the text was taken back, half a window where it is full."""
        held = len(draft.ids) - 1 - draft.first
        if 0 <= held < self.n_ctx:
            self.cache.lengths[row] = held
        else:
            draft.first = self._read_last(row, draft.ids, half(self.n_ctx))

    def _read_last(self, row: int, ids: Sequence[int], n: int) -> int:
        """Have `row` hold the last n of `ids` but the very last, which the next step takes. Returns the index of the first of them."""
        last = ids[-n:]
        self.cache.lengths[row] = 0
        if len(last) > 1:
            self.cache.read(last[:-1], row)
        return len(ids) - len(last)


def write(
    decoder: Decoder, vocabulary: Vocabulary, requests: Sequence[Request], rows: int
) -> Iterator[tuple[int, Event]]:
    """Have all of `requests` written, at most `rows` at a time. Yields each event with the index of its request."""
    engine = Engine(decoder, vocabulary, min(rows, len(requests)), room_for(requests))
    places = {engine.add(request): place for place, request in enumerate(requests)}
    while engine.busy:
        yield from ((places[event.id], event) for event in engine.step())


def half(n_ctx: int) -> int:
    """Ids that are kept when the window is full."""
    return max(1, n_ctx // 2)


def take(id_: int, draft: Draft, token: int) -> Event:
    """Give a text its next token; tell what it has become."""
    before = draft.n_written
    draft.add(token)
    gained = draft.n_written - before
    return Event(id_, token if gained > 0 else None, max(0, -gained), draft.finished)


# ----- tokens ---------------------------------------------------------------------------------------------------------


def next_tokens(logits: torch.Tensor, drafts: Sequence[Draft], never: dict[bool, torch.Tensor]) -> list[int]:
    """The next id of each text, rows with the same settings together.

    Args:
        logits: (B, V), which are changed.
        never: by `ignore_end`, ids that no text may hold.
    """
    groups: dict[SamplingSettings, list[int]] = {}
    first = drafts[0].settings
    if all(draft.settings is first for draft in drafts):
        return tokens_of_group(logits, drafts, first, never[first.ignore_end])
    for row, draft in enumerate(drafts):
        groups.setdefault(draft.settings, []).append(row)
    tokens = [0] * len(drafts)
    for settings, rows in groups.items():
        group = tokens_of_group(logits[rows], [drafts[row] for row in rows], settings, never[settings.ignore_end])
        for row, token in zip(rows, group):
            tokens[row] = token
    return tokens


@torch.inference_mode()
def tokens_of_group(
    logits: torch.Tensor, drafts: Sequence[Draft], settings: SamplingSettings, never: torch.Tensor
) -> list[int]:
    """The next id of each of some texts of the same settings. Args: logits (B, V), which are changed."""
    logits.index_fill_(1, never, -torch.inf)
    for row, draft in enumerate(drafts):
        if banned := draft.forbidden():
            logits[row, banned] = -torch.inf
        for token, bias in draft.request.wording.added(draft.ids):
            logits[row, token] += bias
    if settings.counts_tokens:
        counts = np.stack([draft.counts(logits.shape[1]) for draft in drafts])
        logits = penalise(logits, torch.from_numpy(counts).to(logits.device), settings)
    if settings.dry_multiplier:
        for row, draft in enumerate(drafts):
            for token, penalty in draft.dry().items():
                logits[row, token] -= penalty
    uniform = torch.tensor([draft.uniform() for draft in drafts], dtype=torch.float64, device=logits.device)
    excludes = None
    if settings.xtc_probability:
        excludes = torch.tensor([draft.excludes() for draft in drafts], device=logits.device)
    return choose(logits, settings, uniform, excludes).tolist()
