"""Judges counts and memory: every ledger, pattern and fact against the records they come from."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sharpwave.infra.chaos.checker import Violation
from sharpwave.infra.chaos.snapshot import Item, Snapshot
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE, STATE

#: Where a counts row holds what is recounted here; its first number is its set's size.
_PLACES = {"n": 1, "s": 2, "q_sum": 3, "pending": 7}

Figures = dict[str, int]


def check_counts(end: Snapshot) -> Iterator[Violation]:
    """Check ledgers against the decisions themselves, and patterns against their ledgers."""
    versions = [
        PatternVersion.model_validate_json(item["version"])
        for _, item in end.family(PIPELINE, "patterns")
    ]
    expected, stored = _recounted(end, versions), _stored(end)
    for subject in sorted(expected.keys() | stored.keys()):
        ours, theirs = expected.get(subject, _none()), stored.get(subject, _none())
        if ours != theirs:
            text = f"{subject} holds {theirs}; the decisions make {ours}"
            yield Violation("miscounted", text)
    for version in versions:
        yield from _published(version, expected.get(version.subject, _none()), end)
    for text in end.miscounts:
        yield Violation("miscounted", f"archive: {text}")


def check_memory(end: Snapshot) -> Iterator[Violation]:
    """Check that every memory became one fact, and nothing else did."""
    facts: dict[str, list[Item]] = defaultdict(list)
    for _, fact in end.family(MEMORY, "fact"):
        facts[fact["memory_id"]].append(fact)
    for key, entry in end.kind(STATE, "memory"):
        found = facts.pop(entry["memory_id"], [])
        if not found:
            yield Violation("memory lost", f"{key} never became a fact")
        elif len(found) > 1:
            yield Violation("memory doubled", f"{key} became {len(found)} facts")
        elif found[0].get("data") != entry.get("data"):
            yield Violation("memory lost", f"{key} became a fact with another content")
        elif "promoted_at" not in entry:
            yield Violation("memory lost", f"{key} became a fact and is not marked as promoted")
    for memory_id in facts:
        yield Violation("memory doubled", f"fact {memory_id} comes from no memory")


def _recounted(end: Snapshot, versions: list[PatternVersion]) -> dict[str, Figures]:
    counted: dict[str, Figures] = defaultdict(_none)
    for _, decision in end.kind(DECISIONS, "decision"):
        base = keys.base_subject(decision["agent_id"], decision["decision_type"])
        subjects = [version.subject for version in versions if version.counts(decision)]
        for subject in (base, *subjects):
            for name, value in _one(decision).items():
                counted[subject][name] += value
    return dict(counted)


def _one(decision: Item) -> Figures:
    outcome = decision.get("outcome")
    if not outcome:
        return {**_none(), "pending": 1}
    quality = round(float(outcome.get("quality_score") or 0) * 10_000)
    return {"n": 1, "s": int(outcome["success"]), "q_sum": quality, "pending": 0}


def _stored(end: Snapshot) -> dict[str, Figures]:
    stored: dict[str, Figures] = defaultdict(_none)
    for key, head in end.family(PIPELINE, "head"):
        for row in (value for value in head.values() if isinstance(value, list)):
            for name, place in _PLACES.items():
                stored[key.pk.removeprefix("ledger#")][name] += int(row[place])
    return dict(stored)


def _published(version: PatternVersion, counted: Figures, end: Snapshot) -> Iterator[Violation]:
    definition = version.definition
    places = [keys.Key(version.pk, definition.pattern_id)]
    places += [
        keys.shared_pattern_copy(reader, version.owner, definition.pattern_id)
        for reader in definition.shared_with
    ]
    rows = {keys.Key(item["PK"], item["SK"]): item for item in end.tables[MEMORY]}
    for place in places:
        shown = _shown(rows.get(place, {}))
        wanted = {name: counted[name] for name in shown}
        if shown != wanted:
            text = f"{place.pk} {place.sk} shows {shown}; the decisions make {wanted}"
            yield Violation("miscounted", text)


def _shown(row: Mapping[str, Any]) -> Figures:
    names = {"n": "sample_size", "s": "successes", "pending": "unresolved"}
    return {name: int(row.get(attribute, 0)) for name, attribute in names.items()}


def _none() -> Figures:
    return dict.fromkeys(_PLACES, 0)
