"""A vocabulary of forty ids, requests for it, texts of them: what the tests of writing share."""

from collections.abc import Sequence
from dataclasses import dataclass

from gpt2zh.generation.decoder import Decoder
from gpt2zh.generation.draft import Draft, Meanings
from gpt2zh.generation.engine import Engine
from gpt2zh.generation.requests import Finished, Request
from gpt2zh.generation.settings import SamplingSettings
from gpt2zh.sampling import finish

END, NEWLINE, V = 2, 3, 40
STOP, QUOTE, COMMA = 10, 11, 12  # 。 ” ，


@dataclass
class Words:
    """A vocabulary: which of V ids mean what."""

    document_end_id: int = END
    newline_id: int = NEWLINE
    never_sampled: Sequence[int] = (0, 1)
    punctuation_ids: Sequence[int] = (NEWLINE, STOP, QUOTE, COMMA)
    sentence_end_ids: Sequence[int] = (STOP,)
    closing_ids: Sequence[int] = (QUOTE,)

    def __len__(self) -> int:
        return V

    def encode(self, text: str) -> list[int]:
        return self.encode_prefix(text)

    def encode_prefix(self, prefix: str, raw: bool = False) -> list[int]:
        return [ord(character) - ord("A") for character in prefix]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(id_ + ord("A")) for id_ in ids)

    def decode_after(self, prefix: str, prefix_ids: Sequence[int], ids: Sequence[int]) -> str:
        return prefix + self.decode(ids)


ENDLESS = Words(never_sampled=(0, 1, END))


def request(prefix: Sequence[int], length: int, number: int = 0, seed: int = 0, **settings: object) -> Request:
    """Loops are kept unless asked otherwise."""
    return Request(prefix, number, length, seed, SamplingSettings(**{"break_loops": False, **settings}))


def texts(
    decoder: Decoder,
    prefix: list[int],
    length: int,
    numbers: Sequence[int] = (0,),
    seed: int = 0,
    rows: int = 1,
    vocabulary: Words = ENDLESS,
    **settings: object,
) -> list[Finished]:
    """A text for each of `numbers`, in their order."""
    requests = [request(prefix, length, number, seed, **settings) for number in numbers]
    return finish(decoder, vocabulary, requests, rows)


def draft(ids: Sequence[int], length: int = 1000, vocabulary: Words | None = None, **settings: object) -> Draft:
    """A text to which `ids` were added after a prefix of one."""
    wanted = Request(ids[:1], 0, length, 0, SamplingSettings(**settings))
    one = Draft(wanted, Meanings(vocabulary or Words()))
    for id_ in ids[1:]:
        if not one.ended:
            one.add(id_)
    return one


def run(engine: Engine, whole: bool = True) -> dict[int, Finished]:
    """What becomes of the requests at work, by their ids. Args: whole, check that the events tell all of each text."""
    told: dict[int, list[int]] = {}
    found: dict[int, Finished] = {}
    while engine.busy:
        for event in engine.step():
            assert event.id not in found
            event.update(told.setdefault(event.id, []))
            if event.finished:
                found[event.id] = event.finished
    assert not whole or all(told[id_] == text.ids for id_, text in found.items())
    return found
