"""Which sampling settings write like a person? Continuations of held-out text beside the text itself, measure by measure.

    python benchmarks/sampling_quality.py --model_path model_demo/best_model --tokenized_data_path data/tokenized_demo/ --picture A.png

The text that training held out is cut into pieces of --length tokens. From the first --prefix tokens of each, the model writes as many
as the piece has left, once for each seed and setting; the first row is what the author wrote there. Measured on the continuations:

    distinct-1, -2   different characters, and pairs of them, over their number
    commonest        share of the ten commonest letters and Han among all
    repeated         share of runs of four characters that stood before in the same text
    n-gram           bits per character, prefix included, by a Kneser-Ney trigram of the training text, or of --other, text of other
                     authors: above the person's the words do not fit together, below they are commonplaces
    away             mean of |ln(measure / the person's)| over the five: 0 would be a person. To repeat less than a person is no fault

Every measure goes with the amount of text, so all rows have the same places and lengths. With several seeds, means. Nothing is left out at a
document's end (--ignore_end), and loops are taken back, as generate.py does. --settings tries other rows.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from tqdm import tqdm

from benchmarks.curves import save
from benchmarks.peers.launch import machine
from gpt2zh.device import choose_device
from gpt2zh.evaluation.diversity import diversity
from gpt2zh.evaluation.ngrams import ngram_nats
from gpt2zh.generation.decoder import Decoder, load_decoder
from gpt2zh.generation.requests import Request
from gpt2zh.generation.settings import SamplingSettings
from gpt2zh.sampling import finish
from gpt2zh.shards.format import TokenStream, open_shards
from gpt2zh.text.corpus import Corpus
from tokenizations.loading import load_tokenizer
from tokenizations.tokenizer import Tokenizer

SHORT = {
    "k": "top_k",
    "p": "top_p",
    "min_p": "min_p",
    "typical": "typical_p",
    "sigma": "top_n_sigma",
    "T": "temperature",
}
SHORT |= {"rep": "repetition_penalty", "dry": "dry_multiplier", "xtc": "xtc_probability", "xtc_at": "xtc_threshold"}
SHORT |= {"presence": "presence_penalty", "frequency": "frequency_penalty", "window": "penalty_window"}
ROWS = (
    "k=8", "k=40", "k=50 T=0.8", "k=40 p=0.9 T=0.9 rep=1.1", "p=0.8 T=0.9 rep=1.1", "", "T=0.9", "T=0.8", "T=0.7",
    "p=0.7", "p=0.8", "p=0.85", "p=0.9", "p=0.95", "p=0.9 T=0.9", "p=0.95 T=0.9", "p=0.9 T=1.1",
    "min_p=0.02", "min_p=0.05", "min_p=0.1", "min_p=0.2", "min_p=0.1 T=1.2", "sigma=1", "sigma=1.5", "sigma=2",
    "typical=0.5", "typical=0.8", "typical=0.95", "p=0.8 rep=1.05", "p=0.8 rep=1.1", "p=0.9 rep=1.1",
    "p=0.8 dry=0.8", "p=0.9 dry=0.8", "min_p=0.05 dry=0.8", "p=0.8 presence=0.3", "p=0.9 xtc=0.5", "min_p=0.05 xtc=0.5",
)  # fmt: skip
TRIGRAM = 3
NAMES = ("distinct-1", "distinct-2", "commonest", "repeated", "n-gram")


@dataclass(frozen=True)
class Place:
    """A piece of held-out text: what is given, and what the author wrote next; ids."""

    prefix: list[int]
    rest: list[int]


Measures = tuple[float, ...]  # by NAMES


class Judge:
    """Continuations -> `Measures`."""

    def __init__(self, tokenizer: Tokenizer, counted: TokenStream, places: list[Place]) -> None:
        self.tokenizer, self.counted, self.places = tokenizer, counted, places

    def __call__(self, several: list[list[list[int]]]) -> Measures:
        """The mean measures. Args: ids of a continuation, for each place, for each seed."""
        decode = self.tokenizer.decode
        varied = [astuple(diversity([decode(ids) for ids in texts])) for texts in several]
        whole = [[*place.prefix, *ids] for texts in several for place, ids in zip(self.places, texts)]
        ids = np.concatenate([np.array(one, dtype=np.int32) for one in whole])
        n_vocab = len(self.tokenizer)
        nats = ngram_nats(self.counted, TokenStream([ids], n_vocab), n_vocab, TRIGRAM)[TRIGRAM - 1]
        bits = nats / math.log(2) / int(self.tokenizer.characters_of_ids[ids].sum())
        return (*map(statistics.mean, zip(*varied)), bits)


def settings_of(row: str) -> SamplingSettings:
    """The settings of a row, as in `p=0.9 T=0.8`."""
    given = {SHORT[name]: float(value) for name, _, value in (part.partition("=") for part in row.split())}
    if "top_k" in given:
        given["top_k"] = int(given["top_k"])
    return SamplingSettings(**given, ignore_end=True)  # type: ignore[arg-type] # numbers by name


def places_of(stream: TokenStream, length: int, n_prefix: int) -> list[Place]:
    """Pieces of a stream, one after the other."""
    ids = np.concatenate([np.asarray(piece) for piece in stream.pieces]).tolist()
    pieces = [ids[i : i + length] for i in range(0, len(ids) - length + 1, length)]
    if not pieces:
        sys.exit(f"the held-out text has {len(ids)} tokens, a piece {length}: give a smaller --length")
    return [Place(piece[:n_prefix], piece[n_prefix:]) for piece in pieces]


def written(
    decoder: Decoder, tokenizer: Tokenizer, places: list[Place], settings: SamplingSettings, seeds: int
) -> list[list[list[int]]]:
    """What the model writes at each place, for each seed."""
    requests = [
        Request(place.prefix, number, len(place.rest), seed, settings)
        for seed in range(seeds)
        for number, place in enumerate(places)
    ]
    texts = [text.ids for text in finish(decoder, tokenizer, requests, 64)]
    return [texts[i : i + len(places)] for i in range(0, len(texts), len(places))]


def away(measures: Measures, human: Measures) -> float:
    """How far from a person's."""
    logs = {name: math.log(max(one, 1e-4) / max(other, 1e-4)) for name, one, other in zip(NAMES, measures, human)}
    logs["repeated"] = max(0.0, logs["repeated"])
    return statistics.mean(map(abs, logs.values()))


