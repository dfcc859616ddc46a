"""The character map of a sentencepiece model, checked before the library walks through it: on a damaged one it ends the process.

A double-array trie (Aoe 1989, as darts-clone lays it out: 32 bits a node) of what is replaced, whose values are places in a text of what
replaces it, each ended by a zero byte.

In: the map's bytes. Refuses: a trie that leads out of its array, a value that is no place in the text.
"""

import numpy as np


def require_sound(data: bytes) -> None:
    """Raise ValueError unless the map can be walked through with any text."""
    size = int.from_bytes(data[:4], "little")
    if len(data) < 8 or size % 4 or not 0 < size <= len(data) - 4:
        raise ValueError("the character map is cut short")
    trie, text = np.frombuffer(data, "<u4", size // 4, 4), data[4 + size :]
    text.decode("utf-8")  # a ValueError of its own
    values = _values(trie)
    if not len(values):
        return
    bytes_ = np.frombuffer(text, np.uint8)
    last = text.rfind(b"\0")
    if values.max() > last or ((bytes_[values] & 0xC0) == 0x80).any():
        raise ValueError("the character map points outside of its text")


def _values(trie: np.ndarray) -> np.ndarray:
    """The values of all entries, going down from the root with every byte at once."""
    found: list[np.ndarray] = []
    seen = np.zeros(len(trie) | 0xFF, bool)  # several parents may share their children
    nodes = _children(trie[:1], np.zeros(1, np.int64))
    while len(nodes):
        if (nodes | 0xFF).max() >= len(trie):
            raise ValueError("the character map leads out of its array")
        seen[nodes] = True
        at = (nodes[:, None] ^ np.arange(1, 256)).ravel()
        units = trie[at]
        is_child = (units & 0x800000FF) == np.tile(np.arange(1, 256), len(nodes))
        at, units = at[is_child], units[is_child]
        below = _children(units, at)
        if len(below) and below.max() >= len(trie):
            raise ValueError("the character map leads out of its array")
        found.append(trie[below[(units >> 8 & 1) == 1]] & 0x7FFFFFFF)
        nodes = np.unique(below[~seen[below]])
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)


def _children(units: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Where the children of nodes lie, but for the byte that leads to each."""
    units = units.astype(np.int64)
    return at ^ ((units >> 10) << ((units & 0x200) >> 6))
