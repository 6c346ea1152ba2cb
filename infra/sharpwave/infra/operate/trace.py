"""The life of one signal, put together from the tables and queues."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing
from sharpwave.infra.operate import parked
from sharpwave.infra.operate.dead_letters import peek, reason_of
from sharpwave.infra.operate.items import Item, Items
from sharpwave.infra.operate.mailbox import Letter
from sharpwave.infra.operate.queues import QueueView, view_queue
from sharpwave.infra.operate.signal_search import Search, find
from sharpwave.schemas import keys
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS, delivery_id, is_agent_id, signal_uid
from sharpwave.schemas.keys import Key
from sharpwave.schemas.messages import expires_at
from sharpwave.schemas.status import TERMINAL
from sharpwave.schemas.tables import PIPELINE, SIGNALS
from sharpwave.workers.signals.audience import members

#: Targets whose queues are looked at; more would take long and say little.
MAX_QUEUES = 20


@dataclass(frozen=True, kw_only=True)
class Target:
    """One target: its row, its entry in the mirror, and its inbox queue."""

    agent_id: str
    delivery_id: str
    status: str
    reason: str | None = None
    processed_at: int | None = None
    decision_id: str | None = None
    mirror: str | None = None
    in_dead_letters: str | None = None
    queue: QueueView | None = None

    @property
    def ended(self) -> bool:
        """Say whether this delivery came to its end."""
        return self.status in TERMINAL


@dataclass(frozen=True, kw_only=True)
class Life:
    """One signal from its record to each target's acknowledgement."""

    key: Key
    uid: str
    found_by: str
    record: Item | None
    provenance: str
    expires_at: int | None
    audience: str
    targets: tuple[Target, ...]
    parked: parked.Parked | None
    deliver_dead_letters: int

    @property
    def verdict(self) -> str:
        """Say in a sentence how the signal stands."""
        if self.parked:
            return f"refused: {'; '.join(str(fault) for fault in self.parked.faults)}"
        if self.deliver_dead_letters:
            return "its delivery failed; see `sharpwave dlq show deliver`"
        if not self.targets:
            return "no target so far: not delivered yet, or nobody is in its audience"
        open_ones = [target.agent_id for target in self.targets if not target.ended]
        if not open_ones:
            return "every delivery has ended"
        return f"open: {', '.join(open_ones)}"


def trace(deployment: Deployment, search: Search) -> list[Life]:
    """Tell the life of every signal with an id.

    Raises:
        Missing: no signal with the id was found; says where was looked.
    """
    found = find(deployment, search)
    if not found.signals:
        raise Missing(f"signal {search.signal_id} was not found: {found.how}")
    return [_life(deployment, key, found.how) for key in found.signals]


def _life(deployment: Deployment, key: Key, how: str) -> Life:
    items = Items(deployment)
    uid = signal_uid(*key)
    record = items.get(SIGNALS, key)
    stored = list(items.query(PIPELINE, keys.audience_pk(uid)))
    mirror = _mirror(record, stored)
    names = _audience(record, stored)
    # A signal outlived by its rows has no list of targets any more, so all inboxes are asked.
    asked = names or _everyone(items)
    rows = {name: items.get(SIGNALS, keys.inbox_row(name, key, uid)) for name in asked}
    shown = [name for name in asked if name in names or rows[name] or name in mirror]
    return Life(
        key=key,
        uid=uid,
        found_by=how,
        record=record,
        provenance=_provenance(key, record),
        expires_at=_deadline(record, rows.values()),
        audience=_audience_text(record, names),
        targets=tuple(_targets(deployment, uid, shown, rows, mirror)),
        parked=parked.of_record(items, SIGNALS, key),
        deliver_dead_letters=_failed_deliveries(deployment, key),
    )


def _audience(record: Item | None, stored: list[Item]) -> list[str]:
    frozen = set(members(stored) or ())
    listed = (record or {}).get("target_agents")
    if isinstance(listed, list) and listed not in ([EVERYONE], [SUBSCRIBERS]):
        frozen |= {name for name in listed if is_agent_id(name)}
    return sorted(frozen)


def _audience_text(record: Item | None, names: list[str]) -> str:
    listed = (record or {}).get("target_agents")
    group = {EVERYONE: "everyone", SUBSCRIBERS: "subscribers"}
    label = group.get(listed[0]) if isinstance(listed, list) and len(listed) == 1 else None
    if label is None:
        return f"{len(names)} named"
    return f"{label}, frozen as {len(names)}" if names else f"{label}, not frozen yet"


def _mirror(record: Item | None, stored: list[Item]) -> dict[str, Any]:
    mirror: dict[str, Any] = {}
    for holder in [record or {}, *stored]:
        entries = holder.get("processing_status")
        if isinstance(entries, dict) and "status_v" in holder:
            mirror |= entries
    return mirror


def _everyone(items: Items) -> list[str]:
    return [entry["SK"] for entry in items.query(PIPELINE, keys.KNOWN_AGENTS_PK)]


def _provenance(key: Key, record: Item | None) -> str:
    owner = keys.owner_of(key.pk)
    if record is not None and owner is not None and owner == record.get("source_agent"):
        return "bound"
    return "unverified"


def _deadline(record: Item | None, rows: Any) -> int | None:
    if record is not None and isinstance(record.get("timestamp"), int):
        return expires_at(record)
    return next((row["expires_at"] for row in rows if row and "expires_at" in row), None)


def _targets(
    deployment: Deployment,
    uid: str,
    names: list[str],
    rows: dict[str, Item | None],
    mirror: dict[str, Any],
) -> Iterator[Target]:
    for number, name in enumerate(names):
        entry = mirror.get(name) or {}
        row = rows.get(name) or {}
        status = row if row.get("status", "PENDING") != "PENDING" else entry or row
        queue = view_queue(deployment, f"inbox-{name}") if number < MAX_QUEUES else None
        identity = delivery_id(uid, name)
        yield Target(
            agent_id=name,
            delivery_id=identity,
            status=status.get("status", "not delivered"),
            reason=status.get("reason"),
            processed_at=status.get("processed_at"),
            decision_id=status.get("decision_id"),
            mirror=entry.get("status"),
            in_dead_letters=_dead(deployment, queue, identity),
            queue=queue,
        )


def _dead(deployment: Deployment, queue: QueueView | None, identity: str) -> str | None:
    if queue is None or queue.dlq is None or not queue.dlq.ready:
        return None
    letters = peek(deployment, queue.name)
    return next((reason_of(letter) for letter in letters if identity in letter.body), None)


def _failed_deliveries(deployment: Deployment, key: Key) -> int:
    letters: list[Letter] = []
    with suppress(Missing):
        letters = peek(deployment, "deliver")
    # The sort key alone is not unique, but a body holds both halves of the key.
    return sum(key.sk in letter.body and key.pk in letter.body for letter in letters)
