"""Word segmenters, loaded only when words are asked for: thulac (the ancestor's) and jieba.

In: lines of normalised text. Out: the words of each (thulac folds runs of blanks into one).
Refuses: a segmenter that is not installed.
"""

from collections.abc import Callable

from gpt2zh.errors import UserError

SEGMENTERS = ("thulac", "jieba")


def load_segmenter(name: str) -> Callable[[list[str]], list[list[str]]]:
    """A function from lines to the words of each; loads the segmenter's models (thulac: about 1 s and 250 MB)."""
    try:
        if name == "thulac":
            from tokenizations.thulac_decoder import ThulacSegmenter

            return ThulacSegmenter().segment
        import jieba

        jieba.setLogLevel("ERROR")
        return lambda lines: [jieba.lcut(line) for line in lines]
    except ImportError:
        raise UserError(
            f"没有安装 {name}。请运行 pip install {name}。", f"{name} is not installed. Run pip install {name}."
        ) from None
