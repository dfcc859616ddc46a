"""Whole batches of text -> ids of a Unigram pipeline, by numpy: what `pipeline.encode` gives, many times as fast.

    text -> code points -> units (Alphabet) -> pieces that start at each character (Trie) -> the best path (Lattice)

All units of a batch are read at once, longest unit first, so that the k-th characters of all units lie side by side:
step k of the Viterbi search is then a handful of array operations. Scores are added in the library's order, so that
equal paths are equal to the last bit, and ties fall as the library's do: to the piece that starts first.

In: a pipeline of build_words or build_unigram (`can_encode`), texts. Out: ids and how many belong to each text.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import tokenizers

from tokenizations.fast.alphabet import Alphabet, Characters
from tokenizations.pipelines import BYTES, build_unigram, build_words
from tokenizations.vocabulary import UNK

UNKNOWN_PENALTY = 10.0  # the library's: an unknown character scores this much less than the worst piece
WINDOW = 256  # places of the trie that are tried at once
BLOCK = 1 << 17  # characters read at once: the arrays of a block fit into a core's cache


class Trie:
    """All pieces as a double array: child = base[node] + symbol, if check[child] == node.

    Nodes 1 … n are the single characters, which are the symbols too; 0 is a character that no piece holds.
    """

    def __init__(self, scores: dict[str, float], ids: dict[str, int], unknown_score: float) -> None:
        children: dict[str, list[str]] = {}
        known = set()
        for piece in scores:
            for end in range(len(piece), 1, -1):
                if piece[:end] in known:
                    break
                known.add(piece[:end])
                children.setdefault(piece[: end - 1], []).append(piece[:end])
        uses = dict.fromkeys("".join(scores), 0)
        for node in known:
            uses[node[-1]] += 1
        # Frequent symbols get neighbouring numbers, so that families are narrow and the arrays small.
        self.symbols = {symbol: n for n, symbol in enumerate(sorted(uses, key=lambda symbol: -uses[symbol]), 1)}
        families = {parent: [self.symbols[node[-1]] for node in nodes] for parent, nodes in children.items()}
        bases, size = self._place(families)
        self.base = np.zeros(size, dtype=np.int64)
        self.check = np.full(size, -1, dtype=np.int32)
        nodes = dict(self.symbols)
        for parent in sorted(children, key=len):
            self.base[nodes[parent]] = bases[parent]
            for child in children[parent]:
                nodes[child] = bases[parent] + self.symbols[child[-1]]
                self.check[nodes[child]] = nodes[parent]
        self.ids = np.full(size, -1, dtype=np.int32)
        self.scores = np.full(size, -np.inf)
        self.scores[: len(self.symbols) + 1] = unknown_score
        for piece, score in scores.items():
            self.ids[nodes[piece]], self.scores[nodes[piece]] = ids[piece], score

    def _place(self, families: dict[str, list[int]]) -> tuple[dict[str, int], int]:
        """A base for every family of siblings, the largest first, where all its places are free; and the arrays' size."""
        n = len(self.symbols) + 1
        free = np.ones(4 * n + 2 * sum(map(len, families.values())) + WINDOW, dtype=bool)
        free[:n] = False
        bases = {}
        at = n
        large = [parent for parent in families if len(families[parent]) > 1]
        for parent in sorted(large, key=lambda parent: -len(families[parent])):
            family = np.array(families[parent])
            lowest = int(family.min())
            while True:
                if at + WINDOW + n > len(free):
                    free = np.append(free, np.ones(len(free), dtype=bool))
                places = at + np.flatnonzero(free[at : at + WINDOW])
                fits = free[places[:, None] + (family - lowest)].all(axis=1)
                if fits.any():
                    break
                at += WINDOW // 2
            bases[parent] = int(places[fits.argmax()]) - lowest
            free[bases[parent] + family] = False
        only = {parent: family[0] for parent, family in families.items() if len(family) == 1}
        holes = np.flatnonzero(np.append(free, np.ones(len(only), dtype=bool)))
        bases.update((parent, hole - symbol) for (parent, symbol), hole in zip(only.items(), holes.tolist()))
        return bases, max(bases.values(), default=0) + 2 * n


