"""Documents -> memory-mapped token shards, and back as one long stream.

    data/tokenized/manifest.json                     what the shards are: settings, counts, file names
    data/tokenized/tokenized_train_0.1a2b3c4d.bin    1,024-byte header, then ids, uint16 (uint32 above 65,536 entries)
    data/tokenized/tokenized_val.1a2b3c4d.bin        documents held out for validation

1 hold out documents  2 cut the rest into `num_pieces` runs of documents, alike in characters  3 ids to disk, file by file
4 the manifest, last and in one rename. A kill at any moment leaves the old manifest and the files it names, whole.
The files are storage only: readers see one stream, [MASK] document [CLS] [MASK] document [CLS] …

In: documents and a tokenizer. Out: `TokenStream`s. Refuses: shards of another vocabulary, damaged or missing files.
"""

import hashlib
import json
import os
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from gpt2zh.errors import UserError, bilingual
from gpt2zh.files import read_json_object, write_text

MAGIC = b"GPT2ZH\0\1"
HEADER_BYTES = 1024
HEADER = struct.Struct("<8sQQ")  # magic, bytes of an id, number of ids
BATCH_CHARACTERS = 1_000_000  # characters tokenised at a time
LARGEST_SINGLE_HOLDOUT = 0.1  # a lone held-out document may take this share of the characters at most


class DocumentEncoder(Protocol):
    """What shards ask of a tokenizer."""

    fingerprint: str
    unknown_id: int

    def __len__(self) -> int: ...

    def encode_documents(self, documents: Sequence[str]) -> list[np.ndarray]: ...


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


class TokenStream:
    """The ids of several shard files as one sequence. A slice is read from the memory maps, wherever it lies."""

    def __init__(self, pieces: Sequence[np.ndarray]) -> None:
        self.pieces = [piece for piece in pieces if len(piece)]
        self.ends = list(accumulate(map(len, self.pieces)))

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
        return out


@dataclass(frozen=True)
class Shards:
    """Opened shards. `manifest` holds the settings and the counts that were printed when they were built."""

    folder: Path
    manifest: dict[str, object]
    train: TokenStream
    val: TokenStream


def hold_out(documents: Sequence[str], val_ratio: float) -> list[bool]:
    """Which documents validate: whole ones, chosen by the hash of their text, up to `val_ratio` of all characters.

    The choice does not depend on the documents' order, and adding one moves few others. Where every document is longer
    than that share, the shortest is held out, unless it has more than a tenth of the characters: then none is.
    """
    total = sum(map(len, documents))
    budget = val_ratio * total
    chosen = [False] * len(documents)
    by_hash = sorted(
        range(len(documents)), key=lambda index: hashlib.blake2b(documents[index].encode(), digest_size=16).digest()
    )
    for index in by_hash:
        if len(documents[index]) <= budget:
            chosen[index] = True
            budget -= len(documents[index])
    if val_ratio > 0 and not any(chosen) and len(documents) > 1:
        shortest = min(by_hash, key=lambda index: len(documents[index]))
        chosen[shortest] = len(documents[shortest]) <= LARGEST_SINGLE_HOLDOUT * total
    return chosen


