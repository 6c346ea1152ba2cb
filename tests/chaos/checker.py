"""Judges a history and an end state: says in words what was lost, doubled or miscounted.

It knows the records and the promises, and nothing of how the pipeline keeps them.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sharpwave.schemas import keys
from sharpwave.schemas.ids import delivery_id, signal_uid
from sharpwave.schemas.queues import INBOX_PREFIX
from sharpwave.schemas.status import TERMINAL
from sharpwave.schemas.tables import DECISIONS, PIPELINE, SIGNALS
from tests.chaos.history import Book, Event, Written
from tests.chaos.snapshot import Item, Snapshot

Kind = Literal[
    "write lost",
    "delivery lost",
    "misdelivered",
    "altered",
    "handed out again",
    "effect doubled",
    "effect lost",
    "not settled",
    "false reason",
    "sender not told",
    "told too often",
    "quota broken",
    "mirror differs",
    "row spoilt",
    "miscounted",
    "not verified",
    "memory lost",
    "memory doubled",
    "dead letter",
    "wrongly parked",
    "not at rest",
]

_MIRRORED = ("status", "processed_at", "decision_id", "reason")
#: A notice may be sent again by the one who takes over from a dead sender, but not for ever.
_TOLD_AT_MOST = 3
#: Ends that say that nothing was put into the target's queue.
_UNSENT = frozenset({"expired_before_delivery", "quota", "unknown_target"})
#: A source that wrote no more than this share of its limit in any minute is within it, however
#: many workers die with tokens that they have taken.
_WITHIN_LIMIT = 0.5
_MINUTE_S = 60.0
#: An agent that says what it is about to do may be frozen for so long before it does it.
_SLEPT_S = 10.0


class Violation(NamedTuple):
    """A promise that was broken."""

    kind: Kind
    text: str


class Delivery(NamedTuple):
    """A signal that is due at one target, and what the tables and the history say of it.

    `is_gone` says that its deadline passed and the signal itself was removed. `is_forfeit` says
    that its message was lost by no fault of the system: with a queue that an operator deleted, or
    among the target's dead letters because the target had deleted its own row. `is_untold` says
    that the target ended it and deleted or spoilt its row while streams lost what they held, so
    that nobody can know of the end, or of what the row said.
    """

    name: str
    target: str
    signal: Written
    row: Item | None
    mirrored: Item
    is_gone: bool
    is_forfeit: bool
    is_untold: bool
    handed: Sequence[Event]
    settled: Sequence[Event]
    effects: Sequence[Event]

    @property
    def end(self) -> Item:
        """Give the row, or without one what the mirror says."""
        return self.mirrored if self.row is None else self.row

    @property
    def is_excused(self) -> bool:
        """Say whether nobody can expect it to end any more."""
        return self.is_forfeit and not self.settled


def check_signals(book: Book, events: Sequence[Event], end: Snapshot) -> Iterator[Violation]:
    """Check what became of every signal that is in the table, acknowledged or not."""
    due = deliveries(book, end)
    for delivery in due:
        if not (delivery.is_gone and delivery.row is None) and not delivery.is_excused:
            yield from _received(delivery, book, end)
            if not delivery.is_untold:
                yield from _settled(delivery)
        yield from _unaltered(delivery)
        yield from _once(delivery)
        if not (delivery.is_gone or delivery.is_untold):
            yield from _mirrored(delivery)
    yield from _effects(due, end)
    yield from _strangers({delivery.name for delivery in due}, events)
    yield from _notices(book, due)
    yield from _quotas(book, due, end)
    yield from _strays(book, end)


def check_writes(events: Iterable[Event], end: Snapshot) -> Iterator[Violation]:
    """Check that what the backend acknowledged is there."""
    stored = {(item["PK"], item["SK"]): item for items in end.tables.values() for item in items}
    for event in events:
        if event.what != "wrote":
            continue
        key = event.details["pk"], event.details["sk"]
        if key not in stored:
            if event.details.get("expires_at", end.taken_at) >= end.taken_at:
                text = f"{event.details['record']} {key} is not in its table"
                yield Violation("write lost", text)
        elif event.details["record"] == "outcome":
            yield from _outcome(event, stored[key])


def check_refusals(book: Book, end: Snapshot) -> Iterator[Violation]:
    """Check that bad records were parked, and only those, and that no work was given up."""
    parked = {
        (item["record_pk"], item["record_sk"]): item for _, item in end.family(PIPELINE, "parked")
    }
    # A change that came and went while the streams had a gap is not seen by anybody.
    for bad in book.bad - parked.keys():
        yield Violation("wrongly parked", f"bad record {bad} was not parked")
    for key in parked.keys() - book.bad - book.changed.keys():
        yield Violation("wrongly parked", f"{key} was parked: {parked[key].get('faults')}")
    for queue, body, delivery in _dead(end):
        if "changed" not in book.seen.get(delivery, {}):
            yield Violation("dead letter", f"{queue}: {body[:200]}")


def deliveries(book: Book, end: Snapshot) -> list[Delivery]:
    """List what is due: every signal that is in its table, or must be, at every target.

    A target that may be in an audience is due if anything is known of its delivery.
    """
    rows = dict(end.kind(SIGNALS, "inbox_row"))
    present = dict(end.kind(SIGNALS, "signal"))
    mirrors = _mirrors(end)
    dead = {delivery for _, _, delivery in _dead(end)}
    forfeit = {name for name in dead if "changed" in book.seen.get(name, {})}
    found = []
    for key, signal in book.signals.items():
        is_gone = key not in present
        if is_gone and (signal.done is None or signal.expires_at >= end.taken_at):
            continue  # it was never stored, or is lost, which `check_writes` says
        audience = book.audience(signal)
        for target in sorted(audience.may):
            delivery = _delivery(signal, target, rows, mirrors, book, is_gone=is_gone)
            if delivery.name in forfeit:
                delivery = delivery._replace(is_forfeit=True)
            is_known = delivery.row or delivery.mirrored or delivery.handed
            if target in audience.must or is_known:
                found.append(delivery)
    return found


def results(book: Book, due: Sequence[Delivery], violations: Iterable[Violation]) -> dict[str, int]:
    """Sum up in the terms of Jepsen, counted in deliveries.

    Returns:
        attempted: of signals that somebody tried to write. acknowledged: whose write was accepted.
        ok: handed to their target at least once. ended: rightly, without that, each with its
        reason. lost: neither. recovered: ok although their writer never learned that the signal
        was stored. duplicated: handed out again though acknowledged. unexpected: handed out though
        nobody wrote, or to somebody else.
    """
    counted = tally(violations)
    known = {delivery.signal.key for delivery in due}
    never = [s for key, s in book.signals.items() if key not in known]
    ok = [delivery for delivery in due if delivery.handed]
    lost = counted.get("delivery lost", 0)
    return {
        "attempted": len(due) + sum(len(book.audience(signal).must) for signal in never),
        "acknowledged": sum(delivery.signal.done is not None for delivery in due),
        "ok": len(ok),
        "ended": len(due) - len(ok) - lost,
        "lost": lost,
        "recovered": sum(delivery.signal.done is None for delivery in ok),
        "duplicated": counted.get("handed out again", 0),
        "unexpected": counted.get("misdelivered", 0),
    }


def _dead(end: Snapshot) -> Iterator[tuple[str, str, str]]:
    """Give dead letters: their queue, their body, and the delivery of one from an inbox."""
    for queue, bodies in end.dead_letters.items():
        for body in bodies:
            is_message = queue.startswith(INBOX_PREFIX)
            yield queue, body, str(json.loads(body).get("delivery_id")) if is_message else ""


def _mirrors(end: Snapshot) -> dict[str, dict[str, Item]]:
    """Give what mirrors say, by signal and target; those of a large audience lie in parts."""
    said: dict[str, dict[str, Item]] = defaultdict(dict)
    for key, mirror in end.kind(SIGNALS, "mirror"):
        said[signal_uid(*keys.mirrored(key))] |= mirror.get("processing_status") or {}
    for key, part in end.family(PIPELINE, "audience"):
        if isinstance(part.get("processing_status"), Mapping):
            said[key.pk.partition("#")[2]] |= part["processing_status"]
    return said


def _delivery(
    signal: Written,
    target: str,
    rows: Mapping[keys.Key, Item],
    mirrors: Mapping[str, Mapping[str, Item]],
    book: Book,
    *,
    is_gone: bool,
) -> Delivery:
    uid = signal.uid
    name = delivery_id(uid, target)
    found = book.seen.get(name, {})
    row = rows.get(keys.inbox_row(target, signal.key, uid))
    # What is put back into a row that its agent spoilt, only the stream's old image tells.
    lost = (
        *found.get("deleted", ()),
        *(found.get("settled", ()) if _is_spoilt(row, signal) else ()),
    )
    return Delivery(
        name=name,
        target=target,
        signal=signal,
        row=row,
        mirrored=mirrors.get(uid, {}).get(target, {}),
        is_gone=is_gone,
        is_forfeit=any(at >= signal.began for at in book.cuts.get(target, ())),
        is_untold=any(
            began - _SLEPT_S <= event.at <= ended for event in lost for began, ended in book.gaps
        ),
        handed=found.get("handed", ()),
        settled=found.get("settled", ()),
        effects=found.get("effect", ()),
    )


def _is_spoilt(row: Item | None, signal: Written) -> bool:
    """Say whether a row lost what a worker wrote: of which signal it is, or in which chunk."""
    if row is None:
        return False
    named = row.get("signal_pk"), row.get("signal_sk")
    return named != signal.key or row.get("chunk") == "spoilt"


def _received(delivery: Delivery, book: Book, end: Snapshot) -> Iterator[Violation]:
    """Check that a delivery was handed out, or that the reason why not is true."""
    reason, shown = delivery.end.get("reason"), _shown(delivery.end)
    source = book.members.get(delivery.signal.source)
    true = {
        "unknown_target": delivery.target not in book.members,
        "agent_removed": False,  # nobody is in a run
        "quota": source is not None and source.per_minute is not None,
        "expired_before_delivery": delivery.signal.expires_at <= end.taken_at,
    }
    if reason in true and (not true[reason] or delivery.handed):
        handed = "handed out" if delivery.handed else "not handed out"
        yield Violation("false reason", f"{delivery.name} was {handed} and ended as {shown}")
    elif delivery.target not in book.members:
        if reason != "unknown_target":
            yield Violation("not settled", f"{delivery.name} ended as {shown}")
    elif not delivery.handed and reason not in true:
        text = f"{delivery.name} was never handed out; it ended as {shown}"
        yield Violation("delivery lost", text)


def _unaltered(delivery: Delivery) -> Iterator[Violation]:
    signal = delivery.signal
    wrote = {"source": signal.source, "expires_at": signal.expires_at, "token": signal.token}
    for event in delivery.handed:
        got = {name: event.details.get(name) for name in wrote}
        if got != wrote:
            yield Violation("altered", f"{delivery.name} said {got}; its writer wrote {wrote}")


def _settled(delivery: Delivery) -> Iterator[Violation]:
    status = delivery.end.get("status")
    if status not in TERMINAL:
        yield Violation("not settled", f"{delivery.name} stands at {status}")
    elif delivery.settled and status not in {event.details["status"] for event in delivery.settled}:
        said = delivery.settled[0].details["status"]
        yield Violation("not settled", f"{delivery.name}: {said} was accepted, {status} is stored")
    elif status == "PROCESSED" and not delivery.handed:
        yield Violation("not settled", f"{delivery.name} was processed by nobody")
    elif status == "EXPIRED" and "reason" not in delivery.end:
        yield Violation("not settled", f"{delivery.name} expired without a reason")


def _once(delivery: Delivery) -> Iterator[Violation]:
    if not delivery.settled:
        return
    over = delivery.settled[0].at
    for event in delivery.handed:
        # What counts is when the inbox client last asked; the process may have slept since. Plain
        # agents use no inbox client and never ask.
        asked = event.details.get("asked", 0.0)
        if asked > over:
            late_s = asked - over
            text = f"{delivery.name} was asked for {late_s:.3f} s after it was acknowledged"
            yield Violation("handed out again", text)


def _mirrored(delivery: Delivery) -> Iterator[Violation]:
    if delivery.row is None:
        return
    if (delivery.row.get("signal_pk"), delivery.row.get("signal_sk")) != delivery.signal.key:
        yield Violation("row spoilt", f"the row of {delivery.name} names another signal")
    for name in _MIRRORED:
        ours, theirs = delivery.row.get(name), delivery.mirrored.get(name)
        if ours != theirs and (ours, theirs) != ("PENDING", "DELIVERED"):
            text = f"{delivery.name}: {name} is {ours} in its row, {theirs} in the mirror"
            yield Violation("mirror differs", text)


def _strays(book: Book, end: Snapshot) -> Iterator[Violation]:
    """Check that mirrors speak of nobody but those a signal was for."""
    mirrors = _mirrors(end)
    for signal in book.signals.values():
        for target in mirrors.get(signal.uid, {}).keys() - book.audience(signal).may:
            text = f"the mirror of {signal.key} speaks of {target}, which it was not for"
            yield Violation("mirror differs", text)


def _notices(book: Book, due: Iterable[Delivery]) -> Iterator[Violation]:
    """Check that who sent what expired was told, and that nobody was told of what is another's."""
    expired: dict[keys.Key, list[str]] = defaultdict(list)
    for delivery in due:
        if delivery.end.get("status") == "EXPIRED" and not delivery.is_excused:
            expired[delivery.signal.key].append(delivery.target)
    for key, targets in expired.items():
        signal = book.signals[key]
        if not signal.is_bound or signal.source not in book.members:
            continue
        found = [event for event in book.told.get(key, ()) if event.details["code"] == "expired"]
        # A message is handed on again if its reader died before it deleted it.
        count = len({event.details["notice"] for event in found})
        if not count:
            text = f"{signal.source} was not told that {key} expired at {', '.join(targets[:3])}"
            yield Violation("sender not told", text)
        elif count > _TOLD_AT_MOST:
            yield Violation("told too often", f"{signal.source}, {count} times of {key}")
    for key, events in book.told.items():
        for event in events:
            if keys.owner_of(key.pk) not in (None, event.agent):
                yield Violation("misdelivered", f"{event.agent} was told of {key}")


