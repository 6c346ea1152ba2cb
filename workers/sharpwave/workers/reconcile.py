"""Feeds what a table holds to the router again, after a gap in its stream.

Every duty is safe to repeat, so it does no harm to what was handled before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from sharpwave.schemas import keys
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.status import RANK
from sharpwave.workers.envelope import ascii_json
from sharpwave.workers.outgoing import Outgoing, Route, StreamRecord

_PAGE = 500
_LEFT_BY_WORKERS = ({"S": "PENDING"}, {"S": "EXPIRED"})


def reconcile(
    table: str,
    items: Iterable[Mapping[str, Wire]],
    *,
    route: Route,
    send: Callable[[Sequence[Outgoing]], None],
    now: float,
) -> int:
    """Route every item of one table as if it had just been written.

    Returns:
        The number of items that were routed.
    """
    routed = 0
    page: list[StreamRecord] = []
    for record in _records(table, items, now):
        page.append(record)
        routed += 1
        if len(page) == _PAGE:
            send(route(table, page))
            page = []
    if page:
        send(route(table, page))
    return routed


def _records(table: str, items: Iterable[Mapping[str, Wire]], now: float) -> Iterator[StreamRecord]:
    for item in items:
        parsed = keys.parse(table, item["PK"]["S"], item["SK"]["S"])
        kind = parsed.kind if parsed else None
        if kind == "row":
            if item.get("status") not in _LEFT_BY_WORKERS:
                yield _record(item, now, old={**item, "status": {"S": "PENDING"}})
        elif not (kind == "signal" and _is_delivered(item)):
            yield _record(item, now)


def _is_delivered(signal: Mapping[str, Wire]) -> bool:
    # A version alone is a mirror that an acknowledgement touched before the delivery began it.
    if not {"status_v", "processing_status"} <= signal.keys():
        return False
    statuses = signal.get("processing_status", {}).get("M", {})
    return all(
        RANK.get(entry["M"]["status"]["S"], 0) >= RANK["DELIVERED"] for entry in statuses.values()
    )


def _record(
    item: Mapping[str, Wire], now: float, *, old: Mapping[str, Wire] | None = None
) -> StreamRecord:
    digest = blake2b(ascii_json(item).encode(), digest_size=16).hexdigest()
    timestamp = item.get("timestamp", {}).get("N", "")
    # A record is judged by when it was stored; of an item only its own claim is left.
    stored_at = min(float(timestamp), now) if timestamp.isdigit() else now
    change: dict[str, Any] = {
        "Keys": {"PK": item["PK"], "SK": item["SK"]},
        "NewImage": dict(item),
        "ApproximateCreationDateTime": stored_at,
    }
    if old is not None:
        change["OldImage"] = dict(old)
    name = "MODIFY" if old else "INSERT"
    return {"eventID": f"reconcile-{digest}", "eventName": name, "dynamodb": change}
