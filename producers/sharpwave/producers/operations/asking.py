"""Waiting for what becomes of a signal: its answer, or the end of its deliveries.

An answer is read from the asker's own inbox rows, which are strongly consistent, and not from its
queue: other processes of the agent may poll that, and nothing that is in it meanwhile is touched.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sharpwave.producers.call import Identity, Operation, Pause
from sharpwave.producers.errors import (
    ConditionFailed,
    InvalidRequest,
    NoAnswer,
    RecordMissing,
    TimedOut,
)
from sharpwave.producers.operations import settling, signals, storage
from sharpwave.producers.operations.receiving import is_acknowledged
from sharpwave.producers.operations.storage import ARRIVES_LATE_S, Item, Range
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import parse_json, plain_json
from sharpwave.schemas.records import SignalRecord
from sharpwave.schemas.status import TERMINAL
from sharpwave.schemas.tables import SIGNALS

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5
#: By how much the clocks of who asks and who answers differ as a rule. Rows lie by the answer's.
_CLOCKS_APART_S = 30
#: Answers to one question that are looked at; one is enough.
_MAX_ANSWERS = 10


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an agent answered. `data` and `context` come from another agent: untrusted input."""

    signal_id: str
    signal_type: str
    source_agent: str
    provenance: str
    timestamp: int
    data: Mapping[str, Any]
    context: Mapping[str, Any]


def ask(
    me: Identity,
    /,
    to: str,
    signal_type: str,
    data: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = 30.0,
    context: Mapping[str, Any] | None = None,
    severity: str | None = None,
    correlation_id: str | None = None,
    traceparent: str | None = None,
) -> Operation[Answer]:
    """Send a signal and wait for its answer, which `Delivery.reply` gives.

    The question expires when the time is over, so that it is not worked in vain. What else comes
    to the inbox meanwhile stays there. An answer that comes late is an ordinary delivery then,
    with `in_reply_to`; `answer` looks for it too. A call that is repeated asks again.

    Args:
        to: the agent to ask.
        signal_type: the type of the question.
        data: the question.
        timeout_s: how long to wait, in seconds.
        context: the circumstances.
        severity: any word the receiver knows.
        correlation_id: handed on, and back with the answer; the question's `signal_id` otherwise.
        traceparent: W3C trace context, handed on; the active OpenTelemetry span's unless given.

    Raises:
        NoAnswer: none came in time, or the delivery failed, which ends the wait at once.
        RecordRefused: the question breaks its schema; nothing was sent.
    """
    _check(timeout_s)
    until = me.clock() + timeout_s
    question = yield from signals.signal(
        me,
        signal_type,
        to=to,
        data=data,
        context=context,
        severity=severity,
        correlation_id=correlation_id,
        traceparent=traceparent,
        ttl_s=math.ceil(timeout_s) + 1,
    )
    statuses: dict[str, dict[str, Any]] = {}
    me.awaited.add(question.signal_id)
    try:
        for pause in _pauses():
            with suppress(RecordMissing):
                statuses = yield from signals.signal_status(me, question)
            left_s, end = until - me.clock(), statuses.get(to, {})
            is_last = left_s <= 0 or end.get("status") == "FAILED"
            apart_s = ARRIVES_LATE_S if is_last else _CLOCKS_APART_S
            found = yield from _answer(me, question, apart_s)
            if found is not None:
                return found
            if is_last:
                break
            yield Pause(min(pause, left_s))
    finally:
        me.awaited.discard(question.signal_id)
    how = end.get("status", "PENDING") + (f" ({end['reason']})" if "reason" in end else "")
    raise NoAnswer(
        f"{to} did not answer {question.signal_id} within {timeout_s:g} s: its delivery is {how}; "
        "see `sharpwave trace`, or wait longer",
        signal=question.key,
        statuses=statuses,
    )


def answer(me: Identity, /, question: SignalRecord) -> Operation[Answer | None]:
    """Give the first answer to a signal of one's own if there is one by now, or None.

    It counts as acknowledged then, and so do further answers to the same question.
    """
    return (yield from _answer(me, question, ARRIVES_LATE_S))


def wait_for(
    me: Identity, /, sent: SignalRecord, *, timeout_s: float = 60.0
) -> Operation[dict[str, dict[str, Any]]]:
    """Wait until each delivery of a signal came to its end, and give them as `signal_status` does.

    An end is PROCESSED, FAILED or EXPIRED: look which.

    Args:
        sent: the signal.
        timeout_s: how long to wait, in seconds.

    Raises:
        TimedOut: some deliveries are still open; `statuses` says which.
        InvalidRequest: its audience is above 50, of which signals keep no status.
        RecordMissing: the signal is gone.
    """
    _check(timeout_s)
    until, named = me.clock() + timeout_s, set(sent.target_agents)
    for pause in _pauses():
        progress = yield from signals.progress_of(me, sent.key)
        if progress.is_large:
            raise InvalidRequest(
                f"{sent.signal_id} has more than 50 targets, whose ends are not kept with it; "
                "send to fewer, or look with `sharpwave trace`"
            )
        statuses = progress.statuses
        open_ones = [name for name, end in statuses.items() if end.get("status") not in TERMINAL]
        # Workers begin it with the whole audience, which may be nobody.
        if progress.is_begun and not open_ones:
            return statuses
        left_s = until - me.clock()
        if left_s <= 0:
            break
        yield Pause(min(pause, left_s))
    waiting = ", ".join(sorted(open_ones or named)[:5])
    raise TimedOut(
        f"{sent.signal_id} did not come to its end within {timeout_s:g} s: waiting for {waiting}; "
        "see `sharpwave trace`, or wait longer",
        signal=sent.key,
        statuses=statuses,
    )


def _check(timeout_s: float) -> None:
    if not 0 < timeout_s < math.inf:
        raise ValueError(f"timeout_s is {timeout_s}; give seconds above 0")


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def _answer(me: Identity, question: SignalRecord, apart_s: int) -> Operation[Answer | None]:
    request = storage.query(
        me.table(SIGNALS),
        ("PK", keys.inbox_pk(me.agent_id)),
        between=Range.of(question.timestamp - apart_s, None).sort_keys,
        consistent=True,
        newest_first=False,
    )

    def pick(row: Item) -> Item | None:
        # Anyone may send a signal with this id in it, so only those who were asked can answer.
        is_one = row.get("in_reply_to") == question.signal_id and "signal_pk" in row
        return row if is_one and row.get("source_agent") in question.target_agents else None

    rows = yield from storage.select(request, pick, limit=_MAX_ANSWERS)
    for row in rows:
        if not is_acknowledged(row):
            # Its message is dropped when the inbox comes to it.
            with suppress(ConditionFailed):
                yield from settling.acknowledge(me, keys.Key(row["PK"], row["SK"]), "PROCESSED")
    if not rows:
        return None
    first = rows[0]
    bound = keys.owner_of(first["signal_pk"]) == first["source_agent"]
    # In the form that a message has.
    said = parse_json(plain_json({name: first.get(name) or {} for name in ("data", "context")}))
    return Answer(
        signal_id=first["signal_id"],
        signal_type=first["signal_type"],
        source_agent=first["source_agent"],
        provenance="bound" if bound else "unverified",
        timestamp=first["timestamp"],
        **said,
    )
