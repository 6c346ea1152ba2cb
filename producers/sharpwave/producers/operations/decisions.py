"""Writing decisions, saying what came of them, and reading them back."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from sharpwave.producers.call import Call, Identity, Operation
from sharpwave.producers.choosing import Choice
from sharpwave.producers.errors import ConditionFailed, OutcomeConflict, RecordMissing
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.storage import Item, Moment, Range, is_alive
from sharpwave.producers.tracing import active_traceparent
from sharpwave.schemas import ids, keys
from sharpwave.schemas.faults import RecordRefused, explained, unstorable
from sharpwave.schemas.numbers import UnstorableValue, Wire, item_from_wire, item_to_wire
from sharpwave.schemas.records import DecisionRecord, Outcome
from sharpwave.schemas.tables import DECISIONS, MEMORY
from sharpwave.schemas.times import DAY_S, bound, iso_ms

Result = Literal["success", "failure", "pending"]
Parent = DecisionRecord | str

_MAX_CHAIN = 100
_MAX_WRITERS = 10_000


def decide(
    me: Identity,
    /,
    decision_type: str,
    *,
    context: Mapping[str, Any] | None = None,
    reasoning: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    outcome: Mapping[str, Any] | None = None,
    parent: Parent | None = None,
    event_time: str | None = None,
    ttl_s: int | None = None,
    agent_version: str | None = None,
    caused_by: str | None = None,
    choice: Choice | None = None,
    traceparent: str | None = None,
) -> Operation[DecisionRecord]:
    """Record one decision.

    Args:
        decision_type: such as SOURCE_SELECTION.
        context: what the world looked like; patterns match it.
        reasoning: why; `patterns_applied` lists the patterns that were used.
        inputs: what the decision was made from.
        outcome: only if it is known already, as {"success": bool, "quality_score": 0 to 1};
            else call `record_outcome` later.
        parent: the decision this one follows from. A record carries its chain's root along; an
            id costs two reads to find it.
        event_time: domain time, a UTC time or a day, if it is not now.
        ttl_s: seconds until removal; at most 400 days. Unless given, the deployment's
            SHARPWAVE_DECISION_DAYS, 90 if that is not set.
        agent_version: instead of the agent's own.
        caused_by: the `delivery_id` that led to this decision. `Delivery.decide` sets it and
            happens once; this call happens as often as it is made.
        choice: what `choose` gave, if the decision follows it; sets `reasoning.selected`,
            `reasoning.selection_prob` and, if it was for a context, `reasoning.bucket`.
        traceparent: W3C trace context, kept with it; the active OpenTelemetry span's unless
            given. `Delivery.decide` keeps the signal's.

    Raises:
        RecordRefused: the decision breaks its schema; nothing was sent.
        ValueError: `reasoning` selects something else than `choice`.
    """
    moment = me.clock()
    decision_id = ids.decision_id(epoch_ms=round(moment * 1000))
    described = {
        "context": context,
        "reasoning": with_choice(reasoning, choice),
        "inputs": inputs,
        "outcome": outcome,
        "event_time": event_time,
        "agent_version": agent_version,
        "caused_by": caused_by,
        "traceparent": traceparent,
        **(yield from lineage(me, parent)),
    }
    record, wire = draft(me, decision_type, decision_id, moment, described, ttl_s)
    yield from storage.put_once(me.table(DECISIONS), wire)
    return record


def draft(
    me: Identity,
    decision_type: str,
    decision_id: str,
    moment: float,
    described: Mapping[str, Any],
    ttl_s: int | None,
) -> tuple[DecisionRecord, dict[str, Wire]]:
    """Build a decision made at `moment` (epoch seconds), checked and ready to be sent."""
    iso, timestamp = iso_ms(moment), int(moment)
    item = {
        "PK": keys.decision_pk(me.agent_id, decision_type),
        "SK": keys.dated_sk(iso, decision_id),
        "schema_version": 1,
        "agent_id": me.agent_id,
        "decision_id": decision_id,
        "decision_type": decision_type,
        "timestamp": timestamp,
        "iso_timestamp": iso,
        "ttl": timestamp + (me.retention.decision * DAY_S if ttl_s is None else ttl_s),
        **described,
        "agent_version": described.get("agent_version") or me.agent_version,
        "traceparent": described.get("traceparent") or active_traceparent(),
    }
    kept = storage.without_none(item)
    return storage.checked("decision", DecisionRecord, kept, now=moment)


def with_choice(
    reasoning: Mapping[str, Any] | None, choice: Choice | None
) -> Mapping[str, Any] | None:
    """Give a decision's `reasoning` with the choice it follows.

    Raises:
        ValueError: it selects something else, or with another probability.
    """
    if choice is None:
        return reasoning
    chosen: dict[str, Any] = {
        "selected": [choice.source],
        "selection_prob": choice.selection_prob,
    }
    if choice.bucket is not None:
        chosen["bucket"] = choice.bucket
    for name, value in chosen.items():
        if reasoning and reasoning.get(name, value) != value:
            raise ValueError(
                f"reasoning.{name} is {reasoning[name]!r}, but the choice was {value!r}; leave it "
                "out, or decide without `choice`"
            )
    return {**(reasoning or {}), **chosen}


def lineage(me: Identity, parent: Parent | None) -> Operation[dict[str, str | None]]:
    """Give the attributes that tie a decision to its parent and to the root of its chain."""
    if parent is None:
        return {}
    known = parent if isinstance(parent, DecisionRecord) else (yield from decision(me, parent))
    if known is None:
        # The index may not show it yet; the link stays true, only the chain's root is not known.
        return {"parent_decision_id": str(parent)}
    root = known.root_decision_id or known.parent_id or known.decision_id
    return {"parent_decision_id": known.decision_id, "root_decision_id": root}


def decisions(
    me: Identity,
    /,
    *,
    decision_type: str | None = None,
    agent_id: str | None = None,
    outcome: Result | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int = 100,
) -> Operation[list[DecisionRecord]]:
    """Read decisions, newest first.

    The read is eventually consistent. Records that break the schema or claim a foreign agent are
    left out and counted (`unreadable`, `forged`).

    Everyone's are read agent by agent, a query for each that ever wrote the type, and merged.
    An agent is found once its first decision was counted.

    Args:
        decision_type: only this type.
        agent_id: whose; the agent's own unless given, "*" for everyone's of one type.
        outcome: only decisions that succeeded, failed, or have no outcome yet.
        since: from this moment on, as epoch seconds or a datetime with a time zone. It is held
            against the time a decision claims: see `ARRIVES_LATE_S` for reading on from here.
        until: up to this moment.
        limit: the most to return.
    """
    wanted = _Wanted.of(me, decision_type, agent_id, outcome, since, until)
    return (yield from _read(me, wanted, limit=limit))


@dataclass(frozen=True)
class DecisionPage:
    """Some decisions, newest first; `cursor` leads on to the next, and is None after the last."""

    decisions: list[DecisionRecord]
    cursor: str | None


def decisions_page(
    me: Identity,
    /,
    *,
    decision_type: str | None = None,
    agent_id: str | None = None,
    outcome: Result | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Operation[DecisionPage]:
    """Read decisions page by page, newest first; else as `decisions`, whose arguments these are.

    A page holds `limit` decisions, or all that are left. What was there when the first page was
    read, and still is as the filters want it, comes once. A cursor can be kept for any time; what
    is written later than the first page and lies before the cursor is not met.

    Args:
        decision_type: only this type.
        agent_id: whose; the agent's own unless given, "*" for everyone's of one type.
        outcome: only decisions that succeeded, failed, or have no outcome yet.
        since: from this moment on.
        until: up to this moment.
        limit: the most to return.
        cursor: that of the page before, with all other arguments but `limit` the same.

    Raises:
        ValueError: the cursor is not one of a read with these arguments.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}; a page holds at least 1 decision")
    wanted = _Wanted.of(me, decision_type, agent_id, outcome, since, until)
    # One more tells whether there is another page.
    found = yield from _read(me, wanted, limit=limit + 1, after=wanted.place(cursor))
    page = found[:limit]
    return DecisionPage(page, wanted.cursor(page[-1]) if len(found) > limit else None)


