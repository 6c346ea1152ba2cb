"""Patterns: what readers see of them, and how definitions become versions that workers count by.

A version never changes what it counts. A definition that counts otherwise becomes a new version,
which takes over from the previous one at a moment in the near future; one that only reads
otherwise, or is shared otherwise, changes in place and keeps its evidence.

Workers keep in the table up to which moment they have judged decisions by the list of versions. A
version begins beyond it, and its transaction says so: one that comes too late, however long it
took on its way, is not written.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Conflict, Missing, Misused
from sharpwave.infra.items import Item, Items, Write
from sharpwave.schemas import keys
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.keys import Key
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion, content_hash
from sharpwave.schemas.tables import MEMORY, PIPELINE
from sharpwave.schemas.times import bound

#: What workers compute for a current row; a new version starts without.
FIGURES = (
    "sample_size",
    "successes",
    "success_rate",
    "interval",
    "confidence",
    "base_rate",
    "n_eff",
    "applied",
    "unresolved",
    "as_of",
    "GSI1_SK",
    "GSI2_SK",
)
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
        row = items.get(MEMORY, _key(newest)) or {}
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
            yield PatternVersion.read(entry["version"])


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
    newest: dict[tuple[str, str], PatternVersion] = {}
    for version in sorted(versions, key=lambda each: each.version):
        newest[version.owner, version.definition.pattern_id] = version
        stored, entry = _immutable(items, version)
        items.transact([stored, entry, _mark(items, version)], thing=version.subject)
        if version.effective_to is not None:
            key = Key(version.pk, stored["Put"]["Item"]["SK"]["S"])
            items.update(MEMORY, key, {"effective_to": version.effective_to})
    for version in newest.values():
        current = {**_key(version).item(), **_current(version), "sample_size": 0, "successes": 0}
        items.put(MEMORY, current)
        _share(items, version, set())


def import_pattern(
    items: Items, definition: PatternDefinition, timing: Timing, now: float | None, *, dry_run: bool
) -> Imported:
    """Import one definition, anew if workers overtook it; see `import_patterns`."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(_Overtaken):
            return _import(items, definition, timing, now, dry_run=dry_run)
    return _import(items, definition, timing, now, dry_run=dry_run)


def counted_hash(definition: PatternDefinition) -> str:
    """Give a digest of what decides the counts; who may read them and a text about it do not."""
    no_matter: dict[str, Any] = {"description": None, "shared_with": [], "shards": 1}
    return content_hash(definition.model_copy(update=no_matter))


def described(definition: PatternDefinition) -> str:
    """Give the words for a pattern: the author's own, or else its conditions'."""
    if definition.description:
        return definition.description
    if definition.conditions:
        return definition.conditions.describe()
    return "decisions that name it in reasoning.patterns_applied"


def _import(
    items: Items, definition: PatternDefinition, timing: Timing, now: float | None, *, dry_run: bool
) -> Imported:
    moment = time.time() if now is None else now
    start = max(timing.effective_from(moment), _judged(items) + 1)
    draft = PatternVersion(
        definition=definition, version=1, effective_from=start, learned_at=int(moment)
    )
    row = items.get(MEMORY, _key(draft))
    if row is None:
        current = {**_key(draft).item(), **_current(draft), "sample_size": 0, "successes": 0}
        writes = [*_immutable(items, draft), items.new(MEMORY, current)]
        version, change = draft, "created"
    elif row["content_hash"] != counted_hash(definition):
        version = draft.model_copy(update={"version": row["version"] + 1})
        change, writes = "new version", _succession(items, version, row)
    else:
        version = _stored(items, draft, row).model_copy(update={"definition": definition})
        wanted, writes, change = _current(version), [], "unchanged"
        if any(row.get(name) != value for name, value in wanted.items()):
            change, expected = "changed in place", {"version": row["version"]}
            writes = [
                items.change(PIPELINE, keys.known_pattern(version.subject), _entry(version)),
                items.change(MEMORY, _key(version), wanted, expected=expected),
            ]
    if not dry_run:
        if writes:
            _write(items, writes, version, begins=change != "changed in place")
        # Beside the transaction, which holds 100 writes at most; a crash before it leaves copies
        # that the next import of the same definition brings up to date.
        if _share(items, version, set((row or {}).get("shared_with", ()))):
            # Figures that were published meanwhile are not in the new copies.
            items.transact([_mark(items, version)], thing=f"pattern {definition.pattern_id}")
    return Imported(
        pattern_id=definition.pattern_id,
        owner=version.owner,
        version=version.version,
        change=change,  # type: ignore[arg-type]
        effective_from=version.effective_from,
    )


def _judged(items: Items) -> int:
    item = items.get(PIPELINE, keys.judged())
    return int(item["until"]) if item else -1


