"""An image of a stream record: typed attributes, each read when somebody asks for it."""

from collections.abc import Iterator, KeysView, Mapping
from typing import Any

from msgspec import Raw
from msgspec import json as fast_json

from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.records import MAX_DEPTH

# Some backend may write null for an image that a record does not have.
_parts = fast_json.Decoder(dict[str, Raw] | None).decode
_read = fast_json.Decoder(Wire).decode
_TOO_MANY = MAX_DEPTH + 1
#: Shorter JSON cannot be too deep, for each level has at least eight characters of its own.
SHALLOW = len('{"L":[]}') * _TOO_MANY
_encode = fast_json.Encoder().encode


Given = Raw | Mapping[str, Any]
"""An image or an attribute, as JSON or parsed."""


class Image(Mapping[str, Wire]):
    """A typed image, as JSON or parsed, taken apart by one level.

    Attributes:
        parts: its attributes as they came, which tell whether two of one record's are equal.
    """

    __slots__ = ("_given", "parts")

    def __init__(self, given: Given) -> None:
        """Take an image apart."""
        self._given = given
        # Of what came parsed only that is written which is sent, or read.
        self.parts: Mapping[str, Any] = (_parts(given) or {}) if isinstance(given, Raw) else given

    @property
    def raw(self) -> Raw:
        """The image as JSON."""
        return json_of(self._given)

    def __getitem__(self, name: str) -> Wire:
        """Read an attribute."""
        return _read(json_of(self.parts[name]))

    def __contains__(self, name: object) -> bool:
        """Say whether there is such an attribute."""
        return name in self.parts

    def __iter__(self) -> Iterator[str]:
        """Give the names of all attributes."""
        return iter(self.parts)

    def __len__(self) -> int:
        """Count the attributes."""
        return len(self.parts)

    def get(self, name: str, default: Any = None) -> Any:
        """Read an attribute, if there is one."""
        part = self.parts.get(name)
        return default if part is None else _read(json_of(part))

    def keys(self) -> KeysView[str]:
        """Give the names of all attributes."""
        return self.parts.keys()


def json_of(given: Given) -> Raw:
    """Give an image or an attribute as JSON, bytes as base64."""
    return given if isinstance(given, Raw) else Raw(_encode(given))


def differing(old: Image, new: Image) -> set[str]:
    """Name the attributes that differ; equal bytes are equal, and others are read."""
    before, after = old.parts, new.parts
    names = {name for name, part in after.items() if before.get(name) != part}
    for name in names & before.keys():
        if old[name] == new[name]:
            names.remove(name)
    # Nearly no change takes an attribute away, and asking first is quicker than the difference.
    return names if before.keys() <= after.keys() else names | (before.keys() - after.keys())


def may_be_too_deep(text: str) -> bool:
    """Say whether so many maps and lists are in a text that their depth must be looked at.

    Each level has its M or L, however it is spaced, unless that letter is written as an escape.
    """
    # One M is left if there are more than MAX_DEPTH of both letters. To replace a letter takes a
    # quarter of the time that `count` takes, which looks at each character.
    if "M" in text.replace("L", "M", _TOO_MANY).replace("M", " ", MAX_DEPTH):
        return text.count('"M"') + text.count('"L"') > MAX_DEPTH or "\\u004" in text
    return "\\" in text and "\\u004" in text