class Lattice:
    """The pipeline's `encode`, for whole batches. `step_cost`: a step of the search in characters of the library."""

    step_cost = 20.0

    def __init__(self, pipeline: tokenizers.Tokenizer) -> None:
        self.pipeline = pipeline
        model = json.loads(pipeline.to_str())["model"]
        vocabulary = model["vocab"]
        self.unknown_id: int = model["unk_id"]
        ids = {piece: id_ for id_, (piece, _) in enumerate(vocabulary)}
        self.bytes = [ids[byte] for byte in BYTES] if model["byte_fallback"] else None
        scores = {piece: vocabulary[id_][1] for piece, id_ in ids.items()}
        self.trie = Trie(scores, ids, min(scores.values()) - UNKNOWN_PENALTY)
        self.alphabet = Alphabet(pipeline, self.trie.symbols)

    @staticmethod
    def can_encode(pipeline: tokenizers.Tokenizer) -> bool:
        """Whether a pipeline has the form of build_words or build_unigram (a trained one, too)."""
        form = json.loads(pipeline.to_str())
        model = form["model"]
        if model["type"] != "Unigram" or model["unk_id"] is None:
            return False
        rules = [json.loads(alike.to_str()) for alike in (build_unigram([(UNK, 0.0)]), build_words([UNK]))]
        pieces = {piece for piece, _ in model["vocab"]}
        return (
            any(all(form[part] == known[part] for part in ("normalizer", "pre_tokenizer")) for known in rules)
            and not (form["truncation"] or form["padding"] or "" in pieces)
            # Then no run of unknown characters is itself a piece: the piece would have won by far.
            and all(score <= 0 for _, score in model["vocab"])
            and (not model["byte_fallback"] or pieces.issuperset(BYTES))
            # Nor can [UNK] itself be read: it is more than one unit.
            and len(pipeline.pre_tokenizer.pre_tokenize_str(model["vocab"][model["unk_id"]][0])) > 1
        )

    def encode_texts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts, one text after the other, and the number of ids of each text."""
        lengths = np.zeros(len(texts), dtype=np.int64)
        ids = [np.zeros(0, dtype=np.int32)]
        for numbers, parts in blocks(texts):
            block_ids, block_lengths = self._encode(parts)
            ids.append(block_ids)
            np.add.at(lengths, numbers, block_lengths)
        return np.concatenate(ids), lengths

    def _encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        characters = self.alphabet.read(texts)
        starts, lengths = characters.unit_starts, characters.unit_lengths
        order = np.argsort(-lengths.astype(np.int32), kind="stable")
        starts, lengths = starts.take(order), lengths.take(order)
        # A step costs the same for one unit as for hundreds: a few that are far longer than the rest go to the library.
        steps = self.step_cost * np.append(lengths, 0)
        few = int(np.argmin(steps + np.append(0, np.cumsum(lengths))))
        # For each character at which a chosen piece ends: the piece's node in the trie, plus one.
        pieces = np.zeros(len(characters.symbols), dtype=np.int32)
        if few < len(starts):
            self._search(characters.symbols, starts[few:], lengths[few:], pieces)
        return self._spell(characters, pieces, starts[:few], lengths[:few])

    def _search(self, symbols: np.ndarray, starts: np.ndarray, lengths: np.ndarray, pieces: np.ndarray) -> None:
        """Write the best path of every unit into `pieces`. Units come longest first."""
        width = np.searchsorted(-lengths, -np.arange(lengths[0] + 1)).tolist()  # units that are longer than k
        border = np.append(0, np.cumsum(width)).tolist()  # where step k starts: the k-th characters of all units
        n, first = border[-1], width[0]
        place = np.empty(n, dtype=np.int64)
        for k, (low, high) in enumerate(pairwise(border[:-1])):
            np.add(starts[: high - low], k, out=place[low:high])
        # Nodes of the lattice: `first` empty beginnings, then the end of each character. back: the node one before.
        back = np.empty(n, dtype=np.int64)
        back[:first] = np.arange(first)
        for k in range(1, len(width) - 1):
            back[border[k] : border[k + 1]] = np.arange(border[k - 1] + first, border[k - 1] + first + width[k])
        node = symbols.take(place)
        best = np.zeros(first + n)
        single = self.trie.scores.take(node)
        chosen = node.copy()
        candidates = self._longer_pieces(node, back, border, first)
        for k in range(len(width) - 1):
            low, high = border[k], border[k + 1]
            before = border[k - 1] + first if k else 0
            np.add(best[before : before + high - low], single[low:high], out=best[first + low : first + high])
            for depth in range(2, min(k + 1, len(candidates) + 1) + 1):
                bounds, sources, ends, nodes, scores = candidates[depth - 2]
                a, b = bounds[k - depth + 1], bounds[k - depth + 2]
                if a == b:
                    continue
                end = ends[a:b]
                score = best.take(sources[a:b])
                score += scores[a:b]
                # From short to long: of equal paths the library keeps the piece that starts first.
                better = np.flatnonzero(score >= best.take(end))
                if len(better):
                    end = end.take(better)
                    best[end] = score.take(better)
                    end -= first
                    chosen[end] = nodes[a:b].take(better)
                    back[end] = sources[a:b].take(better)
        end = lengths - 1
        end = np.array(border).take(end) + np.arange(first)
        while len(end):
            pieces[place.take(end)] = chosen.take(end) + 1
            end = back.take(end) - first
            end = end[end >= 0]

    def _longer_pieces(
        self, symbols: np.ndarray, back: np.ndarray, border: list[int], first: int
    ) -> list[tuple[list[int], np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """For 2, 3, … characters: pieces by the step they start in (bounds), nodes of both ends, trie node, score."""
        base, check, scores = self.trie.base, self.trie.check, self.trie.scores
        following = np.full(len(symbols), len(symbols), dtype=np.int64)  # place of the unit's next character
        start = back[first:] - first
        following[start] = np.arange(first, len(symbols))
        end = np.arange(first, len(symbols))
        symbols = np.append(symbols, 0)
        node = symbols.take(start)
        found: list[tuple[list[int], np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        while True:
            child = base.take(node)
            child += symbols.take(end)
            match = np.flatnonzero(check.take(child) == node)
            if not len(match):
                return found
            start, end, node = start.take(match), end.take(match), child.take(match)
            score = scores.take(node)
            bounds = np.searchsorted(start, border).tolist()
            found.append((bounds, back.take(start), end + first, node, score))
            end = following.take(end)

    def _spell(
        self, characters: Characters, pieces: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the pieces; of what no piece holds; and of the units at `starts`, which the library reads."""
        ends = np.flatnonzero(pieces)
        ids = self.trie.ids.take(pieces.take(ends) - 1)
        unknown = np.flatnonzero(ids < 0)
        spelled: list[tuple[int, list[int]]] = []
        for start, length in zip(starts.tolist(), lengths.tolist()):
            unit = self.alphabet.text(characters.code_points[start : start + length])
            spelled.append((start, [token.id for token in self.pipeline.model.tokenize(unit)]))
        if len(unknown):
            keep = np.ones(len(ends), dtype=bool)
            if self.bytes is None:  # a run of unknown characters is one [UNK]
                ids[unknown] = self.unknown_id
                place = ends.take(unknown)
                joined = np.flatnonzero(np.diff(place) == 1) + 1
                keep[unknown[joined[~np.isin(place[joined], characters.unit_starts)]]] = False
            else:
                keep[unknown] = False
                for place in ends.take(unknown).tolist():
                    letter = self.alphabet.text(characters.code_points[place : place + 1])
                    spelled.append((place, [self.bytes[byte] for byte in letter.encode()]))
            ends, ids = ends[keep], ids[keep]
        if spelled:
            ends = np.append(ends, np.repeat([place for place, _ in spelled], [len(some) for _, some in spelled]))
            ids = np.append(ids, np.array([id_ for _, some in spelled for id_ in some], dtype=np.int32))
            order = np.argsort(ends, kind="stable")
            ends, ids = ends.take(order), ids.take(order)
        return ids, np.diff(np.searchsorted(ends, characters.separators), prepend=0)


def blocks(texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Texts in groups of about BLOCK characters, with their numbers; a longer text in parts that end with a newline,
    beyond which no rule of the pipelines looks."""
    numbers: list[int] = []
    parts: list[str] = []
    size = 0
    for number, text in enumerate(texts):
        start = 0
        while start < len(text):
            cut = text.find("\n", start + BLOCK) + 1 if len(text) - start > BLOCK else 0
            part = text[start : cut or len(text)]
            start += len(part)
            numbers.append(number)
            parts.append(part)
            size += len(part)
            if size >= BLOCK:
                yield numbers, parts
                numbers, parts, size = [], [], 0
    if parts:
        yield numbers, parts
