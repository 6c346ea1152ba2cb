"""Feeds what a table holds to the router again, after a gap in its stream.

Every duty is safe to repeat, so it does no harm to what was handled before. An item is admitted
by the time it claims, the only one that is left of when it was stored, and due by the present
one. What was refused when it came is passed over: its claim would let it in by now.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, Protocol

from sharpwave.schemas import keys
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.status import TERMINAL
from sharpwave.schemas.times import Clock
from sharpwave.workers.router.admission import claimed_at
from sharpwave.workers.signals.refusals import RefusedBefore
from sharpwave.workers.work.envelope import ascii_json
from sharpwave.workers.work.incoming import StreamRecord
from sharpwave.workers.work.outgoing import FED_AGAIN, WorkMessage
from sharpwave.workers.work.ports import Reads

log = logging.getLogger(__name__)

_PAGE = 500
_LEFT_BY_WORKERS = ({"S": "PENDING"}, {"S": "EXPIRED"})


class LateRoute(Protocol):
    """Turns records of one table into messages, some time after they were stored."""

    def __call__(
        self, table: str, records: Sequence[StreamRecord], *, now: float
    ) -> list[WorkMessage]:
        """Give the messages; `now` is the present moment."""


def reconcile(
    table: str,
    items: Iterable[Mapping[str, Wire]],
    *,
    route: LateRoute,
    send: Callable[[Sequence[WorkMessage]], None],
    now: float,
    refused: RefusedBefore | None,
) -> int:
    """Route every item of one table as if its stream told of it only now.

    Args:
        table: its logical name.
        items: typed items; those of one partition one after another, as a scan gives them.
        route: the router.
        send: feeds the work queues.
        now: the time.
        refused: what is passed over; None for items that somebody hands over on purpose.

    Returns:
        The number of items that were routed.
    """
    routed = 0
    records = _records(table, items, now, refused)
    while page := list(islice(records, _PAGE)):
        send(route(table, page, now=now))
        routed += len(page)
    return routed


def heal(
    table: str,
    shard_id: str,
    *,
    scan: Callable[[str], Iterable[Mapping[str, Wire]]],
    route: LateRoute,
    send: Callable[[Sequence[WorkMessage]], None],
    reads: Reads,
    clock: Clock,
) -> None:
    """Feed a table again whose stream lost records unread; safe to repeat."""
    log.error("stream_trimmed", extra={"table": table, "shard": shard_id})
    # Anew each time: it remembers what it read last, and tables are healed by several threads.
    refused = RefusedBefore(reads)
    items = scan(table)
    count = reconcile(table, items, route=route, send=send, now=clock(), refused=refused)
    log.warning("reconciled", extra={"table": table, "items": count})


def _records(
    table: str, items: Iterable[Mapping[str, Wire]], now: float, refused: RefusedBefore | None
) -> Iterator[StreamRecord]:
    for item, mirror in _with_mirrors(items):
        parsed = keys.parse(table, item["PK"]["S"], item["SK"]["S"])
        kind = parsed.kind if parsed else None
        if kind == "inbox_row":
            # An acknowledgement is known by the change: what an agent did is fed as one from open.
            if item.get("status") not in _LEFT_BY_WORKERS:
                claimed = _claim(kind, item, now)
                yield _record(item, claimed, old={**item, "status": {"S": "PENDING"}})
        elif kind == "mirror" or (kind == "signal" and _is_settled(mirror or item)):
            continue
        elif refused is None or not refused.holds(table, item):
            yield _record(item, _claim(kind, item, now))


def _with_mirrors(
    items: Iterable[Mapping[str, Wire]],
) -> Iterator[tuple[Mapping[str, Wire], Mapping[str, Wire]]]:
    """Give each item with its mirror, which follows it; with an empty one if it has none."""
    before: Mapping[str, Wire] | None = None
    for item in items:
        if before is not None:
            mirror = keys.mirror(keys.Key(before["PK"]["S"], before["SK"]["S"]))
            yield before, item if mirror == (item["PK"]["S"], item["SK"]["S"]) else {}
        before = item
    if before is not None:
        yield before, {}


def _is_settled(mirror: Mapping[str, Wire]) -> bool:
    """Say whether every delivery of a signal came to an end; an open one is looked after again.

    Earlier releases kept the mirror in the signal itself.
    """
    # A version alone is a mirror that an acknowledgement touched before the delivery began it.
    statuses = mirror.get("processing_status", {}).get("M")
    if statuses is None or "status_v" not in mirror:
        return False
    return all(
        entry.get("M", {}).get("status", {}).get("S") in TERMINAL for entry in statuses.values()
    )


def _claim(kind: keys.Kind | None, item: Mapping[str, Wire], now: float) -> float:
    """Give the moment at which an item says it was stored; never a future one."""
    claimed = claimed_at(kind, item)
    return now if claimed is None else min(claimed, now)


def _record(
    item: Mapping[str, Wire], stored_at: float, *, old: Mapping[str, Wire] | None = None
) -> StreamRecord:
    digest = blake2b(ascii_json(item).encode(), digest_size=16).hexdigest()
    change: dict[str, Any] = {
        "Keys": {"PK": item["PK"], "SK": item["SK"]},
        "NewImage": dict(item),
        "ApproximateCreationDateTime": stored_at,
    }
    if old is not None:
        change["OldImage"] = dict(old)
    name = "MODIFY" if old else "INSERT"
    return {"eventID": FED_AGAIN + digest, "eventName": name, "dynamodb": change}
