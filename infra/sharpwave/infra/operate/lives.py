"""What people do in the life of a pattern: grant it and revoke that, put it aside, look back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.items import Item, Items
from sharpwave.infra.operate.agents import check_agent_id
from sharpwave.infra.operate.patterns import (
    Timing,
    import_pattern,
    part_of,
    show_pattern,
)
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import State
from sharpwave.schemas.tables import MEMORY, PIPELINE
from sharpwave.workers.patterns.admission import FIGURES
from sharpwave.workers.patterns.life import Life, Step
from sharpwave.workers.patterns.telling import told


@dataclass(frozen=True, kw_only=True)
class Lived:
    """A transition of one version of a pattern."""

    version: int
    item: Item


@dataclass(frozen=True, kw_only=True)
class Granted:
    """Who may read a pattern now, and whether that is new."""

    pattern_id: str
    owner: str
    shared_with: tuple[str, ...]
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A transition that somebody made by hand, or with a dry run would make."""

    pattern_id: str
    owner: str
    version: int
    before: State
    after: State
    reason: str


def history(deployment: Deployment, pattern_id: str, owner: str | None = None) -> list[Lived]:
    """List the transitions of all versions of a pattern, in order."""
    view, items = show_pattern(deployment, pattern_id, owner), Items(deployment)
    return [
        Lived(version=version.version, item=item)
        for version in view.versions
        for item in items.query(PIPELINE, keys.life_pk(version.subject))
    ]


def share(
    deployment: Deployment,
    pattern_id: str,
    reader: str,
    *,
    owner: str | None = None,
    revoke: bool = False,
    dry_run: bool = False,
) -> Granted:
    """Grant an agent a pattern, or revoke that; safe to repeat.

    Its copy is made or removed before this returns, so its next strong read knows.

    Raises:
        Misused: it is a domain's pattern, which everybody reads, or `reader` can be no agent.
    """
    check_agent_id(reader)
    view = show_pattern(deployment, pattern_id, owner)
    definition = view.versions[-1].definition
    if definition.agent_id is None:
        text = f"{pattern_id} belongs to the domain {definition.domain}, and all agents may read it"
        raise Misused(f"{text}; share a pattern of one agent")
    if definition.agent_id == reader:
        raise Misused(f"{pattern_id} is {reader}'s own")
    before = set(definition.shared_with)
    after = before - {reader} if revoke else before | {reader}
    wanted = definition.model_copy(update={"shared_with": sorted(after)})
    # Also if nothing is to change: a copy that a crash left, or left out, is mended by that.
    import_pattern(Items(deployment), wanted, Timing(), None, dry_run=dry_run, begins_anew=False)
    return Granted(
        pattern_id=pattern_id,
        owner=view.owner,
        shared_with=tuple(wanted.shared_with),
        changed=before != after,
    )


def shared_to(deployment: Deployment, reader: str) -> list[Item]:
    """List the copies of patterns that an agent was granted, the most confident first."""
    check_agent_id(reader)
    copies = Items(deployment).query(MEMORY, keys.shared_with_pk(reader))
    return sorted(copies, key=lambda row: -float(row.get("confidence") or 0))


def retire(
    deployment: Deployment,
    pattern_id: str,
    reason: str,
    *,
    owner: str | None = None,
    dry_run: bool = False,
) -> Moved:
    """Put a pattern aside: it counts on, and nobody is shown it; `revive` takes that back.

    Raises:
        Misused: it is retired already.
        Conflict: workers wrote to it at the same moment.
    """

    def step(life: Life) -> Life:
        if life.state == "retired":
            raise Misused(f"{pattern_id} is retired already")
        # What sleeps remembers what it was before, and wakes up as that.
        was = life.was if life.state == "dormant" else life.state
        return replace(life, state="retired", was=was)

    return _move(deployment, pattern_id, owner, step, reason, dry_run=dry_run)


def revive(
    deployment: Deployment,
    pattern_id: str,
    reason: str,
    *,
    owner: str | None = None,
    dry_run: bool = False,
) -> Moved:
    """Take back that a pattern was retired; it becomes what it was.

    Decisions of one that discovery gave up are not counted any more, so its next version begins,
    from nothing and as a candidate, which discovery does not give up again.

    Raises:
        Misused: it is not retired, or it is for a broken promise, and a new version follows.
        Conflict: workers wrote to it at the same moment.
    """

    def step(life: Life) -> Life:
        if life.state != "retired":
            raise Misused(f"{pattern_id} is {life.state}, not retired")
        if life.drifted:
            text = f"{pattern_id} broke its promise; a new version of it begins by itself"
            raise Misused(f"{text}, within the next tick")
        return replace(life, state=life.was or "candidate", was=None)

    view = show_pattern(deployment, pattern_id, owner)
    ended = view.versions[-1]
    if ended.effective_to is not None:
        begun = import_pattern(
            Items(deployment), ended.definition, Timing(), None, dry_run=dry_run, reason=reason
        )
        return Moved(
            pattern_id=pattern_id,
            owner=view.owner,
            version=begun.version,
            before="retired",
            after="candidate",
            reason=reason,
        )
    return _move(deployment, pattern_id, owner, step, reason, dry_run=dry_run)


def _move(
    deployment: Deployment,
    pattern_id: str,
    owner: str | None,
    step: Callable[[Life], Life],
    reason: str,
    *,
    dry_run: bool,
) -> Moved:
    view, items = show_pattern(deployment, pattern_id, owner), Items(deployment)
    version, row = view.versions[-1], view.row
    if row.get("version") != version.version:
        raise Misused(f"pattern {pattern_id} has no row of version {version.version}")
    life = Life.of_row(row)
    after = replace(step(life), since=int(time.time()), seq=life.seq + 1)
    if not dry_run:
        figures = {name: row[name] for name in FIGURES if name in row}
        # In one transaction: a signal in the pipeline's name is held against the history.
        parts = told(version, row, life, Step(after, reason), figures)
        items.transact([part_of(items, each) for each in parts], thing=f"pattern {pattern_id}")
    return Moved(
        pattern_id=pattern_id,
        owner=view.owner,
        version=version.version,
        before=life.state,
        after=after.state,
        reason=reason,
    )