def table(flags: argparse.Namespace) -> Iterator[tuple[str, Measures]]:
    """Each row's name and measures; the person's first."""
    tokenizer = load_tokenizer(flags.model_path)
    data = open_shards(flags.tokenized_data_path)
    counted = data.train
    if flags.other:
        counted = TokenStream([tokenizer.encode_documents(list(Corpus(flags.other)))], len(tokenizer))
    decoder = load_decoder(flags.model_path, len(tokenizer), choose_device(flags.device, "auto"))
    places = places_of(data.val, flags.length, flags.prefix)
    judge = Judge(tokenizer, counted, places)
    yield "the author", judge([[place.rest for place in places]])
    for row in tqdm(flags.settings, unit="setting", disable=None):
        yield row or "T=1 alone", judge(written(decoder, tokenizer, places, settings_of(row), flags.seeds))


def draw(rows: list[tuple[str, Measures]], path: Path) -> None:
    """A panel for each measure: a bar a setting, the author's value a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 0.22 * len(rows) + 1.5), layout="constrained")
    (_, human), *others = rows
    others = sorted(others, key=lambda row: away(row[1], human), reverse=True)
    panels = figure.subplots(1, len(NAMES) + 1, sharey=True)
    columns = [*zip(*(measures for _, measures in others)), [away(measures, human) for _, measures in others]]
    for axes, name, values, line in zip(panels, (*NAMES, "away"), columns, (*human, 0.0)):
        axes.barh([row for row, _ in others], values)
        axes.axvline(line, color="black", linewidth=1)
        axes.set_title(name)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", type=Path, default=Path("model_demo/best_model"))
    parser.add_argument("--tokenized_data_path", type=Path, default=Path("data/tokenized_demo/"))
    parser.add_argument("--other", type=Path, help="text for the trigram, in place of the training text")
    parser.add_argument("--settings", nargs="+", default=ROWS, help=f"as in 'p=0.9 T=0.8'; names: {' '.join(SHORT)}")
    parser.add_argument("--length", type=int, default=128, help="tokens a piece")
    parser.add_argument("--prefix", type=int, default=16, help="tokens of it that are given")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default=None)
    parser.add_argument("--picture", type=Path, help="file to draw into (wants matplotlib)")
    flags = parser.parse_args()
    rows = list(table(flags))
    human = rows[0][1]
    print(f"{machine()}; {flags.model_path}\n")
    print("| settings | " + " | ".join(NAMES) + " | away |")
    print("|---" * (len(NAMES) + 2) + "|")
    for row, measures in [rows[0], *sorted(rows[1:], key=lambda row: away(row[1], human))]:
        print(f"| {row} | " + " | ".join(f"{value:.3f}" for value in measures) + f" | {away(measures, human):.3f} |")
    if flags.picture:
        draw(rows, flags.picture)


if __name__ == "__main__":
    main()
