"""Words that a text must not hold, that come more or less easily, or that end it: what a user asks for, as ids.

In: words, and what encodes them. Out: a `Wording`, which drafts obey. A word is barred, or moved, as the vocabulary writes it by
itself: with a vocabulary of characters that is every place, with subwords it may also be written by other ids. What ends a text is
looked for in the text itself.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """Of a request, beside its settings.

    Args:
        banned: words, as ids, that must not be written.
        biases: words, as ids, and what is added to the logit of a word's last id where those before it stand already: the meaning
            of transformers' `sequence_bias`.
        stops: texts that end a sample, and are not part of it.
    """

    banned: tuple[tuple[int, ...], ...] = ()
    biases: tuple[tuple[tuple[int, ...], float], ...] = ()
    stops: tuple[str, ...] = ()

    def forbidden(self, ids: Sequence[int]) -> list[int]:
        """Ids that would complete a banned word after `ids`."""
        return [word[-1] for word in self.banned if ends_with(ids, word[:-1])]

    def added(self, ids: Sequence[int]) -> list[tuple[int, float]]:
        """Ids, and what is added to their logits after `ids`."""
        return [(word[-1], bias) for word, bias in self.biases if ends_with(ids, word[:-1])]


NOTHING = Wording()


def ends_with(ids: Sequence[int], tail: Sequence[int]) -> bool:
    """Whether the last of `ids` are `tail`."""
    return not tail or tuple(ids[-len(tail) :]) == tuple(tail)


def wording_of(
    encode: Callable[[str], Iterable[int]],
    banned: Sequence[str] = (),
    biases: Sequence[tuple[str, float]] = (),
    stops: Sequence[str] = (),
) -> Wording:
    """The `Wording` of some words. Args: encode, a word to its ids; a word that has none cannot be written anyway."""
    barred = (tuple(map(int, encode(word))) for word in banned)
    moved = ((tuple(map(int, encode(word))), bias) for word, bias in biases)
    return Wording(
        tuple(ids for ids in barred if ids),
        tuple((ids, bias) for ids, bias in moved if ids),
        tuple(filter(None, stops)),
    )
