"""Rules that are proposed to be patterns; how rules are joined, ordered and known again."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from sharpwave.workers.patterns.discover.columns import Gain, Seen
from sharpwave.workers.patterns.discover.features import Rule, Term, conditions_of, name_of


class Candidate(NamedTuple):
    """A rule that is proposed to be a pattern.

    Attributes:
        name: by what it says.
        rule: its terms.
        avoid: whether it is one to avoid, for decisions of it fail more often.
        gain: what suggested it.
        since: resolved decisions seen when it was proposed.
        half_life_days: days in which some sixty decisions match it.
    """

    name: str
    rule: Rule
    avoid: bool
    gain: Gain
    since: int
    half_life_days: int

    @property
    def paths(self) -> frozenset[str]:
        """Give the paths that it looks at."""
        return frozenset(term.path for term in self.rule)

    def row(self) -> list[Any]:
        """Give it as JSON has it."""
        counted = [*self.gain.mine, *self.gain.all, self.since, self.half_life_days]
        return [list(map(list, self.rule)), self.avoid, *counted]

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Candidate":
        """Read what `row` gave."""
        terms, avoid, n, s, of, of_s, since, half_life = row
        rule = tuple(
            Term(path, op, float(value) if op in ("ge", "lt") else value)
            for path, op, value in terms
        )
        gain = Gain(Seen(n, s), Seen(of, of_s))
        return cls(name_of(rule, avoid=avoid), rule, avoid, gain, since, half_life)

    @classmethod
    def imported(cls, row: Mapping[str, Any]) -> "Candidate | None":
        """Read a pattern that somebody brought in; None if no rule says what it says."""
        terms = []
        for condition in row.get("conditions") or ():
            path, op, value = (condition.get(name) for name in ("path", "op", "value"))
            if op in ("ge", "lt") and isinstance(value, int | float | Decimal):
                terms.append(Term(path, op, float(value)))
            elif op in ("eq", "contains") and isinstance(value, str | bool):
                terms.append(Term(path, op, value))
            else:
                return None
        if not terms:
            return None
        nothing = Gain(Seen(), Seen())
        rule, is_avoid = tuple(terms), row.get("kind") == "avoid"
        return cls(row["pattern_id"], rule, is_avoid, nothing, 0, 1)

    def describe(self) -> str:
        """Say what was seen, in words."""
        mine, rest = self.gain.mine, self.gain.all.since(self.gain.mine)
        how = "fail" if self.avoid else "succeed"
        return (
            f"decisions with {conditions_of(self.rule).describe()} seem to {how} more often: "
            f"{mine.s} of {mine.n} succeeded, of the others {rest.s} of {rest.n}"
        )


def joined(rule: Rule, single: Rule) -> Rule | None:
    """Add a term to a rule, in order; None if it adds nothing that could be true beside it."""
    (term,) = single
    for each in rule:
        if each.path == term.path:
            is_range = {each.op, term.op} == {"ge", "lt"}
            low, high = (each, term) if each.op == "ge" else (term, each)
            if not (is_range and float(low.value) < float(high.value)):
                return None
    return tuple(sorted((*rule, term), key=lambda each: order((each,))))


# The same few rules are asked at every round.
@lru_cache(4096)
def order(rule: Rule) -> str:
    """Give what rules are put in order by."""
    return json.dumps(rule)


def brief(rule: Rule) -> str:
    """Give what a rule is known again by, in few bytes."""
    return blake2b(order(rule).encode(), digest_size=4).hexdigest()
