"""CBOR (RFC 8949) as DAX and its clients speak it: values one after the other, without frames."""

import struct
from collections.abc import Mapping
from decimal import Decimal
from io import BytesIO
from typing import Any, NamedTuple, Protocol

_INT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE = 31
_BREAK = 0xFF
_FALSE, _TRUE, _NULL, _UNDEFINED = 20, 21, 22, 23
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_POSITIVE_BIG, _NEGATIVE_BIG, _DECIMAL = 2, 3, 4
#: Whoever nests deeper would exhaust the stack of this process.
_MAX_DEPTH = 100
#: More than any request of DynamoDB holds; a length beyond it is noise, not data.
_MAX_LENGTH = 32 << 20


class Malformed(ValueError):
    """What was received is no CBOR, or none that this protocol knows."""


class Ended(Malformed):
    """The bytes end in the middle of a value."""


class Readable(Protocol):
    """Where bytes come from."""

    def read(self, count: int, /) -> bytes:
        """Give so many bytes, fewer only at the end."""


class Tag(NamedTuple):
    """A value under a tag that CBOR itself gives no meaning."""

    number: int
    value: Any


class Raw(bytes):
    """Bytes that are CBOR already, to be written as they are."""


class Reader:
    """Reads values from a stream or from bytes, and not a byte more than they take.

    Integers and big numbers are `int`, decimal fractions `Decimal`, byte strings `bytes`, text
    `str`, arrays `list`, maps `dict` (of a repeated key the last value holds), other tags `Tag`.
    """

    def __init__(self, source: Readable | bytes) -> None:
        self._source = BytesIO(source) if isinstance(source, bytes) else source

    def value(self) -> Any:
        """Read the next value.

        Raises:
            Ended: there is none, or only a part of one.
            Malformed: it is no CBOR.
        """
        return self._value(self.take(1)[0], _MAX_DEPTH)

    def values(self) -> list[Any]:
        """Read values until the end."""
        found = []
        while head := self._source.read(1):
            found.append(self._value(head[0], _MAX_DEPTH))
        return found

    def take(self, count: int) -> bytes:
        """Read raw bytes.

        Raises:
            Ended: there are fewer.
        """
        data = self._source.read(count)
        if len(data) < count:
            raise Ended(f"{count} bytes were expected and {len(data)} came")
        return data

    def rest(self) -> bytes:
        """Read all raw bytes that are left."""
        return self._source.read(_MAX_LENGTH)

    def _value(self, head: int, depth: int) -> Any:
        if depth == 0:
            raise Malformed(f"a value is nested more than {_MAX_DEPTH} deep")
        major, minor = head >> 5, head & 31
        if major == _SIMPLE:
            if minor in _FLOATS:
                code = _FLOATS[minor]
                return struct.unpack(code, self.take(struct.calcsize(code)))[0]
            if minor in (_FALSE, _TRUE):
                return minor == _TRUE
            if minor in (_NULL, _UNDEFINED):
                return None
            raise Malformed(f"the simple value {minor} has no meaning here")
        if minor == _INDEFINITE:
            return self._indefinite(major, depth - 1)
        # Up to 23 the head says the number itself, above it how many bytes do: 1, 2, 4 or 8.
        if minor > 27:
            raise Malformed(f"{minor} is no length of a length")
        size = minor if minor < 24 else int.from_bytes(self.take(1 << (minor - 24)), "big")
        if major == _INT:
            return size
        if major == _NEGATIVE:
            return -1 - size
        if major == _TAG:
            return self._tagged(size, depth - 1)
        if size > _MAX_LENGTH:
            raise Malformed(f"a length of {size} is more than a request can hold")
        if major == _BYTES:
            return self.take(size)
        if major == _TEXT:
            try:
                return self.take(size).decode()
            except UnicodeDecodeError as error:
                raise Malformed(f"text is no UTF-8: {error}") from error
        if major == _ARRAY:
            return [self._next(depth - 1) for _ in range(size)]
        return dict(self._pair(self.take(1)[0], depth - 1) for _ in range(size))

    def _next(self, depth: int) -> Any:
        return self._value(self.take(1)[0], depth)

    def _pair(self, head: int, depth: int) -> tuple[Any, Any]:
        key = self._value(head, depth)
        if not isinstance(key, int | str | bytes):
            raise Malformed(f"a {type(key).__name__} is no key of a map")
        return key, self._next(depth)

    def _indefinite(self, major: int, depth: int) -> Any:
        # Its parts follow each other until a byte that begins no value.
        heads = iter(lambda: self.take(1)[0], _BREAK)
        if major == _MAP:
            return dict(self._pair(head, depth) for head in heads)
        parts = [self._value(head, depth) for head in heads]
        if major == _ARRAY:
            return parts
        kind = {_BYTES: bytes, _TEXT: str}.get(major)
        if kind is None or not all(isinstance(part, kind) for part in parts):
            raise Malformed(f"a value of major type {major} cannot be of unknown length")
        return kind().join(parts)

    def _tagged(self, number: int, depth: int) -> Any:
        value = self._next(depth)
        if number in (_POSITIVE_BIG, _NEGATIVE_BIG) and isinstance(value, bytes):
            size = int.from_bytes(value, "big")
            return size if number == _POSITIVE_BIG else -1 - size
        if number == _DECIMAL:
            match value:
                case [int(exponent), int(mantissa)]:
                    digits = tuple(map(int, str(abs(mantissa))))
                    return Decimal((int(mantissa < 0), digits, exponent))
            raise Malformed(f"{value!r} is no exponent and mantissa")
        return Tag(number, value)


