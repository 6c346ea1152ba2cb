"""How an agent itself does, day by day, as its daily summaries say."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sharpwave.producers.call import Identity, Operation
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas import keys
from sharpwave.schemas.tables import MEMORY

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
        is_wanted = item.get("memory_type") == "EPISODE" and since <= day <= until
        return _performance(item) if is_wanted else None

    return (yield from storage.select(request, pick, limit=_EVERY))


def _performance(item: Item) -> Performance:
    outcomes, successes = int(item["sample_size"]), int(item["successes"])
    quality = item.get("quality_mean")
    return Performance(
        decision_type=item["decision_type"],
        day=item["day"],
        decisions=outcomes + int(item["pending"]),
        outcomes=outcomes,
        successes=successes,
        rate=successes / outcomes if outcomes else None,
        quality=None if quality is None else float(quality),
        sources={name: int(number) for name, number in item["sources"].items()},
    )
