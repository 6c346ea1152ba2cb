"""Judges a history and an end state: says in words what was lost, doubled or miscounted.

It knows the records and the promises, and nothing of how the pipeline keeps them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sharpwave.infra.chaos import roster
from sharpwave.infra.chaos.history import Event
from sharpwave.infra.chaos.snapshot import Item, Snapshot
from sharpwave.schemas import keys
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS, delivery_id, signal_uid
from sharpwave.schemas.status import TERMINAL
from sharpwave.schemas.tables import DECISIONS, PIPELINE, SIGNALS

Kind = Literal[
    "write lost",
    "delivery lost",
    "misdelivered",
    "handed out again",
    "effect doubled",
    "effect lost",
    "not settled",
    "mirror differs",
    "miscounted",
    "memory lost",
    "memory doubled",
    "dead letter",
    "wrongly parked",
    "not at rest",
]

_MIRRORED = ("status", "processed_at", "decision_id", "reason")


class Violation(NamedTuple):
    """A promise that was broken."""

    kind: Kind
    text: str


class Delivery(NamedTuple):
    """A signal that is due at one target, and what the tables and the history say of it.

    `is_gone` says that its deadline passed and the signal itself was removed.
    """

    name: str
    target: str
    row: Item | None
    mirrored: Item
    is_gone: bool
    handed: Sequence[Event]
    settled: Sequence[Event]
    effects: Sequence[Event]

    @property
    def end(self) -> Item:
        """Give the row, or without one what the mirror says."""
        return self.mirrored if self.row is None else self.row


def check_signals(events: Sequence[Event], end: Snapshot) -> Iterator[Violation]:
    """Check what became of every signal that is in the table, acknowledged or not."""
    due = deliveries(events, end)
    for delivery in due:
        if not (delivery.is_gone and delivery.row is None):
            yield from _received(delivery)
            yield from _settled(delivery)
        yield from _once(delivery)
        if not delivery.is_gone:
            yield from _mirrored(delivery)
    yield from _effects(due, end)
    yield from _strangers({delivery.name for delivery in due}, events)


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


def check_refusals(events: Iterable[Event], end: Snapshot) -> Iterator[Violation]:
    """Check that bad records were parked, and only those, and that no work was given up."""
    parked = {
        (item["record_pk"], item["record_sk"]): item for _, item in end.family(PIPELINE, "parked")
    }
    bad = {
        (event.details["pk"], event.details["sk"])
        for event in events
        if event.what == "wrote" and event.details["record"] == "bad record"
    }
    for key in bad - parked.keys():
        yield Violation("wrongly parked", f"bad record {key} was not parked")
    for key in parked.keys() - bad:
        yield Violation("wrongly parked", f"{key} was parked: {parked[key].get('faults')}")
    for queue, bodies in end.dead_letters.items():
        for body in bodies:
            yield Violation("dead letter", f"{queue}: {body[:200]}")


def deliveries(events: Sequence[Event], end: Snapshot) -> list[Delivery]:
    """List what is due, for every valid signal and every member of its audience."""
    seen: dict[str, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        if "delivery" in event.details:
            seen[event.details["delivery"]][event.what].append(event)
    rows = dict(end.kind(SIGNALS, "row"))
    present = dict(end.kind(SIGNALS, "signal"))
    signals = {**dict(_removed(events, end)), **present}
    return [
        _delivery(key, target, signal, rows, seen)._replace(is_gone=key not in present)
        for key, signal in signals.items()
        for target in audience(signal)
    ]


def audience(signal: Item) -> list[str]:
    """Say whom a signal must reach; nobody for a bad record."""
    listed = signal["target_agents"]
    everyone: Iterable[str] = listed if isinstance(listed, list) else ()
    if listed == [EVERYONE]:
        everyone = roster.AGENTS
    elif listed == [SUBSCRIBERS]:
        everyone = roster.SUBSCRIBERS if signal["signal_type"] == roster.SUBSCRIBED else ()
    is_wide = listed in ([EVERYONE], [SUBSCRIBERS])
    return [name for name in everyone if not is_wide or name != signal["source_agent"]]


def _removed(events: Iterable[Event], end: Snapshot) -> Iterator[tuple[keys.Key, Item]]:
    """Give the signals whose deadline had passed, as far as their writers told."""
    for event in events:
        if event.what == "wrote" and event.details["record"] == "signal":
            key = keys.Key(event.details["pk"], event.details["sk"])
            parsed = keys.parse(SIGNALS, *key)
            if parsed is not None and event.details["expires_at"] < end.taken_at:
                said = {"source_agent": event.agent, "signal_type": parsed.type_name}
                yield key, {**said, "target_agents": event.details["targets"]}


def _delivery(
    key: keys.Key,
    target: str,
    signal: Item,
    rows: Mapping[keys.Key, Item],
    seen: Mapping[str, Mapping[str, list[Event]]],
) -> Delivery:
    uid = signal_uid(*key)
    name = delivery_id(uid, target)
    found = seen.get(name, {})
    return Delivery(
        name=name,
        target=target,
        row=rows.get(keys.inbox_row(target, key, uid)),
        mirrored=signal.get("processing_status", {}).get(target, {}),
        is_gone=False,
        handed=found.get("handed", ()),
        settled=found.get("settled", ()),
        effects=found.get("effect", ()),
    )


def _received(delivery: Delivery) -> Iterator[Violation]:
    if delivery.target not in roster.AGENTS:
        if delivery.end.get("reason") != "unknown_target":
            yield Violation("not settled", f"{delivery.name} ended as {_shown(delivery.end)}")
    elif not delivery.handed and delivery.end.get("reason") != "expired_before_delivery":
        text = f"{delivery.name} was never handed out; it ended as {_shown(delivery.end)}"
        yield Violation("delivery lost", text)


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
        # What counts is when the inbox client last asked; the process may have slept since.
        if event.details["asked"] > over:
            late_s = event.details["asked"] - over
            text = f"{delivery.name} was asked for {late_s:.3f} s after it was acknowledged"
            yield Violation("handed out again", text)


def _mirrored(delivery: Delivery) -> Iterator[Violation]:
    if delivery.row is None:
        return
    for name in _MIRRORED:
        ours, theirs = delivery.row.get(name), delivery.mirrored.get(name)
        if ours != theirs and (ours, theirs) != ("PENDING", "DELIVERED"):
            text = f"{delivery.name}: {name} is {ours} in its row, {theirs} in the mirror"
            yield Violation("mirror differs", text)


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