class _After(NamedTuple):
    """The decision that a read goes on behind."""

    pk: str
    sk: str
    timestamp: int


class _Wanted(NamedTuple):
    """Which decisions a read is of."""

    whose: str
    decision_type: str | None
    outcome: Result | None
    span: Range

    @classmethod
    def of(
        cls,
        me: Identity,
        decision_type: str | None,
        agent_id: str | None,
        outcome: Result | None,
        since: Moment | None,
        until: Moment | None,
    ) -> "_Wanted":
        return cls(agent_id or me.agent_id, decision_type, outcome, Range.of(since, until))

    def cursor(self, last: DecisionRecord) -> str:
        """Say where a read of these decisions goes on."""
        text = json.dumps([last.PK, last.SK, last.timestamp, self._digest])
        return urlsafe_b64encode(text.encode()).decode()

    def place(self, cursor: str | None) -> _After | None:
        if cursor is None:
            return None
        try:
            *place, digest = json.loads(urlsafe_b64decode(cursor))
            after = _After(str(place[0]), str(place[1]), int(place[2]))
        except (ValueError, IndexError, TypeError):
            digest = None
        if digest != self._digest:
            raise ValueError(
                f"{cursor!r:.80} is no cursor of this read; give one that a read with the same "
                "type, agent, outcome, since and until gave, or none to begin anew"
            )
        return after

    @property
    def _digest(self) -> str:
        return blake2b(repr(tuple(self)).encode(), digest_size=6).hexdigest()


