"""How an agent itself does: by day, as its daily summaries say, and by the sources it used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sharpwave.producers.call import Identity, Operation
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas import keys
from sharpwave.schemas.tables import MEMORY, STATE

_EVERY = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """One day of an agent's decisions of one type.

    Attributes:
        decision_type: their type.
        day: `YYYY-MM-DD`.
        decisions: how many were made.
        outcomes: those of them whose outcome is known.
        successes: those of `outcomes` that succeeded.
        rate: successes / outcomes; None without any.
        quality: mean quality, 0 to 1, of the outcomes that state one; None if none does.
        sources: how often each of the twenty sources used most was selected.
    """

    decision_type: str
    day: str
    decisions: int
    outcomes: int
    successes: int
    rate: float | None
    quality: float | None
    sources: Mapping[str, int] = field(default_factory=dict)


def analytics(
    me: Identity,
    /,
    decision_type: str | None = None,
    *,
    since: str = "",
    until: str = "~",
) -> Operation[list[Performance]]:
    """Read how the agent did each day, oldest first within a type: one query of its summaries.

    A day is summed up when its decisions are a day old; from then on it follows late outcomes and
    corrections.

    Args:
        decision_type: only of this type.
        since: from this day, such as 2026-11-22.
        until: up to this day.
    """
    table, pk = me.table(MEMORY), keys.episode_pk(me.agent_id)
    request = storage.query(table, ("PK", pk), newest_first=False)
    if decision_type is not None:
        first, last = (keys.episode(me.agent_id, decision_type, day).sk for day in (since, until))
        request = storage.query(table, ("PK", pk), between=("SK", first, last), newest_first=False)

    def pick(item: Item) -> Performance | None:
        day = item.get("day", "")
        if item.get("memory_type") != "EPISODE" or not since <= day <= until:
            return None
        outcomes, successes = int(item["sample_size"]), int(item["successes"])
        return Performance(
            decision_type=item["decision_type"],
            day=item["day"],
            decisions=outcomes + int(item["pending"]),
            outcomes=outcomes,
            successes=successes,
            rate=successes / outcomes if outcomes else None,
            quality=_plain(item.get("quality_mean")),
            sources={name: int(number) for name, number in item["sources"].items()},
        )

    return (yield from storage.select(request, pick, limit=_EVERY))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How decisions did that used a source, or that were made in a bucket.

    Attributes:
        calls: how many were made.
        outcomes: those of them whose outcome is known.
        successes: those of `outcomes` that succeeded.
        rate: successes / outcomes; None without any.
        quality: mean quality, 0 to 1, of the outcomes that state one; None if none does.
    """

    calls: int
    outcomes: int
    successes: int
    rate: float | None
    quality: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMetrics:
    """How the sources of an agent's decisions of one type did, over all days.

    Attributes:
        decision_type: their type.
        sources: by the names in `reasoning.selected`.
        buckets: by `reasoning.bucket`, the context that sources are compared in.
        rates: by bucket and then by source, the share of successes; None without an outcome.
        updated_at: when workers wrote it, in epoch seconds.
    """

    decision_type: str
    sources: Mapping[str, Standing]
    buckets: Mapping[str, Standing]
    rates: Mapping[str, Mapping[str, float | None]]
    updated_at: int


def metrics(me: Identity, /, decision_type: str | None = None) -> Operation[list[SourceMetrics]]:
    """Read how the sources that the agent's decisions named did, by decision type.

    Workers bring it up to date each minute, outcomes and corrections included.

    Args:
        decision_type: only of this type.
    """
    table, pk = me.table(STATE), keys.metrics_pk(me.agent_id)
    between = None if decision_type is None else ("SK", decision_type, decision_type)
    request = storage.query(table, ("PK", pk), between=between, consistent=True, newest_first=False)

    def pick(item: Item) -> SourceMetrics | None:
        try:
            buckets = item["context_performance"]
            return SourceMetrics(
                decision_type=item["decision_type"],
                sources={name: _standing(part) for name, part in item["source_metrics"].items()},
                buckets={name: _standing(part) for name, part in buckets.items()},
                rates={
                    name: {source: _plain(rate) for source, rate in part["sources"].items()}
                    for name, part in buckets.items()
                },
                updated_at=int(item["updated_at"]),
            )
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # Without a strict policy anybody may write it over; workers mend it when it changes.
            me.counters["unreadable"] += 1
            return None

    return (yield from storage.select(request, pick, limit=_EVERY))


def _standing(part: Mapping[str, Any]) -> Standing:
    return Standing(
        calls=int(part["total_calls"]),
        outcomes=int(part["outcomes"]),
        successes=int(part["successes"]),
        rate=_plain(part["success_rate"]),
        quality=_plain(part["quality_score"]),
    )


def _plain(value: Any) -> float | None:
    return None if value is None else float(value)
