"""thulac's model files as tables: double-array tries, the weights of features, dictionaries that join words.

In: the files' paths, code points of lines put end to end, the places where lines begin. Out: scores, joined words.
"""

from pathlib import Path

import numpy as np

HASH = 0xFF03  # ＃, which thulac puts around a line
WIDE = np.arange(128, dtype=np.int32)  # printable ASCII is looked up in its full-width form
WIDE[33:] += 0xFEE0


def read_trie(path: Path) -> np.ndarray:
    """A double-array trie: rows (base, parent); the child of `node` for `code` is base[node] + code, if it says so."""
    return np.asarray(np.memmap(path, "<i4", "r")).reshape(-1, 2)


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
