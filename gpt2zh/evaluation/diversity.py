"""How varied a text is: measures that tell a dull or stuttering text from a person's, by characters.

In: texts. Out: shares between 0 and 1. All of them fall or rise with the length of the texts, so compare only texts of equal length, as many.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

COMMONEST = 10  # characters
REPEATED = 4  # characters in a row


@dataclass(frozen=True)
class Diversity:
    """Measures of some texts.

    Args:
        distinct_1, distinct_2: distinct characters, and pairs of them, over their number (Li et al. 2016, arXiv:1510.03055).
        commonest: share of the ten commonest letters and Han among all letters and Han.
        repeated: share of the runs of four characters that stood before in the same text (seq-rep-4, Welleck et al. 2019).
    """

    distinct_1: float
    distinct_2: float
    commonest: float
    repeated: float


def diversity(texts: Sequence[str]) -> Diversity:
    """Measures of `texts` together; of none of them where there is nothing to count."""
    letters = Counter(character for text in texts for character in text if character.isalpha())
    top = sum(count for _, count in letters.most_common(COMMONEST))
    fours = [runs(text, REPEATED) for text in texts]
    n_new = sum(len(set(of_text)) for of_text in fours)
    return Diversity(
        distinct(texts, 1), distinct(texts, 2), share(top, letters.total()), 1 - share(n_new, sum(map(len, fours)), 1.0)
    )


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct runs of n characters over their number."""
    found = [run for text in texts for run in runs(text, n)]
    return share(len(set(found)), len(found))


def runs(text: str, n: int) -> list[str]:
    """All runs of n characters."""
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def share(part: int, whole: int, of_nothing: float = 0.0) -> float:
    return part / whole if whole else of_nothing
