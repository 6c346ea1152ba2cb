"""Sending signals, and seeing what became of those one sent and of those one was sent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.producers.call import Identity, Operation
from sharpwave.producers.errors import AccessDenied, RecordMissing
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.storage import Item, Moment, Range, is_alive
from sharpwave.producers.tracing import active_traceparent
from sharpwave.schemas import ids, keys
from sharpwave.schemas.numbers import Wire
from sharpwave.schemas.records import SignalRecord
from sharpwave.schemas.status import Status, is_begun
from sharpwave.schemas.tables import SIGNALS
from sharpwave.schemas.times import DAY_S, iso_ms

Targets = str | Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A signal to be sent with `signal_many`; the fields are the arguments of `signal`."""

    signal_type: str
    to: Targets
    data: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    severity: str | None = None
    confidence: float | None = None
    recommended_action: str | None = None
    ttl_s: int | None = None
    event_time: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    in_reply_to: str | None = None


def signal(
    me: Identity,
    /,
    signal_type: str,
    *,
    to: Targets,
    data: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    severity: str | None = None,
    confidence: float | None = None,
    recommended_action: str | None = None,
    ttl_s: int | None = None,
    event_time: str | None = None,
    correlation_id: str | None = None,
    traceparent: str | None = None,
    in_reply_to: str | None = None,
) -> Operation[SignalRecord]:
    """Send one signal. It is delivered at least once to each target, in no promised order.

    Args:
        signal_type: such as WHALE_ACTIVITY.
        to: an agent id or several, "*" for every registered agent (the registration must allow
            it), or "@subscribers" for those that subscribed to the type.
        data: what there is to say; with `context` at most 128 KB.
        context: the circumstances.
        severity: any word the receivers know.
        confidence: 0 to 1.
        recommended_action: any text.
        ttl_s: seconds until an unacknowledged delivery counts as expired; at most 10 days. Unless
            given, the deployment's SHARPWAVE_SIGNAL_DAYS, 1 if that is not set.
        event_time: domain time, a UTC time or a day, if it is not now.
        correlation_id: handed on to the receivers.
        traceparent: W3C trace context, handed on to the receivers; the active OpenTelemetry
            span's unless given.
        in_reply_to: the `signal_id` that this answers; see `ask`, and `Delivery.reply`, which
            answers and acknowledges at once.

    Raises:
        RecordRefused: the signal breaks its schema; nothing was sent.
    """
    draft = Draft(
        signal_type=signal_type,
        to=to,
        data=data,
        context=context,
        severity=severity,
        confidence=confidence,
        recommended_action=recommended_action,
        ttl_s=ttl_s,
        event_time=event_time,
        correlation_id=correlation_id,
        traceparent=traceparent,
        in_reply_to=in_reply_to,
    )
    record, wire = drawn_up(me, draft)
    yield from storage.put_once(me.table(SIGNALS), wire)
    return record


def signal_many(me: Identity, /, drafts: Iterable[Draft]) -> Operation[list[SignalRecord]]:
    """Send many signals, 25 in a request. All are checked before the first is sent.

    Raises:
        RecordRefused: a signal breaks its schema; nothing was sent.
        Throttled: some were sent, the rest were not.
    """
    made = [drawn_up(me, draft) for draft in drafts]
    yield from storage.put_all(me.table(SIGNALS), [wire for _, wire in made])
    return [record for record, _ in made]


@dataclass(frozen=True)
class Progress:
    """How far a signal got: its targets' statuses, and what else is known of all of them.

    Attributes:
        statuses: by target.
        is_begun: whether the statuses list the whole audience.
        is_large: whether the audience is above 50, whose statuses are kept elsewhere.
    """

    statuses: dict[str, dict[str, Any]]
    is_begun: bool
    is_large: bool


def signal_status(
    me: Identity, /, sent: SignalRecord | keys.Key
) -> Operation[dict[str, dict[str, Any]]]:
    """Read how far a signal got: for each target its status, reason, times and decision.

    Targets the pipeline has not come to yet are absent, and so are audiences above 50. It can be
    read until a week after the signal's deadline, whether or not the signal is still there.

    Raises:
        RecordMissing: the signal is gone or never was.
    """
    progress = yield from progress_of(me, sent if isinstance(sent, keys.Key) else sent.key)
    return progress.statuses


