"""thulac's words for many lines at once: the arithmetic of thulac 0.2.2 (seg_only) on arrays, over its own model files.

thulac labels each character as the Begin, Middle or End of a word or as a Single one: a perceptron over the characters
and pairs around it, Viterbi under rules for marks, blanks and 《titles》, then three dictionaries that join words. All
of it is here as thulac does it, slips included, for a vocabulary must hold thulac's words and not almost thulac's.

In: lines. Out: the words of each: `[word for word, _ in thulac.thulac(seg_only=True).cut(line)]`.
Refuses: model files of another form. thulac itself gives up on a sentence of 50,000 characters; here it is decoded too.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np

from tokenizations.thulac_port.model_files import Features, join_words, other_form, read_model

BATCH = 1 << 16  # characters decoded together: arrays that fit the processor's cache
LONGEST = 50_000  # a line from here on is taken apart after its sentences
SENTENCE = re.compile("[^。？！；;!?]*[。？！；;!?]|[^。？！；;!?]+")

# Labels are thulac's numbers; a set of them is a mask of four bits, in another order.
BEGIN, END, SINGLE, MIDDLE = range(4)
BIT = {BEGIN: 1, MIDDLE: 2, END: 4, SINGLE: 8}
STARTS, ENDS, ANY = BIT[BEGIN] | BIT[SINGLE], BIT[END] | BIT[SINGLE], 15
BEFORE = np.array([[END, SINGLE], [BEGIN, MIDDLE], [END, SINGLE], [BEGIN, MIDDLE]])  # what may stand before a label
DEAD = -(1 << 40)  # the score of a label that cannot be; no sum of weights comes near half of it

# Classes of characters. The rules look at a character's class and its neighbours'.
LETTER, BLANK, MARK, PARTICLE, SIGN, NOTHING = range(6)
CLASS_OF = {
    BLANK: " \u3000",
    MARK: "!\"#'()*+,/:;=>?@[]~‘’“”…◤★☆、。《》【】！（），：；？",
    PARTICLE: "么吧呢啊",
    SIGN: "$%&-.<\\^_{|}·—￥不也了价兮则吗否呀呃呐呕呗呦呵咧咯哇哈哉哟哩哪唻啦啰啵喽嘛嘞嘢噢噻嚜家来欤欸的给罗罢耶般连阿",
}
CLASSES = np.zeros(1 << 16, np.int8)
for kind, characters in CLASS_OF.items():
    CLASSES[[ord(character) for character in characters]] = kind
NO_TITLE = re.escape(CLASS_OF[MARK] + CLASS_OF[PARTICLE] + CLASS_OF[SIGN])
TITLE = re.compile(f"《([^{NO_TITLE}]+)》")
LONGEST_TITLE = 10

AFTER_LETTER, AFTER_BLANK, AFTER_OTHER = range(3)
AFTER = np.array([AFTER_LETTER, AFTER_BLANK, AFTER_OTHER, AFTER_OTHER, AFTER_OTHER, AFTER_LETTER])
# labels allowed to [a class][after …][a mark is remembered]
ALLOWED = np.full((5, 3, 2), STARTS, np.uint8)
ALLOWED[LETTER] = [[ANY, ANY], [STARTS, STARTS], [ANY, STARTS]]
ALLOWED[[MARK, PARTICLE], AFTER_BLANK:] = BIT[SINGLE]
ALLOWED[SIGN, AFTER_OTHER] = [BIT[MIDDLE], STARTS]
# a [class] must end a word before [the next class]
CLOSES = np.zeros((6, 6), bool)
CLOSES[[LETTER, MARK, PARTICLE, SIGN], BLANK] = True
CLOSES[MARK : SIGN + 1, [LETTER, MARK, PARTICLE]] = True


class ThulacSegmenter:
    """thulac(seg_only=True) without thulac: its model files, and 130 MB of tables made from them."""

    def __init__(self) -> None:
        """Read the files of an installed thulac, which is not imported.

        Raises:
            ModuleNotFoundError: it is not installed. UserError: its files have another form.
        """
        package = find_spec("thulac")
        if package is None or package.origin is None:
            raise ModuleNotFoundError("thulac")
        folder = Path(package.origin).parent / "models"
        model = read_model(folder)
        self.transitions, self.dictionaries = model.transitions, model.dictionaries
        try:
            self.features = Features(model.features, model.weights)
        except IndexError:  # the trie leads to features that have no weights
            raise other_form(folder / "cws_dat.bin") from None

    def segment(self, lines: Sequence[str]) -> list[list[str]]:
        """The words of each line, as thulac cuts it; [] for an empty line."""
        pieces, counts = [], []
        for line in lines:
            parts = [line] if len(line) < LONGEST and "\n" not in line else split_line(line)
            parts = [part for part in parts if part]
            pieces += parts
            counts.append(len(parts))
        words: list[list[str]] = []
        first = size = 0
        for last, piece in enumerate(pieces, 1):
            size += len(piece)
            if size >= BATCH or last == len(pieces):
                words += self.segment_pieces(pieces[first:last])
                first, size = last, 0
        rest = iter(words)
        return [next(rest) if n == 1 else [word for _ in range(n) for word in next(rest)] for n in counts]

    def segment_pieces(self, pieces: list[str]) -> list[list[str]]:
        """The words of each piece; none is empty. All arrays from here on hold the pieces end to end."""
        codes, first = fold_blanks(code_points("".join(pieces)), np.cumsum([0, *map(len, pieces)])[:-1])
        text = codes.tobytes().decode("utf-32-le", "surrogatepass")
        allowed = allowed_labels(codes, first, text)
        begins = decode(self.features.scores(codes, first), allowed, first, self.transitions)
        for trie in self.dictionaries:
            join_words(codes, begins, first, trie)
        borders = [*np.flatnonzero(begins).tolist(), len(text)]
        words = [text[start:end] for start, end in pairwise(borders)]
        line_ends = np.add.reduceat(begins, first, dtype=np.int64).cumsum().tolist()
        return [words[start:end] for start, end in zip([0, *line_ends], line_ends)]


def split_line(line: str) -> list[str]:
    """Pieces that thulac decodes one by one: newlines, what is between, and what is long, after its sentences."""
    pieces = []
    for part in re.findall("\n|[^\n]+", line):
        start = size = 0
        for sentence in SENTENCE.findall(part) if len(part) >= LONGEST else ():
            if size + len(sentence) >= LONGEST:
                pieces.append(part[start : start + size])
                start, size = start + size, 0
            size += len(sentence)
        pieces.append(part[start:])
    return pieces


def code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<i4")


def fold_blanks(codes: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without all blanks of a run but its first; `first` are the places where lines begin, before and after."""
    blank = (codes == 32) | (codes == 0x3000)
    again = blank[1:] & blank[:-1]
    if not again.any():
        return codes, first
    keep = np.concatenate(([True], ~again))
    keep[first] = True
    return codes[keep], np.cumsum([0, *np.add.reduceat(keep, first, dtype=np.int64)])[:-1]


