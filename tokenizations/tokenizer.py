"""Text <-> ids, one class for every vocabulary.

    document "第一章\\n风起" -> encode_documents -> [MASK] 第 一 章 [SEP] 风 起 [CLS]
    ids -> decode -> the text, without control tokens and without blanks between Chinese characters

In: a vocabulary file, or a model folder's tokenizer.json. Out: ids; files that stock `AutoTokenizer` loads to the same ids.
Refuses: a word vocabulary read as characters and the reverse; a folder without tokenizer.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers

from gpt2zh.errors import UserError
from gpt2zh.files import parse_json, read_json_object, read_text, require_file, require_model_folder, write_text
from tokenizations.pipelines import SURFACE, build_bytes, build_characters, build_verbatim, build_words
from tokenizations.vocabulary import (
    CONTROL_TOKENS,
    DOCUMENT_END,
    DOCUMENT_START,
    NEWLINE,
    PAD,
    SPACE,
    UNK,
    UNUSED,
    first_word,
    read_vocabulary,
)

TOKENIZER_FILE = "tokenizer.json"
TYPED_CONTROL = re.compile("(" + "|".join(map(re.escape, CONTROL_TOKENS)) + ")")


class Tokenizer:
    """Ids of a text and back. `source` is the path it came from, for messages."""

    def __init__(self, pipeline: tokenizers.Tokenizer, source: Path) -> None:
        self.pipeline = pipeline
        self.source = source
        vocabulary = pipeline.get_vocab()
        self.tokens: list[str] = sorted(vocabulary, key=vocabulary.__getitem__)
        ids = {token: pipeline.token_to_id(token) for token in CONTROL_TOKENS if token != NEWLINE}
        newline = pipeline.encode("\n").ids
        missing = [token for token, id_ in ids.items() if id_ is None] + ([NEWLINE] if len(newline) != 1 else [])
        if missing:
            raise UserError(
                f"{source} 没有控制符 {' '.join(missing)}，不是本工具的分词器。",
                f"{source} lacks the control tokens {' '.join(missing)}: it is not a tokenizer of this toolkit.",
            )
        self.control_ids: dict[str, int] = {**ids, NEWLINE: newline[0]}
        self.unknown_id = self.control_ids[UNK]
        self.pad_id = self.control_ids[PAD]
        self.document_start_id = self.control_ids[DOCUMENT_START]
        self.document_end_id = self.control_ids[DOCUMENT_END]

    def __len__(self) -> int:
        """Number of ids, the vocabulary size of a model."""
        return len(self.tokens)

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

    def encode(self, text: str) -> np.ndarray:
        """Ids of plain text, shape (n,), int64. Control tokens typed in it are text; a newline is [SEP]."""
        return np.array(self.pipeline.encode(text).ids, dtype=np.int64)

    def encode_documents(self, documents: Sequence[str]) -> list[np.ndarray]:
        """[MASK] ids [CLS] of each document, int64, on all cores. Equal to `encode` of each, and faster."""
        # Lines are the unit of work, so that one endless document still fills all cores: the newline is a token of its
        # own and nothing is joined across it; except in byte-level BPE, which has tokens of several newlines.
        joins_lines = isinstance(self.pipeline.model, tokenizers.models.BPE)
        units = [[document] if joins_lines else document.split("\n") for document in documents]
        encoded = iter(
            self.pipeline.encode_batch_fast([unit for group in units for unit in group], add_special_tokens=False)
        )
        newline, start, end = self.control_ids[NEWLINE], self.document_start_id, self.document_end_id
        result = []
        for group in units:
            ids = [start]
            for position in range(len(group)):
                if position:
                    ids.append(newline)
                ids += next(encoded).ids
            result.append(np.array([*ids, end], dtype=np.int64))
        return result

    def encode_prefix(self, prefix: str) -> list[int]:
        """Ids of what a user types before a sample: here [MASK], [CLS], [SEP] are control tokens.

        What no training text has is put right: an empty prefix opens a document, and [CLS] (a document's end) is
        followed by [MASK] (the next one's start).
        """
        start, end = self.document_start_id, self.document_end_id
        ids: list[int] = []
        for part in filter(None, TYPED_CONTROL.split(prefix)):
            if ids and ids[-1] == end and part != DOCUMENT_START:
                ids.append(start)
            ids += [self.control_ids[part]] if part in self.control_ids else self.encode(part).tolist()
        return ids if ids and ids[-1] != end else [*ids, start]

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
        characters = dict.fromkeys(TYPED_CONTROL.sub("", prefix))
        return [character for character in characters if self.unknown_id in self.pipeline.encode(character).ids]

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


def load_tokenizer(path: Path, segment: bool = False) -> Tokenizer:
    """A tokenizer from a vocabulary file.

    Args:
        segment: the file's entries are words, not characters.
    """
    entries = read_vocabulary(path)
    word = first_word(entries)
    if segment and word is None:
        raise UserError(
            f"给了 --segment，但 {path} 的 {len(entries)} 个词条里没有词，只有字。请去掉 --segment，或用 cache/make_vocab.py --type word 造词表。",
            f"--segment is given, but {path} ({len(entries)} entries) has characters and no word. Leave --segment out, or make a vocabulary with cache/make_vocab.py --type word.",
        )
    if word is not None and not segment:
        raise UserError(
            f"{path} 是词级词表（如「{word}」），但没有给 --segment。请加上 --segment。",
            f"{path} is a vocabulary of words ({word!r}, say), but --segment is not given. Add --segment.",
        )
    build = build_words if segment else build_verbatim if SPACE in entries else build_characters
    return Tokenizer(build(entries), path)


def load_bytes(encoder_json: Path, vocab_bpe: Path) -> Tokenizer:
    """A tokenizer from GPT-2's encoder.json (token -> id) and vocab.bpe (merges); missing control tokens are appended."""
    vocabulary = {token: id_ for token, id_ in read_json_object(encoder_json).items() if isinstance(id_, int)}
    rows = [line.split(" ") for line in read_text(vocab_bpe).split("\n") if line and not line.startswith("#version")]
    merges = [(row[0], row[1]) for row in rows if len(row) == 2]
    unknown = next((part for merge in merges for part in (*merge, "".join(merge)) if part not in vocabulary), None)
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise UserError(
            f"{encoder_json} 的编号应是 0 到 {len(vocabulary) - 1}，各出现一次。",
            f"the ids in {encoder_json} must be 0 to {len(vocabulary) - 1}, each of them once.",
        )
    if not vocabulary or len(merges) != len(rows) or unknown is not None:
        raise UserError(
            f"{encoder_json}（{len(vocabulary)} 个词条）与 {vocab_bpe}（{len(rows)} 条合并）不是一对"
            + (f"：合并里的「{unknown}」不在前者中。" if unknown else "。"),
            f"{encoder_json} ({len(vocabulary)} entries) and {vocab_bpe} ({len(rows)} merges) are no pair"
            + (f": {unknown!r} of a merge is not in the first." if unknown else "."),
        )
    for token in CONTROL_TOKENS:
        vocabulary.setdefault(token if token != NEWLINE else "Ċ", len(vocabulary))
    return Tokenizer(build_bytes(vocabulary, merges), encoder_json)


def load_model_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer inside a model folder; None where an old folder has none."""
    path = folder / TOKENIZER_FILE
    if not path.exists():
        return None
    require_file(path)
    text = read_text(path)
    parse_json(text, path)
    try:
        pipeline = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path} 不是可用的分词器：{error}。", f"{path} is no usable tokenizer: {error}.") from None
    return Tokenizer(pipeline, path)


def tokenizer_for_model(folder: Path, vocabulary: Path | None, segment: bool) -> Tokenizer:
    """The tokenizer to use with the model in `folder`: its own, which `vocabulary`, if given, must equal.

    Raises:
        UserError: no model folder, no tokenizer for it, or two that disagree.
    """
    require_model_folder(folder)
    own = load_model_tokenizer(folder)
    if vocabulary is None:
        if own is None:
            raise UserError(
                f"{folder} 里没有分词器（{TOKENIZER_FILE}）。请用 --tokenizer_path 给出训练它的词表。",
                f"{folder} has no tokenizer ({TOKENIZER_FILE}). Give the vocabulary it was trained with: --tokenizer_path.",
            )
        return own
    is_words = own is not None and isinstance(own.pipeline.model, tokenizers.models.Unigram)
    given = load_tokenizer(vocabulary, segment or is_words)
    require_same(own, given, folder)
    return given if own is None else own


def require_same(own: Tokenizer | None, given: Tokenizer, folder: Path) -> None:
    """Refuse a tokenizer that is not the one of the model in `folder`; an old folder without one is not compared."""
    if own is None or own.fingerprint == given.fingerprint:
        return
    pairs = enumerate(zip(own.tokens, given.tokens))
    differs = next((id_ for id_, pair in pairs if pair[0] != pair[1]), min(len(own), len(given)))
    raise UserError(
        f"{given.source}（{len(given)} 个词条）不是训练 {folder} 的词表（{len(own)} 个词条）：从第 {differs + 1} 行起不同。请给训练它的词表；generate.py、evaluate.py 里去掉 --tokenizer_path 就行。",
        f"{given.source} ({len(given)} entries) is not the vocabulary that {folder} was trained with ({len(own)} entries): they differ from line {differs + 1} on. Give the one it was trained with; generate.py and evaluate.py need no --tokenizer_path.",
    )
