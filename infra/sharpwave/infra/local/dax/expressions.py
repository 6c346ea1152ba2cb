"""Expressions as clients of DAX send them, parsed already, turned into DynamoDB's text again.

An expression is `[1, tree, values]`. A tree is a list whose first element is a code and whose
others are its operands: `[0, [18, "status"], [17, 0]]` is `status = <the first value>`.
"""

from collections.abc import Mapping
from enum import IntEnum
from itertools import pairwise
from typing import Any

from sharpwave.infra.local.dax.cbor import Malformed, Reader, Tag
from sharpwave.infra.local.dax.items import Path, Value, from_cbor

_FORMAT = 1
_INDEX_TAG = 3324


class Code(IntEnum):
    """What the first element of a tree says it is."""

    EQUAL = 0
    NOT_EQUAL = 1
    LESS = 2
    GREATER_OR_EQUAL = 3
    GREATER = 4
    LESS_OR_EQUAL = 5
    AND = 6
    OR = 7
    NOT = 8
    BETWEEN = 9
    IN = 10
    ATTRIBUTE_EXISTS = 11
    ATTRIBUTE_NOT_EXISTS = 12
    ATTRIBUTE_TYPE = 13
    BEGINS_WITH = 14
    CONTAINS = 15
    SIZE = 16
    VARIABLE = 17
    PATH = 18
    SET = 19
    ADD = 20
    DELETE = 21
    REMOVE = 22
    IF_NOT_EXISTS = 23
    LIST_APPEND = 24
    PLUS = 25
    MINUS = 26


_BETWEEN_OPERANDS: Mapping[Code, str] = {
    Code.EQUAL: "=",
    Code.NOT_EQUAL: "<>",
    Code.LESS: "<",
    Code.GREATER_OR_EQUAL: ">=",
    Code.GREATER: ">",
    Code.LESS_OR_EQUAL: "<=",
    Code.PLUS: "+",
    Code.MINUS: "-",
}
_FUNCTIONS = frozenset(
    {
        Code.ATTRIBUTE_EXISTS,
        Code.ATTRIBUTE_NOT_EXISTS,
        Code.ATTRIBUTE_TYPE,
        Code.BEGINS_WITH,
        Code.CONTAINS,
        Code.SIZE,
        Code.IF_NOT_EXISTS,
        Code.LIST_APPEND,
    }
)
_ACTIONS = {Code.SET: " = ", Code.ADD: " ", Code.DELETE: " ", Code.REMOVE: ""}


class Expressions:
    """The text of one request's expressions, with the names and values that they share.

    Each name is written as a placeholder, so that no word of it can be a reserved one.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: list[Value] = []

    @property
    def parameters(self) -> dict[str, Any]:
        """Give ExpressionAttributeNames and -Values, those that are not empty."""
        found: dict[str, Any] = {}
        if self._names:
            found["ExpressionAttributeNames"] = {mark: n for n, mark in self._names.items()}
        if self._values:
            values = {f":v{place}": value for place, value in enumerate(self._values)}
            found["ExpressionAttributeValues"] = values
        return found

    def condition(self, data: bytes) -> str:
        """Give the text of a condition, key condition or filter.

        Raises:
            Malformed: it is no such expression; so do the others.
        """
        tree, offset = self._open(data)
        return self._text(tree, offset)

    def update(self, data: bytes) -> str:
        """Give the text of an update: its actions by kind, in the order they came."""
        actions, offset = self._open(data)
        clauses: dict[Code, list[str]] = {}
        for action in actions:
            code, operands = _node(action)
            if code not in _ACTIONS:
                raise Malformed(f"{code.name} is no action of an update")
            text = _ACTIONS[code].join(self._text(each, offset) for each in operands)
            # DynamoDB takes each kind of action once, with a list.
            clauses.setdefault(code, []).append(text)
        return " ".join(f"{code.name} {', '.join(each)}" for code, each in clauses.items())

    def projection(self, paths: list[Path]) -> str:
        """Give the text of a projection of these paths."""
        return ", ".join(self._path(path) for path in paths)

    def _open(self, data: bytes) -> tuple[Any, int]:
        match Reader(data).value():
            case [int(form), tree, [*values]] if form == _FORMAT:
                # Each expression counts its values from 0, and a request has one map for all.
                offset = len(self._values)
                self._values += [from_cbor(value) for value in values]
                return tree, offset
        raise Malformed("this is no expression of the known form")

    def _text(self, tree: Any, offset: int) -> str:
        code, operands = _node(tree)
        if code is Code.PATH:
            return self._path(_path(tree))
        if code is Code.VARIABLE:
            return f":v{offset + int(operands[0])}"
        if code is Code.IN:
            wanted, among = operands
            listed = ", ".join(self._text(each, offset) for each in among)
            return f"{self._text(wanted, offset)} IN ({listed})"
        parts = [self._text(each, offset) for each in operands]
        if code in _BETWEEN_OPERANDS:
            return f" {_BETWEEN_OPERANDS[code]} ".join(parts)
        if code in _FUNCTIONS:
            return f"{code.name.lower()}({', '.join(parts)})"
        if code in (Code.AND, Code.OR):
            # A tree needs no precedence; as text it would get one without brackets.
            return f" {code.name} ".join(f"({part})" for part in parts)
        if code is Code.NOT:
            return f"NOT ({parts[0]})"
        if code is Code.BETWEEN:
            value, low, high = parts
            return f"{value} BETWEEN {low} AND {high}"
        raise Malformed(f"{code.name} stands where a condition or an operand should")

    def _path(self, path: Path) -> str:
        text = ""
        for step in path:
            if isinstance(step, int):
                text += f"[{step}]"
            else:
                mark = self._names.setdefault(step, f"#n{len(self._names)}")
                text += f".{mark}" if text else mark
        return text


def projection_paths(data: bytes) -> list[Path]:
    """Read the paths of a projection, in the order in which answers name them.

    Raises:
        Malformed: it is none.
        Overlapping: one path leads into another.
    """
    match Reader(data).value():
        case [int(form), [*trees], *_] if form == _FORMAT:
            paths = [_path(tree) for tree in trees]
        case _:
            raise Malformed("this is no projection of the known form")
    # A path is followed by those that lead on from it. Indexes and names do not compare.
    ordered = sorted(paths, key=lambda path: [(isinstance(s, str), s) for s in path])
    for one, other in pairwise(ordered):
        if other[: len(one)] == one:
            raise Overlapping(one, other)
    return paths


class Overlapping(ValueError):
    """Two paths of a projection lead to the same place."""

    def __init__(self, one: Path, other: Path) -> None:
        shown = [f"[{', '.join(map(str, path))}]" for path in (one, other)]
        super().__init__(
            "Invalid ProjectionExpression: Two document paths overlap with each other; must remove"
            f" or rewrite one of these paths; path one: {shown[0]}, path two: {shown[1]}"
        )


def _node(tree: Any) -> tuple[Code, list[Any]]:
    match tree:
        case [int(code), *operands]:
            try:
                return Code(code), operands
            except ValueError as error:
                raise Malformed(f"{code} is no code of an expression") from error
    raise Malformed(f"{tree!r} is no part of an expression")


def _path(tree: Any) -> Path:
    code, steps = _node(tree)
    if code is not Code.PATH:
        raise Malformed(f"{code.name} stands where a path should")
    path: list[str | int] = []
    for step in steps:
        match step:
            case str():
                path.append(step)
            case Tag(number, int(index)) if number == _INDEX_TAG:
                path.append(index)
            case _:
                raise Malformed(f"{step!r} is no step of a path")
    return tuple(path)
