"""What update expressions and PartiQL statements assign, as far as sizes need it."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from msgspec import json as fast_json

from sharpwave.infra.cost.flow import WRITE_BLOCK
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import Wire

_CLAUSE = re.compile(r"\b(SET|REMOVE|ADD|DELETE)\b", re.IGNORECASE)
_PAIR = re.compile(r"(?<![\w.\]])(#?\w+)\s*=\s*(:\w+)\s*(?=,|$)")
_WORD = re.compile(r"#?\b[A-Za-z_]\w*")

_STATEMENT = re.compile(r'\s*(INSERT|UPDATE|DELETE|SELECT)\b.*?"([^"]+)"', re.IGNORECASE | re.S)
_FIELD = re.compile(r"'((?:[^']|'')+)'\s*:\s*\?")
_SET = re.compile(r'SET\s+("(?:[^"]|"")+"|\w+)\s*=\s*\?', re.IGNORECASE)
_TEST = re.compile(r'("(?:[^"]|"")+"|\w+)\s*=\s*\?')

Image = dict[str, Wire]


class Update(NamedTuple):
    """An update expression: simple assignments, removals, and every name it mentions."""

    pairs: tuple[tuple[str, str], ...]
    removed: tuple[str, ...]
    names: frozenset[str]


class Statement(NamedTuple):
    """A PartiQL statement whose values are all parameters.

    `names` are what the parameters stand for, in order: assignments first, then tests. `pk` and
    `sk` are the places of the key among them, -1 if it is not there.
    """

    verb: Literal["INSERT", "UPDATE", "DELETE", "SELECT"]
    table: str
    names: tuple[str, ...]
    assigned: int
    names_bytes: int
    pk: int
    sk: int

    def is_large(self, parameters: Sequence[Wire]) -> bool:
        """Say whether the item may cost more than one write unit; a quick upper bound."""
        return self.names_bytes + len(fast_json.encode(parameters)) > WRITE_BLOCK

    def family(self, parameters: Sequence[Wire]) -> str:
        """Name the kind of item that the statement writes."""
        if self.pk < 0 or self.sk < 0:
            return keys.OTHER
        return keys.family(parameters[self.pk].get("S", ""), parameters[self.sk].get("S", ""))

    def image(self, parameters: Sequence[Wire]) -> Image:
        """Give what the statement assigns, with the key it names."""
        pairs = list(zip(self.names, parameters, strict=False))
        tests = {name: value for name, value in pairs[self.assigned :] if name in ("PK", "SK")}
        return {**tests, **dict(pairs[: self.assigned])}


def updated(request: Mapping[str, Any], old: Mapping[str, Wire]) -> Image:
    """Give the image that an UpdateItem makes of `old`.

    Exact for plain assignments and removals; a path or a function leaves what was there.
    """
    update = parse_update(request.get("UpdateExpression", ""))
    names = request.get("ExpressionAttributeNames", {})
    values = request.get("ExpressionAttributeValues", {})
    image = {**old, **request["Key"]}
    for name, value in update.pairs:
        image[names.get(name, name)] = values[value]
    for name in update.removed:
        image.pop(names.get(name, name), None)
    return image


def touched(request: Mapping[str, Any]) -> set[str]:
    """Name the attributes that an UpdateItem's expression mentions."""
    names = request.get("ExpressionAttributeNames", {})
    update = parse_update(request.get("UpdateExpression", ""))
    return {names.get(name, name) for name in update.names}


@lru_cache(maxsize=512)
def parse_update(expression: str) -> Update:
    """Take an update expression apart."""
    parts = _CLAUSE.split(expression)
    pairs: list[tuple[str, str]] = []
    removed: list[str] = []
    for clause, text in zip(parts[1::2], parts[2::2], strict=True):
        if clause.upper() == "SET":
            pairs += _PAIR.findall(text)
        elif clause.upper() == "REMOVE":
            removed += [name.strip() for name in text.split(",")]
    mentioned = (_WORD.findall(text) for text in parts[2::2])
    return Update(
        tuple(pairs), tuple(removed), frozenset(name for names in mentioned for name in names)
    )


@lru_cache(maxsize=512)
def parse_statement(text: str) -> Statement | None:
    """Take a statement apart; None for a form whose values are not all parameters."""
    found = _STATEMENT.match(text)
    if found is None:
        return None
    verb: Any = found[1].upper()
    if verb == "INSERT":
        names = [name.replace("''", "'") for name in _FIELD.findall(text)]
        return _statement(verb, found[2], names, len(names))
    head, _, tests = text.partition(" WHERE ")
    assigned = _SET.findall(head)
    names = [_unquoted(name) for name in (*assigned, *_TEST.findall(tests))]
    return _statement(verb, found[2], names, len(assigned))


def _statement(verb: Any, table: str, names: Sequence[str], assigned: int) -> Statement:
    size = sum(len(name.encode()) for name in names)
    pk, sk = (names.index(name) if name in names else -1 for name in ("PK", "SK"))
    return Statement(verb, table, tuple(names), assigned, size, pk, sk)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
