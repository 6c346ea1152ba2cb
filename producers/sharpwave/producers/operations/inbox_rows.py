"""Looking at the signals an agent was sent, worked or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharpwave.producers.call import Operation
from sharpwave.producers.errors import AccessDenied
from sharpwave.producers.identity import Identity
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.moments import Moment, Range, is_alive
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas import keys
from sharpwave.schemas.status import Status
from sharpwave.schemas.tables import SIGNALS


@dataclass(frozen=True, kw_only=True)
class SignalView:
    """A signal as one of its targets has it; times are epoch seconds.

    `payload` holds the signal's attributes, or None if the signal is gone or not readable with
    the credentials in use.
    """

    signal_id: str
    signal_type: str
    source_agent: str
    provenance: str
    timestamp: int
    expires_at: int
    status: str
    processed_at: int | None
    decision_id: str | None
    reason: str | None
    payload: Mapping[str, Any] | None


def get_signals_for_agent(
    me: Identity,
    /,
    agent_id: str | None = None,
    *,
    status: Status | None = None,
    since: Moment | None = None,
    limit: int = 100,
) -> Operation[list[SignalView]]:
    """Read the signals an agent was sent, newest first, with a strong read of its rows.

    This takes nothing from the queue and acknowledges nothing; `inbox` does the work.

    Args:
        agent_id: whose; the agent's own unless given.
        status: only PENDING, EXPIRED, FAILED or PROCESSED.
        since: from this moment on.
        limit: the most to return.
    """
    now, table = me.now(), me.table(SIGNALS)
    request = storage.query(
        table,
        ("PK", keys.inbox_pk(agent_id or me.agent_id)),
        between=Range.of(since, None).sort_keys,
        consistent=True,
    )

    def pick(row: Item) -> Item | None:
        fits = is_alive(row, now) and status in (None, row.get("status"))
        return row if fits and "signal_pk" in row else None

    rows = yield from storage.select(request, pick, limit=limit)
    signals = yield from _signals(table, [_signal_key(row) for row in rows])
    return [_view(row, signals.get(_signal_key(row))) for row in rows]


def _signals(table: str, wanted: list[keys.Key]) -> Operation[dict[keys.Key, Item]]:
    try:
        return (yield from storage.fetch(table, wanted))
    except AccessDenied:
        return {}


def _signal_key(row: Item) -> keys.Key:
    return keys.Key(row["signal_pk"], row["signal_sk"])


def _view(row: Item, payload: Item | None) -> SignalView:
    return SignalView(
        signal_id=row["signal_id"],
        signal_type=row["signal_type"],
        source_agent=row["source_agent"],
        provenance=_provenance(row),
        timestamp=row["timestamp"],
        expires_at=row["expires_at"],
        status=row.get("status", "PENDING"),
        processed_at=row.get("processed_at"),
        decision_id=row.get("decision_id"),
        reason=row.get("reason"),
        payload=payload,
    )


def _provenance(row: Item) -> str:
    """Say whether the signal's key binds its source; rows do not carry it."""
    return "bound" if keys.owner_of(row["signal_pk"]) == row["source_agent"] else "unverified"
