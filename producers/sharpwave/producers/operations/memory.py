"""What an agent remembers and shares, and what was learned: facts, episodes and patterns."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, overload

from pydantic import TypeAdapter, ValidationError

from sharpwave.producers.call import Call, Identity, Operation
from sharpwave.producers.errors import AgentError, ConditionFailed, RecordMissing
from sharpwave.producers.fading import strength
from sharpwave.producers.operations import large, storage
from sharpwave.producers.operations.learnt import MAX_AGE_S, Recalled, matching
from sharpwave.producers.operations.storage import Item, Moment, Range, is_alive
from sharpwave.schemas import ids, keys, tables
from sharpwave.schemas.conditions import Conditions
from sharpwave.schemas.faults import Fault, RecordRefused
from sharpwave.schemas.numbers import item_from_wire, item_to_wire
from sharpwave.schemas.patterns import PatternRow, State
from sharpwave.schemas.records import MAX_READERS, MEMORY_EXPIRES_S, MemoryEntry
from sharpwave.schemas.times import DAY_S, epoch_of, iso_ms

MemoryType = Literal["CONTEXT", "QUERY", "SIGNAL", "NOTE", "STRATEGY", "FACT"]
_TYPES = keys.MEMORY_TYPES + keys.LASTING_TYPES
_EVERY = 1_000_000
#: Uses of an entry by ranked reads that are counted in one write.
USES_AT_ONCE = 10
#: Entries whose uses are kept until they are written.
_USES_KEPT = 10_000
#: Messages may tell of an entry for as long as queues keep them.
_TOMBSTONE_S = 10 * DAY_S


def remember(
    me: Identity,
    /,
    memory_type: MemoryType,
    data: Mapping[str, Any],
    *,
    importance: float | None = None,
    memory_id: str | None = None,
    domain: str | None = None,
    event_time: str | None = None,
) -> Operation[MemoryEntry]:
    """Keep something in memory: for a day, or as a strategy or fact until it is forgotten.

    What is kept for a day becomes a fact for `recall` then, or earlier if it is important, often
    touched or shared. Nobody else reads it unless it is shared.

    Args:
        memory_type: CONTEXT, QUERY, SIGNAL or NOTE; or STRATEGY or FACT, which last.
        data: what to remember; what DynamoDB cannot hold is refused, or carried to the agent's
            `large_entries` and read back from there.
        importance: 0 to 1.
        memory_id: a name of the caller's own; made up unless given.
        domain: what it is about, such as "crypto", to list it by.
        event_time: domain time, a UTC time or a day, if it is not now.

    Raises:
        RecordRefused: the entry breaks its schema; nothing was sent.
    """
    moment = me.clock()
    iso, timestamp = iso_ms(moment), int(moment)
    name = memory_id or f"mem_{ids.ulid(epoch_ms=round(moment * 1000))}"
    is_short = memory_type not in keys.LASTING_TYPES
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
            "event_time": event_time,
            "data": data,
            "domain": domain,
            "importance": importance,
            "access_count": 0,
            "expires_at": timestamp + MEMORY_EXPIRES_S if is_short else None,
            "ttl": timestamp + me.retention.memory * DAY_S if is_short else None,
        }
    )
    if me.large_entries is not None:
        # Its faults come first: an object of what is refused would be nobody's.
        storage.checked("memory", MemoryEntry, {**item, "data": {}}, now=moment)
        item = yield from large.carry_off(me, item)
    record, wire = storage.checked("memory", MemoryEntry, item, now=moment)
    yield from storage.put_once(me.table(tables.STATE), wire)
    return record


def memories(
    me: Identity,
    /,
    memory_type: MemoryType,
    *,
    domain: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    event_since: str | None = None,
    event_until: str | None = None,
    ranked: bool = False,
    limit: int = 100,
    consistent: bool = False,
) -> Operation[list[MemoryEntry]]:
    """Read the agent's own memory, newest first, without what has expired or is forgotten.

    What has expired is left to `recall`.

    Args:
        memory_type: CONTEXT, QUERY, SIGNAL, NOTE, STRATEGY or FACT.
        domain: only of this domain.
        since: written from this moment on; of what is kept for a day, the last day unless given.
        until: written up to this moment.
        event_since: only with an event time from this time or day on.
        event_until: only with an event time up to this time or day, the day included.
        ranked: the strongest first, by `strength`, of all that is asked for. That counts as a use
            of what is given: counts are kept in this process and written once for ten uses of an
            entry, and when the agent is closed; a process that dies loses up to nine of each.
        limit: the most to return.
        consistent: see one's own latest writes for sure, at twice the price and past any cache.

    Raises:
        LargeEntryLost: what an entry points to in S3 is gone or changed.
        ValueError: there is no such type.
    """
    if memory_type not in _TYPES:
        raise ValueError(f"{memory_type!r} is no type of memory; take one of {', '.join(_TYPES)}")
    now = me.now()
    is_short = memory_type in keys.MEMORY_TYPES
    span = Range.of(now - DAY_S if since is None and is_short else since, until)
    request = storage.query(
        me.table(tables.STATE),
        ("PK", keys.memory_pk(me.agent_id, memory_type)),
        between=span.sort_keys,
        consistent=consistent,
    )

    def pick(item: Item) -> MemoryEntry | None:
        if not _is_current(item, now) or (domain is not None and item.get("domain") != domain):
            return None
        if not _is_within(item.get("event_time"), event_since, event_until):
            return None
        return storage.readable(me, MemoryEntry, item)

    is_new = not consistent and span.is_recent(now)
    found = yield from storage.select(
        request, pick, limit=_EVERY if ranked else limit, recent=is_new
    )
    if ranked:
        found.sort(key=lambda entry: strength(entry, now), reverse=True)
        found = found[:limit]
        yield from _count_uses(me, found)
    return (yield from _loaded(me, found))


def touch(me: Identity, /, memory: MemoryEntry | keys.Key) -> Operation[int]:
    """Count one use of a memory entry; often used ones are promoted early and rank higher.

    A repeat after a lost answer may count twice.

    Returns:
        How often it was used.

    Raises:
        RecordMissing: the entry is gone.
        RecordRefused: the entry is not the agent's own.
    """
    key = _own_key(me, memory)
    try:
        reply = yield _use(me, key, 1)
    except ConditionFailed as error:
        raise RecordMissing(
            f"{key.pk} / {key.sk} is gone; recall() finds promoted facts"
        ) from error
    return int(reply["Attributes"]["access_count"]["N"])


def forget(me: Identity, /, memory: MemoryEntry | Mapping[str, Any] | keys.Key) -> Operation[None]:
    """Forget an entry, or a fact or strategy: what it said, and every copy shared of it.

    At once `memories` no longer gives it; workers empty what `recall` gives and remove the copies
    a moment later. To forget what is forgotten changes nothing.

    Args:
        memory: what `remember`, `memories` or `recall` gave, or an entry's key.

    Raises:
        RecordRefused: it is not the agent's own.
    """
    key = _own_key(me, memory)
    place = keys.parse(tables.STATE, *key)
    assert place is not None
    iso, name = keys.time_and_id(key.sk)
    now = me.now()
    item: Item = {
        **key.item(),
        "schema_version": 1,
        "agent_id": me.agent_id,
        "memory_id": name,
        "memory_type": place.type_name,
        "timestamp": int(epoch_of(iso)),
        "iso_timestamp": iso,
        "data": {},
        "forgotten_at": now,
        "ttl": now + _TOMBSTONE_S,
    }
    _, wire = storage.checked("memory", MemoryEntry, item, now=now)
    # An agent may delete nothing, and a deletion would say as little of its reason as time does.
    params = {"TableName": me.table(tables.STATE), "Item": wire, "ReturnValues": "ALL_OLD"}
    reply = yield Call("dynamodb", "put_item", params)
    was = item_from_wire(reply.get("Attributes") or {})
    if "large" in was:
        yield from large.discard(me, was["large"])


def share(
    me: Identity,
    /,
    memory: MemoryEntry | keys.Key,
    *,
    agents: Collection[str] = (),
    domains: Collection[str] = (),
) -> Operation[MemoryEntry]:
    """Let agents, or all who read a domain, read a memory as it is and becomes; it then lasts.

    Workers keep a copy for each where it may read, within a moment.

    Raises:
        RecordMissing: the entry is gone.
        RecordRefused: it is not the agent's own, or a name cannot be or is the agent's own; or it
            would have more than 100 readers of a kind.
    """
    key = _own_key(me, memory)
    faults = [
        _no_reader("agents", name)
        for name in agents
        if not ids.is_agent_id(name) or name in (me.agent_id, ids.SYSTEM)
    ]
    faults += [
        _no_reader("domains", name) for name in domains if not re.fullmatch(ids.DOMAIN, name)
    ]
    if faults or not (agents or domains):
        raise RecordRefused(faults or [Fault("missing", "agents", "name somebody to share with")])
    names = {"shared_with": set(agents), "shared_domains": set(domains)}
    names = {name: given for name, given in names.items() if given}
    room = [f"(attribute_not_exists({n}) OR size({n}) <= :room_{n})" for n in names]
    values: Item = {f":{name}": given for name, given in names.items()}
    values |= {f":room_{name}": MAX_READERS - len(given) for name, given in names.items()}
    params = {
        **_granting(me, key),
        "UpdateExpression": "ADD "
        + ", ".join(f"{name} :{name}" for name in names)
        + " REMOVE #ttl, expires_at",
        "ConditionExpression": " AND ".join((_STANDS, *room)),
        "ExpressionAttributeNames": {"#ttl": tables.TTL_ATTRIBUTE},
        "ExpressionAttributeValues": item_to_wire(values),
    }
    try:
        reply = yield Call("dynamodb", "update_item", params)
    except ConditionFailed as error:
        if error.item and "forgotten_at" not in error.item:
            text = f"it would have more than {MAX_READERS} readers; share it with a domain"
            raise RecordRefused([Fault("too_long", "shared_with", text)]) from error
        raise _gone(key) from error
    return MemoryEntry.model_validate(item_from_wire(reply["Attributes"]))


def unshare(
    me: Identity,
    /,
    memory: MemoryEntry | keys.Key,
    *,
    agents: Collection[str] = (),
    domains: Collection[str] = (),
) -> Operation[MemoryEntry]:
    """Revoke grants of a memory: those named, or all; workers remove the copies within a moment.

    Raises:
        RecordMissing: the entry is gone, and with it all copies.
        RecordRefused: it is not the agent's own.
    """
    key = _own_key(me, memory)
    names = {"shared_with": set(agents), "shared_domains": set(domains)}
    named = {name: given for name, given in names.items() if given}
    change: Item = {"UpdateExpression": f"REMOVE {', '.join(names)}"}
    if named:
        text = ", ".join(f"{name} :{name}" for name in named)
        values = item_to_wire({f":{name}": given for name, given in named.items()})
        change = {"UpdateExpression": f"DELETE {text}", "ExpressionAttributeValues": values}
    params = {**_granting(me, key), **change, "ConditionExpression": _STANDS}
    try:
        reply = yield Call("dynamodb", "update_item", params)
    except ConditionFailed as error:
        raise _gone(key) from error
    return MemoryEntry.model_validate(item_from_wire(reply["Attributes"]))


def grants(me: Identity, /) -> Operation[list[MemoryEntry]]:
    """List what the agent shares: `shared_with` and `shared_domains` say with whom."""
    found: list[MemoryEntry] = []
    now = me.now()

    def pick(item: Item) -> MemoryEntry | None:
        entry = storage.readable(me, MemoryEntry, item) if _is_current(item, now) else None
        return entry if entry is not None and entry.is_shared else None

    for memory_type in _TYPES:
        pk = keys.memory_pk(me.agent_id, memory_type)
        request = storage.query(me.table(tables.STATE), ("PK", pk), consistent=True)
        found += yield from storage.select(request, pick, limit=_EVERY)
    return found


def shared_memories(
    me: Identity,
    /,
    *,
    owner: str | None = None,
    domain: str | None = None,
    memory_type: MemoryType | None = None,
    limit: int = 100,
) -> Operation[list[Item]]:
    """Read the memories that others share with the agent, newest first; `agent_id` says whose.

    A revoked one is gone as soon as workers handled the revocation: these reads use no cache.

    Args:
        owner: only of this agent.
        domain: also what is shared with all who read this domain.
        memory_type: only of this type.
        limit: the most to return.

    Raises:
        LargeEntryLost: what one points to in S3 is gone or changed.
    """
    now, found = me.now(), dict[str, Item]()
    begins = None if owner is None else keys.granted_sk(owner, memory_type or "", "")
    if begins is not None and memory_type is None:
        begins = begins.removesuffix("#")

    def pick(item: Item) -> Item | None:
        is_asked = memory_type in (None, item.get("memory_type"))
        return item if is_asked and _is_current(item, now) else None

    places = [keys.granted_pk(me.agent_id)]
    places += [keys.granted_domain_pk(domain)] if domain else []
    for pk in places:
        request = storage.query(me.table(tables.MEMORY), ("PK", pk), begins=begins)
        for item in (yield from storage.select(request, pick, limit=_EVERY)):
            if not item["SK"].startswith(f"{item.get('agent_id')}#"):
                me.counters["forged"] += 1
            elif item["agent_id"] != me.agent_id:
                found.setdefault(item["SK"], item)
    newest = sorted(found.values(), key=lambda item: item["timestamp"], reverse=True)[:limit]
    for item in newest:
        item["data"] = yield from large.load(me, item)
    return newest


_STANDS = "attribute_exists(PK) AND attribute_not_exists(forgotten_at)"


def _granting(me: Identity, key: keys.Key) -> Item:
    # The answer is the whole entry, as it is or as it stood in the way.
    return {
        "TableName": me.table(tables.STATE),
        "Key": key.wire(),
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _gone(key: keys.Key) -> RecordMissing:
    return RecordMissing(
        f"{key.pk} / {key.sk} is gone; remember it as FACT or STRATEGY to share it"
    )


def _no_reader(where: str, name: str) -> Fault:
    return Fault(
        "no_reader", where, f"{name!r} cannot be shared with; name another agent or domain"
    )


def _own_key(me: Identity, memory: MemoryEntry | Mapping[str, Any] | keys.Key) -> keys.Key:
    """Give the key of an entry of the agent's own, or of what a fact was.

    Raises:
        RecordRefused: it is another agent's, or the key of no memory.
    """
    if isinstance(memory, keys.Key):
        key = memory
    elif isinstance(memory, MemoryEntry):
        key = memory.key
    else:
        pk, sk, kind = (str(memory.get(name, "")) for name in ("PK", "SK", "memory_type"))
        is_fact = pk == keys.fact(me.agent_id, kind, "").pk and sk.startswith(f"{kind}#")
        own = keys.Key(keys.memory_pk(me.agent_id, kind), sk.removeprefix(f"{kind}#"))
        key = own if is_fact else keys.Key(pk, sk)
    place = keys.parse(tables.STATE, *key)
    if place is None or place.kind != "memory" or place.owner != me.agent_id:
        text = f"{key.pk} / {key.sk} is no memory of {me.agent_id}; an agent changes its own only"
        raise RecordRefused([Fault("foreign_key", "PK", text)])
    return key


def _is_current(item: Item, now: float) -> bool:
    is_current = is_alive(item, now) and item.get("expires_at", now + 1) > now
    return is_current and "forgotten_at" not in item


def _is_within(moment: Any, since: str | None, until: str | None) -> bool:
    if since is None and until is None:
        return True
    # As text: UTC times sort by time, and a day before every time in it.
    is_after = isinstance(moment, str) and (since is None or moment >= since)
    return is_after and (until is None or moment[: len(until)] <= until)


def _use(me: Identity, key: keys.Key, times: int) -> Call:
    params = {
        "TableName": me.table(tables.STATE),
        "Key": key.wire(),
        "UpdateExpression": "ADD access_count :n SET last_accessed = :now",
        # Without this an update after the removal by TTL would bring back an empty entry.
        "ConditionExpression": "attribute_exists(PK)",
        "ExpressionAttributeValues": item_to_wire({":n": times, ":now": me.now()}),
        "ReturnValues": "UPDATED_NEW",
    }
    return Call("dynamodb", "update_item", params)


def _count_uses(me: Identity, found: Collection[MemoryEntry]) -> Operation[None]:
    """Count a use of each entry, and write what has come together of one."""
    if len(me.uses) > _USES_KEPT:
        me.uses.clear()
    for entry in found:
        me.uses[entry.key] += 1
        if me.uses[entry.key] < USES_AT_ONCE:
            continue
        times = me.uses.pop(entry.key, 0)
        try:
            yield _use(me, entry.key, times)
        except AgentError:
            me.counters["uncounted"] += times  # what was read is worth more than its count


def count_the_rest(me: Identity) -> Operation[None]:
    """Write the uses that are still kept; what cannot be written is given up, as at a read."""
    while me.uses:
        key, times = me.uses.popitem()
        try:
            yield _use(me, key, times)
        except ConditionFailed:
            continue  # the entry is gone, and its count with it
        except AgentError:
            # Whatever it is meets all of them, and whoever closes does not want to wait for each.
            me.counters["uncounted"] += times + me.uses.total()
            me.uses.clear()


def _loaded(me: Identity, found: list[MemoryEntry]) -> Operation[list[MemoryEntry]]:
    loaded: list[MemoryEntry] = []
    for entry in found:
        if entry.large is not None:
            data = yield from large.load(me, entry.model_dump())
            entry = entry.model_copy(update={"data": data})
        loaded.append(entry)
    return loaded


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
        memory_type: of facts: CONTEXT, QUERY, SIGNAL, NOTE or FACT; or STRATEGY for strategies.
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
        if memory_type not in (None, *_TYPES):
            raise ValueError(
                f"{memory_type!r} is no type of memory; take one of {', '.join(_TYPES)}"
            )
        prefix = keys.fact(me.agent_id, memory_type, "") if memory_type else None
        pk = prefix.pk if prefix else keys.fact_pk(me.agent_id)
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
    pick = lambda item: item if _is_current(item, now) else None  # noqa: E731
    found = yield from storage.select(request, pick, limit=limit)
    for item in found:
        if "large" in item:
            item["data"] = yield from large.load(me, item)
    return found


_CONDITIONS: TypeAdapter[Conditions] = TypeAdapter(Conditions)


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
        row = storage.readable(me, PatternRow, item) if is_current else None
        if row is None or (min_confidence is not None and (row.confidence or -1) < min_confidence):
            return None
        if matching is None:
            return row
        if matching.get("decision_type", row.decision_type) != row.decision_type:
            return None
        try:
            said = row.conditions
            fits = said is not None and _CONDITIONS.validate_python(said).matches(matching)
        except ValidationError:
            return None
        return row if fits else None

    for pk in places:
        request = storage.query(me.table(tables.MEMORY), ("PK", pk), newest_first=False)
        rows += yield from storage.select(request, pick, limit=_EVERY)
    rows.sort(key=lambda row: (row.confidence is not None, row.confidence or 0), reverse=True)
    return rows[:limit]
