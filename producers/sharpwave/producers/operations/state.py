"""An agent's own state: one current version, never overwritten unseen, and copies of it."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from sharpwave.producers.call import Call, Given, Identity, Operation, Pause
from sharpwave.producers.errors import ConditionFailed, RecordMissing, StateConflict
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.storage import Item, is_alive
from sharpwave.schemas import ids, keys, tables
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.records import StateRecord
from sharpwave.schemas.times import DAY_S, iso_ms

CHECKPOINT_S, BACKUP_S = 30 * DAY_S, 365 * DAY_S
_ATTEMPTS, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10, 0.02, 0.5
Kept = Literal["CHECKPOINT", "BACKUP"]


class Difference(NamedTuple):
    """One place where two states differ; `path` is dotted, and what is not there is None."""

    path: str
    before: Any
    after: Any


def state(me: Identity, /) -> Operation[StateRecord | None]:
    """Read the agent's current state with a strong read, or None if it never saved one."""
    item = yield from storage.read(me.table(tables.STATE), keys.current_state(me.agent_id))
    return StateRecord.model_validate(item) if item else None


def save_state(
    me: Identity,
    /,
    state: Mapping[str, Any],
    *,
    expected_version: int,
    configuration: Mapping[str, Any] | None = None,
    current_cycle: int | None = None,
) -> Operation[StateRecord]:
    """Save the agent's state, unless someone else saved it meanwhile.

    Args:
        state: the whole new state.
        expected_version: the version it is based on; 0 for the very first.
        configuration: the whole new configuration; the stored one is kept unless given.
        current_cycle: a counter of the agent's own; the stored one is kept unless given.

    Raises:
        StateConflict: the stored version is another; read it and decide again.
        RecordRefused: the state breaks its schema; nothing was written.
    """
    given = {"configuration": configuration, "current_cycle": current_cycle}
    stored = yield from _stored(me)
    record, found = yield from _put(
        me, {**stored, **storage.without_none(given)}, state, expected_version
    )
    if record is None:
        raise _conflict(me, found, expected_version)
    return record


def update_state(
    me: Identity,
    /,
    change: Callable[[StateRecord | None], Any],
    *,
    attempts: int = _ATTEMPTS,
) -> Operation[StateRecord | None]:
    """Change the state by a function of what is stored, anew for whatever others saved meanwhile.

    Args:
        change: gives the whole new state, from the stored record or None, or None to leave it as
            it is; called once an attempt, so it should do nothing else. It may be a coroutine
            function of an `AsyncAgent`.
        attempts: how often it is tried.

    Returns:
        The state as it is then; None only if there is none, and it was left so.

    Raises:
        StateConflict: others were faster every time.
    """
    if attempts < 1:
        raise ValueError(f"{attempts} attempts change nothing; allow at least 1")
    stored = yield from _stored(me)
    for attempt in range(1, attempts + 1):
        found = StateRecord.model_validate(stored) if stored else None
        version = found.version if found else 0
        new: Any = yield Given(change(found))
        if new is None:
            return found
        # A refusal says what is stored instead, so that trying again takes no read.
        record, stored = yield from _put(me, stored, new, version)
        if record is not None:
            return record
        if attempt < attempts:
            # At random, or who met once meets again.
            yield Pause(random.uniform(0, min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)))
    raise _conflict(me, stored, version)


def _stored(me: Identity) -> Operation[Item]:
    table = me.table(tables.STATE)
    return (yield from storage.read(table, keys.current_state(me.agent_id))) or {}