def _read(
    me: Identity, wanted: _Wanted, *, limit: int, after: _After | None = None
) -> Operation[list[DecisionRecord]]:
    whose, decision_type, outcome, span = wanted
    table, now, is_new = me.table(DECISIONS), me.now(), span.is_recent(me.now())

    def pick(item: Item) -> DecisionRecord | None:
        return standing(me, item, now) if outcome in (None, result_of(item)) else None

    if whose == ids.EVERYONE:
        if decision_type is None:
            raise ValueError(
                "decisions of everyone are read one type at a time; give a decision_type"
            )
        listed = ("PK", keys.writers_pk(decision_type))
        every = storage.query(me.table(MEMORY), listed, newest_first=False)
        writers = yield from storage.select(every, lambda each: str(each["SK"]), limit=_MAX_WRITERS)
        name, first, last = span.sort_keys
        if after is not None:
            last = after.sk
        between = (name, first, last)
        requests = [
            storage.query(table, ("PK", keys.decision_pk(writer, decision_type)), between=between)
            for writer in writers
        ]

        def further(item: Item) -> DecisionRecord | None:
            is_read = after is not None and (item["SK"], item["PK"]) >= (after.sk, after.pk)
            return None if is_read else pick(item)

        return (yield from storage.merge(requests, further, limit=limit, recent=is_new))
    if decision_type:
        pk = keys.decision_pk(whose, decision_type)
        request = storage.query(table, ("PK", pk), between=span.sort_keys)
        if after is not None:
            request["ExclusiveStartKey"] = keys.Key(pk, after.sk).wire()
        return (yield from storage.select(request, pick, limit=limit, recent=is_new))
    by_agent = ("agent_id", whose)
    request = storage.query(table, by_agent, index="by_agent", between=span.timestamps)
    if after is not None:
        request["ExclusiveStartKey"] = item_to_wire(
            {"agent_id": whose, "timestamp": after.timestamp, "PK": after.pk, "SK": after.sk}
        )
    whole = whole_items(me, lambda each: outcome in (None, result_of(each)), recent=is_new)
    return (yield from storage.select(request, pick, limit=limit, recent=is_new, expand=whole))


