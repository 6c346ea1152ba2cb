"""The budgets the design promises, and whether a model or a run keeps them."""

from typing import NamedTuple

from sharpwave.infra.cost.bill import Bill
from sharpwave.infra.cost.flow import Flow, decision_units, episode, ledger_units


class Verdict(NamedTuple):
    """One budget: what it limits, the limit, and what was found."""

    what: str
    limit: float
    found: float
    kept: bool


def verdicts(flow: Flow, signals: Bill) -> list[Verdict]:
    """Judge the budgets for one kind of traffic, given the bill of its signals."""
    life = sum(decision_units(flow)) + episode(flow).writes
    each = f"write units of a decision in a ledger at {flow.per_message:g} a message"
    return [
        _judge(f"dollars of a million signals with {flow.targets} targets", 4.0, signals.total),
        _judge(f"{each}, on average", 0.5, sum(ledger_units(flow)) / flow.per_message),
        _judge(
            f"{each}, when its slot is full",
            0.5,
            sum(ledger_units(flow, fill=1.0)) / flow.per_message,
        ),
        _judge(f"write units of a {flow.item_kb:g} KB decision's life", 8.0, life),
    ]


def _judge(what: str, limit: float, found: float) -> Verdict:
    return Verdict(what, limit, round(found, 3), found <= limit)
