"""Every delivery ends, its row says what its agent said, and the mirror says what the row says."""

from collections.abc import Iterator

from sharpwave.schemas.ids import SYSTEM, signal_uid
from tests.simulation.book import Sent
from tests.simulation.checking.view import KEPT_S, Seen, audience
from tests.simulation.scene import Scene

_RANK = {"EXPIRED": 1, "FAILED": 2, "PROCESSED": 3}
_DETAILS = ("status", "reason", "decision_id", "processed_at")
#: Why a delivery ended that its agent left open.
_LEFT_OPEN = ("agent_removed", "unacknowledged")


def statuses(scene: Scene) -> Iterator[str]:
    """Check rows and mirrors of all signals."""
    book, seen = scene.book, Seen.of(scene)
    expected_rows = set()
    for key, sent in book.signals.items():
        _, may = audience(sent, book, float("inf"))
        uid = signal_uid(*key)
        mirror = seen.mirrors.get(uid, {})
        for target in sorted(mirror.keys() - may):
            yield f"the mirror of {key.sk} holds {target}, who is not in its audience"
        for target in sorted(may):
            expected_rows.add(seen.row_key(sent, target))
            is_ours = sent.item["source_agent"] == SYSTEM
            if is_ours and max(sent.deadlines) > scene.clock():
                continue  # what was told while all came to rest is still open
            yield from _delivery(seen, sent, target)
    for row in seen.rows.keys() - expected_rows:
        yield f"the row {row} belongs to no signal's audience"


def _delivery(seen: Seen, sent: Sent, target: str) -> Iterator[str]:
    book, key = seen.scene.book, seen.row_key(sent, target)
    name = f"delivery of {sent.key.sk[-8:]} to {target}"
    row = seen.rows.get(key)
    entry = seen.mirrors.get(signal_uid(*sent.key), {}).get(target)
    arrivals = seen.arrivals.get((signal_uid(*sent.key), target), [])
    ends = book.acknowledged.get(key, [])
    wanted = max((end["status"] for end in ends), key=_RANK.__getitem__, default=None)
    if row is None:
        dropped = book.dropped.get(key)
        # A row that was deleted while open is put back, unless its agent is removed by then.
        is_removed = dropped is not None and book.was_absent(target, dropped)
        is_old = seen.scene.clock() >= max(sent.deadlines) + KEPT_S
        if arrivals and not (is_removed or is_old or (dropped is not None and ends)):
            yield f"{name}: it was sent, and its row is gone"
        reason = (entry or {}).get("reason", "agent_removed")
        if arrivals and is_removed and not wanted and reason not in _LEFT_OPEN:
            yield f"{name}: its agent deleted its row and is removed, the mirror says {entry}"
        if entry is not None and wanted and entry["status"] != wanted:
            yield f"{name}: its agent said {wanted}, the mirror says {entry['status']}"
    else:
        status = row.get("status")
        if status not in _RANK:
            yield f"{name}: its row did not end: {status}"
        elif status == "EXPIRED" and "reason" not in row:
            yield f"{name}: its row expired without a reason"
        if wanted is not None and status != wanted:
            yield f"{name}: its agent said {wanted}, its row says {status}"
        if wanted is None and status == "PROCESSED":
            yield f"{name}: nobody acknowledged it, and its row says {status}"
        missing = [each for each in ("signal_pk", "signal_id", "expires_at") if each not in row]
        if missing or (row["signal_pk"], row["signal_sk"]) != sent.key:
            yield f"{name}: its row lost what the worker had written: {missing or row['signal_pk']}"
        if entry is not None:
            for detail in _DETAILS:
                if entry.get(detail) != row.get(detail):
                    said = f"{detail} {row.get(detail)}, the mirror {entry.get(detail)}"
                    yield f"{name}: its row says {said}"
        else:
            yield f"{name}: the mirror does not hold it, its row says {status}"
    end = row or entry
    if end and end.get("reason") == "unacknowledged" and not arrivals:
        yield f"{name}: it counts as unacknowledged, and it was never sent"
    if entry is not None and entry["status"] == "EXPIRED" and "reason" not in entry:
        yield f"{name}: the mirror gives no reason why it expired"
    if entry is not None and entry["status"] not in _RANK:
        yield f"{name}: the mirror leaves it at {entry['status']}"
