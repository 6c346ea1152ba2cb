"""Patterns as readers see them: their current rows, versions and figures."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing, Misused
from sharpwave.infra.operate.items import Item, Items
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.tables import MEMORY, PIPELINE


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
    views = [_view(items, found) for found in versions.values()]
    return sorted(views, key=_rank)


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
    """Read every version in the list that the workers count by.

    One that only a newer release can read is passed over; `verify` says that there is one.
    """
    for entry in items.query(PIPELINE, keys.KNOWN_PATTERNS_PK):
        with suppress(ValidationError):
            yield PatternVersion.read(entry["version"])


def _view(items: Items, versions: list[PatternVersion]) -> PatternView:
    ordered = sorted(versions, key=lambda version: version.version)
    newest = ordered[-1]
    pattern_id = newest.definition.pattern_id
    row = items.get(MEMORY, keys.Key(newest.pk, pattern_id)) or {}
    return PatternView(pattern_id=pattern_id, owner=newest.owner, row=row, versions=tuple(ordered))


def _rank(view: PatternView) -> tuple[float, str, str]:
    return (-float(view.row.get("confidence") or 0), view.owner, view.pattern_id)