def whole_items(
    me: Identity, fits: Callable[[Item], bool], *, recent: bool = False
) -> Callable[[list[Item]], Operation[list[Item]]]:
    """Make what turns entries of the index by agent, which carry the outcome, into whole items.

    Forged entries, and those that do not fit, are not read further.
    """

    def whole(entries: list[Item]) -> Operation[list[Item]]:
        found = [_key(item) for item in entries if _is_own(me, item) and fits(item)]
        items = yield from storage.fetch(me.table(DECISIONS), found, recent=recent)
        return [items[key] for key in found if key in items]

    return whole


def recent(
    me: Identity, /, within_s: int = DAY_S, *, limit: int = 100
) -> Operation[list[DecisionRecord]]:
    """Read the agent's own decisions of the last `within_s` seconds, newest first."""
    return (yield from decisions(me, since=me.now() - within_s, limit=limit))


def decision(me: Identity, /, decision_id: str) -> Operation[DecisionRecord | None]:
    """Read one decision by its id, or None.

    The index behind it follows a write within about a second. Where several agents used one id,
    the agent's own decision comes first, then the newest.
    """
    table, day_ago = me.table(DECISIONS), me.now() - DAY_S
    # An id of our own making tells its time, and with it whether a cache may answer.
    made_ms = ids.ulid_epoch_ms(decision_id.removeprefix("dec_"))
    request = storage.query(table, ("decision_id", decision_id), index="by_id")
    is_new = made_ms is not None and made_ms >= day_ago * 1000
    entries = yield from storage.select(request, _key, limit=100, recent=is_new)
    preferred = sorted(
        entries, key=lambda key: (keys.owner_of(key.pk) == me.agent_id, key.sk), reverse=True
    )
    for key in preferred:
        is_new = keys.split_dated_sk(key.sk) is not None and key.sk >= bound(day_ago)
        item = yield from storage.read(table, key, consistent=False, recent=is_new)
        record = standing(me, item, me.now()) if item else None
        if record is not None:
            return record
    return None


def chain(me: Identity, /, decision_id: str) -> Operation[list[DecisionRecord]]:
    """Read a decision and what it followed from, root first.

    A parent that is gone, a cycle, or a depth of 100 ends the chain.
    """
    links: dict[str, DecisionRecord] = {}
    wanted: str | None = decision_id
    while wanted and wanted not in links and len(links) < _MAX_CHAIN:
        record = yield from decision(me, wanted)
        if record is None:
            break
        links[wanted], wanted = record, record.parent_id
    return list(links.values())[::-1]


def _key(item: Item) -> keys.Key:
    return keys.Key(item["PK"], item["SK"])


def _is_own(me: Identity, item: Item) -> bool:
    """Refuse an index entry whose key binds another agent than its `agent_id` names."""
    # The by_id index does not carry agent_id; the whole item is checked instead.
    if item.get("agent_id") in (None, keys.owner_of(item["PK"])):
        return True
    me.counters["forged"] += 1
    return False


def result_of(item: Item) -> Result:
    """Say how a decision turned out, by its item or by its entry in the index by agent."""
    outcome = item.get("outcome")
    success = outcome.get("success") if isinstance(outcome, Mapping) else None
    return "pending" if success is None else ("success" if success is True else "failure")


def standing(me: Identity, item: Item, now: float) -> DecisionRecord | None:
    """Read a whole item as a decision, unless it has expired, is forged or cannot be read."""
    is_one = is_alive(item, now) and _is_own(me, item)
    return storage.readable(me, DecisionRecord, item) if is_one else None


def record_outcome(
    me: Identity,
    /,
    decision: DecisionRecord | keys.Key,
    *,
    success: bool,
    quality_score: float | None = None,
    **details: object,
) -> Operation[None]:
    """Record what came of a decision. Repeating the same outcome changes nothing.

    Args:
        decision: the decision, or its key.
        success: whether it turned out well.
        quality_score: how well, 0 to 1.
        details: anything else worth keeping, such as latency_ms.

    Raises:
        RecordMissing: there is no such decision.
        OutcomeConflict: it has another outcome already; `correct_outcome` changes it.
        RecordRefused: the outcome breaks the schema; nothing was sent.
    """
    key, outcome = _key_of(decision), _outcome(success, quality_score, details)
    # Raw writers may send a pending outcome as null.
    open_still = "attribute_not_exists(#o) OR attribute_type(#o, :null)"
    update = _update(me, key, "SET #o = :o", f"attribute_exists(PK) AND ({open_still})")
    update["ExpressionAttributeNames"] = {"#o": "outcome"}
    update["ExpressionAttributeValues"] = item_to_wire({":o": outcome, ":null": "NULL"})
    try:
        yield Call("dynamodb", "update_item", update)
    except ConditionFailed as met:
        stored = yield from _stored(me, key, met)
        if stored.get("outcome") != outcome:
            raise OutcomeConflict(
                f"{key.sk} already has another outcome; use correct_outcome to change it"
            ) from met


