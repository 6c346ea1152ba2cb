"""How DAX writes items: typed values, keys as bytes, and lists of attribute names by number.

A value of an item is in the form of DynamoDB's API, such as `{"S": "x"}`, on this side.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from threading import Lock
from typing import Any, NamedTuple

from sharpwave.infra.local.dax.cbor import Malformed, Reader, Tag, encode

Value = dict[str, Any]
Item = dict[str, Value]
#: The names of a path's attributes, and the indexes into its lists.
Path = tuple[str | int, ...]

_SETS = {"SS": 3321, "NS": 3322, "BS": 3323}
_SET_TYPES = {tag: kind for kind, tag in _SETS.items()}
#: In a lexical decimal: what a digit of base 1000 is counted from, and how one that is small fits.
_DIGITS_FROM, _MIRROR = 12, 999 + 12
_MOST_DIGITS = 38
_SMALL_EXPONENTS = range(-0x3E, 0x3E)


class KeyPart(NamedTuple):
    """An attribute of a table's key; `kind` is S, N or B."""

    name: str
    kind: str


Schema = Sequence[KeyPart]


class AttributeLists:
    """The numbers that stand for lists of attribute names; 1 is the empty list."""

    def __init__(self) -> None:
        self._lock = Lock()
        # No list has the number 0, so its place is never asked for.
        self._names: list[tuple[str, ...]] = [(), ()]
        self._numbers: dict[tuple[str, ...], int] = {(): 1}

    def number(self, names: Iterable[str]) -> int:
        """Give the number of a list, a new one if it has none."""
        wanted = tuple(names)
        with self._lock:
            found = self._numbers.get(wanted)
            if found is None:
                found = self._numbers[wanted] = len(self._names)
                self._names.append(wanted)
            return found

    def names(self, number: int) -> tuple[str, ...]:
        """Give the list of a number.

        Raises:
            Malformed: none was given that number.
        """
        if not 0 < number < len(self._names):
            raise Malformed(f"no attribute list has the number {number}")
        return self._names[number]

    def values(self, item: Item, schema: Schema) -> bytes:
        """Write all attributes of an item but its key."""
        key = {part.name for part in schema}
        names = sorted(item.keys() - key)
        return encode(self.number(names), *(to_cbor(item[name]) for name in names))

    def partial(self, item: Item) -> bytes:
        """Write the attributes an update changed, each with its place in their list."""
        names = sorted(item)
        places = {place: to_cbor(item[name]) for place, name in enumerate(names)}
        return encode(self.number(names), places)

    def item(self, data: bytes) -> Item:
        """Read the attributes of an item but its key.

        Raises:
            Malformed: they do not match their list.
        """
        number, *values = Reader(data).values()
        names = self.names(number)
        if len(names) != len(values):
            raise Malformed(f"{len(values)} values came for the {len(names)} attributes {names}")
        return {name: from_cbor(value) for name, value in zip(names, values, strict=True)}


def to_cbor(value: Value) -> Any:
    """Give the CBOR form of a typed value."""
    ((kind, held),) = value.items()
    match kind:
        case "N":
            return number(held)
        case "B":
            return bytes(held)
        case "NULL":
            return None
        case "NS":
            return Tag(_SETS[kind], [number(each) for each in held])
        case "SS":
            return Tag(_SETS[kind], list(held))
        case "BS":
            return Tag(_SETS[kind], [bytes(each) for each in held])
        case "L":
            return [to_cbor(each) for each in held]
        case "M":
            return {name: to_cbor(each) for name, each in sorted(held.items())}
    return held


def from_cbor(value: Any) -> Value:
    """Give the typed value of a CBOR form.

    Raises:
        Malformed: no value of an item has this form.
    """
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int() | Decimal() | float():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case bytes():
            return {"B": value}
        case Tag(tag, [*held]) if tag in _SET_TYPES:
            kind = _SET_TYPES[tag]
            return {kind: [str(each) for each in held] if kind == "NS" else held}
        case list():
            return {"L": [from_cbor(each) for each in value]}
        case dict():
            return {"M": {str(name): from_cbor(each) for name, each in value.items()}}
    raise Malformed(f"{value!r} is no value of an item")


def number(text: str) -> int | Decimal:
    """Read a number as DynamoDB writes it, exactly."""
    if set(text) & set(".eE"):
        return Decimal(text)
    # Clients read no more digits than DynamoDB keeps, and 1E+40 is written with 41.
    return int(text) if len(text) <= _MOST_DIGITS else _shortest(Decimal(text))


def encode_key(item: Mapping[str, Value], schema: Schema) -> bytes:
    """Write the key of an item: its only attribute, or the first as CBOR and the second bare."""
    first, *second = schema
    value = item[first.name][first.kind]
    if not second:
        return encode(number(value)) if first.kind == "N" else _bare(value, first.kind)
    head = number(value) if first.kind == "N" else value
    return encode(head) + _bare(item[second[0].name][second[0].kind], second[0].kind)


