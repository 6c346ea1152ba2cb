"""The sweep that looks for patterns: each decision once, when its outcome has had its time.

All that is kept of an agent's decisions of one type is one row: the state and the sort key up to
which it has looked, written together, and only if nobody wrote it since it was read. So a sweep
that dies anywhere has looked at nothing, or at all of a batch; no decision counts twice. It is
written once for a batch of outcomes and never for each. Candidates are admitted after the state
says that they are open: one whose pattern is not there yet is admitted by the next sweep.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.schemas.times import DAY_S, Clock, bound, day_and_hour, epoch_of
from sharpwave.workers.patterns.discover.candidates import Candidate
from sharpwave.workers.patterns.discover.features import FOUND, Feature, Said, conditions_of, read
from sharpwave.workers.patterns.discover.lattice import State
from sharpwave.workers.work.low_water import INDEX_TRAILS_S, LowWater
from sharpwave.workers.work.ports import (
    Insert,
    Item,
    Location,
    Reads,
    Update,
    Writes,
)

log = logging.getLogger(__name__)

#: Decisions that have to wait before they are looked at, and seconds after which fewer do.
BATCH, PATIENT_S = 64, 7 * DAY_S
#: Most decisions looked at between two writes of the state.
MOST_AT_ONCE = 512
#: How often, in a horizon, a sweep looks whether enough are waiting.
LOTS = 4
#: Seconds after which a sweep leaves the rest to the next one.
SWEEP_S = 20
#: What came of age longer ago than this leads to no candidates: there is a backlog to go through.
BACKLOG_S = 2 * PATIENT_S
#: Units of evidence after which a candidate against which they speak is given up.
HOPELESS_N = 200

_PROMOTED = frozenset({"active", "shared", "degraded"})
_GIVEN_UP = frozenset({"retired", "dormant"})


class Admit(Protocol):
    """Makes a version of a definition that counts decisions from now on; safe to repeat."""

    def __call__(
        self, definition: PatternDefinition, *, origin: Any, parent: str | None, reason: str
    ) -> object:
        """Give the version, or None if the name belongs to something else."""


class _Looked(NamedTuple):
    sk: str
    day: str
    said: Mapping[Feature, Said]
    success: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Looks for patterns in decisions whose outcomes have had their time.

    Attributes:
        reads: strong reads.
        writes: conditional writes.
        admit: makes a pattern of a candidate.
        retire: ends a pattern that is still a candidate, by agent and name; safe to repeat.
        sound: gives, for one sweep, what says whether an item was let into the pipeline.
        clock: the time.
        horizons: seconds that an outcome may take, by decision type; else a day.
    """

    reads: Reads
    writes: Writes
    admit: Admit
    retire: Callable[[str, str], object]
    sound: Callable[[], Callable[[Item], bool]]
    clock: Clock
    horizons: Mapping[str, int]

    def sweep(self, agent_id: str) -> int:
        """Look at an agent's decisions that have come of age; gives their number."""
        began = self.clock()
        lot = max(1, min([*self.horizons.values(), DAY_S]) // LOTS)
        until = int(began) // lot * lot
        low = LowWater("discovery", agent_id, reads=self.reads, writes=self.writes)
        if low.mark >= bound(until):
            return 0
        rows = self.reads.query(tables.PIPELINE, keys.discovery_pk(agent_id))
        types = {row["SK"] for row in rows}
        # Behind the index's lag; a type that is seen again changes nothing.
        after = int(epoch_of(low.mark + "Z")) - INDEX_TRAILS_S if low.mark else 0
        for entry in self.reads.by_agent(agent_id, after=after, until=until):
            parsed = keys.parse(tables.DECISIONS, entry["PK"], entry["SK"])
            if parsed is None or parsed.owner != agent_id or parsed.type_name in types:
                continue
            # Each type that is new gets a row.
            assert parsed.type_name is not None
            key = keys.discovery(agent_id, parsed.type_name)
            content = {"state": "", "cursor": "", "rev": 0}
            self.writes.apply([Insert(tables.PIPELINE, {**key.item(), **content})])
            types.add(parsed.type_name)
        looked = 0
        for decision_type in sorted(types):
            come_of_age = until - self.horizons.get(decision_type, DAY_S)
            for batch in self._batches(agent_id, decision_type, come_of_age):
                looked += batch
                if self.clock() - began > SWEEP_S:
                    return looked
        low.raise_to(bound(until))
        return looked

    def _batches(self, agent_id: str, decision_type: str, come_of_age: int) -> Iterator[int]:
        place = Location(tables.PIPELINE, keys.discovery(agent_id, decision_type))
        row = self.reads.get([place]).get(place)
        if row is None:
            return
        cursor, rev = row["cursor"], int(row["rev"])
        waiting = self._waiting(agent_id, decision_type, cursor, come_of_age)
        state: State | None = None
        while batch := list(islice(waiting, MOST_AT_ONCE)):
            if len(batch) < BATCH and batch[0].sk > bound(come_of_age - PATIENT_S):
                return
            if state is None:
                state = State.decode(row["state"])
                state.imported = self._imported(agent_id, decision_type)
                self._decide(agent_id, decision_type, state)
            before = {each.name for each in state.open}
            backlog = bound(come_of_age - BACKLOG_S)
            for each in batch:
                proposes = each.sk > backlog
                state.look(each.sk, each.said, each.success, day=each.day, proposes=proposes)
            values = {"state": state.encode(), "cursor": batch[-1].sk, "rev": rev + 1}
            if not self.writes.apply([Update(place, values, equals={"rev": rev})])[0]:
                return  # another sweep is at it
            rev += 1
            fresh = [each for each in state.open if each.name not in before]
            self._finish(agent_id, decision_type, state, fresh)
            yield len(batch)

    def _imported(self, agent_id: str, decision_type: str) -> list[Candidate]:
        """Read what people brought in of this type: it is counted already."""
        rows = self.reads.query(tables.MEMORY, keys.pattern_pk(agent_id))
        found = [
            Candidate.imported(row)
            for row in rows
            if row.get("memory_type") == "PATTERN"
            and row.get("decision_type") == decision_type
            and row.get("state") != "retired"
            and not str(row["pattern_id"]).startswith(FOUND)
        ]
        return [each for each in found if each is not None]

    def _waiting(
        self, agent_id: str, decision_type: str, cursor: str, come_of_age: int
    ) -> Iterator[_Looked]:
        is_sound = self.sound()
        pk = keys.decision_pk(agent_id, decision_type)
        due = self.reads.query(tables.DECISIONS, pk, after=cursor, until=bound(come_of_age))
        for item in due:
            if is_sound(item):
                outcome = item.get("outcome")
                success = bool(outcome["success"]) if isinstance(outcome, Mapping) else None
                # Features only: a page of whole decisions could be many megabytes.
                day, _ = day_and_hour(int(item["timestamp"]), item.get("event_time"))
                yield _Looked(item["SK"], day, read(item), success)

    def _decide(self, agent_id: str, decision_type: str, state: State) -> None:
        """Learn what became of the open candidates, and finish what an earlier sweep began."""
        places = {each.name: _place(agent_id, each.name) for each in state.open}
        rows = self.reads.get(list(places.values())) if places else {}
        standing = {name: rows[place] for name, place in places.items() if place in rows}
        missing = [each for each in state.open if each.name not in standing]
        self._finish(agent_id, decision_type, state, missing)
        state.settle(
            promoted=[n for n, row in standing.items() if row.get("state") in _PROMOTED],
            ended=[
                name
                for name, row in standing.items()
                if row.get("state") in _GIVEN_UP
                or ((row.get("evidence") or 0) < 0 and row.get("evidence_n", 0) >= HOPELESS_N)
            ],
        )

    def _finish(
        self, agent_id: str, decision_type: str, state: State, wanted: Sequence[Candidate]
    ) -> None:
        """Let the patterns be what the stored state says: ended, or admitted."""
        for name in state.ending:
            self.retire(agent_id, name)
        state.ending = []
        for each in wanted:
            definition = definition_of(each, agent_id, decision_type)
            why, refined = each.describe(), state.refined(each)
            parent = None
            if refined is not None:
                place = _place(agent_id, refined.name)
                row = self.reads.get([place]).get(place)
                parent = None if row is None else f"{refined.name}@{row['version']}"
            origin = "discovery" if parent is None else "split"
            if self.admit(definition, origin=origin, parent=parent, reason=why) is None:
                told = {"agent": agent_id, "pattern": each.name}
                log.warning("candidate_not_admitted", extra=told)


def definition_of(one: Candidate, agent_id: str, decision_type: str) -> PatternDefinition:
    """Give a candidate as the definition of a pattern."""
    return PatternDefinition(
        pattern_id=one.name,
        agent_id=agent_id,
        decision_type=decision_type,
        conditions=conditions_of(one.rule),
        description=one.describe(),
        kind="avoid" if one.avoid else "promote",
        half_life_days=one.half_life_days,
    )


def _place(agent_id: str, name: str) -> Location:
    return Location(tables.MEMORY, keys.Key(keys.pattern_pk(agent_id), name))
