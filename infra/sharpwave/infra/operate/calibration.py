"""How well the confidences that an agent states foretell its outcomes, by decision type."""

from collections.abc import Iterable
from dataclasses import dataclass

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing
from sharpwave.infra.items import Item, Items
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.tables import PIPELINE
from sharpwave.workers.patterns.counts import Counts
from sharpwave.workers.patterns.evidence import Calibration, calibration


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """An agent's decisions of one type, as they were last summed up.

    Attributes:
        decision_type: the type.
        outcomes: its decisions with an outcome.
        calibration: of those of them that stated a confidence; None if none did.
    """

    decision_type: str
    outcomes: int
    calibration: Calibration | None


def agent_calibration(
    deployment: Deployment, agent_id: str, decision_type: str | None = None
) -> list[Calibrated]:
    """Judge the confidences that an agent stated, by decision type; reads a whole table.

    Raises:
        Missing: no decision of the agent, or none of that type, is counted.
    """
    # Nothing lists the types of an agent's decisions, nor an agent the epochs that divide them.
    found = Items(deployment).scan(
        PIPELINE,
        FilterExpression="begins_with(PK, :ledger) AND SK = :total",
        ExpressionAttributeValues={
            ":ledger": {"S": keys.ledger_pk(keys.base_subject(agent_id, ""))},
            ":total": {"S": keys.ledger_total("").sk},
        },
    )
    shown = [
        each
        for each in judged(map(item_from_wire, found), agent_id)
        if decision_type in (None, each.decision_type)
    ]
    if not shown:
        of = f"decision of type {decision_type}" if decision_type else "decision"
        raise Missing(
            f"no {of} by {agent_id} is summed up; `sharpwave agents ls` lists who wrote some, and "
            "workers sum up once a minute"
        )
    return shown


def judged(rows: Iterable[Item], agent_id: str) -> list[Calibrated]:
    """Judge an agent's confidences by rows of totals, which others' may be among.

    Each type has a row for each epoch that versions of patterns divide.
    """
    totals: dict[str, Counts] = {}
    for row in rows:
        base = keys.split_base_subject(keys.ledger_subject(row["PK"]) or "")
        if base and base[0] == agent_id:
            totals[base[1]] = totals.get(base[1], Counts()) + Counts.from_row(row["c"])
    return [
        Calibrated(
            decision_type=name,
            outcomes=counts.n,
            calibration=calibration(counts.confidences.dense(), counts.confidences.squared_error),
        )
        for name, counts in sorted(totals.items())
    ]
