"""What a decision says that is worth comparing: features of it, and the terms of rules about them.

A feature is a path with the kind of value that stands there. Texts are compared whole, numbers
with cuts, lists by their members. What names a record, a moment or a cycle, what is written for
people to read, and what an agent says of how sure it was or which patterns it followed is none:
it is not known again in another decision, or is itself what outcomes are to judge.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Set
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from sharpwave.schemas.conditions import MAX_PATH_DEPTH, PATH, Condition, Conditions
from sharpwave.schemas.times import is_event_time

#: Most features read of one decision, the first by name.
MOST_READ = 64
#: Most members of a list that are features.
MOST_MEMBERS = 12
#: Most bytes of a path and of a text, as the state stores them.
MOST_PATH_BYTES, MOST_TEXT_BYTES = 96, 42
_MOST_WORDS = 3
#: Digits that a cut keeps.
_DIGITS = 4

#: What names of found patterns begin with.
FOUND = "found_"

_ROOTS = ("context", "inputs")
_OF_REASONING = ("selected", "source")
_PATH = re.compile(PATH)
_NAMES = re.compile(
    r"(^|_)(ids?|uid|uuid|hash|digest|cycle|timestamp|ts|epoch|time|at|ms|confidence|"
    r"selection_prob|patterns_applied|text|note|notes|description|summary|rationale)$"
)

Kind = Literal["label", "number", "members"]
Label = str | bool
Said = Label | float | tuple[str, ...]
"""What stands at a path: a label, a number, or the members of a list."""


class Feature(NamedTuple):
    """A path, and the kind of what stands there."""

    path: str
    kind: Kind


class Term(NamedTuple):
    """One comparison of a feature with a fixed value, as a condition asks it."""

    path: str
    op: Literal["eq", "contains", "ge", "lt"]
    value: Label | float

    def holds(self, said: Mapping[Feature, Said]) -> bool:
        """Say whether it is true of a decision that was read."""
        if self.op == "eq":
            found = said.get(Feature(self.path, "label"))
            return found == self.value and isinstance(found, bool) == isinstance(self.value, bool)
        if self.op == "contains":
            members = said.get(Feature(self.path, "members"))
            return isinstance(members, tuple) and self.value in members
        number = said.get(Feature(self.path, "number"))
        if not isinstance(number, float):
            return False
        return number >= float(self.value) if self.op == "ge" else number < float(self.value)


Rule = tuple[Term, ...]
"""Terms that must all hold, in order."""


def read(decision: Mapping[str, Any]) -> dict[Feature, Said]:
    """Read the features of a decision, by name; never what came after it was made."""
    found: dict[Feature, Said] = {}
    for root in _ROOTS:
        found.update(_below(root, decision.get(root), 1))
    reasoning = decision.get("reasoning")
    if isinstance(reasoning, Mapping):
        for name in sorted(reasoning, key=str):
            if isinstance(name, str) and name.startswith(_OF_REASONING) and "." not in name:
                found.update(_below(f"reasoning.{name}", reasoning[name], 2))
    return {feature: found[feature] for feature in sorted(found)[:MOST_READ]}


def conditions_of(rule: Rule) -> Conditions:
    """Give a rule as conditions of a pattern."""
    return Conditions(
        tuple(Condition(path=term.path, op=term.op, value=term.value) for term in rule)
    )


def name_of(rule: Rule, *, avoid: bool) -> str:
    """Name a found pattern by what it says, so that whoever finds it again names it alike."""
    text = json.dumps([sorted(map(list, rule), key=str), avoid])
    return f"{FOUND}{blake2b(text.encode(), digest_size=8).hexdigest()}"


def short(number: float) -> float:
    """Round a number to what a cut keeps."""
    return float(f"{number:.{_DIGITS}g}")


def _below(path: str, value: object, depth: int) -> Iterator[tuple[Feature, Said]]:
    if isinstance(value, Mapping):
        if depth < MAX_PATH_DEPTH:
            for name in value:
                # A name with a dot would lead elsewhere.
                if isinstance(name, str) and "." not in name:
                    yield from _below(f"{path}.{name}", value[name], depth + 1)
        return
    name = path.rpartition(".")[2].lower()
    if len(path) > MOST_PATH_BYTES or not _PATH.fullmatch(path) or _NAMES.search(name):
        return
    if isinstance(value, bool):
        yield Feature(path, "label"), value
    elif isinstance(value, str):
        if _is_label(value):
            yield Feature(path, "label"), value
    elif isinstance(value, int | float | Decimal):
        number = _float(value)
        if number is not None:
            yield Feature(path, "number"), number
    elif isinstance(value, list | tuple | Set):
        texts = {each for each in value if isinstance(each, str) and _is_label(each)}
        if texts:
            yield Feature(path, "members"), tuple(sorted(texts)[:MOST_MEMBERS])


def _float(value: int | float | Decimal) -> float | None:
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _is_label(text: str) -> bool:
    if len(json.dumps(text, ensure_ascii=False).encode(errors="replace")) > MOST_TEXT_BYTES:
        return False
    return 0 < len(text.split()) <= _MOST_WORDS and not is_event_time(text)