def _write(items: Items, writes: Sequence[Write], version: PatternVersion, *, begins: bool) -> None:
    thing, start = f"pattern {version.definition.pattern_id}", version.effective_from
    # In the same transaction: a worker that judges up to `start` from now on breaks it.
    fence = [items.below(PIPELINE, keys.judged(), "until", start)] if begins else []
    try:
        items.transact([*fence, *writes, _mark(items, version)], thing=thing)
    except Conflict as conflict:
        if begins and _judged(items) >= start:
            text = f"{thing} took so long to write that workers are beyond its beginning"
            raise _Overtaken(f"{text}; run it again") from conflict
        raise


def _mark(items: Items, version: PatternVersion) -> Write:
    """Let workers compute the figures of a version that has counted nothing yet."""
    day = bound(version.effective_from)[:10]
    return items.whole(PIPELINE, {**keys.changed(version.subject, day).item(), "rev": ulid()})


def _succession(items: Items, version: PatternVersion, row: Item) -> list[Write]:
    previous = _stored(items, version, row).model_copy(
        update={"effective_to": version.effective_from}
    )
    # Workers write figures under the revision they read, so those of the old version now fail.
    revision = row.get("figures_rev", 0)
    expected = {"version": row["version"], **({"figures_rev": revision} if revision else {})}
    values = {**_current(version), "figures_rev": revision + 1}
    ended = {"effective_to": version.effective_from}
    stale = [name for name in (*FIGURES, "conditions") if name not in values]
    older = Key(version.pk, keys.pattern_version_sk(row["pattern_id"], row["version"]))
    return [
        *_immutable(items, version),
        items.change(PIPELINE, keys.known_pattern(previous.subject), _entry(previous)),
        items.change(MEMORY, older, ended),
        items.change(MEMORY, _key(version), values, remove=stale, expected=expected),
    ]


def _immutable(items: Items, version: PatternVersion) -> list[Write]:
    definition = version.definition
    key = Key(version.pk, keys.pattern_version_sk(definition.pattern_id, version.version))
    row = {
        **key.item(),
        "memory_type": "PATTERN_VERSION",
        "pattern_id": definition.pattern_id,
        "definition": definition.model_dump(mode="json"),
        "content_hash": counted_hash(definition),
        **version.model_dump(include={"version", "effective_from", "learned_at"}),
    }
    entry = {**keys.known_pattern(version.subject).item(), **_entry(version)}
    return [items.new(MEMORY, row), items.new(PIPELINE, entry)]


def _current(version: PatternVersion) -> Item:
    definition = version.definition
    plain = definition.model_dump(mode="json")
    named: dict[str, Any] = {"agent_id": definition.agent_id, "conditions": plain["conditions"]}
    is_domain = definition.agent_id is None
    return {
        "memory_type": "PATTERN",
        "pattern_id": definition.pattern_id,
        "domain": definition.domain,
        "decision_type": definition.decision_type,
        "description": described(definition),
        "content_hash": counted_hash(definition),
        "is_shared": is_domain or bool(definition.shared_with),
        "shared_with": sorted(definition.shared_with),
        "GSI1_PK": version.pk,
        **({"GSI2_PK": version.pk} if is_domain else {}),
        **{name: value for name, value in named.items() if value is not None},
        **version.model_dump(include={"version", "effective_from", "learned_at"}),
    }


def _stored(items: Items, draft: PatternVersion, row: Mapping[str, Any]) -> PatternVersion:
    subject = draft.model_copy(update={"version": row["version"]}).subject
    entry = items.get(PIPELINE, keys.known_pattern(subject))
    if entry is None:
        raise Misused(f"pattern {row['pattern_id']} was not imported here: its version is unlisted")
    try:
        return PatternVersion.model_validate_json(entry["version"], extra="forbid")
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
    row = items.get(MEMORY, _key(version)) if readers else None
    if row is None:
        return False
    made = False
    words = {n: v for n, v in _current(version).items() if not n.startswith("GSI")}
    content = {n: v for n, v in row.items() if not n.startswith("GSI")}
    for reader in sorted(readers):
        key = _copy_key(version, reader)
        found = items.get(MEMORY, key) or {}
        if found.get("version") != version.version:
            revision = max(content.get("figures_rev", 0), found.get("figures_rev", 0)) + 1
            extra = {"owner": version.owner, "figures_rev": revision}
            items.put(MEMORY, {**content, **key.item(), **extra})
            made = True
        elif any(found.get(name) != value for name, value in words.items()):
            # Workers keep the copy's figures, so only the words are set.
            items.update(MEMORY, key, words)
    return made


def _entry(version: PatternVersion) -> Item:
    return {"version": version.model_dump_json()}


def _key(version: PatternVersion) -> Key:
    return Key(version.pk, version.definition.pattern_id)


def _copy_key(version: PatternVersion, reader: str) -> Key:
    return keys.shared_pattern_copy(reader, version.owner, version.definition.pattern_id)
