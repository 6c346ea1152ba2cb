"""Short-term memory, what it became, and what was learned: facts, episodes and patterns."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, overload

from pydantic import TypeAdapter, ValidationError

from sharpwave.producers.call import Call, Identity, Operation
from sharpwave.producers.errors import ConditionFailed, RecordMissing
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.learnt import MAX_AGE_S, Recalled, matching
from sharpwave.producers.operations.storage import Item, Moment, Range, is_alive
from sharpwave.schemas import ids, keys, tables
from sharpwave.schemas.conditions import Conditions
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.patterns import PatternRow, State
from sharpwave.schemas.records import MEMORY_EXPIRES_S, MemoryEntry
from sharpwave.schemas.times import DAY_S, iso_ms

MemoryType = Literal["CONTEXT", "QUERY", "SIGNAL", "NOTE"]


def remember(
    me: Identity,
    /,
    memory_type: MemoryType,
    data: Mapping[str, Any],
    *,
    importance: float | None = None,
    memory_id: str | None = None,
) -> Operation[MemoryEntry]:
    """Keep something in short-term memory for a day.

    Then, or earlier if it is important or often touched, it becomes a fact for `recall`.

    Args:
        memory_type: CONTEXT, QUERY, SIGNAL or NOTE.
        data: what to remember.
        importance: 0 to 1.
        memory_id: a name of the caller's own; made up unless given.

    Raises:
        RecordRefused: the entry breaks its schema; nothing was sent.
    """
    moment = me.clock()
    iso, timestamp = iso_ms(moment), int(moment)
    name = memory_id or f"mem_{ids.ulid(epoch_ms=round(moment * 1000))}"
    item = storage.without_none(
        {
            "PK": keys.memory_pk(me.agent_id, memory_type),
            "SK": keys.dated_sk(iso, name),
            "schema_version": 1,
            "agent_id": me.agent_id,
            "memory_id": name,
            "memory_type": memory_type,
            "timestamp": timestamp,
            "iso_timestamp": iso,
            "data": data,
            "importance": importance,
            "access_count": 0,
            "expires_at": timestamp + MEMORY_EXPIRES_S,
            "ttl": timestamp + me.retention.memory * DAY_S,
        }
    )
    record, wire = storage.checked("memory", MemoryEntry, item, now=moment)
    yield from storage.put_once(me.table(tables.STATE), wire)
    return record


def memories(
    me: Identity,
    /,
    memory_type: MemoryType,
    *,
    since: Moment | None = None,
    limit: int = 100,
    consistent: bool = False,
) -> Operation[list[MemoryEntry]]:
    """Read short-term memory, newest first; what has expired is left to `recall`.

    Args:
        memory_type: CONTEXT, QUERY, SIGNAL or NOTE.
        since: from this moment on; the last day unless given.
        limit: the most to return.
        consistent: see one's own latest writes for sure, at twice the price and past any cache.
    """
    now = me.now()
    span = Range.of(now - DAY_S if since is None else since, None)
    request = storage.query(
        me.table(tables.STATE),
        ("PK", keys.memory_pk(me.agent_id, memory_type)),
        between=span.sort_keys,
        consistent=consistent,
    )

    def pick(item: Item) -> MemoryEntry | None:
        is_current = is_alive(item, now) and item.get("expires_at", now + 1) > now
        return storage.readable(me, MemoryEntry, item) if is_current else None

    is_new = not consistent and span.is_recent(now)
    return (yield from storage.select(request, pick, limit=limit, recent=is_new))


def touch(me: Identity, /, memory: MemoryEntry | keys.Key) -> Operation[int]:
    """Count one use of a short-term memory entry; often used ones are promoted early.

    A repeat after a lost answer may count twice.

    Returns:
        How often it was used.

    Raises:
        RecordMissing: the entry is gone.
    """
    key = memory if isinstance(memory, keys.Key) else memory.key
    params = {
        "TableName": me.table(tables.STATE),
        "Key": key.wire(),
        "UpdateExpression": "ADD access_count :one",
        # Without this an update after the removal by TTL would bring back an empty entry.
        "ConditionExpression": "attribute_exists(PK)",
        "ExpressionAttributeValues": item_to_wire({":one": 1}),
        "ReturnValues": "UPDATED_NEW",
    }
    try:
        reply = yield Call("dynamodb", "update_item", params)
    except ConditionFailed as error:
        raise RecordMissing(
            f"{key.pk} / {key.sk} is gone; recall() finds promoted facts"
        ) from error
    return int(reply["Attributes"]["access_count"]["N"])


@overload
def recall(
    me: Identity, /, memory_type: MemoryType | None = None, *, limit: int = 100
) -> Operation[list[Item]]: ...


@overload
def recall(
    me: Identity,
    /,
    *,
    decision_type: str | None = None,
    context: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    reasoning: Mapping[str, Any] | None = None,
    domain: str | None = "general",
    states: Collection[State] | None = None,
    max_age_s: float = MAX_AGE_S,
    limit: int = 100,
) -> Operation[list[Recalled]]: ...


def recall(
    me: Identity,
    /,
    memory_type: MemoryType | None = None,
    *,
    decision_type: str | None = None,
    context: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    reasoning: Mapping[str, Any] | None = None,
    domain: str | None = "general",
    states: Collection[State] | None = None,
    max_age_s: float = MAX_AGE_S,
    limit: int = 100,
) -> Operation[list[Any]]:
    """Read what was learnt: the patterns that a decision to be falls under, or facts.

    Given any part of a decision, as `decide` takes it, these are the patterns that match it, of
    the agent's own, of those shared with it and of a domain, as workers would match it. The active
    and shared ones come first, then candidates; of these the best proven, by evidence, then by
    confidence. A pattern without conditions matches what names it in
    `reasoning.patterns_applied`. Each place is one query, used again for `max_age_s`.

    Without, it gives the facts that short-term memory became, newest first within a type.

    Args:
        memory_type: of facts: CONTEXT, QUERY, SIGNAL or NOTE.
        decision_type: only patterns about such decisions.
        context: the decision's.
        inputs: the decision's.
        reasoning: the decision's, as far as it goes.
        domain: also the patterns of this domain; of none with None.
        states: only patterns in these; without it, active, shared and candidate ones.
        max_age_s: seconds for which patterns that were read are used again; with 0 they are read.
        limit: the most to return.

    Raises:
        RecordRefused: a part holds what DynamoDB cannot, as `decide` would say.
        ValueError: facts are asked for with parts of a decision, a part is no map, or there is no
            such state.
    """
    parts = {"context": context, "inputs": inputs, "reasoning": reasoning}
    decision = storage.without_none(parts)
    if not decision and decision_type is None:
        pk = keys.fact_pk(me.agent_id)
        prefix = keys.fact(me.agent_id, memory_type, "") if memory_type else None
        return (yield from _long_term(me, pk, prefix.sk if prefix else None, limit))
    if memory_type is not None:
        raise ValueError(
            f"facts of type {memory_type} match no decision; ask for them without "
            f"{', '.join(decision) or 'decision_type'}"
        )
    return (
        yield from matching(
            me,
            decision,
            decision_type=decision_type,
            domain=domain,
            states=states,
            max_age_s=max_age_s,
            limit=limit,
        )
    )


def episodes(
    me: Identity, /, decision_type: str | None = None, *, limit: int = 100
) -> Operation[list[Item]]:
    """Read the daily summaries of the agent's decisions, newest first within a type."""
    prefix = keys.episode(me.agent_id, decision_type, "") if decision_type else None
    pk = keys.episode_pk(me.agent_id)
    return (yield from _long_term(me, pk, prefix.sk if prefix else None, limit))


