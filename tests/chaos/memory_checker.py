"""Judges counts and memory: every ledger, pattern and fact against the records they come from."""

from collections import defaultdict
from collections.abc import Iterator

from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE, STATE
from tests.chaos.checker import Violation
from tests.chaos.history import Book
from tests.chaos.snapshot import Item, Snapshot

#: Fewer resolved decisions than this beside a version's own, and its base rate is a coin's.
_BASE_FROM, _COIN = 20, 0.5
_ROUNDED_BY = 0.0005

#: Where a counts row holds what is recounted here; its first number is its set's size.
_PLACES = {"n": 1, "s": 2, "q_sum": 3, "pending": 7}

#: Where a published pattern shows them.
_ATTRIBUTES = {"n": "sample_size", "s": "successes", "pending": "unresolved"}

Figures = dict[str, int]


def check_counts(book: Book, end: Snapshot) -> Iterator[Violation]:
    """Check ledgers against the decisions themselves, and patterns against their ledgers."""
    decisions = list(_admitted(book, end))
    versions = [
        PatternVersion.model_validate_json(item["version"])
        for _, item in end.family(PIPELINE, "patterns")
    ]
    expected, stored = _recounted(decisions, versions), _stored(end)
    for subject in sorted(expected.keys() | stored.keys()):
        ours, theirs = expected.get(subject, _none()), stored.get(subject, _none())
        if ours != theirs:
            text = f"{subject} holds {theirs}; the decisions make {ours}"
            yield Violation("miscounted", text)
    for version in versions:
        if version.effective_to is None:
            yield from _published(version, expected.get(version.subject, _none()), end)
            yield from _base_rate(version, decisions, end)
    for text in end.miscounts:
        yield Violation("miscounted", f"archive: {text}")
    for text in end.findings:
        yield Violation("not verified", text)


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


def _admitted(book: Book, end: Snapshot) -> Iterator[Item]:
    """Give every decision that counts, as it was before its agent wrote over it."""
    for key, decision in end.kind(DECISIONS, "decision"):
        if key not in book.bad:
            was = book.changed[key][0].details["was"] if key in book.changed else {}
            yield {**decision, **was}


def _recounted(decisions: list[Item], versions: list[PatternVersion]) -> dict[str, Figures]:
    counted: dict[str, Figures] = defaultdict(_none)
    for decision in decisions:
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
                stored[_subject(key)][name] += int(row[place])
    return dict(stored)


def _subject(head: keys.Key) -> str:
    """Name a ledger; what is base for different times of one agent and type is one here."""
    subject = head.pk.removeprefix("ledger#")
    return subject.partition("@")[0] if subject.startswith("base:") else subject


def _base_rate(
    version: PatternVersion, decisions: list[Item], end: Snapshot
) -> Iterator[Violation]:
    """Check the rate of the decisions that a version does not match, over the same time."""
    definition = version.definition
    beside = [
        decision
        for decision in decisions
        if decision["decision_type"] == definition.decision_type
        and definition.agent_id in (None, decision["agent_id"])
        and version.effective_from <= decision["timestamp"]
        and decision.get("outcome")
        and not version.counts(decision)
    ]
    won = sum(bool(decision["outcome"]["success"]) for decision in beside)
    is_known = len(beside) >= _BASE_FROM
    wanted = definition.base_rate or ((won + 1) / (len(beside) + 2) if is_known else _COIN)
    place = (version.pk, definition.pattern_id)
    row = next((item for item in end.tables[MEMORY] if (item["PK"], item["SK"]) == place), {})
    # Without a single figure nothing was ever published for it, which `_published` judges.
    shown = row.get("base_rate")
    if shown is not None and abs(float(shown) - wanted) > _ROUNDED_BY:
        text = f"{version.subject} shows a base rate of {shown}; {won} of {len(beside)} succeeded"
        yield Violation("miscounted", text)


def _published(version: PatternVersion, counted: Figures, end: Snapshot) -> Iterator[Violation]:
    definition = version.definition
    places = [keys.Key(version.pk, definition.pattern_id)]
    places += [
        keys.shared_pattern_copy(reader, version.owner, definition.pattern_id)
        for reader in definition.shared_with
    ]
    rows = {keys.Key(item["PK"], item["SK"]): item for item in end.tables[MEMORY]}
    for place in places:
        row = rows.get(place, {})
        shown = {name: int(row.get(attribute, 0)) for name, attribute in _ATTRIBUTES.items()}
        wanted = {name: counted[name] for name in shown}
        if shown != wanted:
            text = f"{place.pk} {place.sk} shows {shown}; the decisions make {wanted}"
            yield Violation("miscounted", text)


def _none() -> Figures:
    return dict.fromkeys(_PLACES, 0)
