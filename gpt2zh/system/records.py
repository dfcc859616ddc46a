"""JSON values -> dataclasses, with every field checked.

In: what a JSON file held, and the dataclass that it should be. Out: the dataclass. Keys that it does not name are ignored.
Refuses, with a ValueError that names the place: a missing key, a value of another type, a number that none of ours can be.
"""

import math
from dataclasses import fields, is_dataclass
from typing import TypeVar, cast, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
LARGEST = 2**63  # integers are below; JSON's own have no bound, and what computes with them has


def record(kind: type[Record], value: object) -> Record:
    """`value` as a `kind`, whose fields are int, float, str, bool, dataclasses, list[…] or dict[str, …] of these.

    An integer passes where a float is expected, as JSON does not tell them apart; it is not converted.

    Raises:
        ValueError: a key is missing, a value has another type, an integer more than 64 bits, or a number is NaN.
    """
    return cast(Record, _fit(kind, value, "the value"))


def _fit(kind: object, value: object, place: str) -> object:
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        held = _of_type(dict, value, place)
        types = get_type_hints(kind)
        missing = [field.name for field in fields(kind) if field.name not in held]
        if missing:
            raise ValueError(f"{place} has no {missing[0]}")
        return kind(**{field.name: _fit(types[field.name], held[field.name], field.name) for field in fields(kind)})
    if origin is list:
        return [_fit(arguments[0], item, f"an item of {place}") for item in _of_type(list, value, place)]
    if origin is dict:
        return {key: _fit(arguments[1], item, f"{place}[{key}]") for key, item in _of_type(dict, value, place).items()}
    if kind is float and type(value) is int:
        kind = int
    assert isinstance(kind, type), f"{kind} is not a type that a record may have"
    return _of_type(kind, value, place)


def _of_type(kind: type[Record], value: object, place: str) -> Record:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{place} is not a {kind.__name__}")
    is_nan = isinstance(value, float) and math.isnan(value)
    if is_nan or (isinstance(value, int) and abs(value) >= LARGEST):
        raise ValueError(f"{place} is no number that it can be")
    return value
