"""Word segmenters, imported only when words are asked for: thulac (the ancestor's) and jieba.

In: a line of normalised text. Out: its words (thulac folds runs of blanks into one).
Refuses: a segmenter that is not installed.
"""

import contextlib
import io
from collections.abc import Callable

from gpt2zh.errors import UserError

SEGMENTERS = ("thulac", "jieba")


def load_segmenter(name: str) -> Callable[[str], list[str]]:
    """A function from a line to its words; loads the segmenter's models (thulac: about 1 s and 500 MB)."""
    try:
        if name == "thulac":
            import thulac

            with contextlib.redirect_stdout(io.StringIO()):  # it prints "Model loaded succeed"
                model = thulac.thulac(seg_only=True)
            return lambda line: [word for word, _ in model.cut(line)] if line else []
        import jieba

        jieba.setLogLevel("ERROR")
        return jieba.lcut
    except ImportError:
        raise UserError(
            f"没有安装 {name}。请运行 pip install {name}。", f"{name} is not installed. Run pip install {name}."
        ) from None