def decode_key(data: bytes, schema: Schema) -> Item:
    """Read a key.

    Raises:
        Malformed: it is not a key of this schema.
    """
    first, *second = schema
    reader = Reader(data)
    if not second and first.kind != "N":
        return {first.name: {first.kind: _from_bare(data, first.kind)}}
    head = from_cbor(reader.value())
    if first.kind not in head:
        raise Malformed(f"{head} is no value of the key {first.name!r}, which is of {first.kind}")
    key = {first.name: head}
    for part in second:
        key[part.name] = {part.kind: _from_bare(reader.rest(), part.kind)}
    return key


def encode_start(key: Item) -> bytes:
    """Write the key that a query of an index ended at; clients read a map of unknown length."""
    pairs = (encode(name, to_cbor(value)) for name, value in key.items())
    return b"\xbf" + b"".join(pairs) + b"\xff"


def decode_start(data: bytes) -> Item:
    """Read the key that a query of an index goes on from."""
    found = Reader(data).value()
    if not isinstance(found, dict):
        raise Malformed(f"{found!r} is no key of an index")
    return {str(name): from_cbor(value) for name, value in found.items()}


def _bare(value: Any, kind: str) -> bytes:
    if kind == "N":
        return encode_lexical(Decimal(value))
    return value.encode() if kind == "S" else bytes(value)


def _from_bare(data: bytes, kind: str) -> Any:
    if kind == "N":
        return str(decode_lexical(data))
    if kind == "B":
        return data
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"a key is no UTF-8: {error}") from error


def encode_lexical(value: Decimal) -> bytes:
    """Write a number so that bytes sort as numbers do: exponent, then ten bits for three digits."""
    if value == 0:
        return b"\x80"
    sign, digits, scale = _shortest(value).as_tuple()
    assert isinstance(scale, int)
    exponent = len(digits) + scale
    if exponent in _SMALL_EXPONENTS:
        # Below zero all is mirrored: the larger the number without its sign, the lesser the bytes.
        out = bytes([0x3F - exponent if sign else 0xC0 + exponent])
    else:
        head = (0x7E if sign else 0x81) if exponent < 0 else (0x01 if sign else 0xFE)
        mask = 0x7FFFFFFF if sign else 0x80000000
        out = bytes([head]) + ((exponent & 0xFFFFFFFF) ^ mask).to_bytes(4, "big")
    text = "".join(map(str, digits))
    text += "0" * (-len(text) % 3)
    thousands = [int(text[at : at + 3]) for at in range(0, len(text), 3)]
    # How many digits of the last three count; the rest was filled up.
    used = (len(digits) - 1) % 3
    groups = [_MIRROR - each if sign else _DIGITS_FROM + each for each in thousands]
    groups.append(1023 - used if sign else used)
    bits = 0
    for group in groups:
        bits = bits << 10 | group
    pad = -10 * len(groups) % 8
    return out + (bits << pad).to_bytes((10 * len(groups) + pad) // 8, "big")


def _shortest(value: Decimal) -> Decimal:
    sign, digits, scale = value.as_tuple()
    assert isinstance(scale, int)
    text = "".join(map(str, digits))
    kept = text.rstrip("0") or "0"
    return Decimal((sign, tuple(map(int, kept)), scale + len(text) - len(kept)))


def decode_lexical(data: bytes) -> Decimal:
    """Read a number that `encode_lexical` wrote.

    Raises:
        Malformed: it does not end as such a number does.
    """
    if data[:1] in (b"\x7f", b"\x80"):
        return Decimal(0)
    if len(data) < 3:
        raise Malformed(f"{data!r} is no number of a key")
    head = data[0]
    is_negative = head < 0x80
    if head in (0x01, 0x7E, 0x81, 0xFE):
        mask = 0x7FFFFFFF if is_negative else 0x80000000
        raw = int.from_bytes(data[1:5], "big") ^ mask
        exponent, data = raw - ((raw & 0x80000000) << 1), data[5:]
    else:
        exponent, data = (0x3F - head if is_negative else head - 0xC0), data[1:]
    bits = int.from_bytes(data, "big")
    text = ""
    for at in range(8 * len(data) - 10, -1, -10):
        group = bits >> at & 0x3FF
        end = 1023 - group if is_negative else group
        if end < 3 and text:
            text = text[: len(text) - 2 + end]
            digits = tuple(map(int, text))
            return Decimal((int(is_negative), digits, exponent - len(digits)))
        each = _MIRROR - group if is_negative else group - _DIGITS_FROM
        if not 0 <= each < 1000:
            break
        text += f"{each:03}"
    raise Malformed("a number of a key has no end")


def pick(item: Item, path: Path) -> Value | None:
    """Give the value at a path, or None."""
    found: Any = {"M": item}
    for step in path:
        held = found.get("M" if isinstance(step, str) else "L")
        if held is None:
            return None
        if isinstance(step, str):
            found = held.get(step)
        else:
            found = held[step] if step < len(held) else None
        if found is None:
            return None
    return dict(found)


def projected(item: Item, paths: Sequence[Path]) -> dict[int, Any]:
    """Write what an item holds at some paths, each with its place among them."""
    found = ((place, pick(item, path)) for place, path in enumerate(paths))
    return {place: to_cbor(value) for place, value in found if value is not None}
