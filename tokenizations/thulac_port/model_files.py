"""thulac's model files as tables: double-array tries, the weights of features, dictionaries that join words.

    cws_model.bin     int32: number of labels, number of features, the labels' transitions, each feature's weights
    cws_dat.bin       int32: the trie of the features
    ns.dat …          int32: tries of words

In: the folder of the files; code points of lines put end to end, the places where lines begin. Out: scores, joined words.
Refuses: files of another form than those of thulac 0.2.2, which nothing but the files themselves describes.
"""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from gpt2zh.errors import UserError

KNOWN_VERSION = "0.2.2"  # of thulac, whose files are read here
N_LABELS = 4
HEAD = 2  # numbers before the transitions
DICTIONARIES = ("ns.dat", "idiom.dat", "singlepun.dat")

HASH = 0xFF03  # ＃, which thulac puts around a line
WIDE = np.arange(128, dtype=np.int32)  # printable ASCII is looked up in its full-width form
WIDE[33:] += 0xFEE0


@dataclass(frozen=True)
class ModelFiles:
    """What thulac brings.

    Args:
        transitions: scores of a label after another, (labels, labels), int64.
        weights: what each feature adds to the score of each label, (features, labels), int32.
        features: the trie that leads to the numbers of features.
        dictionaries: tries of words that are joined.
    """

    transitions: np.ndarray
    weights: np.ndarray
    features: np.ndarray
    dictionaries: list[np.ndarray]


def read_model(folder: Path) -> ModelFiles:
    """The model files of an installed thulac.

    Raises:
        UserError: one is missing, or has another form than that of KNOWN_VERSION.
    """
    path = folder / "cws_model.bin"
    model = read_numbers(path)
    head = HEAD + N_LABELS**2
    if len(model) < head or model[0] != N_LABELS or len(model) != head + N_LABELS * int(model[1]):
        raise other_form(path)
    transitions = np.array(model[HEAD:head], np.int64).reshape(N_LABELS, N_LABELS)
    weights = model[head:].reshape(-1, N_LABELS)
    dictionaries = [read_trie(folder / name) for name in DICTIONARIES]
    return ModelFiles(transitions, weights, read_trie(folder / "cws_dat.bin"), dictionaries)


def read_numbers(path: Path) -> np.ndarray:
    """A file of int32, (n,), as a memory map."""
    size = path.stat().st_size if path.exists() else 0
    if size == 0 or size % 4:
        raise other_form(path)
    return np.asarray(np.memmap(path, "<i4", "r"))


def read_trie(path: Path) -> np.ndarray:
    """A double-array trie: rows (base, parent); the child of `node` for `code` is base[node] + code, if it says so.

    Raises:
        UserError: the file does not hold one.
    """
    numbers = read_numbers(path)
    if len(numbers) % 2 or numbers[0] or numbers[1] or numbers[1::2].max() * 2 >= len(numbers):
        raise other_form(path)  # the root is its own parent, and every parent is a row
    return numbers.reshape(-1, 2)


def other_form(path: Path) -> UserError:
    """The error for a file that is not as KNOWN_VERSION has it."""
    try:
        installed = metadata.version("thulac")
    except metadata.PackageNotFoundError:
        installed = "?"
    return UserError(
        f"{path} 不是 thulac {KNOWN_VERSION} 那种格式的模型文件（装的是 {installed}）。请运行 pip install --force-reinstall thulac=={KNOWN_VERSION}；或用 --segmenter jieba。",
        f"{path} is not a model file as thulac {KNOWN_VERSION} has it (installed: {installed}). Run pip install --force-reinstall thulac=={KNOWN_VERSION}; or use --segmenter jieba.",
    )