def build_shards(folder: Path, documents: Sequence[str], tokenizer: DocumentEncoder, settings: ShardSettings) -> None:
    """Tokenise `documents` into `folder`.

    Raises:
        UserError: no document is left after `min_length`.
    """
    kept = [document for document in documents if len(document) >= settings.min_length]
    if not kept:
        longest = max(map(len, documents))
        raise UserError(
            f"{len(documents)} 篇文章全部短于 --min_length {settings.min_length} 字（最长的 {longest} 字），没有可训练的文字。请减小 --min_length，例如 1。",
            f"all {len(documents)} documents are shorter than --min_length {settings.min_length} characters (the longest has {longest}): nothing to train on. Lower --min_length, to 1 for instance.",
        )
    validates = hold_out(kept, settings.val_ratio)
    train = [document for document, held in zip(kept, validates) if not held]
    val = [document for document, held in zip(kept, validates) if held]
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[dict[str, object]]] = {"train": [], "val": []}
    with tqdm(
        total=sum(len(document.encode()) for document in kept),
        desc="tokenize",
        unit="B",
        unit_scale=True,
        mininterval=0.5,
    ) as bar:
        for split, name, part in [
            ("val", "tokenized_val", val),
            *(("train", f"tokenized_train_{i}", p) for i, p in enumerate(cut(train, settings.num_pieces))),
        ]:
            path = folder / f"{name}.{settings.key}.bin"
            n_tokens, n_unknown = write_shard(path, part, tokenizer, settings.vocab_size, bar)
            files[split].append({"file": path.name, "tokens": n_tokens, "unknown": n_unknown})
    manifest = {
        "settings": asdict(settings),
        "documents": {
            "read": len(documents),
            "too_short": len(documents) - len(kept),
            "train": len(train),
            "val": len(val),
        },
        "characters": {
            "train": sum(map(len, train)),
            "val": sum(map(len, val)),
            "too_short": sum(map(len, documents)) - sum(map(len, kept)),
        },
        **files,
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    named = {str(entry["file"]) for split in files.values() for entry in split}
    for old in folder.glob("tokenized_*.bin*"):
        if old.name not in named:
            old.unlink()


def cut(documents: Sequence[str], num_pieces: int) -> Iterator[Sequence[str]]:
    """`num_pieces` runs of whole documents with about equally many characters; some are empty if documents are few."""
    ends = np.cumsum([len(document) for document in documents])
    borders = [
        0,
        *np.searchsorted(ends, ends[-1] * np.arange(1, num_pieces) / num_pieces, side="right").tolist(),
        len(documents),
    ]
    for first, last in pairwise(borders):
        yield documents[first:last]


def write_shard(
    path: Path, documents: Sequence[str], tokenizer: DocumentEncoder, vocab_size: int, bar: tqdm
) -> tuple[int, int]:
    """Write one shard beside its name and rename it. Returns its number of ids and of [UNK] among them."""
    dtype = np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    n_tokens = n_unknown = 0
    try:
        with beside.open("wb") as file:
            file.write(bytes(HEADER_BYTES))
            for batch in groups(documents, BATCH_CHARACTERS):
                for ids in tokenizer.encode_documents(batch):
                    file.write(ids.astype(dtype).tobytes())
                    n_tokens += len(ids)
                    n_unknown += int((ids == tokenizer.unknown_id).sum())
                bar.update(sum(len(document.encode()) for document in batch))
            file.seek(0)
            file.write(HEADER.pack(MAGIC, dtype.itemsize, n_tokens))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return n_tokens, n_unknown


def groups(texts: Iterable[str], characters: int) -> Iterator[list[str]]:
    """`texts` in order, in groups of at least `characters` characters each but the last."""
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= characters:
            yield group
            group, size = [], 0
    if group:
        yield group


def open_shards(folder: Path) -> Shards:
    """Map every file that the manifest names.

    Raises:
        UserError: no manifest, or a file that is missing, cut short or not a shard.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise UserError(
            f"{folder} 里没有分片（缺 manifest.json）。请加 --raw，并用 --raw_data_path 给出语料。",
            f"no shards in {folder} (manifest.json is missing). Add --raw, and the corpus with --raw_data_path.",
        )
    manifest = read_json_object(path)
    try:
        files = {
            split: [(folder / Path(entry["file"]).name, entry["tokens"]) for entry in manifest[split]]
            for split in ("train", "val")
        }
    except (KeyError, TypeError):
        raise UserError(
            f"{path} 不是本工具写的清单。请加 --raw 重做分片。",
            f"{path} is no manifest of this toolkit. Add --raw to build the shards anew.",
        ) from None
    return Shards(
        folder, manifest, *(TokenStream([map_shard(*entry) for entry in files[split]]) for split in ("train", "val"))
    )


def map_shard(path: Path, n_tokens: int) -> np.ndarray:
    """Memory-map one shard after checking its header and size against the manifest."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            magic, itemsize, stored = HEADER.unpack(file.read(HEADER.size))
        whole = (
            magic == MAGIC and itemsize in (2, 4) and stored == n_tokens and size == HEADER_BYTES + itemsize * n_tokens
        )
    except (OSError, struct.error):
        whole, size = False, -1
    if not whole:
        raise UserError(
            f"分片 {path} 缺失或损坏（应有 {n_tokens} 个词元，文件 {size} 字节）。请加 --raw 重做。",
            f"the shard {path} is missing or damaged ({n_tokens} tokens expected, the file has {size} bytes). Add --raw to build it anew.",
        )
    dtype = f"<u{itemsize}"
    return np.memmap(path, dtype=dtype, mode="r", offset=HEADER_BYTES) if n_tokens else np.empty(0, dtype)


def differences(folder: Path, settings: ShardSettings) -> list[str]:
    """What the shards in `folder` were built with and what is wanted now, one line each."""
    path = folder / "manifest.json"
    old = read_json_object(path).get("settings") if path.exists() else None
    if not isinstance(old, dict):
        return [bilingual("没有分片", "no shards")]
    return [
        bilingual(f"{name}：分片 {old.get(name)}，现在 {value}", f"{name}: shards {old.get(name)}, now {value}")
        for name, value in asdict(settings).items()
        if old.get(name) != value
    ]


def check_tokenizer(shards: Shards, fingerprint: str, vocabulary: Path) -> None:
    """Refuse shards whose ids another vocabulary gave."""
    stored = shards.manifest["settings"]["tokenizer"]
    if stored != fingerprint:
        raise UserError(
            f"{shards.folder} 的分片不是用 {vocabulary} 切的：分片的词表指纹 {stored[:12]}，这份词表 {fingerprint[:12]}。请换回原来的词表，或给出语料并加 --raw 重做分片。",
            f"the shards in {shards.folder} were not made with {vocabulary}: their vocabulary's fingerprint is {stored[:12]}, this one's {fingerprint[:12]}. Give the vocabulary they were made with, or the corpus and --raw to build them anew.",
        )


def check_documents(shards: Shards, min_length: int, val_ratio: float) -> None:
    """Refuse shards that leave out or hold out other documents than wanted: possible only where the corpus is gone."""
    for name, wanted in (("min_length", min_length), ("val_ratio", val_ratio)):
        stored = shards.manifest["settings"][name]
        if stored != wanted:
            raise UserError(
                f"{shards.folder} 的分片是用 --{name} {stored} 切的，现在要 {wanted}，而语料不在。请给 --{name} {stored}，或给出语料。",
                f"the shards in {shards.folder} were built with --{name} {stored}, now {wanted} is wanted, and the corpus is not there. Give --{name} {stored}, or the corpus.",
            )
