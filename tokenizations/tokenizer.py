"""Text <-> ids, one class for every vocabulary.

    document "第一章\\n风起" -> encode_documents -> [MASK] 第 一 章 [SEP] 风 起 [CLS]
    ids -> decode -> the text, without control tokens and without blanks between Chinese characters

In: a pipeline (see `loading` for files). Out: ids; files that stock `AutoTokenizer` loads to the same ids.
Refuses: a pipeline without the control tokens.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import tokenizers
from tokenizers import decoders

from gpt2zh.errors import UserError
from gpt2zh.system.files import write_text
from tokenizations.fast.character_table import CharacterTable
from tokenizations.fast.lattice import Lattice
from tokenizations.pipelines import SURFACE
from tokenizations.vocabulary import CONTROL_TOKENS, DOCUMENT_END, DOCUMENT_START, NEWLINE, PAD, UNK, UNUSED

TOKENIZER_FILE = "tokenizer.json"
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
CONTINUING = re.compile(
    "[\u00a1-\u00ac\u00ae-\u00bf\u0122-\u0143]"
)  # bytes 80 to BF in GPT-2's alphabet: not a character's first
SENTENCE_ENDS, SENTENCE_ENDS_WITHOUT_CHINESE = "。！？!?", ".!?"
CLOSING = "”’」』）)】》〉\"'"
TYPED_CONTROL = re.compile("(" + "|".join(map(re.escape, CONTROL_TOKENS)) + ")")


class TextEncoder(Protocol):
    """Texts -> the ids of all, int32, one text after the other, and the number of ids of each, int64."""

    def encode_texts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]: ...


class LibraryEncoder:
    """The library's own batch encoding, on all cores: what the others must equal."""

    def __init__(self, pipeline: tokenizers.Tokenizer) -> None:
        self.pipeline = pipeline

    @staticmethod
    def can_encode(pipeline: tokenizers.Tokenizer) -> bool:
        return True

    def encode_texts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        encodings = self.pipeline.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return np.concatenate([np.empty(0, np.int32), *ids]), np.array([len(row) for row in ids], dtype=np.int64)


