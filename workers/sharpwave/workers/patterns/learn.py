"""Decisions become ledger elements, and ledgers become counts. Nothing is ever incremented."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import SYSTEM
from sharpwave.schemas.patterns import PatternVersion, epoch_of, seated, versions_of
from sharpwave.schemas.times import day_and_hour
from sharpwave.workers.patterns.catalogue import Catalogue, Known, Writers
from sharpwave.workers.patterns.counts import content_digest
from sharpwave.workers.patterns.ledger import Bucket, DecisionState, Slots, element_of
from sharpwave.workers.patterns.seats import row_of, seat
from sharpwave.workers.patterns.sources import codes_in
from sharpwave.workers.patterns.stated import confidence_of, selection_prob_of
from sharpwave.workers.work.ports import Location, Spread


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
        writers: the lists of who writes decisions, and of what follows from which.
        spread: like `map`, perhaps over threads; no slot waits for another.

    Returns:
        The number of slots written.

    Raises:
        TryAgain: the world did not answer, or no copy of the patterns can judge a decision.
    """
    # What the pipeline writes itself starts nothing again. No such decision is admitted; this
    # stands where learning begins, whoever feeds it.
    decisions = [each for each in decisions if each["agent_id"] != SYSTEM]
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
    writers.link(decisions)
    writers.name(decisions)
    changed = sorted({(bucket.subject, bucket.day) for bucket in todo})
    written = 0

    def settle(bucket: Bucket) -> tuple[bool, list[bytes]]:
        slot, left = slots.add(bucket, todo[bucket])
        if slot is not None:
            # A later fold of the same slot has a greater revision, and wins whoever writes last.
            row = row_of(slot.elements, revision=slot.revision)
            slots.ledger.raise_counts(bucket.head, row)
        return slot is not None, left

    # Depth by depth: what a closed slot does not hold belongs to the next slot on its path.
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
    marks = [Location(tables.PIPELINE, keys.changed(*each)) for each in changed]
    list(spread(slots.ledger.mark, marks))
    return written


def contributions(
    decision: Mapping[str, Any], versions: Sequence[PatternVersion]
) -> Iterator[Contribution]:
    """Give what a decision adds to its base ledger, to that of its sources, and to patterns'.

    What it is to versions that are seated is part of the first.
    """
    agent_id, decision_type = decision["agent_id"], decision["decision_type"]
    day, _ = day_and_hour(int(decision["timestamp"]), decision.get("event_time"))
    context, outcome = decision.get("context"), decision.get("outcome")
    said = outcome if isinstance(outcome, Mapping) else None
    quality = said.get("quality_score") if said is not None else None
    state = DecisionState(
        pk=decision["PK"],
        sk=decision["SK"],
        agent_id=agent_id,
        day=day,
        content=content_digest(decision),
        cycle=context.get("cycle") if isinstance(context, Mapping) else None,
        outcome=None if said is None else bool(said["success"]),
        quality=None if quality is None else float(quality),
        outcome_rev=0 if said is None else int(decision.get("outcome_rev") or 1),
    )
    element = element_of(state)
    # An agent's calibration is of all it decided, what a lot tells is of a pattern: each ledger
    # holds what it adds up, one with seats what they do too, and what nobody states takes no room.
    drawn, confidence = selection_prob_of(decision), confidence_of(decision)
    epoch = epoch_of(versions, agent_id, decision_type, decision["timestamp"])
    seats = applied = 0
    for number, version in enumerate(seated(versions, agent_id, decision_type, epoch)):
        if version.counts(decision):
            seats |= 1 << number
            applied |= version.applied(decision) << number
    base = element._replace(confidence=confidence).encode()
    if seats:
        both = element._replace(confidence=confidence, selection_prob=drawn)
        base = seat(both.encode(), seats, applied)
    yield Contribution(keys.base_subject(agent_id, decision_type, epoch), day, state.sk, base)
    if named := codes_in(decision):
        used = element._replace(named=named).encode()
        yield Contribution(keys.sources_subject(agent_id, decision_type), day, state.sk, used)
    for version in versions:
        if not version.is_seated and version.counts(decision):
            mine = element._replace(selection_prob=drawn, applied=version.applied(decision))
            yield Contribution(version.subject, day, state.sk, mine.encode())
