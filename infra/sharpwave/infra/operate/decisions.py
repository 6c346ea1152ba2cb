"""What agents decided, read in their place: the SDK's operations do all of it."""

from typing import NamedTuple, TypeVar

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing, Misused
from sharpwave.infra.operate.signals import StandIn
from sharpwave.producers import DecisionPage, DecisionView, Due
from sharpwave.producers.operations import decisions, lineage
from sharpwave.producers.operations.decisions import Result
from sharpwave.schemas.ids import EVERYONE
from sharpwave.schemas.records import DecisionRecord
from sharpwave.schemas.times import event_begin, is_event_time

_MOST = 1000
#: Whose eyes are used where no agent is named; nothing is found or written under this name.
_NOBODY = "nobody"

T = TypeVar("T")


class Chain(NamedTuple):
    """A decision with all it followed from, root first, and all that followed from it."""

    ancestors: list[DecisionRecord]
    descendants: list[DecisionRecord]


def list_decisions(
    deployment: Deployment,
    *,
    agent_id: str | None = None,
    decision_type: str | None = None,
    outcome: Result | None = None,
    since: str | None = None,
    until: str | None = None,
    cursor: str | None = None,
    limit: int = 20,
) -> DecisionPage:
    """Read a page of decisions, newest first: one agent's, or everyone's of one type.

    Raises:
        Misused: neither agent nor type is given, or a time or the cursor cannot be.
    """
    if agent_id is None and decision_type is None:
        raise Misused("decisions of whom? give --agent, or --type for everyone's of a type")
    agent = StandIn(deployment, agent_id or _NOBODY)
    try:
        return agent.run(
            decisions.decisions_page(
                agent.me,
                decision_type=decision_type,
                agent_id=agent_id or EVERYONE,
                outcome=outcome,
                since=_moment("--since", since),
                until=_moment("--until", until),
                limit=limit,
                cursor=cursor,
            )
        )
    except ValueError as error:
        raise Misused(str(error)) from error


def show_decision(
    deployment: Deployment, decision_id: str, agent_id: str | None = None
) -> DecisionView:
    """Read a decision and all that belongs to it, as its agent sees it.

    Raises:
        Missing: there is no such decision.
    """
    agent = _owner(deployment, decision_id, agent_id)
    return _there(decision_id, agent.run(lineage.decision_view(agent.me, decision_id)))


def chain_of(deployment: Deployment, decision_id: str, agent_id: str | None = None) -> Chain:
    """Read what a decision followed from, and what followed from it.

    Raises:
        Missing: there is no such decision.
    """
    agent = _owner(deployment, decision_id, agent_id)
    above = agent.run(decisions.chain(agent.me, decision_id))
    return Chain(above, agent.run(lineage.descendants(agent.me, decision_id, limit=_MOST)))


def due_decisions(
    deployment: Deployment,
    agent_id: str,
    decision_type: str | None = None,
    *,
    within_s: int = 0,
    limit: int = 20,
) -> list[Due]:
    """Read the decisions of an agent whose outcome is due, by the horizons of the workers."""
    from sharpwave.workers.settings import Settings

    agent = StandIn(deployment, agent_id)
    return agent.run(
        lineage.due(
            agent.me,
            horizons=Settings.read().outcome_horizon,
            within_s=within_s,
            decision_type=decision_type,
            limit=limit,
        )
    )


def _owner(deployment: Deployment, decision_id: str, agent_id: str | None) -> StandIn:
    agent = StandIn(deployment, agent_id or _NOBODY)
    record = _there(decision_id, agent.run(decisions.decision(agent.me, decision_id)))
    return StandIn(deployment, record.agent_id)


def _there(decision_id: str, found: T | None) -> T:
    if found is None:
        raise Missing(f"there is no decision {decision_id}; `sharpwave decisions ls` lists them")
    return found


def _moment(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    if not is_event_time(text):
        raise Misused(f"{name} {text!r} is no time; write 2025-10-18T14:30:00Z or 2025-10-18")
    return event_begin(text)
