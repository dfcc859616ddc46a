"""A sentencepiece `.model` file -> a pipeline with the same ids. Needs no sentencepiece.

The file is one protocol buffer, ModelProto: 1 pieces (1 text, 2 score, 3 type), 2 trainer (3 model type), 3 normaliser
(2 character map, 3 dummy prefix, 4 extra blanks removed). The names of its control pieces become ours, with their ids: <unk>
[UNK], <pad> [PAD], <s> [MASK] (a document begins), </s> [CLS] (ends); those that it lacks are appended, and the newline,
which sentencepiece would make a blank.

In: a path. Out: a pipeline. Refuses: files that are no such model; model types other than unigram and bpe.
Source: sentencepiece_model.proto of google/sentencepiece.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from gpt2zh.errors import UserError
from tokenizations.pipelines import BYTES, LINE_ENDS, SURFACE
from tokenizations.vocabulary import CONTROL_TOKENS, DOCUMENT_END, DOCUMENT_START, NEWLINE, PAD, UNK

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4  # types of pieces
UNIGRAM, BPE = 1, 2  # types of models
OUR_NAMES = {"<unk>": UNK, "<pad>": PAD, "<s>": DOCUMENT_START, "</s>": DOCUMENT_END}
BLANK = "▁"


def build_sentencepiece(path: Path) -> Tokenizer:
    """The pipeline of a `.model` file.

    Raises:
        UserError: it is no sentencepiece model, or neither unigram nor bpe.
    """
    pieces, kind, charsmap, dummy_prefix, one_blank = _read(path)
    names = [OUR_NAMES.get(name, name) for name, _, _ in pieces]
    surfaces = [SURFACE.get(token, token) for token in CONTROL_TOKENS]
    names += [name for name in surfaces if name not in names]
    scores = [score for _, score, _ in pieces] + [0.0] * (len(names) - len(pieces))
    has_bytes = set(BYTES) <= set(names)
    if kind == UNIGRAM:
        model = models.Unigram(list(zip(names, scores)), unk_id=names.index(UNK), byte_fallback=has_bytes)
    else:
        vocabulary = {name: id_ for id_, name in enumerate(names)}
        merges = _merges(vocabulary, [(name, score) for name, score, type_ in pieces if type_ == NORMAL])
        model = models.BPE(vocabulary, merges, unk_token=UNK, fuse_unk=True, byte_fallback=has_bytes)
    pipeline = Tokenizer(model)
    steps = [LINE_ENDS]
    if charsmap:
        steps.append(normalizers.Precompiled(charsmap))
    if one_blank:
        steps += [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    pipeline.normalizer = normalizers.Sequence(steps)
    # The names of control pieces and bytes, typed in a text, are text: their first character stands alone.
    typed = [name for name, _, type_ in pieces if type_ == CONTROL] + [
        token for token in CONTROL_TOKENS if token in names
    ]
    alone = "|".join([*(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in typed), "<(?=0x[0-9A-F]{2}>)"])
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(BLANK, prepend_scheme="always" if dummy_prefix else "never", split=kind == BPE),
            pre_tokenizers.Split(Regex(alone), "isolated"),
        ]
    )
    pipeline.decoder = decoders.Sequence(
        [
            decoders.Replace(BLANK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=\A|\n) "), "") if dummy_prefix else decoders.Fuse(),
        ]
    )
    whole = [SURFACE[NEWLINE], *(name for name, _, type_ in pieces if type_ == USER_DEFINED)]
    pipeline.add_tokens([AddedToken(name, normalized=False) for name in dict.fromkeys(whole)])
    return pipeline


def _read(path: Path) -> tuple[list[tuple[str, float, int]], int, bytes, bool, bool]:
    """Pieces (text, score, type), model type, character map, dummy prefix, extra blanks removed."""
    pieces, kind, charsmap, dummy_prefix, one_blank = [], UNIGRAM, b"", True, True
    try:
        for number, value in _fields(path.read_bytes()):
            if number == 1:
                piece = dict(_fields(value))
                score = struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0
                pieces.append((piece[1].decode(), score, piece.get(3, NORMAL)))
            elif number == 2:
                kind = dict(_fields(value)).get(3, UNIGRAM)
            elif number == 3:
                fields = dict(_fields(value))
                charsmap, dummy_prefix = fields.get(2, b""), bool(fields.get(3, 1))
                one_blank = bool(fields.get(4, 1))
    except (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError):
        pieces = []
    if not pieces or kind not in (UNIGRAM, BPE):
        raise UserError(
            f"{path} 不是 sentencepiece 的 unigram 或 bpe 模型文件。",
            f"{path} is no sentencepiece model of type unigram or bpe.",
        )
    return pieces, kind, charsmap, dummy_prefix, one_blank


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protocol buffer message: an integer, or the bytes of a string, message or float."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or (varint() if key & 7 == 2 else 0)
        if (not size and key & 7 != 2) or position + size > len(data):
            raise ValueError(f"wire type {key & 7} at byte {position}")
        yield key >> 3, data[position : position + size]
        position += size


def _merges(vocabulary: dict[str, int], pieces: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """Every pair of entries that makes a piece, in the order in which sentencepiece would join them: best score first."""
    merges = []
    for piece, score in pieces:
        pairs = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        known = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += [(score, pair) for pair in sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))]
    return [pair for _, pair in sorted(merges, key=lambda merge: -merge[0])]