def _long_term(me: Identity, pk: str, begins: str | None, limit: int) -> Operation[list[Item]]:
    request = storage.query(me.table(tables.MEMORY), ("PK", pk), begins=begins)
    now = me.now()
    pick = lambda item: item if is_alive(item, now) else None  # noqa: E731
    return (yield from storage.select(request, pick, limit=limit))


_CONDITIONS: TypeAdapter[Conditions] = TypeAdapter(Conditions)
_EVERY = 1_000_000


def patterns(
    me: Identity,
    /,
    *,
    domain: str | None = None,
    min_confidence: float | None = None,
    matching: Mapping[str, Any] | None = None,
    limit: int = 100,
) -> Operation[list[PatternRow]]:
    """Read patterns: the agent's own, those shared with it, and those of a domain.

    The most confident come first, those without a confidence yet last.

    Args:
        domain: also the patterns shared in this domain, such as "general".
        min_confidence: at least this, 0 to 1; leaves out those without a confidence.
        matching: only patterns whose conditions a decision with these attributes would meet,
            such as {"context": {"market": {"trend": "bullish"}}}.
        limit: the most to return.
    """
    places = [keys.pattern_pk(me.agent_id), keys.shared_with_pk(me.agent_id)]
    places += [keys.shared_pattern_pk(domain)] if domain else []
    rows: list[PatternRow] = []

    def pick(item: Item) -> PatternRow | None:
        # `<pattern_id>@<version>` is an immutable version; the row without it is the current one.
        is_current = item.get("memory_type") == "PATTERN" and "@" not in item["SK"]
        return storage.readable(me, PatternRow, item) if is_current else None

    for pk in places:
        request = storage.query(me.table(tables.MEMORY), ("PK", pk), newest_first=False)
        rows += yield from storage.select(request, pick, limit=_EVERY)
    fit = [row for row in rows if _fits(row, min_confidence, matching)]
    fit.sort(key=lambda row: (row.confidence is not None, row.confidence or 0), reverse=True)
    return fit[:limit]


def _fits(
    row: PatternRow, min_confidence: float | None, matching: Mapping[str, Any] | None
) -> bool:
    if min_confidence is not None and (row.confidence or -1) < min_confidence:
        return False
    if matching is None:
        return True
    if matching.get("decision_type", row.decision_type) != row.decision_type:
        return False
    try:
        return row.conditions is not None and _CONDITIONS.validate_python(row.conditions).matches(
            matching
        )
    except ValidationError:
        return False