def child(trie: np.ndarray, node: np.ndarray, code: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Children of `node`, and whether they exist."""
    found = trie[node, 0] + code
    inside = np.minimum(found, len(trie) - 1)
    return inside, (found == inside) & (trie[inside, 1] == node)


class Features:
    """What single characters and pairs add to the scores of labels, in tables with one look-up each."""

    def __init__(self, trie: np.ndarray, weights: np.ndarray) -> None:
        known = np.flatnonzero(trie[: 1 << 16, 1] == 0)
        self.single = np.zeros((1 << 16, 3, weights.shape[1]), np.int32)  # as the character itself, the last, the next
        self.single[known] = feature_rows(trie, weights, known, "123")
        parents = trie[:, 1]
        pairs = np.flatnonzero((parents >= 0) & (parents < 1 << 16))
        pairs = pairs[np.isin(parents[pairs], known)]
        # as (last, itself), (itself, next), (last but one, last), (next, next but one); row 0 is an unknown pair
        self.pair = np.zeros((len(pairs) + 1, 4, weights.shape[1]), np.int32)
        self.pair[1:] = feature_rows(trie, weights, pairs, "1234")
        self.first = np.full(1 << 16, pairs[-1] + 1, np.int32)  # where the pairs of a first character begin
        self.first[known] = trie[known, 0]
        self.row = np.full(pairs[-1] + 2, -1, np.int64)  # of a pair: first character << 32 | row
        self.row[pairs] = (parents[pairs].astype(np.int64) << 32) | np.arange(1, len(pairs) + 1)

    def scores(self, codes: np.ndarray, first: np.ndarray) -> np.ndarray:
        """(characters, labels): the sum of the weights of the seven features around each character."""
        places = np.arange(len(codes))
        line = np.zeros(len(codes), np.int64)
        line[first] = 2
        places += np.cumsum(line)
        around = np.full(len(codes) + 2 * len(first) + 2, HASH, np.int32)  # ## line ## line ##
        around[places] = np.where(codes < 128, WIDE[codes & 127], codes)
        low = np.minimum(around, 0xFFFF)
        slot = np.minimum(self.first[low[:-1]] + around[1:], len(self.row) - 1)
        packed = self.row[slot]
        row = np.where(packed >> 32 == around[:-1], packed & 0xFFFFFFFF, 0)
        pair = self.pair[row]
        single = self.single[low]
        total = single[2:-2, 0] + single[1:-3, 1] + single[3:-1, 2]
        total += pair[1:-2, 0]
        total += pair[2:-1, 1]
        total += pair[:-3, 2]
        total += pair[3:, 3]
        return total[places - 2]


def feature_rows(trie: np.ndarray, weights: np.ndarray, nodes: np.ndarray, kinds: str) -> np.ndarray:
    """(nodes, kinds, labels): weights of the features written character(s), blank, kind."""
    rows = np.zeros((len(nodes), len(kinds), weights.shape[1]), np.int32)
    blank = trie[nodes, 0] + 32
    for index, kind in enumerate(kinds):
        found, exists = child(trie, blank, ord(kind))
        rows[exists, index] = weights[trie[found[exists], 0]]
    return rows


def join_words(codes: np.ndarray, begins: np.ndarray, first: np.ndarray, trie: np.ndarray) -> None:
    """Join neighbouring words that make up an entry of the dictionary, the longest from each word on, left to right."""
    border = np.append(begins, True)
    line_end = np.zeros(len(border), bool)
    line_end[first] = line_end[-1] = True
    starts = place = np.flatnonzero(begins)
    node = np.zeros(len(starts), np.int64)
    after = np.append(starts[1:], len(codes))  # the end of the word itself
    joined: dict[int, int] = {}
    while len(place):
        node, alive = child(trie, node, codes[place])
        place = place + 1
        at_border = border[place]
        alive &= ~(at_border & (node == 0))  # NUL leads from the root to the root, and thulac takes the root for a miss
        whole = np.flatnonzero(alive & at_border & (place > after))
        if len(whole):
            whole = whole[child(trie, node[whole], 0)[1]]
            joined.update(zip(starts[whole].tolist(), place[whole].tolist()))  # longer ones come later
        alive &= ~line_end[place]
        starts, place, node, after = starts[alive], place[alive], node[alive], after[alive]
    reach = 0
    for start in sorted(joined):
        if start >= reach:
            reach = joined[start]
            begins[start + 1 : reach] = False
