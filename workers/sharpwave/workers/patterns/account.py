"""An owner's account of promotions: who came in which order, who was promoted, and with what.

It bounds the share of false ones among all that it ever promotes, so nothing in it is taken back:
a pattern that is degraded or retired later stays promoted here, and a new version comes anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sharpwave.workers.patterns.life import floored, needed
from sharpwave.workers.patterns.multiplicity import online_closure
from sharpwave.workers.patterns.policy import Policy


@dataclass(frozen=True, slots=True)
class Account:
    """An owner's family of candidates, as stored.

    Attributes:
        revision: how often it was written; 0 while there is none.
        count: candidates so far.
        promoted: number -> (subject, log evidence when it was promoted); never taken back.
        waiting: number -> (subject, log evidence) of those that lack evidence and nothing else.
    """

    revision: int = 0
    count: int = 0
    promoted: Mapping[int, tuple[str, float]] = field(default_factory=dict)
    waiting: Mapping[int, tuple[str, float]] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Account":
        """Read a stored one."""
        return cls(
            int(row.get("rev", 0)),
            int(row.get("count", 0)),
            {int(n): (subject, float(e)) for n, subject, e in row.get("promoted", ())},
            {int(n): (subject, float(e)) for n, subject, e in row.get("waiting", ())},
        )

    def attributes(self, policy: Policy) -> dict[str, Any]:
        """Give it as attributes to store, with the rule that decides at present."""
        return {
            "rev": self.revision,
            "count": self.count,
            "promoted": _rows(self.promoted),
            "waiting": _rows(self.waiting),
            "rule": self.rule(policy),
        }

    def rule(self, policy: Policy) -> str:
        """Name the rule that decides: e-LOND where too many wait for the closure."""
        return "e-lond" if len(self.waiting) > policy.closure_most else "online closure"

    def chosen(self, policy: Policy) -> list[int]:
        """Give the numbers of the waiting that can be promoted now."""
        waiting = {number: e for number, (_, e) in self.waiting.items()}
        if self.rule(policy) == "online closure":
            held = {number: e for number, (_, e) in self.promoted.items()}
            return online_closure(held, waiting, policy.alpha)
        found = list[int]()
        for number in sorted(waiting):
            if waiting[number] >= needed(number, len(self.promoted) + len(found), policy):
                found.append(number)
        return found

    def entered(self, number: int, subject: str, log_evidence: float | None) -> "Account":
        """Give it with what a candidate has now; None if it lacks something else than evidence."""
        waiting = {n: each for n, each in self.waiting.items() if n != number}
        if log_evidence is not None:
            waiting[number] = subject, log_evidence
        return replace(self, waiting=waiting)

    def settled(self, policy: Policy) -> "Account":
        """Give it with those promoted that can be."""
        chosen = set(self.chosen(policy))
        return replace(
            self,
            promoted={**self.promoted, **{n: self.waiting[n] for n in chosen}},
            waiting={n: each for n, each in self.waiting.items() if n not in chosen},
        )


def _rows(held: Mapping[int, tuple[str, float]]) -> list[list[Any]]:
    return [[number, subject, floored(e)] for number, (subject, e) in sorted(held.items())]
