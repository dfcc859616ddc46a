"""Word segmenters, loaded only when words are asked for: thulac (the ancestor's) and jieba.

In: lines of normalised text. Out: the words of each (thulac folds runs of blanks into one).
Refuses: a segmenter that is not installed.
"""

from collections import Counter
from collections.abc import Callable
from itertools import chain

from gpt2zh.errors import UserError
from tokenizations.pipelines import build_words
from tokenizations.vocabulary import CONTROL_TOKENS

SEGMENTERS = ("thulac", "jieba")


def load_segmenter(name: str) -> Callable[[list[str]], list[list[str]]]:
    """A function from lines to the words of each; loads the segmenter's models (thulac: about 1 s and 250 MB)."""
    try:
        if name == "thulac":
            from tokenizations.thulac_port.decoder import ThulacSegmenter

            return ThulacSegmenter().segment
        import jieba

        jieba.setLogLevel("ERROR")
        return lambda lines: [jieba.lcut(line) for line in lines]
    except ImportError:
        raise UserError(
            f"没有安装 {name}。请运行 pip install {name}。", f"{name} is not installed. Run pip install {name}."
        ) from None


def word_counter(segmenter: str) -> Callable[[list[str]], tuple[int, Counter[str]]]:
    """What a worker does: count the words of lines, split further where the tokenizer always splits (punctuation, digits).

    The function it returns gives the number of characters too, line ends included.
    """
    cut, rules = load_segmenter(segmenter), build_words(CONTROL_TOKENS)

    def count(lines: list[str]) -> tuple[int, Counter[str]]:
        words = Counter(chain.from_iterable(cut([rules.normalizer.normalize_str(line) for line in lines])))
        counts: Counter[str] = Counter()
        for word, n in words.items():
            for piece, _ in rules.pre_tokenizer.pre_tokenize_str(word):
                counts[piece] += n
        return sum(map(len, lines)) + len(lines), counts

    return count
