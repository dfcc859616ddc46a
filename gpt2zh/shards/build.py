"""Documents -> token shards, in two passes over the corpus, on all cores, in memory that does not grow with it.

1 first pass: a `plan.Plan`  2 second pass: batches of documents -> worker processes -> ids, to disk in order
3 each finished piece gets its name by a rename: a build that was killed goes on with the pieces it lacks  4 the manifest,
last and in one rename. A kill at any moment leaves the old manifest and the files it names, whole.

In: documents, read twice, and a tokenizer. Out: a folder that `format.open_shards` reads.
Refuses: documents that are all too short; a corpus that changes between the passes.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import numpy as np
from tqdm import tqdm

from gpt2zh.errors import UserError, say
from gpt2zh.shards.format import (
    HEADER_BYTES,
    CharacterCounts,
    DocumentCounts,
    Header,
    HeaderCounts,
    Manifest,
    ShardFile,
    ShardSettings,
    read_header,
    write_manifest,
)
from gpt2zh.shards.plan import LEFT_OUT, VALIDATION, Plan, make_plan
from gpt2zh.system.files import checksums, new_file
from gpt2zh.system.workers import n_cores, ordered_map

MOST_MISSING = 20  # characters that the vocabulary lacks are listed
BATCH_CHARACTERS = 1_000_000  # tokenised at a time
SMALL_CORPUS = 8_000_000  # characters; below, starting workers takes longer than the work
# A shard, or what a killed build left of one that it was writing (`files.new_file`).
SHARD_NAME = re.compile(r"tokenized_(train_\d+|val)\.[0-9a-f]{8}\.bin|\.tokenized_\w+\.[0-9a-f]{8}\.bin\.\d+\.tmp")


class DocumentEncoder(Protocol):
    """What shards ask of a tokenizer. It must pickle."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def unknown_id(self) -> int: ...

    def __len__(self) -> int: ...

    def encode_documents(self, documents: Sequence[str]) -> np.ndarray: ...

    def missing_characters(self, texts: Sequence[str]) -> Counter[str]: ...


@dataclass(frozen=True)
class EncodedBatch:
    """Documents as ids, and what the ids do not tell."""

    piece: int
    ids: np.ndarray  # (n,), the shard's dtype
    n_characters: int
    n_unknown: int
    missing: Counter[str]


def build_shards(
    folder: Path, documents: Iterable[str], tokenizer: DocumentEncoder, settings: ShardSettings, anew: bool = True
) -> None:
    """Tokenise `documents`, which must give the same texts each time it is iterated, into `folder`.

    Args:
        anew: False takes over the whole pieces that an unfinished build with these settings left.
    """
    plan = make_plan(documents, settings)
    folder.mkdir(parents=True, exist_ok=True)
    paths = shard_paths(folder, settings)
    finished = set() if anew else {i for i, path in paths.items() if i != VALIDATION and read_header(path)}
    if finished:
        say(
            f"接着上次没切完的：{settings.num_pieces} 个分片中已有 {len(finished)} 个。",
            f"going on with an unfinished build: {len(finished)} of {settings.num_pieces} pieces are there.",
        )
    wanted = np.isin(plan.piece, [i for i in paths if i not in finished])
    with (
        Writer(paths, finished, settings.vocab_size) as writer,
        tqdm(total=plan.characters(wanted), desc="tokenize", unit="char", unit_scale=True, mininterval=0.5) as bar,
    ):
        batches = batches_of(documents, plan.piece, wanted)
        n_workers = n_cores() if plan.characters(wanted) >= SMALL_CORPUS else 1
        for batch in ordered_map(batches, n_workers, batch_encoder, (tokenizer, writer.dtype)):
            writer.write(batch.piece, batch.ids, batch.n_unknown, batch.missing)
            bar.update(batch.n_characters)
    finish(folder, paths, plan, settings)


def shard_paths(folder: Path, settings: ShardSettings) -> dict[int, Path]:
    """Where each piece lies, VALIDATION among them."""
    train = {i: folder / f"tokenized_train_{i}.{settings.key}.bin" for i in range(settings.num_pieces)}
    return {VALIDATION: folder / f"tokenized_val.{settings.key}.bin", **train}