class Tokenizer:
    """Ids of a text and back. `source` is the path it came from, for messages."""

    def __init__(self, pipeline: tokenizers.Tokenizer, source: Path) -> None:
        self.pipeline = pipeline
        self.source = source
        vocabulary = pipeline.get_vocab()
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise UserError(
                f"{source} 的编号应是 0 到 {len(vocabulary) - 1}，各出现一次。",
                f"the ids in {source} must be 0 to {len(vocabulary) - 1}, each once.",
            )
        self.tokens: list[str] = sorted(vocabulary, key=vocabulary.__getitem__)
        newline = pipeline.encode("\n").ids
        ids = {token: vocabulary[token] for token in CONTROL_TOKENS if token != NEWLINE and token in vocabulary}
        ids |= {NEWLINE: newline[0]} if len(newline) == 1 else {}
        missing = [token for token in CONTROL_TOKENS if token not in ids]
        if missing:
            raise UserError(
                f"{source} 没有控制符 {' '.join(missing)}，不是本工具的分词器。",
                f"{source} lacks the control tokens {' '.join(missing)}: it is not a tokenizer of this toolkit.",
            )
        self.control_ids: dict[str, int] = ids
        self.unknown_id = self.control_ids[UNK]
        self.pad_id = self.control_ids[PAD]
        self.document_start_id = self.control_ids[DOCUMENT_START]
        self.document_end_id = self.control_ids[DOCUMENT_END]
        self.newline_id = self.control_ids[NEWLINE]
        added = pipeline.get_added_tokens_decoder()
        self.special_ids: dict[str, int] = {token.content: id_ for id_, token in added.items()}
        longest_first = sorted(self.special_ids, key=len, reverse=True)  # as the library finds them
        self.special_pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._known: dict[str, bool] = {}

    def __len__(self) -> int:
        """Number of ids, the vocabulary size of a model."""
        return len(self.tokens)

    def __reduce__(self) -> tuple[type, tuple[tokenizers.Tokenizer, Path]]:
        return Tokenizer, (self.pipeline, self.source)  # what workers are sent; they learn their tables themselves

    @cached_property
    def encoder(self) -> TextEncoder:
        """The fastest encoder that gives the pipeline's ids."""
        return next(fast for fast in (CharacterTable, Lattice, LibraryEncoder) if fast.can_encode(self.pipeline))(
            self.pipeline
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of tokenizer.json's text, rules and tokens and merges: equal fingerprints give equal ids."""
        return hashlib.sha256(self.pipeline.to_str().encode()).hexdigest()

    @cached_property
    def never_sampled(self) -> list[int]:
        """Ids that no generated text may hold: [PAD], [UNK], [MASK] and free slots."""
        return [
            id_
            for id_, token in enumerate(self.tokens)
            if token in (PAD, UNK, DOCUMENT_START) or UNUSED.fullmatch(token)
        ]

    @cached_property
    def surfaces(self) -> list[str]:
        """What each id reads as when it stands alone."""
        return self.pipeline.decode_batch([[id_] for id_ in range(len(self))], skip_special_tokens=False)

    @cached_property
    def characters_of_ids(self) -> np.ndarray:
        """Characters of a text for which each id stands, (V,), int64: of a text as it is read, without what is dropped from it.

        A byte counts where it begins a character. [UNK] is one, whatever it stands for; of the control tokens only the newline is.
        """
        counts = np.array([len(surface) for surface in self.surfaces], dtype=np.int64)
        for id_, token in enumerate(self.tokens):
            if isinstance(self.pipeline.decoder, decoders.ByteLevel) and token not in self.special_ids:
                counts[id_] = len(CONTINUING.sub("", token))
            elif BYTE.fullmatch(token):
                counts[id_] = not 0x80 <= int(token[3:5], 16) < 0xC0
        counts[[id_ for token, id_ in self.control_ids.items() if token != NEWLINE]] = 0
        counts[self.unknown_id] = 1
        return counts

    @cached_property
    def punctuation_ids(self) -> list[int]:
        """Ids without a letter, a Chinese character or a digit: punctuation, blanks, the newline."""
        return [
            id_
            for id_, surface in enumerate(self.surfaces)
            if "\ufffd" not in surface and not any(map(str.isalnum, surface))
        ]

    @cached_property
    def sentence_end_ids(self) -> list[int]:
        """Ids with which a sentence ends: 。！？, and a full stop where the vocabulary is not Chinese."""
        ends = SENTENCE_ENDS if self.knows("。") else SENTENCE_ENDS_WITHOUT_CHINESE
        return [
            id_
            for id_, surface in enumerate(self.surfaces)
            if (marks := surface.strip().rstrip(CLOSING)) and marks[-1] in ends
        ]

    @cached_property
    def closing_ids(self) -> list[int]:
        """Ids that only close quotes or brackets."""
        return [
            id_ for id_, surface in enumerate(self.surfaces) if surface.strip() and not surface.strip().strip(CLOSING)
        ]

    def encode(self, text: str) -> np.ndarray:
        """Ids of plain text, shape (n,), int64. Control tokens typed in it are text; a newline is [SEP]."""
        return np.array(self.pipeline.encode(text).ids, dtype=np.int64)

    def encode_documents(self, documents: Sequence[str]) -> np.ndarray:
        """[MASK] ids [CLS] of each document, one after the other, int32. Equal to `encode` of each, and faster."""
        texts, opening, closes = self._segments(documents)
        ids, lengths = self.encoder.encode_texts(texts)
        sizes = lengths + 1 + closes
        starts = np.cumsum(sizes) - sizes
        framed = np.empty(sizes.sum(), dtype=np.int32)
        is_text = np.ones(len(framed), dtype=bool)
        ends = (starts + 1 + lengths)[closes]
        framed[starts], framed[ends] = opening, self.document_end_id
        is_text[starts] = is_text[ends] = False
        framed[is_text] = ids
        return framed

    def _segments(self, documents: Sequence[str]) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
        """Texts between special tokens, the id before each of them, and whether a document ends behind it."""
        if not self.special_ids:
            return documents, np.full(len(documents), self.document_start_id), np.ones(len(documents), dtype=bool)
        texts, opening, closes = [], [], []
        for document in documents:
            parts = self.special_pattern.split(document)
            texts += parts[::2]
            opening += [self.document_start_id, *(self.special_ids[token] for token in parts[1::2])]
            closes += [*[False] * (len(parts) // 2), True]
        return texts, np.array(opening), np.array(closes, dtype=bool)

    def knows(self, character: str) -> bool:
        """Whether the vocabulary has the character itself: neither [UNK] nor single bytes stand for it."""
        if character not in self._known:
            ids = self.pipeline.encode(character, add_special_tokens=False).ids
            self._known[character] = not any(id_ == self.unknown_id or BYTE.fullmatch(self.tokens[id_]) for id_ in ids)
        return self._known[character]

    def missing_characters(self, texts: Sequence[str]) -> Counter[str]:
        """How often each character that the vocabulary does not know stands in `texts`."""
        counts = np.bincount(np.frombuffer("".join(texts).encode("utf-32-le"), dtype="<u4"))
        present = ((chr(code), int(counts[code])) for code in np.flatnonzero(counts).tolist())
        return Counter({character: count for character, count in present if not self.knows(character)})

    def encode_prefix(self, prefix: str, raw: bool = False) -> list[int]:
        """Ids of what a user types before a sample: here [MASK], [CLS], [SEP] are control tokens.

        What no training text has is put right, unless `raw`: an empty prefix opens a document, and [CLS] (a document's
        end) is followed by [MASK] (the next one's start).
        """
        start, end = self.document_start_id, self.document_end_id
        ids: list[int] = []
        for part in filter(None, TYPED_CONTROL.split(prefix)):
            if not raw and ids and ids[-1] == end and part != DOCUMENT_START:
                ids.append(start)
            ids += [self.control_ids[part]] if part in self.control_ids else self.encode(part).tolist()
        return ids if ids and (raw or ids[-1] != end) else [*ids, start]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`: documents parted by a blank line, control tokens left out."""
        documents: list[list[int]] = [[]]
        silent = {self.pad_id, self.document_start_id}
        for id_ in ids:
            if id_ == self.document_end_id:
                documents.append([])
            elif id_ not in silent:
                documents[-1].append(id_)
        return "\n\n".join(self.pipeline.decode(document, skip_special_tokens=False) for document in documents).strip()

    def show(self, ids: Sequence[int]) -> str:
        """`ids` as entries of the vocabulary file, control tokens included: what a prefix really became."""
        names = {surface: entry for entry, surface in SURFACE.items()}
        return "".join(names.get(self.tokens[id_], self.tokens[id_]) for id_ in ids)

    def decode_after(self, prefix: str, prefix_ids: Sequence[int], ids: Sequence[int]) -> str:
        """Text of a sample: the prefix as it was typed, then what `ids` add to it."""
        typed = TYPED_CONTROL.sub(lambda match: "\n" if match[0] == NEWLINE else "", prefix).strip()
        read, whole = self.decode(prefix_ids), self.decode([*prefix_ids, *ids])
        return (typed + (whole[len(read) :] if whole.startswith(read) else self.decode(ids))).strip()

    def unknown_in_prefix(self, prefix: str) -> list[str]:
        """Distinct characters of a prefix that only [UNK] stands for, in order of appearance."""
        text = TYPED_CONTROL.sub("", prefix)
        if self.special_ids:
            text = self.special_pattern.sub("", text)
        return [
            character for character in dict.fromkeys(text) if self.unknown_id in self.pipeline.encode(character).ids
        ]

    def save(self, folder: Path, n_ctx: int) -> None:
        """Write tokenizer.json and tokenizer_config.json, from which `AutoTokenizer` gives training's ids."""
        write_text(folder / TOKENIZER_FILE, self.pipeline.to_str())
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": n_ctx,
            "bos_token": DOCUMENT_START,
            "eos_token": DOCUMENT_END,
            "pad_token": PAD,
            "unk_token": UNK,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,  # [CLS] typed in a text is text, as in training
        }
        write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")
