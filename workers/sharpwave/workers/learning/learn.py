"""Decisions become ledger elements, and ledgers become counts. Nothing is ever incremented."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.times import day_and_hour
from sharpwave.workers.learning.catalogue import Catalogue
from sharpwave.workers.learning.counts import fold
from sharpwave.workers.learning.elements import DecisionState, content_digest, element_of, path_of
from sharpwave.workers.ports import Ledger, Location, Spread

#: What the attributes of a head that hold counts start with.
SLOT = "slot_"


class Bucket(NamedTuple):
    """One slot of one day of one ledger."""

    subject: str
    day: str
    slot: str

    @property
    def name(self) -> str:
        """Name the bucket's entry in the head of its day."""
        return SLOT + self.slot


def learn(
    decisions: Sequence[Mapping[str, Any]],
    *,
    catalogue: Catalogue,
    ledger: Ledger,
    spread: Spread = map,
) -> int:
    """Count decision states, each in its base ledger and in every pattern it belongs to.

    Exact under any duplication, order and crash point: elements form sets, and counts are folded
    from the whole set that the ledger answers with.

    Args:
        decisions: items as they are now.
        catalogue: the patterns.
        ledger: where the sets are.
        spread: like `map`, perhaps over threads; no bucket waits for another.

    Returns:
        The number of buckets written.
    """
    buckets: dict[Bucket, set[bytes]] = {}
    for decision in decisions:
        for bucket, element in contributions(decision, catalogue.counting(decision)):
            buckets.setdefault(bucket, set()).add(element)

    def apply(bucket: Bucket) -> None:
        _apply(bucket, buckets[bucket], ledger)

    return len(list(spread(apply, sorted(buckets))))


def contributions(
    decision: Mapping[str, Any], versions: Sequence[PatternVersion]
) -> Iterator[tuple[Bucket, bytes]]:
    """Give the element of a decision for its base ledger and for each version that counts it."""
    base = keys.base_subject(decision["agent_id"], decision["decision_type"])
    yield _contribution(base, decision, applied=False)
    for version in versions:
        yield _contribution(version.subject, decision, applied=version.applied(decision))


def state_of(decision: Mapping[str, Any], *, applied: bool) -> DecisionState:
    """Reduce a decision to what learning looks at."""
    day, _ = day_and_hour(int(decision["timestamp"]), decision.get("event_time"))
    outcome = decision.get("outcome")
    context = decision.get("context")
    resolved = isinstance(outcome, Mapping)
    quality = outcome.get("quality_score") if isinstance(outcome, Mapping) else None
    return DecisionState(
        pk=decision["PK"],
        sk=decision["SK"],
        agent_id=decision["agent_id"],
        cycle=context.get("cycle") if isinstance(context, Mapping) else None,
        day=day,
        content=content_digest(decision),
        outcome=bool(outcome["success"]) if isinstance(outcome, Mapping) else None,
        quality=None if quality is None else float(quality),
        outcome_rev=int(decision.get("outcome_rev") or 1) if resolved else 0,
        applied=applied,
    )


def _contribution(
    subject: str, decision: Mapping[str, Any], *, applied: bool
) -> tuple[Bucket, bytes]:
    state = state_of(decision, applied=applied)
    element = element_of(state)
    slot = next(path_of(state.sk, element.decision))
    return Bucket(subject, state.day, slot), element.encode()


def _apply(bucket: Bucket, elements: Collection[bytes], ledger: Ledger) -> None:
    place = Location(tables.PIPELINE, keys.ledger_slot(*bucket))
    counts = fold(ledger.add(place, sorted(elements)))
    head = Location(tables.PIPELINE, keys.ledger_head(bucket.subject, bucket.day))
    ledger.raise_head(head, bucket.name, counts.to_row())
