"""JSON entries -> documents: a list, values one after the other, or one a line.

In: the text of a file in chunks. Out: the document of each entry: a string; an object's text under one of TEXT_KEYS, or the key that is
named; the turns of a conversation, a line each (alpaca, ShareGPT, ChatML).
Refuses: entries of another shape, with the place and what is there instead; JSON that is none. In a file of one entry a line a line that
is no JSON costs itself alone.
"""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from gpt2zh.errors import UserError
from gpt2zh.system.files import parse_json
from gpt2zh.text.json_stream import JsonReader
from gpt2zh.text.lines import lines_of

TEXT_KEYS = ("text", "content")
TURNS = ("messages", "conversations", "conversation")  # lists of objects with one of these:
SAID = ("content", "value")
TASK = ("instruction", "input", "output")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
LOOKED_AT = 20  # lines that show whether a file has one entry a line


def without_lone_surrogates(text: str) -> str:
    """A text without lone surrogates (broken \\u escapes): they are not characters, and no tokenizer takes them."""
    try:
        text.encode()  # four times as fast as a search for what almost no text has
    except UnicodeEncodeError:
        return LONE_SURROGATE.sub("", text)
    return text


def lines(chunks: Iterator[str], path: Path, bad_lines: list[int], key: str | None = None) -> Iterator[str]:
    """The documents of a JSONL file, their text under `key` if that is given. `bad_lines` gets the numbers of the lines that are no JSON."""
    first = next(chunks, "")
    whole = itertools.chain([first], chunks)
    if not _has_an_entry_a_line(first):
        yield from values(whole, path, key)
        return
    for number, line in enumerate(lines_of(whole, path), 1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line, path, number)
        except UserError:
            bad_lines.append(number)
            continue
        yield document_of(entry, path, f"第 {number} 行", f"line {number}", key)


def _has_an_entry_a_line(text: str) -> bool:
    """Whether at least half of the first lines are an entry by themselves; the last may be cut."""
    found = [line for line in text.split("\n")[: LOOKED_AT + 1] if line.strip()]
    whole = found[:-1] if len(found) > 1 and not text.endswith("\n") else found
    return 2 * sum(map(_is_entry, whole)) >= len(whole)


def _is_entry(line: str) -> bool:
    try:
        return not isinstance(json.loads(line, strict=False), list)
    except (ValueError, RecursionError):
        return False


def values(chunks: Iterator[str], path: Path, key: str | None = None) -> Iterator[str]:
    """The documents of a JSON file, their text under `key` if that is given."""
    number = 0
    reader = JsonReader(chunks, path)
    for number, entry in enumerate(reader, 1):
        yield document_of(entry, path, f"第 {number} 条", f"entry {number}", key)
    if not number and not reader.saw_text:
        raise UserError(
            f'{path} 是空文件。应是 JSON 列表，如 ["第一章……", "第二章……"]。',
            f'{path} is empty. A JSON list is expected, as in ["chapter one …", "chapter two …"].',
        )


def document_of(entry: object, path: Path | str, place_zh: str, place_en: str, key: str | None = None) -> str:
    """The text of one entry: a string, the first text of an object under one of TEXT_KEYS that is not empty, or a conversation's turns.

    Lone surrogates are left out here, as only an entry's escapes can make them: no decoder does.

    Args:
        key: of the text, where it is another one.
    """
    keys = (key,) if key else TEXT_KEYS
    if isinstance(entry, str):
        return without_lone_surrogates(entry)
    way_out = ("", "")
    if isinstance(entry, dict):
        found = {name: entry[name] for name in keys if name in entry}
        texts = [value for value in found.values() if isinstance(value, str)]
        if text := next((text for text in texts if text.strip()), ""):
            return without_lone_surrogates(text)
        if texts or (found and all(value is None for value in found.values())):  # null: a text that is missing
            return ""
        if not found and not key and (turns := _turns(entry)) is not None:
            return without_lone_surrogates("\n".join(turns))
        if not found:
            way_out = (
                "请用 prepare_data.py --text_key 指明正文的键。",
                " Name the text's key: prepare_data.py --text_key.",
            )
        what = f"object with keys {', '.join(map(str, entry)) or '(none)'}"
        for name, value in found.items():
            what += f"; {name} is {_shown(value)}"
    else:
        what = _shown(entry)
    raise UserError(
        f"{path} {place_zh}应是一个字符串，或带 {' / '.join(keys)} 的对象；实际是 {what}。{way_out[0]}",
        f"{place_en} of {path} must be a string or an object with {' / '.join(keys)}; it is: {what}.{way_out[1]}",
    )


def _turns(entry: dict[str, object]) -> list[str] | None:
    """What was said in a conversation, in its order, without the system's instructions; None where an entry is none."""
    for name in TURNS:
        turns = entry.get(name)
        if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
            said = [
                next((turn[key] for key in SAID if isinstance(turn.get(key), str)), None)
                for turn in turns
                if "system" not in (turn.get("role"), turn.get("from"))
            ]
            return None if None in said else [text for text in said if text]
    task = [entry.get(name) for name in TASK]
    if isinstance(task[0], str) and isinstance(task[2], str):
        return [text for text in task if isinstance(text, str) and text]
    return None


def _shown(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:20]!r}"
