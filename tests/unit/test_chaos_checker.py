"""The checker finds each kind of fault in a history and an end state made by hand."""

from copy import deepcopy
from typing import Any

import pytest

from sharpwave.infra.chaos import roster
from sharpwave.infra.chaos.checker import tally
from sharpwave.infra.chaos.history import Event
from sharpwave.infra.chaos.run import judge
from sharpwave.infra.chaos.snapshot import Snapshot
from sharpwave.schemas import keys
from sharpwave.schemas.ids import delivery_id, signal_uid
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE, SIGNALS, STATE

NOW = 1_800_000_000
ISO = "2027-01-15T08:00:00.000Z"
SIGNAL = keys.Key(keys.signal_pk("PRICE_MOVE", "scout"), keys.dated_sk(ISO, "sig_1"))
NAME = delivery_id(signal_uid(*SIGNAL), "trader")
ROW = keys.inbox_row("trader", SIGNAL, signal_uid(*SIGNAL))
DECISION = keys.Key(keys.decision_pk("trader", "TRADE"), keys.dated_sk(ISO, "dec_1"))
NOTE = keys.Key(keys.memory_pk("trader", "NOTE"), keys.dated_sk(ISO, "mem_1"))
BAD = keys.Key(keys.signal_pk("BAD_ONE", "scout"), keys.dated_sk(ISO, "bad_1"))
DONE = {"status": "PROCESSED", "processed_at": NOW, "decision_id": "dec_1"}
OUTCOME = {"success": True, "quality_score": 0.5}
CALM = PatternVersion(
    definition=roster.patterns()[1], version=1, effective_from=NOW - 9, learned_at=NOW - 20
)


class Run:
    """A history and an end state in which everything is right; a test spoils one thing."""

    def __init__(self) -> None:
        signal = {"source_agent": "scout", "signal_type": "PRICE_MOVE", "target_agents": ["trader"]}
        decision = {
            "agent_id": "trader",
            "decision_id": "dec_1",
            "decision_type": "TRADE",
            "timestamp": NOW,
            "context": {"mood": "calm"},
            "caused_by": NAME,
            "outcome": OUTCOME,
        }
        memory = {"agent_id": "trader", "memory_id": "mem_1", "data": {"number": 7}}
        figures = {"sample_size": 1, "successes": 1, "unresolved": 0}
        counts = [1, 1, 1, 5000, 1, 0, 0, 0, 1]
        self.bad = {"source_agent": "scout", "target_agents": "somebody"}
        places = [
            keys.Key(CALM.pk, roster.CALM),
            keys.shared_pattern_copy("keeper", CALM.owner, roster.CALM),
        ]
        self.tables: dict[str, dict[keys.Key, dict[str, Any]]] = {
            SIGNALS: {
                SIGNAL: {**signal, "processing_status": {"trader": dict(DONE)}},
                ROW: dict(DONE),
                BAD: self.bad,
            },
            DECISIONS: {DECISION: decision},
            STATE: {NOTE: {**memory, "promoted_at": NOW}},
            MEMORY: {
                keys.fact("trader", "NOTE", NOTE.sk): dict(memory),
                **{place: dict(figures) for place in places},
            },
            PIPELINE: {
                keys.known_pattern(CALM.subject): {"version": CALM.model_dump_json()},
                keys.ledger_head(CALM.subject, ISO[:10]): {"slot_00": list(counts)},
                keys.ledger_head("base:trader:TRADE", ISO[:10]): {"slot_00": list(counts)},
                keys.parked(SIGNALS, *BAD, "e1"): {"record_pk": BAD.pk, "record_sk": BAD.sk},
            },
        }
        self.dead: dict[str, list[str]] = {}
        self.miscounts: list[str] = []
        told = {"expires_at": NOW + 900, "targets": ["trader"]}
        self.events = [
            self.wrote("scout", "signal", SIGNAL, **told),
            self.wrote("scout", "bad record", BAD),
            self.wrote("trader", "memory", NOTE),
            self.seen("handed", at=1.0, asked=0.9),
            self.seen("settled", at=2.0, status="PROCESSED"),
            self.wrote("trader", "outcome", DECISION, revision=1, success=True, quality=0.5),
        ]

    def wrote(self, agent: str, record: str, key: keys.Key, **details: Any) -> Event:
        return Event(0.5, agent, "wrote", {"record": record, "pk": key.pk, "sk": key.sk, **details})

    def seen(self, what: str, *, at: float, agent: str = "trader", **details: Any) -> Event:
        return Event(at, agent, what, {"delivery": NAME, **details})

    @property
    def row(self) -> dict[str, Any]:
        return self.tables[SIGNALS][ROW]

    @property
    def mirror(self) -> dict[str, Any]:
        held: dict[str, Any] = self.tables[SIGNALS][SIGNAL]["processing_status"]["trader"]
        return held

    def set_status(self, **entry: Any) -> None:
        for place in (self.row, self.mirror):
            place.clear()
            place.update(entry)

    def without(self, what: str) -> None:
        self.events = [event for event in self.events if event.what != what]

    def found(self, *, at: float = NOW) -> dict[str, int]:
        tables = {
            name: [{**key.item(), **item} for key, item in items.items()]
            for name, items in self.tables.items()
        }
        return tally(judge(self.events, Snapshot(at, tables, self.dead, self.miscounts)))


