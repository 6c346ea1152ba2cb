"""Patterns: what readers see of them, and how people's definitions become versions.

What a version is and how it takes effect: see `workers.patterns.admission`, whose plan this is.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pydantic import ValidationError

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Conflict, Missing, Misused
from sharpwave.infra.items import Item, Items, Write
from sharpwave.schemas import keys
from sharpwave.schemas.keys import Key
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.tables import MEMORY, PIPELINE
from sharpwave.workers.patterns.account import Account
from sharpwave.workers.patterns.admission import (
    Part,
    current_row,
    mark,
    place,
    plan,
    scope_subjects,
)
from sharpwave.workers.patterns.counts import Counts, total
from sharpwave.workers.patterns.life import base_at_once
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.sharing import copy_of
from sharpwave.workers.settings import Settings
from sharpwave.workers.work.ports import Check, Insert, Put, Update

_ATTEMPTS = 3


class _Overtaken(Conflict):
    """Workers judged decisions beyond the moment at which the version was to begin."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How far ahead a version takes effect, so that workers have seldom judged so far by then."""

    clock_skew_s: float = 5.0
    cache_s: float = 5.0

    def effective_from(self, now: float) -> int:
        """Give the whole epoch second from which a version written now is to count."""
        return -int(-(now + self.clock_skew_s + 2 * self.cache_s) // 1)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What the import of one definition did, or with a dry run would do."""

    pattern_id: str
    owner: str
    version: int
    change: Literal["created", "new version", "changed in place", "unchanged"]
    effective_from: int


@dataclass(frozen=True, kw_only=True)
class PatternView:
    """One pattern: its current row, and every version that was imported."""

    pattern_id: str
    owner: str
    row: Item
    versions: tuple[PatternVersion, ...]


def list_patterns(
    deployment: Deployment, *, agent_id: str | None = None, domain: str | None = None
) -> list[PatternView]:
    """List patterns, the most confident first; all of them unless an owner is given."""
    items = Items(deployment)
    versions: dict[tuple[str, str], list[PatternVersion]] = {}
    for version in known_versions(items):
        definition = version.definition
        if agent_id in (None, definition.agent_id) and domain in (None, definition.domain):
            versions.setdefault((version.owner, definition.pattern_id), []).append(version)
    views = []
    for found in versions.values():
        found.sort(key=lambda version: version.version)
        newest = found[-1]
        row = items.get(MEMORY, place(newest)) or {}
        name, owner = newest.definition.pattern_id, newest.owner
        views.append(PatternView(pattern_id=name, owner=owner, row=row, versions=tuple(found)))
    return sorted(
        views, key=lambda v: (-float(v.row.get("confidence") or 0), v.owner, v.pattern_id)
    )


def show_pattern(deployment: Deployment, pattern_id: str, owner: str | None = None) -> PatternView:
    """Show one pattern; `owner`, an agent or `shared#<domain>`, tells namesakes apart.

    Raises:
        Missing: there is no such pattern.
        Misused: several owners have one of that name.
    """
    named = [view for view in list_patterns(deployment) if view.pattern_id == pattern_id]
    chosen = [view for view in named if owner in (None, view.owner)]
    if not chosen:
        raise Missing(f"pattern {pattern_id!r} is not known; `sharpwave patterns ls` lists all")
    if len(chosen) > 1:
        owners = ", ".join(view.owner for view in chosen)
        raise Misused(f"{pattern_id!r} is a pattern of {owners}; choose with --owner")
    return chosen[0]


def known_versions(items: Items) -> Iterable[PatternVersion]:
    """Read every version in the list that the workers count by, in no useful order.

    One that only a newer release can read is passed over; `verify` says that there is one.
    """
    for entry in items.query(PIPELINE, keys.KNOWN_PATTERNS_PK):
        with suppress(ValidationError):
            yield PatternVersion.of_entry(entry)


def import_patterns(
    deployment: Deployment,
    definitions: Sequence[PatternDefinition],
    *,
    timing: Timing | None = None,
    now: float | None = None,
    dry_run: bool = False,
) -> list[Imported]:
    """Import definitions, one after the other; safe to repeat.

    Raises:
        Conflict: somebody else imports the same pattern at the same moment; those before are in.
    """
    items, ahead = Items(deployment), timing or Timing()
    return [import_pattern(items, each, ahead, now, dry_run=dry_run) for each in definitions]


def restore_versions(items: Items, versions: Sequence[PatternVersion]) -> None:
    """Write versions as they were listed, into tables without any; publishing adds the figures."""
    newest = {place(each): each for each in sorted(versions, key=lambda each: each.version)}
    for version in sorted(versions, key=lambda each: each.subject):
        # As if each were the first of its name; only the newest has the row that readers see.
        writes = [
            write
            for write in plan(version, None, None).writes
            if write.location.key != place(version) or newest[place(version)] is version
        ]
        _write(items, writes, version, begins=True)
        if version.effective_to is not None:
            name = keys.pattern_version_sk(version.definition.pattern_id, version.version)
            items.update(MEMORY, Key(version.pk, name), {"effective_to": version.effective_to})
    for version in newest.values():
        _share(items, version, set())
    # Places that were given stay given, so that no later version gets one of them.
    given: dict[str, int] = {}
    for version in versions:
        given[version.owner] = max(given.get(version.owner, 0), version.number or 0)
    for owner, count in given.items():
        if count:
            account = Account(revision=1, count=count).attributes(Policy())
            items.put(PIPELINE, {**keys.promotions(owner).item(), **account})


def import_pattern(
    items: Items,
    definition: PatternDefinition,
    timing: Timing,
    now: float | None,
    *,
    dry_run: bool,
    begins_anew: bool = True,
    reason: str | None = None,
) -> Imported:
    """Import one definition, anew if workers overtook it; see `import_patterns`.

    Args:
        items: where.
        definition: what it says.
        timing: how far ahead a version takes effect.
        now: epoch seconds; None: the clock's.
        dry_run: change nothing.
        begins_anew: whether a pattern whose version has ended gets the next one.
        reason: why a version begins, for those who look at it.
    """
    attempt = partial(
        _import,
        items,
        definition,
        timing,
        now,
        dry_run=dry_run,
        begins_anew=begins_anew,
        reason=reason,
    )
    for _ in range(_ATTEMPTS - 1):
        with suppress(_Overtaken):
            return attempt()
    return attempt()


def _import(
    items: Items,
    definition: PatternDefinition,
    timing: Timing,
    now: float | None,
    *,
    dry_run: bool,
    begins_anew: bool,
    reason: str | None,
) -> Imported:
    moment = time.time() if now is None else now
    start = max(timing.effective_from(moment), _judged(items) + 1)
    draft = PatternVersion(
        definition=definition,
        version=1,
        effective_from=start,
        learned_at=int(moment),
        reason=reason,
    )
    row = items.get(MEMORY, place(draft))
    stored = None if row is None else _stored(items, draft, row)
    if begins_anew and stored is not None and stored.effective_to is not None:
        draft = draft.model_copy(update={"parent": stored.name})
    # Freeze the base now, if enough is known: of all epochs into which ledgers were divided.
    decision_type = definition.decision_type
    entries = items.query(MEMORY, keys.writers_pk(decision_type))
    writers = {entry["SK"]: entry.get("epochs", []) for entry in entries}
    subjects = scope_subjects(draft, list(known_versions(items)), writers)
    totals = (items.get(PIPELINE, keys.ledger_total(each)) for each in subjects)
    scope = total(Counts.from_row(found["c"]) for found in totals if found)
    base = base_at_once(draft, scope, Settings.read().policy)
    planned = plan(draft.model_copy(update={"base": base}), row, stored)
    version, begins = planned.version, planned.change in ("created", "new version")
    if not dry_run:
        if planned.writes:
            _write(items, planned.writes, version, begins=begins)
        # Beside the transaction, which holds 100 writes at most; a crash before it leaves copies
        # that the next import of the same definition brings up to date.
        if _share(items, version, set((row or {}).get("shared_with", ()))):
            # Figures that were published meanwhile are not in the new copies.
            _write(items, [mark(version)], version, begins=False)
    return Imported(
        pattern_id=definition.pattern_id,
        owner=version.owner,
        version=version.version,
        change=planned.change,
        effective_from=version.effective_from,
    )


def _judged(items: Items) -> int:
    item = items.get(PIPELINE, keys.judged())
    return int(item["until"]) if item else -1


def _write(items: Items, writes: Sequence[Part], version: PatternVersion, *, begins: bool) -> None:
    thing, start = f"pattern {version.definition.pattern_id}", version.effective_from
    try:
        items.transact([part_of(items, write) for write in writes], thing=thing)
    except Conflict as conflict:
        if begins and _judged(items) >= start:
            text = f"{thing} took so long to write that workers are beyond its beginning"
            raise _Overtaken(f"{text}; run it again") from conflict
        raise


def part_of(items: Items, write: Part) -> Write:
    """Give a part of a plan as a part of a transaction."""
    table, key = write.location
    if isinstance(write, Insert):
        return items.new(table, write.item)
    if isinstance(write, Put):
        return items.whole(table, write.item)
    if isinstance(write, Check):
        ((name, limit),) = write.below.items()
        return items.below(table, key, name, limit)
    if isinstance(write, Update):
        return items.change(
            table,
            key,
            write.set,
            remove=write.remove,
            expected=write.equals,
            missing=write.missing,
        )
    raise AssertionError(f"no plan removes an item, but this one does: {write}")


def _stored(items: Items, draft: PatternVersion, row: Mapping[str, Any]) -> PatternVersion:
    subject = draft.model_copy(update={"version": row["version"]}).subject
    entry = items.get(PIPELINE, keys.known_pattern(subject))
    if entry is None:
        raise Misused(f"pattern {row['pattern_id']} was not imported here: its version is unlisted")
    try:
        return PatternVersion.of_entry(entry, strict=True)
    except ValidationError as error:
        # Written back by this release, it would lose what a newer one put there.
        raise Misused(
            f"pattern {row['pattern_id']} was imported by a newer release; import it with that one"
        ) from error


def _share(items: Items, version: PatternVersion, readers_before: set[str]) -> bool:
    """Bring the copies of readers up to date; says whether there are new ones."""
    readers = set(version.definition.shared_with)
    for reader in sorted(readers_before - readers):
        items.delete(MEMORY, _copy_key(version, reader))
    row = items.get(MEMORY, place(version)) if readers else None
    if row is None:
        return False
    made = False
    words = {n: v for n, v in current_row(version).items() if not n.startswith("GSI")}
    for reader in sorted(readers):
        key = _copy_key(version, reader)
        found = items.get(MEMORY, key) or {}
        if found.get("version") != version.version:
            items.put(MEMORY, copy_of(version, row, reader, found))
            made = True
        elif any(found.get(name) != value for name, value in words.items()):
            # Workers keep the copy's figures, so only the words are set.
            items.update(MEMORY, key, words)
    return made


def _copy_key(version: PatternVersion, reader: str) -> Key:
    return keys.shared_pattern_copy(reader, version.owner, version.definition.pattern_id)
