"""Harm for files and values, drawn from a seeded generator.

In: bytes, or a value of JSON. Out: the same with a few faults, of the kinds that disks, editors, other programs and jokers make.
"""

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

# What stands where something else is expected.
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 10**9, 10**400, 0.5, -0.0, 1e300, float("nan"), float("inf"), "", " ", "\n", "0", "nan", "文字",
    "\x1b[31m", "\u202e", "\x00", "../../x", "/dev/full", "/dev/zero", "evil/kernel", "a" * 5000, [], {}, [None], [[]], {"": None}, ["a", 1],
    {"a": {"b": {"c": [1]}}}, "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
]  # fmt: skip
PIECES = [
    b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n\n\n", b"\x1b[2J", b"\xe2\x80\xae", b"\xed\xa0\xbd", b"\xc0\x80", b"\xb5\xda",
    b"<!--", b"<script", b"]]>", b"&#1114112;", b"&#x110000;", b"{", b"}", b"[", b'"', b"\\", b"\\u", b"\\ud83d", b"1e999", b"NaN", b"-", b",", b"\t", b" " * 300,
    "第一章\n".encode(), "　".encode() * 100, "番外".encode() + b" " * 500, b"[SEP]", b"[MASK]", b"%PDF", b"PK\x03\x04", b"\x1f\x8b", b"a" * 3000,
]  # fmt: skip


def harmed_bytes(chance: Random, data: bytes) -> bytes:
    """`data` after one to four faults."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(BYTE_HARMS)(chance, data)
    return data


def _cut(chance: Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _flip(chance: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 8, 64)) if data else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _lose(chance: Random, data: bytes) -> bytes:
    start = chance.randrange(len(data) + 1)
    return data[:start] + data[start + chance.choice((1, 2, 3, 100, 4096)) :]


def _repeat(chance: Random, data: bytes) -> bytes:
    start = chance.randrange(len(data) + 1)
    piece = data[start : start + chance.choice((1, 10, 100))]
    return data[:start] + piece * chance.choice((2, 20, 200)) + data[start:]


def _insert(chance: Random, data: bytes) -> bytes:
    start = chance.randrange(len(data) + 1)
    return data[:start] + chance.choice(PIECES) * chance.choice((1, 1, 3, 50)) + data[start:]


def _swap(chance: Random, data: bytes) -> bytes:
    one, two = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[two:] + data[one:two] + data[:one]


def _recode(chance: Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    half = chance.randrange(len(text) + 1)
    codec = chance.choice(("gb18030", "big5hkscs", "utf-16-le", "utf-16", "cp932", "latin-1"))
    return text[:half].encode("utf-8") + text[half:].encode(codec, "replace")


def _empty(chance: Random, data: bytes) -> bytes:
    return chance.choice((b"", b"\n", b"null", b"{}", b"[]", b"0", b'""'))


BYTE_HARMS: list[Callable[[Random, bytes], bytes]] = [
    _cut,
    _flip,
    _flip,
    _lose,
    _repeat,
    _insert,
    _insert,
    _swap,
    _recode,
    _empty,
]


def harmed_json(chance: Random, data: bytes) -> bytes:
    """The bytes of a JSON document after one to three faults in its values; after one in its bytes where it is none."""
    try:
        value = json.loads(data)
    except ValueError:
        return harmed_bytes(chance, data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        value = _harm_a_node(chance, value)
    return json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, 1))).encode(
        "utf-8", "replace"
    )


def _harm_a_node(chance: Random, value: Any) -> Any:
    """Go down to some value and change it, leave it out, or put something beside it."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        near = (
            [value * 7, -value, value + 1, value / 3] if isinstance(value, int | float) and abs(value) < 1e6 else VALUES
        )
        return copy.deepcopy(chance.choice(near if chance.random() < 0.4 else VALUES))
    key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    do = chance.random()
    if do < 0.12:
        del value[key]
    elif do < 0.2 and isinstance(value, list):
        value.insert(key, copy.deepcopy(chance.choice([value[key], *VALUES])))
    elif do < 0.2:
        value[
            chance.choice(
                [
                    "",
                    "\x1b[31m",
                    "auto_map",
                    "attn_implementation",
                    "quantization_config",
                    "output_attentions",
                    key + "_",
                ]
            )
        ] = copy.deepcopy(chance.choice(VALUES))
    else:
        value[key] = _harm_a_node(chance, value[key])
    return value
