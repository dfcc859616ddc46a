"""Other tools' token files -> our shards, without tokenising again; our shards -> other tools' token files.

Import reads the files twice, as `build` reads a corpus: 1 every document's characters, by decoding it, and hash
2 ids -> shards. Either way the new folder is made beside and takes its place whole.

In: `TokenFiles` and the tokenizer that made them; or `Shards`. Out: a folder.
Refuses: files without ids, or made with another vocabulary where that is recorded; a vocabulary too large for nanoGPT;
an output folder that holds anything that was not made here.
"""

import hashlib
import json
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from gpt2zh.errors import UserError, say
from gpt2zh.shards.build import SHARD_NAME, Writer, finish, shard_paths
from gpt2zh.shards.format import CORPUS_IDENTITY, MANIFEST, Manifest, Shards, ShardSettings, TokenStream
from gpt2zh.shards.plan import LEFT_OUT, Plan, assign
from gpt2zh.shards.token_files import TRAIN_BINARY, TRAIN_TEXT, VAL_BINARY, VAL_TEXT, Part, TokenFiles
from gpt2zh.system.files import read_json_object, require_writable, write_text
from gpt2zh.system.folders import new_folder
from gpt2zh.system.lock import LOCK
from gpt2zh.system.records import Record, record
from gpt2zh.system.workers import batches, n_cores, ordered_map

BATCH = 1_000_000  # ids decoded, or written, at a time
SMALL = 1 << 24  # bytes; below, starting workers takes longer than the work
SHOWN_IDS, SHOWN_CHARACTERS = 200, 60  # of the beginning, for a person to see whether the vocabulary is right

ABOUT = "meta.json"  # beside exported files: what their ids mean
IMPORTED = re.compile(
    rf"{re.escape(MANIFEST)}|{re.escape(CORPUS_IDENTITY)}|{SHARD_NAME.pattern}|\..*\.tmp|{re.escape(LOCK)}"
)
EXPORTED = {
    "nanogpt": re.compile("|".join(map(re.escape, (ABOUT, TRAIN_BINARY, VAL_BINARY)))),
    "text": re.compile(rf"{re.escape(ABOUT)}|{TRAIN_TEXT.pattern}|{re.escape(VAL_TEXT)}"),
}
WRITTEN: dict[str, Callable[[np.ndarray], bytes]] = {
    "nanogpt": lambda ids: ids.astype("<u2").tobytes(),
    "text": lambda ids: b"%d " * len(ids) % tuple(ids.tolist()),
}


@dataclass(frozen=True)
class TokenCounts:
    """Ids of each split."""

    train: int
    val: int


@dataclass(frozen=True)
class About:
    """What meta.json says of exported files: `tokenizer` is the fingerprint of the vocabulary that their ids are of."""

    format: str
    vocab_size: int
    tokenizer: str
    tokens: TokenCounts


