"""GPT2-Chinese's tokenizer as it stands in its checkout, on a stand-in for the base class that transformers no longer has."""

import importlib.util
import json
import re
import sys
import types
from itertools import chain
from pathlib import Path

from tokenizations.tokenizer import Tokenizer


class OldBase:
    """What the ancestor's tokenizer takes from transformers 2.1: its special tokens, and text parted at them."""

    def __init__(self, **tokens: str) -> None:
        self.__dict__.update(tokens)
        self.all_special_tokens = list(tokens.values())
        self.parts = re.compile("(" + "|".join(map(re.escape, self.all_special_tokens)) + ")")

    def tokenize(self, text: str) -> list[str]:
        parts = (part.strip() for part in self.parts.split(text))
        return [token for part in parts if part for token in self._one(part)]

    def _one(self, part: str) -> list[str]:
        return [part] if part in self.all_special_tokens else self._tokenize(part)

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> int | list[int]:
        if isinstance(tokens, str):
            return self._convert_token_to_id(tokens)
        return [self._convert_token_to_id(token) for token in tokens]


def ancestor_tokenizer(checkout: Path, vocabulary: Path) -> OldBase:
    """The BertTokenizer of a checkout of GPT2-Chinese."""
    stand_in = types.ModuleType("transformers.tokenization_utils")
    stand_in.PreTrainedTokenizer = OldBase
    names = ("transformers", "transformers.tokenization_utils")
    hidden = {name: sys.modules.pop(name, None) for name in names}
    sys.modules.update({"transformers": types.ModuleType("transformers"), "transformers.tokenization_utils": stand_in})
    spec = importlib.util.spec_from_file_location("ancestor", checkout / "tokenizations" / "tokenization_bert.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in names:
        del sys.modules[name]
    sys.modules.update({name: module for name, module in hidden.items() if module})
    return module.BertTokenizer(str(vocabulary))


def encode_file(path: Path, folder: Path, tokenizer: OldBase) -> None:
    """train.json -> a text file of ids: [SEP] for a line's end, [MASK] before a document, [CLS] behind it."""
    with path.open(encoding="utf-8") as file:
        documents = [document.replace("\n", " [SEP] ") for document in json.load(file)]
    tokens = [tokenizer.tokenize(document) for document in documents]
    ids: list[int] = []
    for document in tokens:
        ids.append(tokenizer.convert_tokens_to_ids("[MASK]"))
        ids.extend(tokenizer.convert_tokens_to_ids(document))
        ids.append(tokenizer.convert_tokens_to_ids("[CLS]"))
    with (folder / "ancestor.txt").open("w", encoding="utf-8") as file:
        for id_ in ids:
            file.write(f"{id_} ")


def compare_lines(path: Path, tokenizer: Tokenizer, documents: list[str]) -> dict[str, object]:
    """Lines whose ids the ancestor and we agree on, and those of the others that its folded accents do not explain."""
    separator, ends = tokenizer.control_ids["[SEP]"], tokenizer.document_end_id

    def lines_of(ids: list[int]) -> list[list[int]]:
        lines: list[list[int]] = [[]]
        for id_ in ids:
            lines[-1].append(id_)
            if id_ in (separator, ends):
                lines.append([])
        return lines[:-1]

    theirs = lines_of([int(word) for word in path.read_text(encoding="utf-8").split()])
    mine = lines_of(tokenizer.encode_documents(documents).tolist())
    texts = list(chain.from_iterable(document.split("\n") for document in documents))
    if not len(theirs) == len(mine) == len(texts):
        return {"lines": len(texts), "differ": f"{len(theirs)} lines there, {len(mine)} here"}
    differ = [text for text, one, other in zip(texts, mine, theirs) if one != other]
    return {"lines": len(texts), "differ": len(differ), "examples": [text[:60] for text in differ[:5]]}
