"""Files -> Tokenizer: vocabulary files, tokenizer.json, sentencepiece's .model, GPT-2's pair of files, a model folder.

In: paths. Out: a `Tokenizer`.
Refuses: files that do not belong together; a folder without a tokenizer;
a vocabulary that is not the model's.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import tokenizers

from gpt2zh.errors import UserError
from gpt2zh.system.files import parse_json, read_json_object, read_text, require_file
from gpt2zh.system.folders import require_model_folder
from tokenizations.character_map import require_sound
from tokenizations.pipelines import build_bytes, build_characters, build_verbatim, build_words, keep_whole
from tokenizations.sentencepiece_model import build_sentencepiece
from tokenizations.tokenizer import TOKENIZER_FILE, Tokenizer
from tokenizations.vocabulary import CONTROL_TOKENS, NEWLINE, SPACE, first_word, read_vocabulary, special_tokens


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer from a file or folder that a user names.

    *.txt         vocabulary, one entry a line (and any other suffix)
    *.json        tokenizer.json, as make_vocab.py --type bpe | unigram writes it
    *.model       sentencepiece
    a folder      with tokenizer.json, or with GPT-2's vocab.json and merges.txt
    """
    if is_text(path):
        return load_vocabulary(path)
    if path.is_dir():
        own = load_model_tokenizer(path)
        return own or load_bytes(path / "vocab.json", path / "merges.txt")
    if path.suffix == ".json":
        return load_tokenizer_json(path)
    require_file(path)
    return Tokenizer(build_sentencepiece(path), path)


def is_text(path: Path) -> bool:
    """Whether a path is that of a vocabulary file, one entry a line."""
    return not path.is_dir() and path.suffix not in (".json", ".model")


def load_vocabulary(path: Path) -> Tokenizer:
    """A tokenizer from a vocabulary file, one entry a line: of words where an entry is a word of Chinese, else of characters."""
    entries = read_vocabulary(path)
    build = build_words if first_word(entries) is not None else build_verbatim if SPACE in entries else build_characters
    pipeline = build(entries)
    keep_whole(pipeline, special_tokens(entries))
    return Tokenizer(pipeline, path)


def load_bytes(encoder_json: Path, vocab_bpe: Path) -> Tokenizer:
    """A tokenizer from GPT-2's encoder.json (token -> id) and vocab.bpe (merges); missing control tokens are appended.

    As in the ancestor, `encoder_json` may be a sentencepiece .model; `vocab_bpe` is not read then.
    """
    if encoder_json.suffix == ".model":
        return load_tokenizer(encoder_json)
    vocabulary = {token: id_ for token, id_ in read_json_object(encoder_json).items() if isinstance(id_, int)}
    rows = [line.split(" ") for line in read_text(vocab_bpe).split("\n") if line and not line.startswith("#version")]
    merges = [(row[0], row[1]) for row in rows if len(row) == 2]
    unknown = next((part for merge in merges for part in (*merge, "".join(merge)) if part not in vocabulary), None)
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise UserError(
            f"{encoder_json} 的编号应是 0 到 {len(vocabulary) - 1}，各出现一次。",
            f"the ids in {encoder_json} must be 0 to {len(vocabulary) - 1}, each once.",
        )
    if not vocabulary or len(merges) != len(rows) or unknown is not None:
        raise UserError(
            f"{encoder_json}（{len(vocabulary)} 个词条）与 {vocab_bpe}（{len(rows)} 条合并）不是一对"
            + (f"：合并里的「{unknown}」不在前者中。" if unknown else "。"),
            f"{encoder_json} ({len(vocabulary)} entries) and {vocab_bpe} ({len(rows)} merges) do not belong together"
            + (f": {unknown!r} of a merge is not in the first." if unknown else "."),
        )
    for token in CONTROL_TOKENS:
        vocabulary.setdefault(token if token != NEWLINE else "Ċ", len(vocabulary))
    return Tokenizer(build_bytes(vocabulary, merges), encoder_json)


def load_model_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer inside a model folder; None where an old folder has none."""
    path = folder / TOKENIZER_FILE
    return load_tokenizer_json(path) if path.exists() else None


def load_tokenizer_json(path: Path) -> Tokenizer:
    """A tokenizer from a tokenizer.json of this toolkit."""
    text = read_text(path)
    try:
        value = parse_json(text, path)
        for data in _character_maps(value):
            require_sound(data)
        _require_unknown(value)
        pipeline = tokenizers.Tokenizer.from_str(text)
    except UserError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path} 不是可用的分词器：{error}。", f"{path} is not a usable tokenizer: {error}.") from None
    return Tokenizer(pipeline, path)


def _require_unknown(value: object) -> None:
    """Raise ValueError where the model's token for what it does not know is not in its vocabulary: the library would fail in the midst of a text."""
    model = value.get("model") if isinstance(value, dict) else None
    if isinstance(model, dict) and isinstance(vocabulary := model.get("vocab"), dict):
        unknown = model.get("unk_token")
        if unknown is not None and unknown not in vocabulary:
            raise ValueError(f"its unknown token {unknown} is not in its vocabulary")


def _character_maps(value: object) -> Iterator[bytes]:
    """The maps of all `Precompiled` normalisers in a tokenizer.json. Raises ValueError for one that is no base64."""
    if isinstance(value, dict):
        if value.get("type") == "Precompiled":
            yield base64.b64decode(value.get("precompiled_charsmap") or "", validate=True)
        value = list(value.values()) if value.get("type") != "BPE" else []
    if isinstance(value, list):
        for part in value:
            if isinstance(part, dict | list):
                yield from _character_maps(part)


def tokenizer_for_model(folder: Path, vocabulary: Path | None) -> Tokenizer:
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
    given = load_tokenizer(vocabulary)
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
        f"{given.source} ({len(given)} entries) is not the vocabulary that {folder} was trained with ({len(own)} entries): they differ from line {differs + 1} on. Give the one it was trained with; with generate.py and evaluate.py just leave --tokenizer_path out.",
    )
