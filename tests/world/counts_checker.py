"""Invariant 3: pattern counts equal a recount of the archive, and a count by hand."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.patterns import PatternVersion, boundaries
from sharpwave.workers.patterns.counts import Counts, days_of, total
from sharpwave.workers.patterns.learn import contributions
from sharpwave.workers.patterns.ledger import fold
from sharpwave.workers.work.envelope import image_of
from tests.world.book import Book
from tests.world.world import World


def counts(world: World, book: Book) -> Iterator[str]:
    """Compare the ledgers with the archive, with the book, and with the published figures."""
    versions = _versions(world)
    archived = _recount(world, versions)
    for subject, expected in archived.items():
        found = _comparable(total(days_of(subject, world.tables).values()))
        if found != expected:
            yield f"{subject} counts {found}, the archive {expected}"
    for key in world.tables.keys(tables.PIPELINE):
        subject = key.pk.removeprefix("ledger#")
        if subject != key.pk and subject not in archived:
            yield f"{subject} has a ledger, but nothing in the archive"
    for subjects, by_hand in _by_hand(book, versions).items():
        counted = total(each for s in subjects for each in days_of(s, world.tables).values())
        if (counted.n, counted.s, counted.pending) != by_hand:
            yield f"{subjects} count {counted}, the agents {by_hand}"
    yield from _figures(world, versions)


def _versions(world: World) -> list[PatternVersion]:
    items = world.tables.query(tables.PIPELINE, keys.KNOWN_PATTERNS_PK)
    return [PatternVersion.read(item["version"]) for item in items]


def _recount(world: World, versions: list[PatternVersion]) -> dict[str, Counts]:
    buckets: dict[Any, set[bytes]] = defaultdict(set)
    for line in world.archive.lines():
        if line["state"] == "refusal":
            continue
        decision = item_from_wire(image_of(line))
        for each in contributions(decision, versions):
            buckets[each.subject, each.day].add(each.element)
    subjects: dict[str, list[Counts]] = defaultdict(list)
    for (subject, _), elements in buckets.items():
        subjects[subject].append(fold(elements))
    return {subject: _comparable(total(parts)) for subject, parts in subjects.items()}


def _comparable(counts: Counts) -> Counts:
    """Leave out what depends on how a ledger is stored."""
    return replace(counts, revision=0, units=0)


def _by_hand(
    book: Book, versions: list[PatternVersion]
) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """Count by what agents wrote; the base ledgers of an agent and type together."""
    n, s, pending = (defaultdict[tuple[str, ...], int](int) for _ in range(3))
    for item, states in book.decisions.values():
        mine = (item["agent_id"], item["decision_type"])
        subjects = [tuple(keys.base_subject(*mine, at) for at in boundaries(versions, *mine))]
        if item["context"]["market"] == "up":
            subjects += [
                (version.subject,)
                for version in versions
                if (version.definition.agent_id, version.definition.decision_type) == mine
            ]
        last = max(states).success
        for subject in subjects:
            n[subject] += last is not None
            s[subject] += last is True
            pending[subject] += last is None
    return {subject: (n[subject], s[subject], pending[subject]) for subject in n}


def _figures(world: World, versions: list[PatternVersion]) -> Iterator[str]:
    rows = world.tables.items(tables.MEMORY)
    for version in versions:
        row = rows[keys.Key(version.pk, version.definition.pattern_id)]
        counted = total(days_of(version.subject, world.tables).values())
        said = (row.get("sample_size", 0), row.get("successes", 0))
        if said != (counted.n, counted.s):
            yield f"the row of {version.subject} says {said} of {counted}"