def encode(*values: Any) -> bytes:
    """Write values one after the other; the types are those that `Reader` gives."""
    out = bytearray()
    for value in values:
        _write(out, value)
    return bytes(out)


def _write(out: bytearray, value: Any) -> None:
    match value:
        case None:
            out.append(_SIMPLE << 5 | _NULL)
        # Before int, which it is in Python.
        case bool():
            out.append(_SIMPLE << 5 | (_TRUE if value else _FALSE))
        case int() if value.bit_length() > 64:
            size = -1 - value if value < 0 else value
            _head(out, _TAG, _NEGATIVE_BIG if value < 0 else _POSITIVE_BIG)
            _write(out, size.to_bytes((size.bit_length() + 7) // 8, "big"))
        case int():
            _head(out, _NEGATIVE if value < 0 else _INT, -1 - value if value < 0 else value)
        case float():
            out.append(_SIMPLE << 5 | 27)
            out += struct.pack(">d", value)
        case Decimal():
            sign, digits, exponent = value.as_tuple()
            mantissa = int("".join(map(str, digits)) or "0")
            _head(out, _TAG, _DECIMAL)
            _write(out, [exponent, -mantissa if sign else mantissa])
        case Raw():
            out += value
        case bytes():
            _head(out, _BYTES, len(value))
            out += value
        case str():
            data = value.encode()
            _head(out, _TEXT, len(data))
            out += data
        case Tag():
            _head(out, _TAG, value.number)
            _write(out, value.value)
        case Mapping():
            _head(out, _MAP, len(value))
            for key, each in value.items():
                _write(out, key)
                _write(out, each)
        case list() | tuple():
            _head(out, _ARRAY, len(value))
            for each in value:
                _write(out, each)
        case _:
            raise TypeError(f"a {type(value).__name__} has no form in CBOR")


def _head(out: bytearray, major: int, size: int) -> None:
    if size < 24:
        out.append(major << 5 | size)
        return
    # 1, 2, 4 or 8 bytes, the fewest that hold it.
    power = max(0, (size.bit_length() - 1).bit_length() - 3)
    out.append(major << 5 | 24 + power)
    out += size.to_bytes(1 << power, "big")