def correct_outcome(
    me: Identity,
    /,
    decision: DecisionRecord | keys.Key,
    *,
    success: bool,
    quality_score: float | None = None,
    **details: object,
) -> Operation[int]:
    """Replace a decision's outcome. Repeating the same correction changes nothing.

    Returns:
        The outcome's revision, `outcome_rev`.

    Raises:
        RecordMissing: there is no such decision.
        OutcomeConflict: it has no outcome yet, or someone corrected it at the same time.
        RecordRefused: the outcome breaks the schema; nothing was sent.
    """
    key, outcome = _key_of(decision), _outcome(success, quality_score, details)
    stored = yield from storage.read(me.table(DECISIONS), key)
    if stored is None:
        raise _missing(key)
    if stored.get("outcome") is None:
        raise OutcomeConflict(f"{key.sk} has no outcome to correct yet; use record_outcome")
    revision = stored.get("outcome_rev") or 1
    if stored["outcome"] == outcome:
        return int(revision)
    # A decision whose first outcome was never corrected has no revision to hold it against.
    based_on = "#r = :old" if stored.get("outcome_rev") else "attribute_not_exists(#r)"
    update = _update(me, key, "SET #o = :o, #r = :new", f"attribute_exists(PK) AND {based_on}")
    values = {":o": outcome, ":new": revision + 1}
    if stored.get("outcome_rev"):
        values[":old"] = revision
    update["ExpressionAttributeNames"] = {"#o": "outcome", "#r": "outcome_rev"}
    update["ExpressionAttributeValues"] = item_to_wire(values)
    try:
        yield Call("dynamodb", "update_item", update)
    except ConditionFailed as met:
        meant = {"outcome": outcome, "outcome_rev": revision + 1}
        if not storage.holds((yield from _stored(me, key, met)), meant):
            raise OutcomeConflict(
                f"the outcome of {key.sk} was corrected by someone else; read it and decide again"
            ) from met
    return int(revision) + 1


def _update(me: Identity, key: keys.Key, change: str, condition: str) -> Item:
    return {
        "TableName": me.table(DECISIONS),
        "Key": key.wire(),
        "UpdateExpression": change,
        "ConditionExpression": condition,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _key_of(decision: DecisionRecord | keys.Key) -> keys.Key:
    return decision if isinstance(decision, keys.Key) else decision.key


def _outcome(success: bool, quality_score: float | None, details: dict[str, Any]) -> Item:
    """Give an outcome as it will read back, so that it compares with what is stored."""
    given = {**details, "success": success, "quality_score": quality_score}
    try:
        outcome = Outcome.model_validate(given).model_dump()
        if outcome["quality_score"] is None:
            del outcome["quality_score"]
        return item_from_wire(item_to_wire(outcome))
    except ValidationError as error:
        raise RecordRefused(explained(error, under="outcome")) from error
    except UnstorableValue as error:
        raise RecordRefused([unstorable(error, under="outcome")]) from error


def _stored(me: Identity, key: keys.Key, met: ConditionFailed) -> Operation[Item]:
    """Give the decision a refused write met."""
    # Where the refusal did not bring the item along, it is read.
    item = item_from_wire(met.item) or (yield from storage.read(me.table(DECISIONS), key))
    if not item:
        raise _missing(key)
    return item


def _missing(key: keys.Key) -> RecordMissing:
    return RecordMissing(f"there is no decision {key.pk} / {key.sk}; record the decision first")
