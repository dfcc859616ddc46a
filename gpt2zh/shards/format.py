"""Token shards on disk, read as one long stream.

    data/tokenized/manifest.json                     what the shards are: settings, counts, file names
    data/tokenized/tokenized_train_0.1a2b3c4d.bin    1,024-byte header, then ids, uint16 (uint32 above 65,536 entries)
    data/tokenized/tokenized_val.1a2b3c4d.bin        documents held out for validation

The files are storage only: readers see one stream, [MASK] document [CLS] [MASK] document [CLS] … They are made by
`shards.build`.

In: a folder. Out: `TokenStream`s over memory maps. Refuses: damaged or missing files, another vocabulary's shards.
"""

import hashlib
import json
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from gpt2zh.errors import UserError
from gpt2zh.system.files import checksums, read_json_object, write_text
from gpt2zh.system.records import record

MANIFEST = "manifest.json"
SEAL = "sha256"  # of all else in it
CORPUS_IDENTITY = "corpus.json"  # see text.identity; only beside shards of a large corpus
MAGIC = b"GPT2ZH\0\2"
HEADER_BYTES = 1024
HEADER = struct.Struct("<8sQQ")  # magic, bytes of an id, number of ids; then JSON: what the ids do not tell


@dataclass(frozen=True)
class ShardSettings:
    """All that decides which ids lie in the shards. Equal settings: equal shards."""

    corpus_sha256: str
    tokenizer: str
    vocab_size: int
    min_length: int
    val_ratio: float
    num_pieces: int

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:8]

    def decide_text(self) -> dict[str, object]:
        """Those of the settings that decide which ids a run reads, for `resume.compare`."""
        return {
            "corpus": self.corpus_sha256,
            "vocabulary": self.tokenizer,
            "min_length": self.min_length,
            "val_ratio": self.val_ratio,
        }


@dataclass(frozen=True)
class DocumentCounts:
    """Documents of the corpus, and where they went."""

    read: int
    too_short: int
    train: int
    val: int


@dataclass(frozen=True)
class CharacterCounts:
    """Characters of the documents, by where these went."""

    train: int
    val: int
    too_short: int


@dataclass(frozen=True)
class ShardFile:
    """One file of ids; `unknown` of its tokens are [UNK]."""

    file: str
    tokens: int
    unknown: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What lies in a folder of shards; manifest.json has the same names.

    Args:
        missing: the most frequent characters that the vocabulary lacks, with their counts.
        train, val: the files, in the order of the stream.
    """

    settings: ShardSettings
    documents: DocumentCounts
    characters: CharacterCounts
    missing: dict[str, int]
    train: list[ShardFile]
    val: list[ShardFile]


class TokenStream:
    """The ids of several shard files as one sequence. A slice is read from the memory maps, wherever it lies."""

    def __init__(self, pieces: Sequence[np.ndarray], vocab_size: int) -> None:
        self.pieces = [piece for piece in pieces if len(piece)]
        self.ends = list(accumulate(map(len, self.pieces)))
        self.vocab_size = vocab_size

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def read_circular(self, start: int, length: int) -> np.ndarray:
        """`length` ids from `start` on, int64; after the last id the first follows."""
        out = np.empty(length, dtype=np.int64)
        filled = 0
        while filled < length:
            position = (start + filled) % len(self)
            index = bisect_right(self.ends, position)
            piece = self.pieces[index]
            offset = position - (self.ends[index] - len(piece))
            part = piece[offset : offset + length - filled]
            out[filled : filled + len(part)] = part
            filled += len(part)
        if length and out.max() >= self.vocab_size:
            raise UserError(
                f"分片损坏：第 {start} 个词元附近有编号 {out.max()}，而词表只有 {self.vocab_size} 个词条。请加 --raw 重做。",
                f"damaged shards: id {out.max()} near token {start}, but the vocabulary has only {self.vocab_size} entries. Add --raw to build them anew.",
            )
        return out


@dataclass(frozen=True)
class Shards:
    """Opened shards. `manifest` holds the settings and the counts that were printed when they were built."""

    folder: Path
    manifest: Manifest
    train: TokenStream
    val: TokenStream


def read_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`.

    Raises:
        UserError: there is none, or it is not one of this toolkit's.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise UserError(
            f"{folder} 里没有分片（缺 {MANIFEST}）。请用 train.py --raw --raw_data_path 语料 切分。",
            f"no shards in {folder} ({MANIFEST} is missing). Make them with train.py --raw --raw_data_path CORPUS.",
        )
    value = read_json_object(path)
    written = value.pop(SEAL, None)
    if written != seal(value):
        raise UserError(
            f"{path} 不是本工具写的清单，或写成后改动过。请用 train.py --raw 重做分片。",
            f"{path} is not a manifest of this toolkit, or was changed after it was written. Build the shards anew with train.py --raw.",
        )
    try:
        return record(Manifest, value)
    except ValueError:
        raise UserError(
            f"{path} 是别的版本写的清单。请用 train.py --raw 重做分片。",
            f"{path} is a manifest of another version. Build the shards anew with train.py --raw.",
        ) from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of `folder`, whole or not at all, with a seal by which a change is found."""
    value = asdict(manifest)
    write_text(folder / MANIFEST, json.dumps(value | {SEAL: seal(value)}, indent=1) + "\n")