def _put(
    me: Identity, stored: Item, state: Mapping[str, Any], expected_version: int
) -> Operation[tuple[StateRecord | None, Item]]:
    """Put a state that keeps what else is stored; gives None and what is there if it is refused."""
    table, key = me.table(tables.STATE), keys.current_state(me.agent_id)
    item = storage.without_none(
        {
            **stored,
            **key.item(),
            "schema_version": 1,
            "agent_id": me.agent_id,
            "agent_version": me.agent_version or stored.get("agent_version"),
            "state_type": keys.CURRENT,
            "last_updated": me.now(),
            "state": state,
            "version": expected_version + 1,
            # Two that make the same of one version would take each other's save for their own.
            "saved_by": ids.ulid(),
        }
    )
    record, wire = storage.checked("state", StateRecord, item, now=me.now())
    # The version is checked by the write itself: what is stored may be older by now.
    condition: Item = {"ConditionExpression": "attribute_not_exists(PK)"}
    if expected_version:
        condition = {
            "ConditionExpression": "#v = :v",
            "ExpressionAttributeNames": {"#v": "version"},
            "ExpressionAttributeValues": {":v": {"N": str(expected_version)}},
        }
    condition["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    try:
        yield Call("dynamodb", "put_item", {"TableName": table, "Item": wire, **condition})
    except ConditionFailed as error:
        found = item_from_wire(error.item) or (yield from _stored(me))
        # It may be our own write, retried after its answer was lost.
        return (record if found.get("saved_by") == item["saved_by"] else None), found
    return record, item


def _conflict(me: Identity, found: Item, expected_version: int) -> StateConflict:
    version = int(found["version"]) if found else 0
    return StateConflict(
        f"the state of {me.agent_id} has version {version}, not {expected_version}; "
        "read it with state() and decide again",
        stored=version,
        expected=expected_version,
    )


def checkpoint(me: Identity, /, *, keep_s: int = CHECKPOINT_S) -> Operation[StateRecord]:
    """Keep a copy of the current state for `keep_s` seconds, 30 days unless given.

    Raises:
        RecordMissing: no state was ever saved.
    """
    return (yield from _keep(me, "CHECKPOINT", keep_s))


def backup(me: Identity, /, *, keep_s: int = BACKUP_S) -> Operation[StateRecord]:
    """Keep a copy of the current state for long: `keep_s` seconds, a year unless given.

    Raises:
        RecordMissing: no state was ever saved.
    """
    return (yield from _keep(me, "BACKUP", keep_s))


def checkpoints(me: Identity, /, *, limit: int = 10) -> Operation[list[StateRecord]]:
    """Read the kept checkpoints, newest first; those that break the schema are left out."""
    return (yield from _kept(me, "CHECKPOINT", limit))


def backups(me: Identity, /, *, limit: int = 10) -> Operation[list[StateRecord]]:
    """Read the kept backups, newest first; those that break the schema are left out."""
    return (yield from _kept(me, "BACKUP", limit))


def restore_state(
    me: Identity, /, kept: StateRecord, *, expected_version: int
) -> Operation[StateRecord]:
    """Make a checkpoint or backup the current state again, as a new version.

    Args:
        kept: what to go back to, from `checkpoints` or `backups`.
        expected_version: the version it replaces; what was saved since is never lost unseen.

    Raises:
        StateConflict: the stored version is another.
        ValueError: the copy is another agent's.
    """
    if kept.agent_id != me.agent_id:
        raise ValueError(f"{kept.SK} is of {kept.agent_id}; {me.agent_id} restores its own only")
    return (
        yield from save_state(
            me,
            kept.state,
            expected_version=expected_version,
            configuration=kept.configuration,
            current_cycle=kept.current_cycle,
        )
    )


def differences(before: StateRecord, after: StateRecord) -> list[Difference]:
    """List where two states, or their configurations, differ, by path; lists compare whole."""
    found: list[Difference] = []
    for name in ("configuration", "state"):
        found += _differing(name, getattr(before, name), getattr(after, name))
    return found


def _differing(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            yield from _differing(f"{path}.{name}", before.get(name), after.get(name))
    elif before != after:
        yield Difference(path, before, after)


def _keep(me: Identity, kind: Kept, keep_s: int) -> Operation[StateRecord]:
    moment, table = me.clock(), me.table(tables.STATE)
    current = yield from storage.read(table, keys.current_state(me.agent_id))
    if current is None:
        raise RecordMissing(f"{me.agent_id} has no state to keep; call save_state first")
    key = keys.saved_state(me.agent_id, kind, iso_ms(moment))
    copied = {**current, **key.item(), "state_type": kind, "ttl": int(moment) + keep_s}
    record, wire = storage.checked("state", StateRecord, copied, now=moment)
    yield from storage.put_once(table, wire)
    return record


def _kept(me: Identity, kind: Kept, limit: int) -> Operation[list[StateRecord]]:
    now, key = me.now(), keys.saved_state(me.agent_id, kind, "")
    request = storage.query(me.table(tables.STATE), ("PK", key.pk), begins=key.sk)

    def pick(item: Item) -> StateRecord | None:
        return storage.readable(me, StateRecord, item) if is_alive(item, now) else None

    return (yield from storage.select(request, pick, limit=limit))