@pytest.fixture
def run() -> Run:
    return Run()


def test_a_run_without_fault_passes(run: Run) -> None:
    assert run.found() == {}


def test_a_delivery_nobody_got_is_lost(run: Run) -> None:
    run.without("handed")
    run.without("settled")
    run.set_status(status="EXPIRED", reason="unacknowledged", processed_at=NOW)
    del run.tables[DECISIONS][DECISION]["caused_by"]

    assert run.found() == {"delivery lost": 1}


def test_a_delivery_that_came_too_late_to_be_sent_is_not_lost(run: Run) -> None:
    run.without("handed")
    run.without("settled")
    run.set_status(status="EXPIRED", reason="expired_before_delivery")
    del run.tables[DECISIONS][DECISION]["caused_by"]

    assert run.found() == {}


def test_a_signal_is_due_to_everyone_it_addresses(run: Run) -> None:
    run.tables[SIGNALS][SIGNAL]["target_agents"] = ["*"]

    found = run.found()

    assert found["delivery lost"] == len(roster.AGENTS) - 2


def test_a_signal_removed_at_its_deadline_is_judged_by_its_row(run: Run) -> None:
    del run.tables[SIGNALS][SIGNAL]

    assert run.found(at=NOW + 901) == {}
    assert run.found(at=NOW) == {"write lost": 1, "misdelivered": 2}


def test_an_unknown_target_must_be_named_as_such(run: Run) -> None:
    run.tables[SIGNALS][SIGNAL]["target_agents"] = ["trader", roster.NOBODY]
    statuses = run.tables[SIGNALS][SIGNAL]["processing_status"]
    statuses[roster.NOBODY] = {"status": "FAILED", "reason": "unknown_target"}
    right = run.found()

    statuses[roster.NOBODY] = {"status": "PENDING"}

    assert (right, run.found()) == ({}, {"not settled": 2})


def test_an_acknowledgement_that_was_accepted_must_be_stored(run: Run) -> None:
    run.set_status(status="EXPIRED", reason="unacknowledged", decision_id="dec_1")

    assert run.found() == {"not settled": 1}


def test_a_status_that_is_not_final_is_found(run: Run) -> None:
    run.set_status(status="PENDING", decision_id="dec_1")

    assert run.found() == {"not settled": 1}


def test_a_status_that_nobody_caused_is_found(run: Run) -> None:
    run.without("handed")
    run.without("settled")

    assert run.found() == {"delivery lost": 1, "not settled": 1}


def test_a_hand_out_asked_for_after_the_acknowledgement_is_found(run: Run) -> None:
    run.events.append(run.seen("handed", at=3.0, asked=2.5))

    assert run.found() == {"handed out again": 1}


def test_a_process_that_slept_between_its_question_and_its_handler_is_forgiven(run: Run) -> None:
    run.events.append(run.seen("handed", at=9.0, asked=1.5))

    assert run.found() == {}


