"""What happens to one text on its way into a corpus: cleaned, converted, cut into chapters, signed. Runs in worker processes.

In: texts as they were read. Out: the pieces of each, what the cleaning rules did, and what tells copies apart.
Refuses: a conversion that OpenCC does not have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpt2zh.cleaning.chapters import split_chapters
from gpt2zh.cleaning.duplicates import paragraph_numbers, signature, text_hash
from gpt2zh.cleaning.mojibake import Suspect, suspects
from gpt2zh.cleaning.rules import RULES, clean
from gpt2zh.errors import UserError

TRADITIONAL, SIMPLIFIED = (
    "們個這來說時沒還後會為對",
    "们个这来说时没还后会为对",
)  # frequent: they tell the script of a text
CONVERSIONS = ("none", "t2s", "s2t", "tw2sp", "s2twp", "hk2s", "s2hk")


@dataclass(frozen=True)
class RawText:
    """A text as it was read: `source` is the number of its file, `is_book` whether chapters are looked for."""

    source: int
    text: str
    is_book: bool


@dataclass(frozen=True)
class Prepared:
    """One text, done: its pieces with their signatures, the work of each rule (places, characters fewer, examples), lines that look wrong."""

    source: int
    n_characters: int
    pieces: list[str]
    signatures: list[bytes]
    paragraphs: list[bytes]  # the numbers of each piece's paragraphs, where they are counted
    counts: dict[str, int]
    removed: dict[str, int]
    examples: dict[str, list[tuple[str, str]]]
    suspects: list[Suspect]
    n_traditional: int
    n_simplified: int


@dataclass(frozen=True)
class Steps:
    """What is done to each text.

    Args:
        rules: names of cleaning rules.
        convert: one of CONVERSIONS.
        near: sign the pieces so that near duplicates can be found, not only equal ones.
        paragraphs: number the paragraphs, so that repeated ones can be found.
    """

    rules: Sequence[str]
    convert: str
    near: bool
    paragraphs: bool


def preparer(steps: Steps) -> Callable[[list[RawText]], list[Prepared]]:
    """What a worker does: clean, convert, cut and sign."""
    rules = [rule for rule in RULES if rule.name in steps.rules]
    convert = load_converter(steps.convert)
    sign = signature if steps.near else text_hash

    def prepare_text(raw: RawText) -> Prepared:
        cleaned = clean(raw.text, rules)
        text = convert(cleaned.text)
        pieces = [piece.strip() for piece in (split_chapters(text) if raw.is_book else [text])]
        pieces = [piece for piece in pieces if piece]
        scripts = [sum(map(text.count, characters)) for characters in (TRADITIONAL, SIMPLIFIED)]
        signatures = [sign(piece) for piece in pieces]
        numbers = [paragraph_numbers(piece.split("\n")) if steps.paragraphs else b"" for piece in pieces]
        return Prepared(
            raw.source, len(raw.text), pieces, signatures, numbers, *cleaned[1:], suspects(raw.text), *scripts
        )

    return lambda texts: [prepare_text(raw) for raw in texts]


def load_converter(name: str) -> Callable[[str], str]:
    """A function from text to text between simplified and traditional characters; "none" changes nothing."""
    if name == "none":
        return lambda text: text
    try:
        import opencc
    except ImportError:
        raise UserError(
            f"--convert {name} 需要 OpenCC。请运行 pip install opencc。",
            f"--convert {name} needs OpenCC. Run pip install opencc.",
        ) from None
    return opencc.OpenCC(name).convert
