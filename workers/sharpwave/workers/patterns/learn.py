"""Decisions become ledger elements, and ledgers become counts. Nothing is ever incremented."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternVersion, epoch_of, versions_of
from sharpwave.schemas.times import day_and_hour
from sharpwave.workers.patterns.catalogue import Catalogue, Known
from sharpwave.workers.patterns.counts import fold
from sharpwave.workers.patterns.elements import DecisionState, content_digest, element_of
from sharpwave.workers.patterns.slots import Bucket, Slots
from sharpwave.workers.patterns.writers import Writers
from sharpwave.workers.ports import Location, Spread


class Contribution(NamedTuple):
    """What one state of a decision adds to one ledger."""

    subject: str
    day: str
    sk: str
    element: bytes


def learn(
    decisions: Sequence[Mapping[str, Any]],
    *,
    catalogue: Catalogue,
    slots: Slots,
    writers: Writers,
    spread: Spread = map,
) -> int:
    """Count decision states, each in its base ledger and in every pattern it belongs to.

    Exact under any duplication, order and crash point: elements form sets, and counts are folded
    from the whole set that the ledger answers with.

    Args:
        decisions: items as they were.
        catalogue: the patterns.
        slots: where the sets are.
        writers: the lists of who writes decisions.
        spread: like `map`, perhaps over threads; no slot waits for another.

    Returns:
        The number of slots written.

    Raises:
        TryAgain: the world did not answer, or no copy of the patterns can judge a decision.
    """
    todo: dict[Bucket, dict[bytes, str]] = {}
    # A message holds many decisions of one agent and type, and there may be many patterns.
    relevant: dict[tuple[str, str], tuple[Known, list[PatternVersion]]] = {}
    for decision in decisions:
        known = catalogue.known_for(decision)
        mine = decision["agent_id"], decision["decision_type"]
        if mine not in relevant or relevant[mine][0] is not known:
            relevant[mine] = known, versions_of(known.versions, *mine)
        for subject, day, sk, element in contributions(decision, relevant[mine][1]):
            todo.setdefault(Bucket.of(subject, day, sk, element), {})[element] = sk
    # Listed before it is counted, so that no base rate leaves out what is published.
    writers.note((each["decision_type"], each["agent_id"]) for each in decisions)
    changed = {(bucket.subject, bucket.day) for bucket in todo}
    written = 0

    def settle(bucket: Bucket) -> tuple[bool, list[bytes]]:
        slot, left = slots.add(bucket, todo[bucket])
        if slot is not None:
            counts = fold(slot.elements, revision=slot.revision)
            slots.ledger.raise_counts(bucket.head, counts.to_row())
        return slot is not None, left

    while todo:
        buckets = sorted(todo)
        deeper: dict[Bucket, dict[bytes, str]] = {}
        for bucket, (wrote, left) in zip(buckets, spread(settle, buckets), strict=True):
            written += wrote
            for element in left:
                sk = todo[bucket][element]
                below = Bucket.of(bucket.subject, bucket.day, sk, element, bucket.depth + 1)
                deeper.setdefault(below, {})[element] = sk
        todo = deeper
    # Effect first, mark second: a mark that is there too early could be taken for published.
    list(spread(slots.ledger.mark, [_mark_of(*each) for each in sorted(changed)]))
    return written


def contributions(
    decision: Mapping[str, Any], versions: Sequence[PatternVersion]
) -> Iterator[Contribution]:
    """Give what a decision adds to its base ledger and to each of the versions that counts it."""
    agent_id, decision_type = decision["agent_id"], decision["decision_type"]
    epoch = epoch_of(versions, agent_id, decision_type, decision["timestamp"])
    content = content_digest(decision)
    subjects = {keys.base_subject(agent_id, decision_type, epoch): False}
    for version in versions:
        if version.counts(decision):
            subjects[version.subject] = version.applied(decision)
    for subject, applied in subjects.items():
        state = state_of(decision, applied=applied, content=content)
        yield Contribution(subject, state.day, state.sk, element_of(state).encode())


def state_of(decision: Mapping[str, Any], *, applied: bool, content: bytes) -> DecisionState:
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
        content=content,
        outcome=bool(outcome["success"]) if isinstance(outcome, Mapping) else None,
        quality=None if quality is None else float(quality),
        outcome_rev=int(decision.get("outcome_rev") or 1) if resolved else 0,
        applied=applied,
    )


def _mark_of(subject: str, day: str) -> Location:
    return Location(tables.PIPELINE, keys.changed(subject, day))