def batches_of(documents: Iterable[str], piece: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[int, list[str]]]:
    """The second pass: (piece, its next documents) of about BATCH_CHARACTERS; every piece in the order of the corpus."""
    held: dict[int, list[str]] = {}
    n_held: dict[int, int] = {}
    current = n_documents = 0  # `current`: the train piece that is being filled
    for number, document in enumerate(documents):
        n_documents += 1
        if number >= len(piece) or not wanted[number]:
            continue
        target = int(piece[number])
        if target != VALIDATION:
            if target != current and current in held:
                yield current, held.pop(current)
            current = target
        if target not in held:
            held[target], n_held[target] = [], 0
        held[target].append(document)
        n_held[target] += len(document)
        if n_held[target] >= BATCH_CHARACTERS:
            yield target, held.pop(target)
    if n_documents != len(piece):
        raise UserError(
            f"语料在切分时变了：第一遍 {len(piece)} 篇，第二遍 {n_documents} 篇。请等它写完再运行。",
            f"the corpus changed while it was tokenised: {len(piece)} documents in the first pass, {n_documents} in the second. Run again when it is complete.",
        )
    yield from held.items()


def batch_encoder(
    tokenizer: DocumentEncoder, dtype: np.dtype[np.unsignedinteger]
) -> Callable[[tuple[int, list[str]]], EncodedBatch]:
    """What a worker does: encode the documents of a batch, framed, as ids of `dtype`."""

    def encode(batch: tuple[int, list[str]]) -> EncodedBatch:
        piece, documents = batch
        ids = tokenizer.encode_documents(documents)
        n_unknown = int((ids == tokenizer.unknown_id).sum())
        missing = tokenizer.missing_characters(documents)
        return EncodedBatch(piece, ids.astype(dtype), sum(map(len, documents)), n_unknown, missing)

    return encode


class Writer:
    """The shard files of a build: written beside, and renamed as soon as they are whole."""

    def __init__(self, paths: dict[int, Path], finished: set[int], vocab_size: int) -> None:
        self.paths = {piece: path for piece, path in paths.items() if piece not in finished}
        self.dtype = np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")
        self.open: dict[int, tuple[ExitStack, BinaryIO]] = {}
        self.tokens: Counter[int] = Counter()
        self.unknown: Counter[int] = Counter()
        self.missing: dict[int, Counter[str]] = {piece: Counter() for piece in self.paths}

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for piece in list(self.paths):
            if kind is None:
                self._start(piece)
                self._finish(piece)
            elif piece in self.open:
                self.open.pop(piece)[0].__exit__(kind, error, trace)

    def write(self, piece: int, ids: np.ndarray, n_unknown: int, missing: Mapping[str, int]) -> None:
        """Append to a piece. The train pieces come one after the other: a new one closes those before it."""
        for other in [other for other in self.open if piece != VALIDATION and other not in (piece, VALIDATION)]:
            self._finish(other)
        self._start(piece).write(ids.astype(self.dtype, copy=False).tobytes())
        self.tokens[piece] += len(ids)
        self.unknown[piece] += n_unknown
        self.missing[piece].update(missing)

    def _start(self, piece: int) -> BinaryIO:
        if piece not in self.open:
            stack = ExitStack()
            file = stack.enter_context(new_file(self.paths[piece]))
            file.write(bytes(HEADER_BYTES))
            self.open[piece] = (stack, file)
        return self.open[piece][1]

    def _finish(self, piece: int) -> None:
        stack, file = self.open.pop(piece)
        file.seek(0)
        counts = HeaderCounts(self.unknown[piece], most_frequent(self.missing.pop(piece)))
        file.write(Header(self.dtype.itemsize, self.tokens[piece], counts).pack())
        stack.close()
        del self.paths[piece]


def most_frequent(counts: Counter[str]) -> dict[str, int]:
    """The MOST_MISSING most frequent, ties in code order, so that equal settings give equal files."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_MISSING])


def finish(folder: Path, paths: dict[int, Path], plan: Plan, settings: ShardSettings) -> None:
    """Write the manifest and remove the shards of other settings, which no manifest names any more."""
    train: list[ShardFile] = []
    val: list[ShardFile] = []
    missing: Counter[str] = Counter()
    for (piece, path), digest in zip(paths.items(), checksums(list(paths.values()))):
        header = read_header(path)
        assert header is not None, f"{path} was written just now"
        missing.update(header.counts.missing)
        entry = ShardFile(path.name, header.tokens, header.counts.unknown, digest)
        (val if piece == VALIDATION else train).append(entry)
    short, validates, trains = plan.piece == LEFT_OUT, plan.piece == VALIDATION, plan.piece >= 0
    manifest = Manifest(
        settings=settings,
        documents=DocumentCounts(
            len(plan.piece), plan.documents(short), plan.documents(trains), plan.documents(validates)
        ),
        characters=CharacterCounts(plan.characters(trains), plan.characters(validates), plan.characters(short)),
        missing=most_frequent(missing),
        train=train,
        val=val,
    )
    write_manifest(folder, manifest)
    for path in set(folder.iterdir()) - set(paths.values()):
        if SHARD_NAME.fullmatch(path.name):
            with contextlib.suppress(OSError):  # on Windows a reader may still have it open; it does no harm
                path.unlink()
