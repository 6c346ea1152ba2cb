"""Values between Python, JSON and DynamoDB's typed form, without losing a digit."""

import base64
import json
import math
import re
from collections.abc import Mapping, Set
from datetime import date
from datetime import time as datetime_time
from decimal import Decimal
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

Wire = dict[str, Any]

#: DynamoDB keeps this many significant digits. Source: AWS, "Supported data types", Number.
MAX_DIGITS = 38
_ABOVE_INTEGERS = 10**MAX_DIGITS
# As tuples, the commonest first: these are asked of each value of every message.
_NUMBERS, _MAPS = (int, float, Decimal), (dict, Mapping)
_MAX_EXPONENT, _MIN_EXPONENT = 125, -130
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_INTEGER = re.compile(r"-?\d{1,38}")


class UnstorableValue(ValueError):
    """A value has no form in DynamoDB: NaN, infinity, too many digits, or an unknown type.

    Attributes:
        reason: what is wrong with it.
        where: the names and positions that lead to it in its item, joined by dots.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        """Say what is wrong, and where if that is known."""
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason, self.where = reason, where


def to_wire(value: Any) -> Wire:
    """Give a Python value in DynamoDB's typed form.

    Raises:
        UnstorableValue: NaN, infinity, a number of more than 38 digits, a mapping key that is
            no string, an empty set, or a type DynamoDB does not have.
    """
    if isinstance(value, str):
        return {"S": value}
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, _NUMBERS):
        return {"N": number_text(value)}
    if isinstance(value, _MAPS):
        return {"M": {_name(name): to_wire(part) for name, part in value.items()}}
    if isinstance(value, list | tuple):
        return {"L": [to_wire(part) for part in value]}
    if isinstance(value, bytes | bytearray):
        return {"B": bytes(value)}
    if isinstance(value, Set):
        return _set_to_wire(value)
    raise _untyped(value)


def item_to_wire(item: Mapping[str, Any]) -> dict[str, Wire]:
    """Give an item's attributes in DynamoDB's typed form.

    Raises:
        UnstorableValue: a value has none; its `where` leads to it.
    """
    try:
        return {_name(name): to_wire(value) for name, value in item.items()}
    except UnstorableValue as error:
        # Looked for only now, so that what can be stored pays nothing for it.
        raise UnstorableValue(error.reason, ".".join(_way_to_unstorable(item))) from None


def number_text(value: int | float | Decimal) -> str:
    """Write a number as DynamoDB takes it; a float by its shortest exact representation."""
    if isinstance(value, int) and -_ABOVE_INTEGERS < value < _ABOVE_INTEGERS:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UnstorableValue(f"{value} is not a number DynamoDB can hold; leave it out instead")
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        raise UnstorableValue(f"{value} is not a number DynamoDB can hold; leave it out instead")
    # Zeros at either end are not significant: DynamoDB keeps 1E+100.
    if len("".join(map(str, exact.as_tuple().digits)).strip("0")) > MAX_DIGITS:
        raise UnstorableValue(f"{value} has more than {MAX_DIGITS} significant digits; round it")
    if exact and not _MIN_EXPONENT <= exact.adjusted() <= _MAX_EXPONENT:
        within = f"1e{_MIN_EXPONENT} to 1e{_MAX_EXPONENT}"
        raise UnstorableValue(f"{value} is outside {within}; give one within, or leave it out")
    return str(value) if isinstance(value, int) else str(exact)


def from_wire(value: Wire) -> Any:
    """Give a typed value as Python: integers as int, other numbers as Decimal, binary as bytes."""
    ((kind, content),) = value.items()
    if kind == "S" or kind == "BOOL":
        return content
    if kind == "N":
        return int(content) if _INTEGER.fullmatch(content) else Decimal(content)
    if kind == "M":
        return {name: from_wire(part) for name, part in content.items()}
    if kind == "L":
        return [from_wire(part) for part in content]
    if kind == "NULL":
        return None
    if kind == "B":
        return binary(content)
    if kind == "SS":
        return set(content)
    if kind == "NS":
        return {from_wire({"N": part}) for part in content}
    if kind == "BS":
        return {binary(part) for part in content}
    raise UnstorableValue(f"unknown attribute type {kind!r}")


def item_from_wire(item: Mapping[str, Wire]) -> dict[str, Any]:
    """Give a typed item as plain Python attributes."""
    return {name: from_wire(value) for name, value in item.items()}


def binary(content: bytes | str) -> bytes:
    """Give binary as bytes; a Lambda event and our own messages carry it as base64 text."""
    return base64.b64decode(content) if isinstance(content, str) else bytes(content)


def plain_json(value: Any) -> str:
    """Write Python values as ASCII JSON: all digits kept, binary as base64, sets sorted."""
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else ("true" if value else "false")
    if isinstance(value, _NUMBERS):
        text = number_text(value)
        if type(value) is int or _JSON_NUMBER.fullmatch(text):
            return text
        return str(Decimal(text))
    if isinstance(value, _MAPS):
        pairs = [
            f"{quoted(name)}:{quoted(part) if isinstance(part, str) else plain_json(part)}"
            for name, part in value.items()
        ]
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, bytes | bytearray):
        return quoted(base64.b64encode(value).decode())
    parts = sorted(value, key=str) if isinstance(value, Set) else value
    return "[" + ",".join([plain_json(part) for part in parts]) + "]"


def parse_json(text: str | bytes) -> Any:
    """Read JSON, keeping fractions as Decimal so that no digit is lost."""
    return json.loads(text, parse_float=Decimal)


def canonical_json(item: Mapping[str, Any]) -> str:
    """Write plain attributes as JSON that depends on what they say alone.

    The order of names, the way a number is written and the order of a set do not matter.
    """
    return json.dumps(item, sort_keys=True, separators=(",", ":"), default=_canonical)


def wire_depth(value: Wire) -> int:
    """Count how deeply maps and lists nest in a typed value; a scalar has depth 0."""
    deepest, todo = 0, [(value, 0)]
    while todo:
        part, depth = todo.pop()
        deepest = max(deepest, depth)
        if "M" in part:
            todo.extend((inner, depth + 1) for inner in part["M"].values())
        elif "L" in part:
            todo.extend((inner, depth + 1) for inner in part["L"])
    return deepest


def wire_size(item: Mapping[str, Wire]) -> int:
    """Estimate an item's size in bytes as DynamoDB counts it.

    Source: AWS, "DynamoDB item sizes and formats"; numbers are counted one byte too many at most.
    """
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Wire) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return len(content) // 2 + 2
    if kind == "B":
        return len(binary(content))
    if kind == "M":
        # Three bytes for the map, and one for each pair.
        return 3 + len(content) + wire_size(content)
    if kind == "L":
        return 3 + len(content) + sum(_value_size(part) for part in content)
    if kind in ("SS", "NS", "BS"):
        return sum(_value_size({kind[0]: part}) for part in content)
    return 1


def _way_to_unstorable(value: Any) -> list[str]:
    """Give the names and positions that lead to the first value without a typed form."""
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    else:
        return []
    for name, part in parts:
        try:
            to_wire(part)
        except UnstorableValue:
            return [str(name), *_way_to_unstorable(part)]
    return []  # it is a name that cannot be stored, not a value


def _untyped(value: object) -> UnstorableValue:
    text = f"DynamoDB has no type for {type(value).__name__}: {value!r:.80}"
    if isinstance(value, date | datetime_time):
        text += "; write epoch seconds, or a text such as 2025-10-18T14:30:00Z"
    return UnstorableValue(text)


def _canonical(value: object) -> Any:
    # A number, binary or a set is marked as what it is, for a text may say the same.
    if isinstance(value, Decimal):
        is_whole = value == value.to_integral_value()
        return int(value) if is_whole else {"N": f"{value.normalize()}"}
    if isinstance(value, bytes):
        return {"B": base64.b64encode(value).decode()}
    if isinstance(value, Set):
        return {"set": sorted(value)}
    raise _untyped(value)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise UnstorableValue(f"attribute names are strings, not {name!r:.80}")
    return name


def _set_to_wire(value: Set[Any]) -> Wire:
    if not value:
        raise UnstorableValue("DynamoDB has no empty set; leave the attribute out")
    if all(isinstance(part, str) for part in value):
        # Sorted, so that one set is always written alike.
        return {"SS": sorted(value)}
    if all(isinstance(part, bytes) for part in value):
        return {"BS": sorted(value)}
    if all(
        isinstance(part, int | float | Decimal) and not isinstance(part, bool) for part in value
    ):
        return {"NS": [number_text(part) for part in sorted(value)]}
    raise UnstorableValue("a set holds strings, numbers or binary, all of one kind")