def allowed_labels(codes: np.ndarray, first: np.ndarray, text: str) -> np.ndarray:
    """A mask of allowed labels for each character, by the classes around it and by titles."""
    last = np.append(first[1:], len(codes)) - 1
    classes = CLASSES[np.minimum(codes, 0xFFFF)]
    before = np.concatenate(([NOTHING], classes[:-1]))
    before[first] = NOTHING
    after = np.append(classes[1:], NOTHING)
    after[last] = NOTHING
    # thulac remembers whether a mark was last; a particle after a blank or another sign leaves that as it was.
    previous = AFTER[before]
    marked = classes == MARK
    settled = marked | (classes == SIGN) | ((classes == LETTER) & (previous == AFTER_OTHER))
    settled |= (classes == PARTICLE) & (previous == AFTER_LETTER)
    settled[first] = True
    places = np.arange(len(codes))
    remembered = marked[np.maximum.accumulate(np.where(settled, places, 0))]
    remembered = np.concatenate(([False], remembered[:-1]))
    allowed = ALLOWED[classes, previous, remembered.view(np.int8)]
    allowed[CLOSES[classes, after]] &= ENDS
    for title in TITLE.finditer(text) if "《" in text else ():
        start, size = title.start(1), len(title[1].replace(" ", "").replace("\u3000", ""))
        if 0 < size <= LONGEST_TITLE and not ((first > start - 1) & (first < title.end())).any():
            allowed[start : start + size] = BIT[MIDDLE]
            allowed[start + size - 1] = BIT[END]
            allowed[start] = BIT[BEGIN] if size > 1 else STARTS
    allowed[first] &= STARTS
    allowed[last] &= ENDS
    for places, fresh in ((first, STARTS), (last, ENDS)):
        allowed[places] = np.where(allowed[places] == 0, fresh, allowed[places])
    allowed[allowed == 0] = ANY
    return allowed


# ----- Viterbi -------------------------------------------------------------------------------------------------------


