"""Conditions of a pattern: which decisions it covers, told from what was known beforehand.

A list of `{"path": ..., "op": ..., "value": ...}`, all of which must hold. Values compare within
their kind only: numbers with numbers, text with text, booleans with booleans. A missing path or
another kind never matches, and matching never raises.
"""

import json
import re
from collections.abc import Iterable, Mapping, Set
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    model_validator,
)

MAX_CONDITIONS = 16
MAX_PATH_DEPTH = 8
MAX_CHOICES = 64
MAX_TEXT = 256

PATH = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"

#: Attributes of a decision that are fixed before its outcome is known.
KNOWN_BEFORE_OUTCOME = (
    "agent_id",
    "agent_version",
    "context",
    "decision_type",
    "inputs",
    "parent_decision_id",
    "reasoning",
    "root_decision_id",
)

#: Attributes of a signal that a subscriber's filter may look at.
OF_A_SIGNAL = ("confidence", "context", "data", "severity", "source_agent")

Op: TypeAlias = Literal["eq", "ne", "gt", "ge", "lt", "le", "in", "contains", "exists"]
Scalar: TypeAlias = bool | int | float | str | None

_ORDERED = ("gt", "ge", "lt", "le")
_SIGNS = {"eq": "=", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_OPS = {sign: op for op, sign in _SIGNS.items()}
_PATH = re.compile(PATH)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[<>!]?=|[<>\[\],]|[^\s<>=!\[\],"]+|\S')
_BARE = re.compile(r"[A-Za-z0-9_.:/+-]+")
_RESERVED = frozenset({"and", "in", "contains", "exists", "is", "missing", "true", "false", "null"})
_MISSING = object()


def _root(path: str) -> str:
    """Give the attribute that a path begins with.

    Raises:
        ValueError: it is no path, or too deep.
    """
    if not _PATH.fullmatch(path):
        raise ValueError(
            f"{path!r} is not a path; write names of A-Z, a-z, 0-9, '_' and '-' joined by dots, "
            "such as context.market.trend"
        )
    root, depth = path.split(".")[0], path.count(".") + 1
    if depth > MAX_PATH_DEPTH:
        raise ValueError(f"{path!r} is {depth} names deep; at most {MAX_PATH_DEPTH} are read")
    return root


def _of_a_signal(path: str) -> str:
    if _root(path) not in OF_A_SIGNAL:
        raise ValueError(
            f"{path!r} is nothing that a filter looks at; start the path with one of "
            f"{', '.join(OF_A_SIGNAL)}, such as data.count"
        )
    return path


def _known_before_outcome(path: str) -> str:
    root = _root(path)
    if root.startswith("outcome"):
        raise ValueError(
            f"{path!r} looks at the outcome (leakage): a pattern that is told the result proves "
            "nothing; use what was known when the agent decided, such as context or inputs"
        )
    if root not in KNOWN_BEFORE_OUTCOME:
        raise ValueError(
            f"{path!r} may change after the decision; start the path with one of "
            f"{', '.join(KNOWN_BEFORE_OUTCOME)}"
        )
    return path


def _canonical(value: object) -> object:
    """Give one form per value, so that a condition read back from DynamoDB or JSON is equal."""
    if isinstance(value, list | tuple):
        return tuple(_canonical_scalar(choice) for choice in value)
    return _canonical_scalar(value)


def _canonical_scalar(value: object) -> Scalar:
    # Before numbers, as a bool is an int in Python.
    if isinstance(value, bool | str | None):
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise ValueError(f"text has {len(value)} characters; at most {MAX_TEXT} are compared")
        return value
    if isinstance(value, int | float | Decimal):
        exact = _number(value)
        if exact is None:
            raise ValueError(f"{value} is not a finite number")
        # DynamoDB keeps 38 digits; of a fraction, only what a float gives back exactly.
        if exact == exact.to_integral_value() and abs(exact) < 10**38:
            return int(exact)
        near = float(exact)
        if not isfinite(near) or Decimal(repr(near)) != exact:
            raise ValueError(f"{value} has more digits than a threshold can keep; round it to 15")
        return near
    raise ValueError(
        f"{type(value).__name__} cannot be compared; use a number, text, boolean or null"
    )


Path = Annotated[
    str,
    AfterValidator(_known_before_outcome),
    Field(max_length=MAX_TEXT, json_schema_extra={"pattern": PATH}),
]
SignalPath = Annotated[
    str,
    AfterValidator(_of_a_signal),
    Field(max_length=MAX_TEXT, json_schema_extra={"pattern": PATH}),
]
Value = Annotated[Scalar | tuple[Scalar, ...], BeforeValidator(_canonical)]


class Condition(BaseModel):
    """One comparison of a decision's attribute with a fixed value.

    `gt`, `ge`, `lt` and `le` compare numbers, or text by code point (ISO times sort so). `in`
    takes a list of 1 to 64 values. `contains` looks for a member of a list or set, or for a part
    of a text. `exists` takes true (the default) or false. Null in a decision is an unknown: only
    `eq null`, `in` with null and `exists` match it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    op: Op
    value: Value = None

    @model_validator(mode="before")
    @classmethod
    def _value_given(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "value" in data:
            return data
        if data.get("op") == "exists":
            return {**data, "value": True}
        raise ValueError('"value" is missing; write null to compare with null')

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        op, value, fault = self.op, self.value, None
        if op == "in":
            if not isinstance(value, tuple) or not 1 <= len(value) <= MAX_CHOICES:
                fault = f"takes a list of 1 to {MAX_CHOICES} values"
        elif isinstance(value, tuple):
            fault = 'takes a single value; use "in" for a list'
        elif op == "exists" and not isinstance(value, bool):
            fault = "takes true or false"
        elif op in _ORDERED and _kind(value).name not in ("number", "text"):
            fault = "orders numbers or text only"
        if fault:
            raise ValueError(f"{self.path} {op}: {fault}")
        return self

    def matches(self, decision: Mapping[str, Any]) -> bool:
        """Say whether the decision fulfils this condition; never raises."""
        found: object = decision
        for name in self.path.split("."):
            found = found.get(name, _MISSING) if isinstance(found, Mapping) else _MISSING
        if self.op == "exists":
            return (found is not _MISSING) == self.value
        if found is _MISSING:
            return False
        if self.op == "contains":
            # Of a text a part, of a list or a set a member.
            if isinstance(found, str):
                return isinstance(self.value, str) and self.value in found
            if isinstance(self.value, tuple) or not isinstance(found, list | tuple | Set):
                return False
            return any(_equal(member, self.value) for member in found)
        if isinstance(self.value, tuple):
            return any(_equal(found, choice) for choice in self.value)
        return _compare(found, self.op, self.value)

    def describe(self) -> str:
        """Say it in words; different conditions read differently."""
        if self.op == "exists":
            return f"{self.path} {'exists' if self.value else 'is missing'}"
        return f"{self.path} {_SIGNS.get(self.op, self.op)} {_written(self.value)}"


class Conditions(RootModel[tuple[Condition, ...]]):
    """What a decision must fulfil, all of it, to count for a pattern: 1 to 16 conditions."""

    model_config = ConfigDict(frozen=True)

    root: Annotated[
        tuple[Condition, ...],
        Field(max_length=MAX_CONDITIONS, json_schema_extra={"minItems": 1}),
    ]

    @model_validator(mode="before")
    @classmethod
    def _is_a_list(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            raise ValueError(
                "conditions are a list, not a map of "
                f"{', '.join(map(str, data)) or 'nothing'}; say where each value is found and how "
                'it compares: instead of {"whale_count_min": 5} write '
                '[{"path": "inputs.whale_count", "op": "ge", "value": 5}]'
            )
        if isinstance(data, list | tuple) and not data:
            raise ValueError("no condition given; without one a pattern is its own base rate")
        return data

    def matches(self, decision: Mapping[str, Any]) -> bool:
        """Say whether the decision fulfils every condition; never raises."""
        return all(condition.matches(decision) for condition in self.root)

    def describe(self) -> str:
        """Say it in words, such as `context.market.trend = bullish and inputs.count >= 5`."""
        return " and ".join(condition.describe() for condition in self.root)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `describe` says; `a and b` in any spacing, text in quotes or as a bare word.

        Raises:
            ValueError: it cannot be read so, or a condition does not hold together; the message
                names the word where it ends to make sense.
        """
        words = _Words(text)
        found = [words.condition()]
        while not words.is_over:
            words.take("and")
            found.append(words.condition())
        return cls.model_validate(found)


class SignalCondition(Condition):
    """One comparison of a signal's attribute with a fixed value, by the rules of `Condition`."""

    path: SignalPath


class SignalConditions(Conditions):
    """What a signal must fulfil, all of it, to pass a subscriber's filter: 1 to 16 conditions."""

    root: Annotated[
        tuple[SignalCondition, ...],
        Field(max_length=MAX_CONDITIONS, json_schema_extra={"minItems": 1}),
    ]

    @model_validator(mode="before")
    @classmethod
    def _is_a_list(cls, data: Any) -> Any:
        if isinstance(data, list | tuple) and data:
            return data
        raise ValueError(
            'a filter is a list of conditions, such as [{"path": "data.count", "op": "ge", "value":'
            " 5}]; leave it out to get all signals of the type"
        )


class _Words:
    """The words of conditions as `describe` writes them, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._found = _WORD.findall(text)

    @property
    def is_over(self) -> bool:
        return self._at == len(self._found)

    def condition(self) -> dict[str, Any]:
        path, op = self.take(), self.take()
        if op == "exists":
            return {"path": path, "op": op, "value": True}
        if op == "is":
            self.take("missing")
            return {"path": path, "op": "exists", "value": False}
        name = _OPS.get(op, op)
        if name not in (*_OPS.values(), "in", "contains"):
            raise self._unexpected(f"one of {', '.join(_OPS)}, in, contains, exists, is missing")
        word = self.take()
        if word != "[":
            return {"path": path, "op": name, "value": self._scalar(word)}
        choices = [self._scalar(self.take())]
        while (word := self.take()) == ",":
            choices.append(self._scalar(self.take()))
        if word != "]":
            raise self._unexpected('"," or "]"')
        return {"path": path, "op": name, "value": choices}

    def take(self, wanted: str | None = None) -> str:
        word = "" if self.is_over else self._found[self._at]
        self._at += 1
        if not word or wanted not in (None, word):
            raise self._unexpected(f'"{wanted}"' if wanted else "something more")
        return word

    def _scalar(self, word: str) -> object:
        if word[0] == '"':
            try:
                return json.loads(word)
            except ValueError:
                raise self._unexpected("a text in quotes, as in JSON") from None
        if word in ("true", "false", "null"):
            return json.loads(word)
        if _reads_as_number(word):
            return Decimal(word)
        if _BARE.fullmatch(word) and word not in _RESERVED:
            return word
        raise self._unexpected("a number, a word, or a text in quotes")

    def _unexpected(self, wanted: str) -> ValueError:
        at = self._at - 1
        where = f"at {self._found[at]!r}" if at < len(self._found) else "at its end"
        return ValueError(
            f"{self._text!r} cannot be read {where}, where {wanted} is expected; write conditions "
            "such as: inputs.whale_count >= 5 and context.market.trend = bullish"
        )


class _Kind(NamedTuple):
    """A value ready to compare with others of the kind `name`; no name, no comparison."""

    name: str | None
    value: Any = None


def _kind(value: object) -> _Kind:
    if isinstance(value, str):
        return _Kind("text", value)
    # Before numbers: a bool is an int in Python, and True must not equal 1 here.
    if isinstance(value, bool):
        return _Kind("boolean", value)
    if value is None:
        return _Kind("null")
    if isinstance(value, int | float | Decimal):
        number = _number(value)
        return _Kind(None if number is None else "number", number)
    return _Kind(None)


def _number(value: int | float | Decimal) -> Decimal | None:
    """Read a float by its shortest notation, so that 0.1 equals Decimal("0.1")."""
    exact = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    return exact if exact.is_finite() else None


def _equal(found: object, wanted: Scalar) -> bool:
    have, want = _kind(found), _kind(wanted)
    return have.name is not None and have == want


def _compare(found: object, op: Op, wanted: Scalar) -> bool:
    have, want = _kind(found), _kind(wanted)
    # Null is an unknown, so whatever is known differs from it.
    if op == "ne" and want.name == "null":
        return have.name != "null"
    if have.name is None or have.name != want.name:
        return False
    if op in ("eq", "ne"):
        return bool((have.value == want.value) == (op == "eq"))
    if op in ("gt", "lt"):
        low, high = (want, have) if op == "gt" else (have, want)
        return bool(low.value < high.value)
    low, high = (want, have) if op == "ge" else (have, want)
    return bool(low.value <= high.value)


def _written(value: Scalar | Iterable[Scalar]) -> str:
    if isinstance(value, str):
        # In quotes only where `read` would take it for something else.
        plain = _BARE.fullmatch(value) and value not in _RESERVED and not _reads_as_number(value)
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Iterable):
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value)


def _reads_as_number(text: str) -> bool:
    try:
        Decimal(text)
    except InvalidOperation:
        return False
    return True