def _quotas(book: Book, due: Iterable[Delivery], end: Snapshot) -> Iterator[Violation]:
    """Check that a limit is kept, denies whole signals, and none of a source that is within it."""
    denied: dict[str, dict[keys.Key, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for delivery in due:
        if delivery.target in book.members:
            verdicts = denied[delivery.signal.source][delivery.signal.key]
            verdicts.append(delivery.end.get("reason") == "quota")
    for source, member in book.members.items():
        if member.per_minute is None:
            continue
        signals = denied.get(source, {})
        for key, verdicts in signals.items():
            if any(verdicts) and not all(verdicts):
                text = f"{key}: {sum(verdicts)} of {len(verdicts)} targets were denied"
                yield Violation("quota broken", text)
        times = sorted(book.signals[key].began for key in signals)
        refused = sum(all(verdicts) for verdicts in signals.values())
        minutes = (sum(start <= at < start + _MINUTE_S for at in times) for start in times)
        busiest = max(minutes, default=0)
        if refused and busiest <= _WITHIN_LIMIT * member.per_minute:
            text = f"{refused} signals of {source} were denied, {busiest} in its busiest minute"
            yield Violation("quota broken", text)
        passed = len(signals) - refused
        most = member.per_minute * (1 + (end.taken_at - min(times, default=0)) / _MINUTE_S) + 1
        if passed > most:
            text = f"{passed} signals of {source} passed; its limit lets {most:.0f} pass"
            yield Violation("quota broken", text)


def _effects(due: Sequence[Delivery], end: Snapshot) -> Iterator[Violation]:
    made: dict[str, set[str]] = defaultdict(set)
    for _, decision in end.kind(DECISIONS, "decision"):
        if "caused_by" in decision:
            made[decision["caused_by"]].add(decision["decision_id"])
    for delivery in due:
        found = made.pop(delivery.name, set())
        decided = delivery.end.get("decision_id")
        if len(found) > 1:
            yield Violation("effect doubled", f"{delivery.name} led to {len(found)} decisions")
        elif decided is not None and decided not in found:
            yield Violation("effect lost", f"{delivery.name}: decision {decided} is missing")
        elif found and decided is None:
            text = f"{delivery.name} led to {found}, which its row does not name"
            yield Violation("not settled", text)
    for name in made:
        yield Violation("misdelivered", f"{name} led to a decision and is no delivery")


def _strangers(due: set[str], events: Iterable[Event]) -> Iterator[Violation]:
    for event in events:
        if event.what != "handed":
            continue
        name = event.details["delivery"]
        if name not in due:
            yield Violation("misdelivered", f"{name} is the delivery of no signal")
        elif name.partition(".")[2] != event.agent:
            yield Violation("misdelivered", f"{name} was handed to {event.agent}")


def _outcome(event: Event, decision: Item) -> Iterator[Violation]:
    wrote, stored = event.details, decision.get("outcome") or {}
    revision = decision.get("outcome_rev") or 1
    same = (stored.get("success"), stored.get("quality_score")) == (
        wrote["success"],
        wrote["quality"],
    )
    if not stored or revision < wrote["revision"] or (revision == wrote["revision"] and not same):
        text = f"outcome {wrote['revision']} of {decision['SK']} was accepted, {stored} is stored"
        yield Violation("write lost", text)


def _shown(end: Mapping[str, Any]) -> str:
    reason = end.get("reason")
    return f"{end.get('status')} ({reason})" if reason else str(end.get("status"))


def tally(violations: Iterable[Violation]) -> dict[str, int]:
    """Count violations by kind."""
    return dict(sorted(Counter(each.kind for each in violations).items()))
