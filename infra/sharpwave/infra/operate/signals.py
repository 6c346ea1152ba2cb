"""Signals sent and inboxes read by hand, as an agent would."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Conflict, Missing, Misused
from sharpwave.infra.items import Item, Items
from sharpwave.infra.mailbox import Letter, Mailbox
from sharpwave.infra.operate.agents import check_agent_id
from sharpwave.schemas import ids, keys, queues
from sharpwave.schemas.faults import RecordRefused, validate
from sharpwave.schemas.keys import Key
from sharpwave.schemas.messages import AnyMessage, SignalMessage, parse_message
from sharpwave.schemas.records import Acknowledgement
from sharpwave.schemas.status import ACKNOWLEDGED
from sharpwave.schemas.tables import SIGNALS
from sharpwave.schemas.times import iso_ms

HOLD_S = 60


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A signal to send; `ttl_s` is its life in seconds."""

    source_agent: str
    signal_type: str
    targets: Sequence[str]
    data: Mapping[str, Any]
    attributes: Mapping[str, Any]
    ttl_s: int = 86_400
    strict: bool = True


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A message taken out of an inbox queue; `message` is None if it cannot be read."""

    letter: Letter
    message: AnyMessage | None
    acknowledged: bool = False


def send(deployment: Deployment, draft: Draft, *, dry_run: bool = False) -> Item:
    """Write a signal, and give the record.

    Raises:
        Misused: the record breaks its schema; nothing was written.
    """
    now = time.time()
    item = record_of(draft, now)
    try:
        validate("signal", item, stored_at=now)
    except RecordRefused as refused:
        raise Misused(f"signal not sent: {refused}") from refused
    if not dry_run and not Items(deployment).put_new(SIGNALS, item):
        raise Conflict(f"signal {item['signal_id']} exists already; send it again for a new id")
    return item


def record_of(draft: Draft, now: float) -> Item:
    """Build the record of a signal that is sent at epoch second `now`."""
    iso, signal_id = iso_ms(now), ids.signal_id(epoch_ms=int(now * 1000))
    source = draft.source_agent if draft.strict else None
    return {
        "PK": keys.signal_pk(draft.signal_type, source),
        "SK": keys.dated_sk(iso, signal_id),
        "schema_version": 1,
        "signal_id": signal_id,
        "signal_type": draft.signal_type,
        "source_agent": draft.source_agent,
        "target_agents": list(draft.targets),
        "timestamp": int(now),
        "iso_timestamp": iso,
        "data": dict(draft.data),
        **draft.attributes,
        "ttl": int(now) + draft.ttl_s,
    }


def peek(
    deployment: Deployment, agent_id: str, *, status: str | None = None, limit: int = 20
) -> list[Item]:
    """Read an agent's inbox rows, newest first, without touching its queue.

    A look into the queue itself would count as a receive, and a few of those end in the dead
    letters.
    """
    check_agent_id(agent_id)
    rows: list[Item] = []
    pk = keys.inbox_pk(agent_id)
    for row in Items(deployment).query(SIGNALS, pk, newest_first=True):
        if status in (None, row.get("status")):
            rows.append(row)
        if len(rows) == limit:
            break
    return rows


def with_payloads(deployment: Deployment, rows: Sequence[Item]) -> list[Item]:
    """Give inbox rows with their signals' `data`; None where the signal is gone."""
    items = Items(deployment)

    def payload(row: Item) -> Any:
        if "signal_pk" not in row:
            return None
        signal = items.get(SIGNALS, Key(str(row["signal_pk"]), str(row["signal_sk"]))) or {}
        return signal.get("data")

    return [row if "data" in row else {**row, "data": payload(row)} for row in rows]


def receive(
    deployment: Deployment, agent_id: str, *, limit: int = 10, wait_s: int = 1, ack: bool = False
) -> list[Arrival]:
    """Take messages out of an agent's queue for a minute; with `ack`, end them as PROCESSED."""
    check_agent_id(agent_id)
    box = Mailbox(deployment, queues.inbox(agent_id).name)
    arrivals = []
    for letter in box.receive(limit=limit, hold_s=HOLD_S, wait_s=wait_s):
        message = _read(letter)
        done = ack and _settle(deployment, box, letter, message)
        arrivals.append(Arrival(letter=letter, message=message, acknowledged=done))
    return arrivals


def acknowledge(
    deployment: Deployment,
    agent_id: str,
    signal_id: str,
    *,
    status: Literal["PROCESSED", "FAILED"] = "PROCESSED",
    reason: str | None = None,
    decision_id: str | None = None,
    dry_run: bool = False,
) -> Item:
    """Acknowledge a delivery on its row, by signal id or delivery id; gives the row's key.

    Its message, if there still is one, is dropped at the agent's next receive.

    Raises:
        Missing: the agent has no such row.
        Conflict: several rows have the id, or the delivery was acknowledged before.
    """
    row = find_row(deployment, agent_id, signal_id)
    if row.get("status") in ACKNOWLEDGED and row.get("processed_at") is not None:
        raise Conflict(f"{signal_id} is {row['status']} already, which is final")
    acknowledgement = Acknowledgement(
        status=status, processed_at=int(time.time()), decision_id=decision_id, reason=reason
    )
    key = Key(row["PK"], row["SK"])
    if not dry_run:
        _write(deployment, key, acknowledgement)
    return {**key.item(), **acknowledgement.model_dump(exclude_none=True)}


def find_row(deployment: Deployment, agent_id: str, signal_id: str) -> Item:
    """Find one inbox row of an agent by signal id or delivery id."""
    check_agent_id(agent_id)
    uid = signal_id.partition(".")[0]
    rows = Items(deployment).query(SIGNALS, keys.inbox_pk(agent_id), newest_first=True)
    found = [
        row
        for row in rows
        if row.get("signal_id") == signal_id or row["SK"].partition("#")[2] == uid
    ]
    if not found:
        raise Missing(f"agent {agent_id!r} has no signal {signal_id}; see `sharpwave trace`")
    if len(found) > 1:
        names = ", ".join(ids.delivery_id(row["SK"].partition("#")[2], agent_id) for row in found)
        raise Conflict(f"{len(found)} signals have the id {signal_id}; name one of {names}")
    return found[0]


def _settle(
    deployment: Deployment, box: Mailbox, letter: Letter, message: AnyMessage | None
) -> bool:
    if message is None:
        return False
    if isinstance(message, SignalMessage):
        # The row first: a crash before the delete only brings the message once more.
        done = Acknowledgement(status="PROCESSED", processed_at=int(time.time()))
        _write(deployment, Key(message.row.PK, message.row.SK), done)
    box.delete([letter])
    return True


def _write(deployment: Deployment, key: Key, acknowledgement: Acknowledgement) -> None:
    values = acknowledgement.model_dump(exclude_none=True)
    if not Items(deployment).update(SIGNALS, key, values):
        raise Missing(f"row {key.pk} / {key.sk} is gone; its time to live has ended")


def _read(letter: Letter) -> AnyMessage | None:
    try:
        return parse_message(letter.body)
    except ValueError:
        return None