def progress_of(me: Identity, key: keys.Key) -> Operation[Progress]:
    """Read how far a signal got: from its mirror alone, once there is one.

    Raises:
        RecordMissing: neither mirror nor signal is there.
    """
    mirror = yield from storage.read(me.table(SIGNALS), keys.mirror(key))
    if mirror is not None and is_begun(mirror):
        return Progress(dict(mirror["processing_status"]), is_begun=True, is_large=False)
    signal = yield from storage.read(me.table(SIGNALS), key)
    if signal is None:
        raise RecordMissing(f"there is no signal {key.pk} / {key.sk}; its ttl may have passed")
    # Workers of earlier releases kept the mirror in the signal itself.
    begun = is_begun(signal)
    statuses = dict(signal["processing_status"]) if begun else {}
    return Progress(statuses, is_begun=begun, is_large="audience_chunks" in signal)


def drawn_up(
    me: Identity, draft: Draft, *, signal_id: str | None = None, moment: float | None = None
) -> tuple[SignalRecord, dict[str, Wire]]:
    """Make a signal's record, checked and ready to be sent, now and with a new id unless given."""
    moment = me.clock() if moment is None else moment
    iso, timestamp = iso_ms(moment), int(moment)
    signal_id = signal_id or ids.signal_id(epoch_ms=round(moment * 1000))
    described = dict(vars(draft))
    to, ttl_s = described.pop("to"), described.pop("ttl_s")
    item = storage.without_none(
        {
            "PK": keys.signal_pk(draft.signal_type, me.agent_id if me.strict else None),
            "SK": keys.dated_sk(iso, signal_id),
            "schema_version": 1,
            "signal_id": signal_id,
            "source_agent": me.agent_id,
            # Named twice is sent once; the order stays the sender's.
            "target_agents": [to] if isinstance(to, str) else list(dict.fromkeys(to)),
            "timestamp": timestamp,
            "iso_timestamp": iso,
            "ttl": timestamp + (me.retention.signal * DAY_S if ttl_s is None else ttl_s),
            **described,
            "traceparent": draft.traceparent or active_traceparent(),
        }
    )
    return storage.checked("signal", SignalRecord, item, now=moment)


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
    now = me.now()
    request = storage.query(
        me.table(SIGNALS),
        ("PK", keys.inbox_pk(agent_id or me.agent_id)),
        between=Range.of(since, None).sort_keys,
        consistent=True,
    )

    def pick(row: Item) -> Item | None:
        fits = is_alive(row, now) and status in (None, row.get("status"))
        return row if fits and "signal_pk" in row else None

    rows = yield from storage.select(request, pick, limit=limit)
    return (yield from views(me, rows))


def views(me: Identity, rows: Sequence[Item]) -> Operation[list[SignalView]]:
    """Give inbox rows together with their signals, as far as these can be read."""
    table = me.table(SIGNALS)
    try:
        signals = yield from storage.fetch(table, [_signal_key(row) for row in rows])
    except AccessDenied:
        # An agent's own policy covers its rows; what others' keys hold may be out of its reach.
        signals = {}
    return [
        SignalView(
            signal_id=row["signal_id"],
            signal_type=row["signal_type"],
            source_agent=row["source_agent"],
            # Rows do not carry it: the signal's key binds its source, or does not.
            provenance=(
                "bound" if keys.owner_of(row["signal_pk"]) == row["source_agent"] else "unverified"
            ),
            timestamp=row["timestamp"],
            expires_at=row["expires_at"],
            status=row.get("status", "PENDING"),
            processed_at=row.get("processed_at"),
            decision_id=row.get("decision_id"),
            reason=row.get("reason"),
            payload=signals.get(_signal_key(row)),
        )
        for row in rows
    ]


def _signal_key(row: Item) -> keys.Key:
    return keys.Key(row["signal_pk"], row["signal_sk"])