def test_a_hand_out_to_a_stranger_is_found(run: Run) -> None:
    run.events.append(run.seen("handed", at=1.0, asked=0.5, agent="keeper"))

    assert run.found() == {"misdelivered": 1}


def test_a_second_decision_on_one_delivery_is_doubled(run: Run) -> None:
    again = {**deepcopy(run.tables[DECISIONS][DECISION]), "decision_id": "dec_2"}
    run.tables[DECISIONS][keys.Key(DECISION.pk, keys.dated_sk(ISO, "dec_2"))] = again

    found = run.found()

    assert found["effect doubled"] == 1
    assert set(found) == {"effect doubled", "miscounted"}


def test_a_decision_that_a_row_names_must_exist(run: Run) -> None:
    run.tables[DECISIONS][DECISION]["caused_by"] = "another"

    assert run.found() == {"effect lost": 1, "misdelivered": 1}


@pytest.mark.parametrize("name", ["processed_at", "decision_id"])
def test_a_mirror_that_differs_from_its_row_is_found(run: Run, name: str) -> None:
    run.mirror[name] = "other"

    assert run.found() == {"mirror differs": 1}


@pytest.mark.parametrize("table", [STATE, DECISIONS])
def test_a_write_that_was_accepted_and_is_not_there_is_found(run: Run, table: str) -> None:
    run.tables[table].clear()

    assert run.found()["write lost"] == 1


def test_an_outcome_that_was_accepted_and_is_not_there_is_found(run: Run) -> None:
    run.events.append(
        run.wrote("trader", "outcome", DECISION, revision=2, success=False, quality=0.1)
    )

    assert run.found() == {"write lost": 1}


def test_counts_are_compared_with_the_decisions_themselves(run: Run) -> None:
    run.tables[PIPELINE][keys.ledger_head(CALM.subject, ISO[:10])]["slot_00"][1] = 2

    assert run.found() == {"miscounted": 1}


def test_a_ledger_that_nobody_wrote_to_is_miscounted(run: Run) -> None:
    del run.tables[PIPELINE][keys.ledger_head("base:trader:TRADE", ISO[:10])]

    assert run.found() == {"miscounted": 1}


def test_figures_that_differ_from_their_ledger_are_found_in_copies_too(run: Run) -> None:
    copy = keys.shared_pattern_copy("keeper", CALM.owner, roster.CALM)
    run.tables[MEMORY][copy]["sample_size"] = 0

    assert run.found() == {"miscounted": 1}


def test_what_the_archive_disagrees_with_is_miscounted(run: Run) -> None:
    run.miscounts.append("base:trader:TRADE holds 1, recounted 2")

    assert run.found() == {"miscounted": 1}


def test_a_memory_without_its_fact_is_lost(run: Run) -> None:
    del run.tables[MEMORY][keys.fact("trader", "NOTE", NOTE.sk)]

    assert run.found() == {"memory lost": 1}


def test_a_memory_that_is_not_marked_is_found(run: Run) -> None:
    del run.tables[STATE][NOTE]["promoted_at"]

    assert run.found() == {"memory lost": 1}


def test_a_second_fact_of_one_memory_is_doubled(run: Run) -> None:
    fact = run.tables[MEMORY][keys.fact("trader", "NOTE", NOTE.sk)]
    run.tables[MEMORY][keys.fact("trader", "CONTEXT", NOTE.sk)] = dict(fact)

    assert run.found() == {"memory doubled": 1}


def test_a_fact_out_of_nothing_is_found(run: Run) -> None:
    other = {"agent_id": "trader", "memory_id": "mem_9", "data": {}}
    run.tables[MEMORY][keys.fact("trader", "NOTE", "x")] = other

    assert run.found() == {"memory doubled": 1}


def test_dead_letters_and_wrongly_parked_records_are_found(run: Run) -> None:
    run.dead["learn"] = ["{}", "{}"]
    run.tables[PIPELINE][keys.parked(SIGNALS, *SIGNAL, "e2")] = {
        "record_pk": SIGNAL.pk,
        "record_sk": SIGNAL.sk,
    }
    del run.tables[PIPELINE][keys.parked(SIGNALS, *BAD, "e1")]

    assert run.found() == {"dead letter": 2, "wrongly parked": 2}