class DocumentDecoder(Protocol):
    """What import asks of a tokenizer. It must pickle."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def unknown_id(self) -> int: ...

    @property
    def document_end_id(self) -> int: ...

    def __len__(self) -> int: ...

    def decode(self, ids: Sequence[int]) -> str: ...


def require_own(folder: Path, mark: str, kind: type[Manifest | About], names: re.Pattern[str]) -> None:
    """Refuse to replace a folder unless all that is in it was made here: the file `mark`, a `kind`, and `names`."""
    require_writable(folder)
    require_writable(folder.parent)
    present = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    own = mark in present and read_if(kind, folder / mark) is not None
    foreign = [name for name in present if not (own and names.fullmatch(name))]
    if foreign:
        shown = " ".join(foreign[:3]) + (" …" if len(foreign) > 3 else "")
        raise UserError(
            f"{folder} 里有别的东西（{shown}），不覆盖。请换一个新的或空的文件夹。",
            f"{folder} holds something else ({shown}) and is not replaced. Give a new or an empty folder.",
        )


def read_if(kind: type[Record], path: Path) -> Record | None:
    """The `kind` that a JSON file holds; None where it holds something else."""
    value = read_json_object(path)
    try:
        return record(kind, value)
    except ValueError:
        return None


# ----- import ----------------------------------------------------------------------------------------------------------


def import_shards(
    files: TokenFiles,
    folder: Path,
    tokenizer: DocumentDecoder,
    min_length: int,
    val_ratio: float,
    num_pieces: int,
) -> None:
    """Make shards of `files`. Without a file for validation, whole documents are held out as train.py does."""
    folder = folder.resolve()
    require_own(folder, MANIFEST, Manifest, IMPORTED)
    require_same_vocabulary(files.train[0].parent / ABOUT, tokenizer)
    settings = ShardSettings(files.sha256(), tokenizer.fingerprint, len(tokenizer), min_length, val_ratio, num_pieces)
    found = survey(files, tokenizer)
    plan = assign(found.lengths, found.hashes, settings, found.validates if files.val else None)
    with new_folder(folder) as beside:
        paths = shard_paths(beside, settings)
        copy(files, tokenizer, plan, found.n_ids, paths)
        finish(beside, paths, plan, settings)


def require_same_vocabulary(about: Path, tokenizer: DocumentDecoder) -> None:
    """Refuse another vocabulary than the one that the files were exported with, where that is known."""
    if not about.exists():
        return
    recorded = read_if(About, about)
    if recorded is not None and recorded.tokenizer != tokenizer.fingerprint:
        raise UserError(
            f"{about} 记着这些词元的词表指纹 {recorded.tokenizer[:12]}，给的词表是 {tokenizer.fingerprint[:12]}。请用 --tokenizer_path 给出原来的词表。",
            f"{about} says that the vocabulary of these tokens has the fingerprint {recorded.tokenizer[:12]}; the given one has {tokenizer.fingerprint[:12]}. Give the original one with --tokenizer_path.",
        )


@dataclass(frozen=True)
class Survey:
    """What the first pass finds out. Arrays: (documents,)."""

    lengths: np.ndarray  # int64, characters
    hashes: np.ndarray  # uint64
    validates: np.ndarray  # bool
    n_ids: int


def survey(files: TokenFiles, tokenizer: DocumentDecoder) -> Survey:
    """The first pass; shows the beginning, decoded.

    Raises:
        UserError: no ids.
    """
    lengths, hashes, validates = array("q"), array("Q"), array("b")
    n_ids, n_ends, is_new = 0, 0, True
    n_workers = n_cores() if files.n_bytes > SMALL else 1
    with tqdm(total=files.n_bytes, desc="count", unit="B", unit_scale=True, mininterval=0.5, disable=None) as bar:
        parts = files.parts(tokenizer.document_end_id, len(tokenizer), bar.update)
        tasks = batches(parts, lambda part: len(part.ids), BATCH)
        for measured in ordered_map(tasks, n_workers, part_measurer, (tokenizer,)):
            for part in measured:
                if not n_ids:
                    shown = part.beginning.replace("\n", "⏎")
                    say(
                        f"开头是：{shown}（不是应有的文字，就是词表不对）",
                        f"it begins: {shown} (if that is not the text you expect, this is the wrong vocabulary)",
                    )
                if is_new:
                    lengths.append(0)
                    hashes.append(0)
                    validates.append(part.validates)
                lengths[-1] += part.n_characters
                hashes[-1] ^= part.hash
                n_ids, n_ends, is_new = n_ids + part.n_ids, n_ends + part.has_end, part.closes
    if not n_ids or all(validates):
        place = files.train[0].parent
        raise UserError(f"{place} 的训练文件里没有编号。", f"the training files in {place} contain no ids.")
    if not n_ends:
        say(
            f"注意：没有 [CLS]（编号 {tokenizer.document_end_id}），看不出一篇到哪里为止：每个文件算一篇。原来若有，就是词表不对。",
            f"note: [CLS] (id {tokenizer.document_end_id}) does not occur, so the ends of documents cannot be seen and each file counts as one. If there were any, this is the wrong vocabulary.",
        )
    return Survey(
        np.array(lengths, dtype=np.int64), np.array(hashes, dtype=np.uint64), np.array(validates, dtype=bool), n_ids
    )


@dataclass(frozen=True)
class Measured:
    """What a worker says of a part."""

    n_characters: int
    hash: int
    n_ids: int
    has_end: bool
    closes: bool
    validates: bool
    beginning: str


def part_measurer(tokenizer: DocumentDecoder) -> Callable[[list[Part]], list[Measured]]:
    """What a worker does: decode, count and hash. [UNK] stands for one character."""

    def measure(parts: list[Part]) -> list[Measured]:
        measured: list[Measured] = []
        for part in parts:
            known = part.ids[part.ids != tokenizer.unknown_id]
            n_characters = len(tokenizer.decode(known.tolist())) + len(part.ids) - len(known)
            digest = int.from_bytes(hashlib.blake2b(part.ids.tobytes(), digest_size=8).digest(), "big")
            has_end = bool(part.ids[-1] == tokenizer.document_end_id)
            beginning = "" if measured else tokenizer.decode(part.ids[:SHOWN_IDS].tolist())[:SHOWN_CHARACTERS]
            measured.append(
                Measured(n_characters, digest, len(part.ids), has_end, part.closes, part.validates, beginning)
            )
        return measured

    return measure


def copy(files: TokenFiles, tokenizer: DocumentDecoder, plan: Plan, n_ids: int, paths: dict[int, Path]) -> None:
    """The second pass: every document to its piece."""
    document = n_copied = 0
    with (
        Writer(paths, set(), len(tokenizer)) as writer,
        tqdm(total=files.n_bytes, desc="copy", unit="B", unit_scale=True, mininterval=0.5, disable=None) as bar,
    ):
        for part in files.parts(tokenizer.document_end_id, len(tokenizer), bar.update):
            if document < len(plan.piece) and plan.piece[document] != LEFT_OUT:
                n_unknown = int((part.ids == tokenizer.unknown_id).sum())
                writer.write(int(plan.piece[document]), part.ids, n_unknown, {})
            document += part.closes
            n_copied += len(part.ids)
        if (document, n_copied) != (len(plan.piece), n_ids):
            raise UserError(
                f"文件在导入时变了：第一遍 {n_ids} 个编号，第二遍 {n_copied} 个。请等它们写完再运行。",
                f"the files changed while they were read: {n_ids} ids in the first pass, {n_copied} in the second. Run again when they are complete.",
            )


# ----- export ----------------------------------------------------------------------------------------------------------


def export_shards(data: Shards, folder: Path, form: str) -> list[str]:
    """Write the shards as another tool's files, `form` being a key of EXPORTED; the validation documents go to a separate file.

    Returns:
        The names of the files of ids.
    """
    folder = folder.resolve()
    require_own(folder, ABOUT, About, EXPORTED[form])
    settings = data.manifest.settings
    vocab_size = settings.vocab_size
    if form == "nanogpt" and vocab_size > 1 << 16:
        raise UserError(
            f"nanoGPT 的编号是 uint16，最多 65536 个词条；{data.folder} 的词表有 {vocab_size} 个。可用 --export text。",
            f"nanoGPT's ids are uint16, for 65536 entries at most; the vocabulary of {data.folder} has {vocab_size}. --export text takes it.",
        )
    if form == "nanogpt":
        streams = {TRAIN_BINARY: data.train, VAL_BINARY: data.val}
    else:
        pieces = [TokenStream([piece], vocab_size) for piece in data.train.pieces]
        streams = {f"tokenized_train_{i}.txt": piece for i, piece in enumerate(pieces)} | {VAL_TEXT: data.val}
    streams = {name: stream for name, stream in streams.items() if len(stream)}
    about = About(form, vocab_size, settings.tokenizer, TokenCounts(len(data.train), len(data.val)))
    n_tokens = len(data.train) + len(data.val)
    with new_folder(folder) as beside, tqdm(total=n_tokens, desc="export", unit="token", unit_scale=True) as bar:
        for name, stream in streams.items():
            with (beside / name).open("wb") as file:
                for start in range(0, len(stream), BATCH):
                    ids = stream.read_circular(start, min(BATCH, len(stream) - start))
                    file.write(WRITTEN[form](ids))
                    bar.update(len(ids))
        write_text(beside / ABOUT, json.dumps(asdict(about), indent=1) + "\n")
    return list(streams)