def decode(scores: np.ndarray, allowed: np.ndarray, first: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """Whether a word begins at each character, by the best sequence of labels of each line.

    A character that can only be Single parts what is before it from what is after, so lines fall apart into short
    stretches. These run side by side, longest first: step t of all of them lies together in memory.
    """
    n, last = len(allowed), np.append(first[1:], len(allowed)) - 1
    begins = np.zeros(n, bool)
    begins[first] = True
    stretch_ends = allowed == BIT[SINGLE]
    stretch_ends[last] = True
    ends = np.flatnonzero(stretch_ends)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    order = np.argsort(-sizes, kind="stable")
    running = len(sizes) - np.cumsum(np.bincount(sizes))[:-1]  # stretches that have a step t
    step_starts = np.concatenate(([0], np.cumsum(running)))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    steps = np.arange(n) - np.repeat(starts, sizes)
    target = step_starts[steps] + np.repeat(rank, sizes)  # where a character lies among the steps
    forbidden = np.array([[0 if mask & BIT[label] else DEAD for mask in range(16)] for label in range(4)])
    laid = np.empty((4, n), np.int64)
    laid[:, target] = scores.T + forbidden[:, allowed]
    best, choices = forward(laid, begins[starts[order]], step_starts, transitions)
    best = best[:, rank]
    final, broken = final_labels(best, scores, allowed, last, np.searchsorted(ends, last))
    labels = np.full(len(ends), SINGLE, np.int8)
    labels[np.searchsorted(ends, last)] = final
    path = backward(choices, labels[order], step_starts)[target]
    begins |= (path == BEGIN) | (path == SINGLE)
    for line in np.flatnonzero(broken):  # thulac finds no way through: every character for itself, but the last
        begins[first[line] : last[line]] = True
        begins[last[line]] = final[line] == SINGLE or first[line] == last[line]
    return begins


def forward(
    laid: np.ndarray, opens_line: np.ndarray, step_starts: np.ndarray, transitions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the labels at the end of each stretch, and for every step which of BEFORE was better, a bit a label."""
    n_stretches = len(opens_line)
    best = np.empty((4, n_stretches), np.int64)
    second = np.zeros(laid.shape, bool)
    ways = transitions[BEFORE.T, np.arange(4)][:, :, None]
    opening = np.where(np.isin(BEFORE, SINGLE).any(axis=1), transitions[SINGLE], DEAD)[:, None]
    alpha = laid[:, :n_stretches] + np.where(opens_line, 0, opening)
    best[:, :n_stretches] = alpha
    for start, end in zip(step_starts[1:-1].tolist(), step_starts[2:].tolist()):
        active = end - start
        alpha = alpha[:, :active]
        one, other = alpha[BEFORE[:, 0]] + ways[0], alpha[BEFORE[:, 1]] + ways[1]
        np.greater(other, one, out=second[:, start:end])
        alpha = np.maximum(one, other, out=one)
        alpha += laid[:, start:end]
        best[:, :active] = alpha
    bits = second.view(np.uint8)
    return best, bits[0] | bits[1] << 1 | bits[2] << 2 | bits[3] << 3


def final_labels(
    best: np.ndarray, scores: np.ndarray, allowed: np.ndarray, last: np.ndarray, stretch: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The label of each line's last character, and whether no sequence leads there.

    thulac lets a label that nothing leads to compete at the end of a line, with the score of the character alone.
    """
    inner = best[SINGLE].copy()
    inner[stretch] = 0
    line_starts = np.concatenate(([0], stretch[:-1] + 1))
    so_far = np.add.reduceat(inner, line_starts)
    blocked = np.logical_or.reduceat(inner < DEAD // 2, line_starts)
    totals, reached = {}, {}
    for label in (END, SINGLE):
        reached[label] = ~blocked & (best[label, stretch] > DEAD // 2)
        total = np.where(reached[label], so_far + best[label, stretch], scores[last, label])
        totals[label] = np.where(allowed[last] & BIT[label], total, np.iinfo(np.int64).min)
    single = totals[SINGLE] > totals[END]
    return np.where(single, SINGLE, END), ~np.where(single, reached[SINGLE], reached[END])


def backward(choices: np.ndarray, labels: np.ndarray, step_starts: np.ndarray) -> np.ndarray:
    """Labels of all steps, from those at the ends of the stretches."""
    before = np.array([[BEFORE[label, bits >> label & 1] for label in range(4)] for bits in range(16)], np.int8).ravel()
    path = np.empty(len(choices), np.int8)
    rows = choices << 2
    for start, end in zip(step_starts[-2::-1].tolist(), step_starts[:0:-1].tolist()):
        current = labels[: end - start]
        path[start:end] = current
        labels[: end - start] = before[rows[start:end] | current]
    return path
