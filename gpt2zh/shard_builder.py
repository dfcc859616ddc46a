"""Documents -> token shards.

1 hold out documents  2 cut the rest into `num_pieces` runs of documents, alike in characters  3 ids to disk, file by file
4 the manifest, last and in one rename. A kill at any moment leaves the old manifest and the files it names, whole.

In: documents and a tokenizer. Out: a folder that `shards.open_shards` reads. Refuses: documents that are all too short.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from gpt2zh.errors import UserError
from gpt2zh.files import new_file, write_text
from gpt2zh.shards import HEADER, HEADER_BYTES, MAGIC, ShardSettings, read_manifest

BATCH_CHARACTERS = 1_000_000  # characters tokenised at a time
LARGEST_SINGLE_HOLDOUT = 0.1  # a lone held-out document may take this share of the characters at most


class DocumentEncoder(Protocol):
    """What shards ask of a tokenizer."""

    fingerprint: str
    unknown_id: int

    def __len__(self) -> int: ...

    def encode_documents(self, documents: Sequence[str]) -> list[np.ndarray]: ...


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
    replaced = files_in(folder)
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
    for name in replaced - named:
        with contextlib.suppress(OSError):  # on Windows a reader may still have it open; it does no harm
            (folder / name).unlink()


def files_in(folder: Path) -> set[str]:
    """Names of the shard files that the manifest of `folder` has; none where it has none."""
    try:
        return {entry["file"] for split in ("train", "val") for entry in read_manifest(folder)[split]}
    except UserError:
        return set()


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
    n_tokens = n_unknown = 0
    with new_file(path) as file:
        file.write(bytes(HEADER_BYTES))
        for batch in groups(documents, BATCH_CHARACTERS):
            for ids in tokenizer.encode_documents(batch):
                file.write(ids.astype(dtype).tobytes())
                n_tokens += len(ids)
                n_unknown += int((ids == tokenizer.unknown_id).sum())
            bar.update(sum(len(document.encode()) for document in batch))
        file.seek(0)
        file.write(HEADER.pack(MAGIC, dtype.itemsize, n_tokens))
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
