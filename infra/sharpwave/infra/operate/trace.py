"""The life of one signal: found by its id, then put together from the tables and queues."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing
from sharpwave.infra.items import Item, Items
from sharpwave.infra.mailbox import Received, depth_at
from sharpwave.infra.operate.agents import known_agents
from sharpwave.infra.operate.dead_letters import peek, reason_of
from sharpwave.infra.operate.feed import Parked, parked_of
from sharpwave.infra.operate.queues import QueueView, view_queue
from sharpwave.infra.provision.structure import describe
from sharpwave.schemas import keys
from sharpwave.schemas.ids import (
    EVERYONE,
    SUBSCRIBERS,
    delivery_id,
    is_agent_id,
    signal_uid,
    ulid_epoch_ms,
)
from sharpwave.schemas.keys import Key
from sharpwave.schemas.messages import expires_at
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.queues import of_agent
from sharpwave.schemas.status import TERMINAL, is_begun
from sharpwave.schemas.tables import PIPELINE, SIGNALS
from sharpwave.schemas.times import bound
from sharpwave.workers.signals.audience import members

#: Targets whose queues are looked at; more would take long and say little.
MAX_QUEUES = 20
#: How far a signal's own time may be from the time in its id, in seconds.
NEAR_S = 600
#: A table up to this size is scanned unasked.
SMALL_BYTES = 16_000_000
#: What a read unit pays for; a scan is eventually consistent and pays half.
_UNIT_BYTES = 4096


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
    parked: Parked | None
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
        return f"open: {', '.join(open_ones)}" if open_ones else "every delivery has ended"


def trace(
    deployment: Deployment,
    signal_id: str,
    *,
    signal_type: str | None = None,
    source_agent: str | None = None,
    may_scan: bool = False,
) -> list[Life]:
    """Tell the life of every signal with an id; several writers may use the same one.

    Args:
        deployment: where.
        signal_id: which.
        signal_type: look only in the partitions of this type,
        source_agent: and there only for this writer's.
        may_scan: read the whole table if need be, however large.

    Raises:
        Missing: no signal with the id was found; says where was looked.
    """
    items = Items(deployment)
    agents = [entry["agent_id"] for entry in known_agents(items)]
    # An id made by the SDK carries its time, so only those minutes have to be read.
    epoch_ms = ulid_epoch_ms(signal_id.removeprefix("sig_"))
    window = None
    if epoch_ms is not None:
        window = bound(epoch_ms / 1000 - NEAR_S), bound(epoch_ms / 1000 + NEAR_S)
    found: set[Key] = set()
    how = ""
    if signal_type is not None:
        # Both forms of the key: a sender in compatible mode is in the type's own partition.
        sources = [source_agent] if source_agent else agents
        pks = [keys.signal_pk(signal_type, source) for source in (None, *sources)]
        found_there = (item for pk in pks for item in items.query(SIGNALS, pk, between=window))
        read = [item for item in found_there if not keys.is_mirror_sk(item["SK"])]
        named = (item for item in read if item.get("signal_id") == signal_id)
        by = (item for item in named if source_agent in (None, item.get("source_agent")))
        found = set(map(_signal_of, by))
        how = f"{len(read)} signals of type {signal_type} in {len(pks)} partitions"
    elif window is not None:
        pks = [keys.inbox_pk(agent) for agent in agents]
        read = [row for pk in pks for row in items.query(SIGNALS, pk, between=window)]
        found = {_signal_of(row) for row in read if row.get("signal_id") == signal_id}
        how = f"{len(read)} inbox rows of {len(agents)} agents around the time in its id"
    if not found and signal_type is None:
        found, how = _scanned(deployment, signal_id, may_scan=may_scan)
    if not found:
        raise Missing(f"signal {signal_id} was not found: {how}")
    return [_life(deployment, key, how) for key in sorted(found)]


def _signal_of(item: Item) -> Key:
    """Give the key of the signal that an item is, or is the inbox row of."""
    if "signal_pk" in item:
        return Key(item["signal_pk"], item["signal_sk"])
    return Key(item["PK"], item["SK"])


def _scanned(deployment: Deployment, signal_id: str, *, may_scan: bool) -> tuple[set[Key], str]:
    size = int((describe(deployment, deployment.name(SIGNALS)) or {}).get("TableSizeBytes", 0))
    if size > SMALL_BYTES and not may_scan:
        units = size // _UNIT_BYTES // 2
        how = f"not in the inboxes; name its --type, or pay about {units} read units for --scan"
        return set(), how
    pages = Items(deployment).scan_pages(
        SIGNALS,
        ConsistentRead=False,
        FilterExpression="signal_id = :id",
        ExpressionAttributeValues={":id": {"S": signal_id}},
        ReturnConsumedCapacity="TOTAL",
    )
    found, read, spent = set[Key](), 0, 0.0
    for page in pages:
        found |= {_signal_of(item_from_wire(item)) for item in page["Items"]}
        read += page["ScannedCount"]
        spent += page.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)
    return found, f"a scan of {read} items for {spent:g} read units"


def _life(deployment: Deployment, key: Key, how: str) -> Life:
    items = Items(deployment)
    uid = signal_uid(*key)
    record = items.get(SIGNALS, key)
    held = record or {}
    chunks = list(items.query(PIPELINE, keys.audience_pk(uid)))
    mirror: dict[str, Any] = {}
    # Earlier releases kept the mirror in the signal itself; what stands beside it is newer.
    beside = items.get(SIGNALS, keys.mirror(key)) or {}
    for holder in (held, beside, *chunks):
        if is_begun(holder):
            mirror |= holder["processing_status"]
    listed = held.get("target_agents")
    names = set(members(chunks) or ())
    if isinstance(listed, list) and listed not in ([EVERYONE], [SUBSCRIBERS]):
        names |= {name for name in listed if is_agent_id(name)}
    # A signal outlived by its rows has no list of targets any more, so all inboxes are asked.
    asked = sorted(names) or [entry["agent_id"] for entry in known_agents(items)]
    rows = {name: items.get(SIGNALS, keys.inbox_row(name, key, uid)) for name in asked}
    shown = [name for name in asked if name in names or rows[name] or name in mirror]
    failed: list[Received] = []
    with suppress(Missing):
        failed = peek(deployment, "deliver")
    group = {EVERYONE: "everyone", SUBSCRIBERS: "subscribers"}
    label = group.get(listed[0]) if isinstance(listed, list) and len(listed) == 1 else None
    frozen = f"frozen as {len(names)}" if names else "not frozen yet"
    ends = (row["expires_at"] for row in rows.values() if row and "expires_at" in row)
    owner = keys.owner_of(key.pk)
    return Life(
        key=key,
        uid=uid,
        found_by=how,
        record=record,
        provenance="bound" if owner and owner == held.get("source_agent") else "unverified",
        expires_at=expires_at(held) if isinstance(held.get("timestamp"), int) else next(ends, None),
        audience=f"{label}, {frozen}" if label else f"{len(names)} named",
        targets=tuple(_targets(deployment, uid, shown, rows, mirror)),
        parked=parked_of(items, SIGNALS, key),
        # The sort key alone is not unique, but a body holds both halves of the key.
        deliver_dead_letters=sum(key.sk in each.body and key.pk in each.body for each in failed),
    )


def _targets(
    deployment: Deployment,
    uid: str,
    names: list[str],
    rows: dict[str, Item | None],
    mirror: dict[str, Any],
) -> Iterator[Target]:
    for number, name in enumerate(names):
        entry, row = mirror.get(name) or {}, rows.get(name) or {}
        # Until the agent or a worker has ended it, the mirror knows more: it says DELIVERED.
        status = row if row.get("status", "PENDING") != "PENDING" else entry or row
        queue = view_queue(deployment, f"inbox-{name}") if number < MAX_QUEUES else None
        identity = delivery_id(uid, name)
        dead = None
        for own in of_agent(name) if queue is not None else ():
            depth = depth_at(deployment, own.dlq)
            if dead is None and depth is not None and depth.ready:
                died = (each for each in peek(deployment, own.name) if identity in each.body)
                dead = next(map(reason_of, died), None)
        yield Target(
            agent_id=name,
            delivery_id=identity,
            status=status.get("status", "not delivered"),
            reason=status.get("reason"),
            processed_at=status.get("processed_at"),
            decision_id=status.get("decision_id"),
            mirror=entry.get("status"),
            in_dead_letters=dead,
            queue=queue,
        )