def seal(value: dict[str, object]) -> str:
    """SHA-256 of a JSON object, however it is laid out."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def open_shards(folder: Path) -> Shards:
    """Map every file that the manifest names, when it is known to be as it was written.

    Raises:
        UserError: no manifest, or a file that is missing, cut short, changed or not a shard.
    """
    manifest = read_manifest(folder)
    digests = {folder / Path(entry.file).name: entry.sha256 for entry in manifest.train + manifest.val}
    there = [path for path in digests if path.exists()]
    for path, digest in zip(there, checksums(there)):
        if digest != digests[path]:
            raise UserError(
                f"分片 {path} 已损坏：SHA-256 是 {digest[:12]}，清单里是 {digests[path][:12]}。请加 --raw 重做。",
                f"the shard {path} is damaged: its SHA-256 is {digest[:12]}, the manifest's {digests[path][:12]}. Add --raw to build it anew.",
            )
    train, val = (
        TokenStream(
            [map_shard(folder / Path(entry.file).name, entry.tokens) for entry in files], manifest.settings.vocab_size
        )
        for files in (manifest.train, manifest.val)
    )
    return Shards(folder, manifest, train, val)


@dataclass(frozen=True)
class HeaderCounts:
    """What a shard's ids do not tell: [UNK] among them, and the most frequent characters that the vocabulary lacks."""

    unknown: int
    missing: dict[str, int]


@dataclass(frozen=True)
class Header:
    """What a shard says of itself.

    Args:
        itemsize: bytes of an id, 2 or 4.
    """

    itemsize: int
    tokens: int
    counts: HeaderCounts

    def pack(self) -> bytes:
        """The first HEADER_BYTES of the file."""
        counts = json.dumps(asdict(self.counts)).encode()
        return (HEADER.pack(MAGIC, self.itemsize, self.tokens) + counts).ljust(HEADER_BYTES)


def read_header(path: Path) -> Header | None:
    """The header of a complete shard; None where the file is missing, cut short or not a shard."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        magic, itemsize, tokens = HEADER.unpack_from(head)
        header = Header(itemsize, tokens, record(HeaderCounts, json.loads(head[HEADER.size :])))
    except (OSError, struct.error, ValueError):
        return None
    complete = magic == MAGIC and itemsize in (2, 4) and size == HEADER_BYTES + itemsize * tokens
    return header if complete else None


def map_shard(path: Path, n_tokens: int) -> np.ndarray:
    """Memory-map one shard after checking its header and size against the manifest."""
    header = read_header(path)
    if header is None or header.tokens != n_tokens:
        size = path.stat().st_size if path.exists() else -1
        raise UserError(
            f"分片 {path} 缺失或损坏（应有 {n_tokens} 个词元，文件 {size} 字节）。请加 --raw 重做。",
            f"the shard {path} is missing or damaged ({n_tokens} tokens expected, the file has {size} bytes). Add --raw to build it anew.",
        )
    dtype = f"<u{header.itemsize}"
    return np.memmap(path, dtype=dtype, mode="r", offset=HEADER_BYTES) if n_tokens else np.empty(0, dtype)


def differences(folder: Path, settings: ShardSettings) -> list[tuple[str, str]]:
    """What the shards in `folder` were built with and what is wanted now, for each setting that differs, in both languages."""
    try:
        old = asdict(read_manifest(folder).settings)
    except UserError:
        return [("没有可用的分片", "no usable shards")]
    return [
        (f"{name}：分片 {old[name]}，现在 {value}", f"{name}: shards {old[name]}, now {value}")
        for name, value in asdict(settings).items()
        if old[name] != value
    ]


def check_tokenizer(shards: Shards, fingerprint: str, vocabulary: Path) -> None:
    """Refuse shards whose ids another vocabulary gave."""
    stored = shards.manifest.settings.tokenizer
    if stored != fingerprint:
        raise UserError(
            f"{shards.folder} 的分片不是用 {vocabulary} 切的：分片的词表指纹 {stored[:12]}，这份词表 {fingerprint[:12]}。请换回原来的词表，或给出语料并加 --raw 重做分片。",
            f"the shards in {shards.folder} were not made with {vocabulary}: their vocabulary's fingerprint is {stored[:12]}, this one's {fingerprint[:12]}. Give the vocabulary they were made with, or the corpus and --raw to build them anew.",
        )


def check_documents(shards: Shards, min_length: int, val_ratio: float) -> None:
    """Refuse shards that leave out or hold out other documents than wanted: possible only where the corpus is gone."""
    settings = shards.manifest.settings
    asked = (("min_length", settings.min_length, min_length), ("val_ratio", settings.val_ratio, val_ratio))
    for name, stored, wanted in asked:
        if stored != wanted:
            raise UserError(
                f"{shards.folder} 的分片是用 --{name} {stored} 切的，现在要 {wanted}，而语料不在。请给 --{name} {stored}，或给出语料。",
                f"the shards in {shards.folder} were built with --{name} {stored}, {wanted} is asked for now, and the corpus is not there. Give --{name} {stored}, or the corpus.",
            )
