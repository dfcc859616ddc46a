"""What happens to one text on its way into a corpus: cleaned, converted, cut into chapters, signed. Runs in worker processes.

In: texts as they were read. Out: the pieces of each, what the cleaning rules did, and what tells copies apart.
Refuses: a conversion that OpenCC does not have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpt2zh.cleaning.chapters import split_chapters
from gpt2zh.cleaning.duplicates import paragraph_numbers, signature, text_hash
from gpt2zh.cleaning.rules import RULES, clean
from gpt2zh.errors import UserError

CONVERSIONS = ("none", "t2s", "s2t", "tw2sp", "s2twp", "hk2s", "s2hk")


@dataclass(frozen=True)
class RawText:
    """A text as it was read: `source` is the number of its file, `is_book` whether chapters are looked for."""

    source: int
    text: str
    is_book: bool


@dataclass(frozen=True)
class Prepared:
    """One text, done: its pieces with their signatures, and the work of each rule: places, characters fewer, examples."""

    source: int
    n_characters: int
    pieces: list[str]
    signatures: list[bytes]
    paragraphs: list[bytes]  # the numbers of each piece's paragraphs, where they are counted
    counts: dict[str, int]
    removed: dict[str, int]
    examples: dict[str, list[tuple[str, str]]]


def start_preparing(rule_names: Sequence[str], convert: str, near: bool, count_paragraphs: bool) -> None:
    """Choose the steps, once a process: cleaning rules, one of CONVERSIONS, whether near duplicates are signed for."""
    global rules, converted, signed, numbered
    rules = [rule for rule in RULES if rule.name in rule_names]
    converted = load_converter(convert)
    signed = signature if near else text_hash
    numbered = count_paragraphs


def prepare(texts: list[RawText]) -> list[Prepared]:
    """Clean, convert, cut and sign."""
    done = []
    for raw in texts:
        cleaned = clean(raw.text, rules)
        text = converted(cleaned.text)
        pieces = [piece.strip() for piece in (split_chapters(text) if raw.is_book else [text])]
        pieces = [piece for piece in pieces if piece]
        signatures = [signed(piece) for piece in pieces]
        numbers = [paragraph_numbers(piece.split("\n")) if numbered else b"" for piece in pieces]
        done.append(Prepared(raw.source, len(raw.text), pieces, signatures, numbers, *cleaned[1:]))
    return done


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
