"""A sentencepiece `.model` file -> a pipeline with the same ids. Needs no sentencepiece.

The file is one protocol buffer, ModelProto: 1 pieces (1 text, 2 score, 3 type), 2 trainer (3 model type), 3 normaliser
(2 character map, 3 dummy prefix, 4 extra blanks removed). The names of its control pieces become ours, with their ids: <unk>
[UNK], <pad> [PAD], <s> [MASK] (a document begins), </s> [CLS] (ends); those that it lacks are appended, and the newline,
which sentencepiece would make a blank.

In: a path. Out: a pipeline. Refuses: files that are not such a model; model types other than unigram and bpe.
Source: sentencepiece_model.proto of google/sentencepiece.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from gpt2zh.errors import UserError
from tokenizations.character_map import require_sound
from tokenizations.pipelines import BYTES, LINE_ENDS, SURFACE
from tokenizations.vocabulary import CONTROL_TOKENS, DOCUMENT_END, DOCUMENT_START, NEWLINE, PAD, UNK

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4  # types of pieces
UNIGRAM, BPE = 1, 2  # types of models
OUR_NAMES = {"<unk>": UNK, "<pad>": PAD, "<s>": DOCUMENT_START, "</s>": DOCUMENT_END}
BLANK = "▁"
PIECES, TRAINER, NORMALIZER = 1, 2, 3  # fields of ModelProto


class Piece(NamedTuple):
    """An entry of the model: its text, log-probability or rank, and type."""

    text: str
    score: float
    kind: int


@dataclass
class Model:
    """What is read from a file, with sentencepiece's own defaults."""

    pieces: list[Piece] = field(default_factory=list)
    kind: int = UNIGRAM
    character_map: bytes = b""
    dummy_prefix: bool = True  # a blank before each text
    one_blank: bool = True  # of several blanks in a row


def build_sentencepiece(path: Path) -> Tokenizer:
    """The pipeline of a `.model` file.

    Raises:
        UserError: it is not a sentencepiece model, or is neither unigram nor bpe.
    """
    model = read_model(path)
    try:
        pipeline = Tokenizer(_segmentation(model))
    except (
        Exception
    ) as error:  # the library raises bare Exception: of a score that is no number, a piece that is there twice
        raise UserError(
            f"{path} 不是可用的 sentencepiece 模型：{error}。", f"{path} is not a usable sentencepiece model: {error}."
        ) from None
    steps: list[normalizers.Normalizer] = [LINE_ENDS]
    if model.character_map:
        steps.append(normalizers.Precompiled(model.character_map))
    if model.one_blank:
        steps += [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    pipeline.normalizer = normalizers.Sequence(steps)
    # The names of control pieces and bytes, typed in a text, are text: their first character stands alone.
    typed = [piece.text for piece in model.pieces if piece.kind == CONTROL]
    typed += [token for token in CONTROL_TOKENS if token in _names(model)]
    alone = "|".join([*(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in typed), "<(?=0x[0-9A-F]{2}>)"])
    prefix: Literal["always", "never"] = "always" if model.dummy_prefix else "never"
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(BLANK, prepend_scheme=prefix, split=model.kind == BPE),
            pre_tokenizers.Split(Regex(alone), "isolated"),
        ]
    )
    pipeline.decoder = decoders.Sequence(
        [
            decoders.Replace(BLANK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=\A|\n) "), "") if model.dummy_prefix else decoders.Fuse(),
        ]
    )
    whole = [SURFACE[NEWLINE], *(piece.text for piece in model.pieces if piece.kind == USER_DEFINED)]
    pipeline.add_tokens([AddedToken(name, normalized=False) for name in dict.fromkeys(whole)])
    return pipeline


def _names(model: Model) -> list[str]:
    """The tokens of the pipeline by their ids: the pieces, under our names, and the control tokens that they lack."""
    names = [OUR_NAMES.get(piece.text, piece.text) for piece in model.pieces]
    surfaces = [SURFACE.get(token, token) for token in CONTROL_TOKENS]
    return names + [surface for surface in surfaces if surface not in names]


def _segmentation(model: Model) -> models.Model:
    """The part of the pipeline that cuts a text into pieces."""
    names = _names(model)
    has_bytes = set(BYTES) <= set(names)
    if model.kind == UNIGRAM:
        scores = [piece.score for piece in model.pieces] + [0.0] * (len(names) - len(model.pieces))
        return models.Unigram(list(zip(names, scores)), unk_id=names.index(UNK), byte_fallback=has_bytes)
    vocabulary = {name: id_ for id_, name in enumerate(names)}
    merges = _merges(vocabulary, [(piece.text, piece.score) for piece in model.pieces if piece.kind == NORMAL])
    return models.BPE(vocabulary, merges, unk_token=UNK, fuse_unk=True, byte_fallback=has_bytes)


def read_model(path: Path) -> Model:
    """What a `.model` file holds.

    Raises:
        UserError: it is not a sentencepiece model, or is neither unigram nor bpe.
    """
    model = Model()
    try:
        for number, value in _fields(path.read_bytes()):
            if number == PIECES:
                message = dict(_fields(_bytes(value)))
                score = struct.unpack("<f", _bytes(message[2]))[0] if 2 in message else 0.0
                model.pieces.append(Piece(_bytes(message[1]).decode(), score, _integer(message.get(3, NORMAL))))
            elif number == TRAINER:
                model.kind = _integer(dict(_fields(_bytes(value))).get(3, UNIGRAM))
            elif number == NORMALIZER:
                message = dict(_fields(_bytes(value)))
                model.character_map = _bytes(message.get(2, b""))
                model.dummy_prefix = bool(message.get(3, True))
                model.one_blank = bool(message.get(4, True))
        if model.character_map:
            require_sound(model.character_map)
    except (struct.error, IndexError, KeyError, ValueError):
        model.pieces.clear()
    if not model.pieces or model.kind not in (UNIGRAM, BPE):
        raise UserError(
            f"{path} 不是 sentencepiece 的 unigram 或 bpe 模型文件。",
            f"{path} is not a sentencepiece model of type unigram or bpe.",
        )
    return model


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("an integer where bytes are meant")
    return value


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where an integer is expected")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protocol buffer message: an integer, or the bytes of a string, message or float."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        if key & 7 == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if key & 7 == 2:
            size, position = _varint(data, position)
        else:
            size = {1: 8, 5: 4}.get(key & 7, 0)
        if (not size and key & 7 != 2) or position + size > len(data):
            raise ValueError(f"wire type {key & 7} at byte {position}")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """An integer of seven bits a byte, lowest first, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _merges(vocabulary: dict[str, int], pieces: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """Every pair of entries that makes a piece, in the order in which sentencepiece would join them: best score first."""
    merges = []
    for piece, score in pieces:
        pairs = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        known = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += [(score, pair) for pair in sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))]
    return [pair for _, pair in sorted(merges, key=lambda merge: -merge[0])]
