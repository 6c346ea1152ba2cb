"""How long signals took to an agent's queue, and the agent to acknowledge them.

An acknowledgement is in the agent's own row. When a message was handed to the queue is known to the
signal's mirror alone, which lies in the sender's partition: a strict policy lets an agent read no
partition but its own, and then this time is left out, with the reason.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeGuard

from sharpwave.producers.call import Identity, Operation
from sharpwave.producers.errors import AccessDenied
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas import keys
from sharpwave.schemas.sketch import Sketch
from sharpwave.schemas.status import is_begun
from sharpwave.schemas.tables import SIGNALS
from sharpwave.schemas.times import epoch_of, is_iso

_EVERY = 1_000_000
#: Mirrors that are held at once: each lists up to 50 targets.
_PAGE = 1_000

Untimed = Literal["not_asked", "denied", "large", "unknown"]
"""Why a delivery has no time.

Mirrors were not asked for; the agent may not read this one; the audience is above 50, whose
mirrors are the pipeline's own; or the mirror is gone or names no moment.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The signals of one type and source that an agent was sent on one day.

    Attributes:
        signal_type: their type.
        source: who sent them.
        day: on which they were written, `YYYY-MM-DD`.
        received: how many there are.
        acknowledgement: from each signal's moment until the agent acknowledged it, processed or
            failed, in whole seconds; those that are not acknowledged are not in it.
        delivery: from each signal's moment until its message was handed to the agent's queue.
        untimed: how many are not in `delivery`, by the reason.
    """

    signal_type: str
    source: str
    day: str
    received: int
    acknowledgement: Sketch
    delivery: Sketch
    untimed: Mapping[Untimed, int] = field(default_factory=dict)


class _Group(NamedTuple):
    signal_type: str
    source: str
    day: str


class _Row(NamedTuple):
    """What is kept of an inbox row; `signal` is None if it names none."""

    group: _Group
    sk: str
    signal: keys.Key | None
    is_large: bool
    acknowledged_s: float | None


def timings(
    me: Identity,
    /,
    signal_type: str | None = None,
    *,
    source: str | None = None,
    since: str = "",
    until: str = "~",
    deliveries: bool = False,
) -> Operation[list[Timing]]:
    """Read how long signals took to the agent and to be acknowledged, by type, source and day.

    Rows are kept a week past the deadline of their signal, and so are mirrors. It costs a query
    of all rows of those days, half a read unit for each 4 KB; with `deliveries` also half a unit
    for each 4 KB of each mirror, 100 in a request. Under a strict policy one such request is
    refused, costs nothing, and no other is made; signals that the agent sent to itself are timed.

    Args:
        signal_type: only of this type.
        source: only those that this agent sent.
        since: from this day, such as 2026-11-22.
        until: up to this day.
        deliveries: read mirrors too.
    """

    def pick(row: Item) -> _Row | None:
        found = _row(row)
        if found is None:
            me.counters["unreadable"] += 1
            return None
        is_wanted = signal_type in (None, found.group.signal_type)
        return found if is_wanted and source in (None, found.group.source) else None

    table = me.table(SIGNALS)
    # A row's key begins with the time of its signal; "~" is behind all times of the last day.
    days = ("SK", since or " ", until.removesuffix("~") + "~")
    request = storage.query(
        table, ("PK", keys.inbox_pk(me.agent_id)), between=days, newest_first=False
    )
    rows = yield from storage.select(request, pick, limit=_EVERY)
    ways: list[float | Untimed] = []
    # A request with one key that is denied is refused whole: the agent's own are asked for apart.
    denied: set[bool] = set()
    for start in range(0, len(rows), _PAGE):
        page, mirrors = rows[start : start + _PAGE], dict[keys.Key, Item]()
        signals = [row.signal for row in page if deliveries and row.signal and not row.is_large]
        for is_own in {True, False} - denied:
            mine = (keys.mirror(each) for each in signals if _is_own(me, each) == is_own)
            try:
                mirrors |= yield from storage.fetch(table, mine)
            except AccessDenied:
                denied.add(is_own)
        for row in page:
            if not deliveries:
                ways.append("not_asked")
            elif row.signal is None:
                ways.append("unknown")
            elif row.is_large:
                ways.append("large")
            elif _is_own(me, row.signal) in denied:
                ways.append("denied")
            else:
                mirror = mirrors.get(keys.mirror(row.signal), {})
                entries = mirror["processing_status"] if is_begun(mirror) else {}
                seconds = delivered_after(row.sk, entries.get(me.agent_id))
                ways.append("unknown" if seconds is None else seconds)
    groups: dict[_Group, list[tuple[_Row, float | Untimed]]] = {}
    for row, way in zip(rows, ways, strict=True):
        groups.setdefault(row.group, []).append((row, way))
    return [
        Timing(
            **group._asdict(),
            received=len(parts),
            acknowledgement=Sketch.of(row.acknowledged_s for row, _ in parts),
            delivery=Sketch.of(way for _, way in parts if not isinstance(way, str)),
            untimed=Counter(way for _, way in parts if isinstance(way, str)),
        )
        for group, parts in sorted(groups.items())
    ]


def acknowledged_after(row: Mapping[str, Any]) -> float | None:
    """Give the seconds until a row's agent acknowledged its signal; None if it does not say so.

    They are whole, as agents state them. A row is its agent's to write over: it may say anything.
    """
    start, end = row.get("timestamp"), row.get("processed_at")
    if row.get("status") not in ("PROCESSED", "FAILED"):
        return None
    return float(end - start) if _is_number(start) and _is_number(end) else None


def delivered_after(row_sk: str, entry: object) -> float | None:
    """Give the seconds until a message was handed to its queue; None if that is not known.

    Args:
        row_sk: the sort key of the row, which has the signal's moment to the millisecond.
        entry: what the signal's mirror says of the row's agent; the sender may write over it.
    """
    iso, handed = keys.time_and_id(row_sk)[0], None
    if isinstance(entry, Mapping):
        handed = entry.get("delivered_ms")
    return float(handed) / 1000 - epoch_of(iso) if is_iso(iso) and _is_number(handed) else None


def _is_number(value: object) -> TypeGuard[int | Decimal]:
    # A boolean is an int to Python, and no moment.
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_own(me: Identity, signal: keys.Key) -> bool:
    return keys.owner_of(signal.pk) == me.agent_id


def _row(row: Item) -> _Row | None:
    """Read an inbox row; None of one that does not say what was sent, by whom and when."""
    sent = row.get("signal_type"), row.get("source_agent")
    iso, _ = keys.time_and_id(row["SK"])
    if not (isinstance(sent[0], str) and isinstance(sent[1], str) and is_iso(iso)):
        return None
    # What was written over may name any key, even one that no request may hold.
    signal = keys.Key(str(row.get("signal_pk")), str(row.get("signal_sk")))
    parsed = keys.parse(SIGNALS, *signal)
    return _Row(
        _Group(sent[0], sent[1], iso[:10]),
        row["SK"],
        signal if parsed is not None and parsed.kind == "signal" else None,
        "chunk" in row,
        acknowledged_after(row),
    )
