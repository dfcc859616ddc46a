"""What a validation's figure is worth: beside n-grams that were counted on the same text, and beside the validations before.

    bits per character   9.6 unigram   6.65 bigram   6.25 trigram   6.21 4-gram    <- counted before the first step
                         6.9 … 6.6 "passed the bigram after 0:40" …                 <- said while training
                         the verdict                                                <- said at the end

In: bits of the n-grams, then each validation. Out: lines of the `RunLog`, rows for metrics.jsonl and TensorBoard.
"""

import math
from typing import TYPE_CHECKING

from gpt2zh.training.runlog import RunLog

if TYPE_CHECKING:
    from gpt2zh.training.state import Progress

Ngram = tuple[str, str, float]  # its names in both languages; bits per character of the held-out text
TRIGRAM = 2
LEVEL = 0.003  # of the lowest loss: what is so little above it is no over-fitting


class Yardstick:
    """The one owner of what `at` says of validations.

    Args:
        ngrams: unigrams, bigrams, …; none where nothing is held out, or none are wanted.
    """

    def __init__(self, ngrams: list[Ngram], at: "Progress", log: RunLog) -> None:
        self.ngrams, self.at, self.log = ngrams, at, log

    @property
    def rows(self) -> dict[str, float]:
        """The flat lines of a picture, by name."""
        return {f"ngram/{name}": bits for _, name, bits in self.ngrams}

    def announce(self) -> None:
        """Say what counting alone gives."""
        if self.ngrams:
            zh, en = (", ".join(f"{ngram[i]} {ngram[2]:.3f}" for ngram in self.ngrams) for i in (0, 1))
            self.log.line(
                f"在训练文字上数 n 元组（Kneser-Ney），验证文字每字比特数：{zh}。模型要低于它们才值得训练。",
                f"n-grams counted on the training text (Kneser-Ney): {en} bits per character of the held-out text. A model is worth its time below them.",
            )

    def validated(self, loss: float, bits: float, is_best: bool, seconds: float) -> None:
        """Take note of a validation; say which n-grams it has passed.

        Args:
            loss: nats a token. bits: a character. is_best: whether the loss is the lowest so far, and its model saved.
            seconds: spent on the run.
        """
        at = self.at
        at.last, at.validated = loss, at.step
        at.n_worse += 1
        if is_best:
            at.best, at.best_step, at.n_worse = loss, at.step, 0
        passed = [ngram for ngram in self.ngrams if bits < ngram[2] and ngram[1] not in at.passed]
        at.passed |= {name: round(seconds, 1) for _, name, _ in passed}
        if passed:
            zh, en = ("、".join(ngram[0] for ngram in passed), ", ".join(ngram[1] for ngram in passed))
            time = f"{int(seconds) // 60}:{int(seconds) % 60:02}"
            self.log.line(f"{time} 后低于{zh}组", f"passed the {en} after {time}")

    def verdict(self, lr: float, epochs: float) -> None:
        """Say at the end where the run came to, and what would help. `lr`, `epochs`: what was tried."""
        at = self.at
        if not math.isfinite(at.last):
            return
        if len(self.ngrams) > TRIGRAM and self.ngrams[TRIGRAM][1] not in at.passed:
            self.log.line(
                f"结论：没有低于三元组（{self.ngrams[TRIGRAM][2]:.3f}）：现在的 loss 还不正常。试过 --lr {lr:.3g}、{epochs:.3g} 轮；请增大 --lr 或 --epochs，或用更小的模型、更多的文字。",
                f"verdict: not past the trigram ({self.ngrams[TRIGRAM][2]:.3f}), so this loss is not yet what training can give. Tried: --lr {lr:.3g}, {epochs:.3g} epochs; raise --lr or --epochs, or take a smaller model or more text.",
            )
        elif len(self.ngrams) > TRIGRAM:
            zh, en = [(zh, en) for zh, en, _ in self.ngrams if en in at.passed][-1]
            self.log.line(f"结论：已低于{zh}组，loss 正常。", f"verdict: past the {en}, so this loss is normal.")
        if at.n_worse and at.last > at.best * (1 + LEVEL):
            self.log.line(
                f"第 {at.best_step} 步之后验证 loss 升高（{at.best:.4f} → {at.last:.4f}）：过拟合。请用 best_model；减 --epochs，或加文字。",
                f"over-fitting since step {at.best_step}: the validation loss rose from {at.best:.4f} to {at.last:.4f}. Use best_model; fewer --epochs, or more text.",
            )
        elif at.n_worse:
            self.log.line(
                f"第 {at.best_step} 步之后验证 loss 不再下降：同样的文字再多训练几轮没有用，更多的文字才有用。",
                f"the validation loss is level since step {at.best_step}: more epochs of the same text will not help, more text will.",
            )
        else:
            self.log.line(
                "验证 loss 到最后还在降：多训练几轮（--epochs）会更低。",
                "the validation loss was still falling at the end: more --epochs will help.",
            )
