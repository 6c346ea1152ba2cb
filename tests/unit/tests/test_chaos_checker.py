"""The checker finds each kind of fault in a history and an end state made by hand."""

from copy import deepcopy
from typing import Any

import pytest

from sharpwave.schemas import keys
from sharpwave.schemas.ids import delivery_id, signal_uid
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE, SIGNALS, STATE
from tests.chaos import roster
from tests.chaos.checker import deliveries, results, tally
from tests.chaos.history import Event, book_of
from tests.chaos.run import judge
from tests.chaos.snapshot import Snapshot

NOW = 1_800_000_000
ISO = "2027-01-15T08:00:00.000Z"
SIGNAL = keys.Key(keys.signal_pk("PRICE_MOVE", "scout"), keys.dated_sk(ISO, "sig_1"))
MIRROR = keys.mirror(SIGNAL)
NAME = delivery_id(signal_uid(*SIGNAL), "trader")
ROW = keys.inbox_row("trader", SIGNAL, signal_uid(*SIGNAL))
OTHER = keys.Key(keys.signal_pk("PRICE_MOVE", "scout"), keys.dated_sk(ISO, "sig_2"))
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
                SIGNAL: signal,
                MIRROR: {"processing_status": {"trader": dict(DONE)}},
                ROW: {"signal_pk": SIGNAL.pk, "signal_sk": SIGNAL.sk, **DONE},
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
        self.findings: list[str] = []
        members = dict.fromkeys(roster.AGENTS, 0.0) | {"limited": 0.0}
        self.events = [
            *(self.registered(name, at=at) for name, at in members.items()),
            self.signal(["trader"]),
            self.wrote("scout", "bad record", BAD),
            self.wrote("trader", "memory", NOTE),
            self.handed(),
            self.seen("settled", at=2.0, status="PROCESSED"),
            self.wrote("trader", "outcome", DECISION, revision=1, success=True, quality=0.5),
        ]

    def registered(self, agent: str, *, at: float) -> Event:
        said: dict[str, Any] = {"began": at - 0.1}
        if agent == "limited":
            said["signals_per_minute"] = 4
        return Event(at, agent, "registered", said)

    def signal(self, targets: list[str], *, key: keys.Key = SIGNAL, source: str = "scout") -> Event:
        content = {"source": source, "type": "PRICE_MOVE", "targets": targets, "token": "t1"}
        return self.wrote(source, "signal", key, expires_at=NOW + 900, began=0.4, **content)

    def handed(self, *, at: float = 1.0, agent: str = "trader", **changed: Any) -> Event:
        said = {"asked": 0.9, "source": "scout", "expires_at": NOW + 900, "token": "t1"}
        return self.seen("handed", at=at, agent=agent, **{**said, **changed})

    def addressed(self, *targets: str) -> None:
        """Let the signal be for these."""
        place = next(n for n, e in enumerate(self.events) if e.details.get("pk") == SIGNAL.pk)
        self.events[place] = self.signal(list(targets))

    def wrote(self, agent: str, record: str, key: keys.Key, **details: Any) -> Event:
        return Event(0.5, agent, "wrote", {"record": record, "pk": key.pk, "sk": key.sk, **details})

    def seen(self, what: str, *, at: float, agent: str = "trader", **details: Any) -> Event:
        return Event(at, agent, what, {"delivery": NAME, **details})

    @property
    def row(self) -> dict[str, Any]:
        return self.tables[SIGNALS][ROW]

    @property
    def mirror(self) -> dict[str, Any]:
        held: dict[str, Any] = self.tables[SIGNALS][MIRROR]["processing_status"]["trader"]
        return held

    def mirror_of(self, target: str) -> dict[str, Any]:
        statuses = self.tables[SIGNALS][MIRROR]["processing_status"]
        held: dict[str, Any] = statuses.setdefault(target, {})
        return held

    def set_status(self, **entry: Any) -> None:
        self.mirror.clear()
        self.mirror.update(entry)
        for name in (*DONE, "reason"):
            self.row.pop(name, None)
        self.row.update(entry)

    def without(self, what: str) -> None:
        self.events = [event for event in self.events if event.what != what]

    def end(self, at: float = NOW) -> Snapshot:
        tables = {
            name: [{**key.item(), **item} for key, item in items.items()]
            for name, items in self.tables.items()
        }
        return Snapshot(at, tables, self.dead, self.miscounts, self.findings)

    def found(self, *, at: float = NOW) -> dict[str, int]:
        return tally(judge(self.events, self.end(at)))

    def expired(self, reason: str) -> None:
        """Let the delivery end so, with nothing done by its target."""
        self.without("settled")
        self.set_status(status="EXPIRED", reason=reason, processed_at=NOW)
        self.tables[DECISIONS][DECISION].pop("caused_by", None)

    def tell(self, agent: str, key: keys.Key, *, notice: str = "n1") -> None:
        said = {"code": "expired", "notice": notice, "pk": key.pk, "sk": key.sk}
        self.events.append(Event(3.0, agent, "told", said))


@pytest.fixture
def run() -> Run:
    return Run()


def test_a_run_without_fault_passes(run: Run) -> None:
    assert run.found() == {}


def test_a_delivery_nobody_got_is_lost(run: Run) -> None:
    run.without("handed")
    run.expired("unacknowledged")
    run.tell("scout", SIGNAL)

    assert run.found() == {"delivery lost": 1}


def test_a_delivery_that_came_too_late_to_be_sent_is_not_lost(run: Run) -> None:
    run.without("handed")
    run.expired("expired_before_delivery")
    run.tell("scout", SIGNAL)

    assert run.found(at=NOW + 901) == {}


@pytest.mark.parametrize("reason", ["expired_before_delivery", "quota", "agent_removed"])
def test_a_reason_that_says_it_was_not_sent_is_false_if_it_was(run: Run, reason: str) -> None:
    run.expired(reason)
    run.tell("scout", SIGNAL)

    assert run.found(at=NOW + 901)["false reason"] == 1


def test_nothing_expires_before_its_deadline(run: Run) -> None:
    run.without("handed")
    run.expired("expired_before_delivery")
    run.tell("scout", SIGNAL)

    assert run.found(at=NOW) == {"false reason": 1}


@pytest.mark.parametrize(("at", "found"), [(3.0, {}), (9.0, {"not settled": 1})])
def test_an_end_that_a_gap_hid_with_its_row_may_be_unknown(
    run: Run, at: float, found: dict[str, int]
) -> None:
    run.tables[DECISIONS][DECISION].pop("caused_by")
    run.set_status(status="PENDING")
    run.mirror["status"] = "DELIVERED"
    run.events.append(run.seen("deleted", at=at))
    run.events.append(Event(4.0, "operator", "gap", {"began": 2.5}))

    assert run.found() == found


def test_a_known_agent_is_neither_unknown_nor_removed(run: Run) -> None:
    for reason in ("unknown_target", "agent_removed"):
        run.without("handed")
        run.without("settled")
        run.set_status(status="FAILED", reason=reason)
        run.tables[DECISIONS][DECISION].pop("caused_by", None)

        assert run.found() == {"false reason": 1}


def test_who_sent_what_expired_is_told(run: Run) -> None:
    run.expired("unacknowledged")
    untold = run.found(at=NOW + 901)

    run.tell("scout", SIGNAL)

    assert (untold, run.found(at=NOW + 901)) == ({"sender not told": 1}, {})


def test_a_notice_may_be_repeated_by_the_heir_of_a_dead_worker_only(run: Run) -> None:
    run.expired("unacknowledged")
    for notice in ("n1", "n1", "n1", "n1", "n2"):
        run.tell("scout", SIGNAL, notice=notice)
    few = run.found()

    for notice in ("n3", "n4"):
        run.tell("scout", SIGNAL, notice=notice)

    assert (few, run.found()) == ({}, {"told too often": 1})


def test_nobody_is_told_of_the_record_of_another(run: Run) -> None:
    run.tell("trader", SIGNAL)

    assert run.found() == {"misdelivered": 1}


@pytest.mark.parametrize(
    "changed", [{"token": "t2"}, {"source": "broker"}, {"expires_at": NOW + 1}]
)
def test_what_is_handed_out_is_what_was_written(run: Run, changed: dict[str, Any]) -> None:
    run.events.append(run.handed(**changed))

    assert run.found() == {"altered": 1}


def test_a_signal_is_due_to_everyone_registered_before_it_was_written(run: Run) -> None:
    run.addressed("*")
    run.events += [run.registered("early", at=0.3), run.registered("late", at=0.45)]

    found = run.found()

    # Everyone but the source, and the one that has it; "limited" and "early" are members too.
    assert found["delivery lost"] == len(roster.AGENTS) - 2 + 2


def test_who_registers_while_a_signal_is_written_may_get_it(run: Run) -> None:
    run.events.append(run.registered("late", at=0.45))
    run.events += [run.registered(name, at=9.0) for name in roster.AGENTS if name != "trader"]
    run.events.append(run.registered("limited", at=9.0))
    run.addressed("*")
    without = run.found()

    run.mirror_of("late").update(status="DELIVERED")

    assert (without, run.found()) == ({}, {"delivery lost": 1, "not settled": 1})


def test_a_mirror_that_speaks_of_a_stranger_is_found(run: Run) -> None:
    run.mirror_of("warden").update(DONE)

    assert run.found() == {"mirror differs": 1}


def test_a_mirror_in_parts_is_read_whole(run: Run) -> None:
    said = run.tables[SIGNALS][MIRROR].pop("processing_status")
    part = keys.Key(keys.audience_pk(signal_uid(*SIGNAL)), "abc#00000")
    run.tables[PIPELINE][part] = {"processing_status": said}

    assert run.found() == {}


def test_a_row_whose_agent_spoilt_it_is_found_until_it_is_mended(run: Run) -> None:
    run.row["signal_sk"] = "spoilt"

    assert run.found() == {"row spoilt": 1}


@pytest.mark.parametrize(("ended", "found"), [(90.0, {}), (0.5, {"row spoilt": 1})])
def test_a_row_that_was_spoilt_in_a_gap_may_stay_so(
    run: Run, ended: float, found: dict[str, int]
) -> None:
    run.row["signal_sk"] = "spoilt"
    run.events.append(Event(ended, "operator", "gap", {"began": 0.0}))

    assert run.found() == found


def test_a_row_that_its_agent_deleted_is_judged_by_the_mirror(run: Run) -> None:
    del run.tables[SIGNALS][ROW]
    kept = run.found()

    run.mirror["status"] = "DELIVERED"

    assert (kept, run.found()) == ({}, {"not settled": 1})


def test_what_was_in_a_queue_that_an_operator_deleted_is_excused(run: Run) -> None:
    run.without("handed")
    run.without("settled")
    run.set_status(status="PENDING")
    run.tables[DECISIONS][DECISION].pop("caused_by", None)
    before = Event(0.3, "trader", "cut", {})
    run.events.append(before)
    found = run.found()

    run.events.append(before._replace(at=0.6))

    assert (found, run.found()) == ({"delivery lost": 1, "not settled": 1}, {})


def test_who_deletes_its_row_and_lets_its_message_die_is_excused(run: Run) -> None:
    run.without("settled")
    run.set_status(status="PENDING")
    run.tables[DECISIONS][DECISION].pop("caused_by", None)
    run.dead["inbox-trader"] = [f'{{"delivery_id": "{NAME}"}}']
    found = run.found()

    run.events.append(run.seen("changed", at=1.5, record="row"))

    assert (found, run.found()) == ({"dead letter": 1, "not settled": 1}, {})


def limited(run: Run, count: int, *, denied: int) -> None:
    """Let a source with a limit of four a minute write signals, of which some are denied."""
    for number in range(count):
        key = keys.Key(keys.signal_pk("PRICE_MOVE", "limited"), keys.dated_sk(ISO, f"q_{number}"))
        end: dict[str, Any] = {"status": "FAILED", "reason": "quota"} if number < denied else DONE
        name = delivery_id(signal_uid(*key), "keeper")
        run.events.append(run.signal(["keeper"], key=key, source="limited"))
        item = {"processing_status": {"keeper": {**end, "decision_id": None}}}
        run.tables[SIGNALS] |= {key: {}, keys.mirror(key): item}
        if number >= denied:
            handed = run.handed(source="limited").details
            for what in ("handed", "settled"):
                said = {**handed, "delivery": name, "status": "PROCESSED"}
                run.events.append(Event(2.0, "keeper", what, said))


@pytest.mark.parametrize(
    ("count", "denied", "broken"), [(2, 0, 0), (2, 1, 1), (4, 2, 0), (9, 4, 0), (9, 0, 1)]
)
def test_a_limit_is_kept_and_denies_nobody_within_it(
    run: Run, count: int, denied: int, broken: int
) -> None:
    limited(run, count, denied=denied)

    # The limit lets four pass, what half a minute adds, and one whose token came while it waited.
    assert run.found(at=30.0).get("quota broken", 0) == broken


def test_a_limit_denies_a_signal_as_a_whole(run: Run) -> None:
    limited(run, 4, denied=2)
    key = keys.Key(keys.signal_pk("PRICE_MOVE", "limited"), keys.dated_sk(ISO, "q_0"))
    statuses = run.tables[SIGNALS][keys.mirror(key)]["processing_status"]
    statuses["warden"] = {"status": "EXPIRED"}
    run.events.append(run.signal(["keeper", "warden"], key=key, source="limited"))

    assert run.found(at=30.0)["quota broken"] == 1


def test_results_are_told_in_the_terms_of_jepsen(run: Run) -> None:
    # One signal whose writer died at it and that was stored, and one that was not.
    third = keys.Key(OTHER.pk, keys.dated_sk(ISO, "sig_3"))
    for key in (OTHER, third):
        tried = run.signal(["keeper"], key=key)
        said = {**tried.details, "kind": "signal"}
        run.events.append(Event(0.4, "scout", "intends", said))
    mirror = {"processing_status": {"keeper": dict(DONE)}}
    run.tables[SIGNALS] |= {OTHER: {}, keys.mirror(OTHER): mirror}
    handed = {**run.handed().details, "delivery": delivery_id(signal_uid(*OTHER), "keeper")}
    run.events.append(Event(2.0, "keeper", "handed", handed))

    told = book_of(run.events)
    due = deliveries(told, run.end())

    assert results(told, due, []) == {
        "attempted": 3,
        "acknowledged": 1,
        "ok": 2,
        "ended": 0,
        "lost": 0,
        "recovered": 1,
        "duplicated": 0,
        "unexpected": 0,
    }


def test_a_signal_removed_at_its_deadline_is_judged_by_its_row(run: Run) -> None:
    del run.tables[SIGNALS][SIGNAL]

    assert run.found(at=NOW + 901) == {}
    assert run.found(at=NOW) == {"write lost": 1, "misdelivered": 2}


def test_an_unknown_target_must_be_named_as_such(run: Run) -> None:
    run.addressed("trader", roster.NOBODY)
    statuses = run.tables[SIGNALS][MIRROR]["processing_status"]
    statuses[roster.NOBODY] = {"status": "FAILED", "reason": "unknown_target"}
    right = run.found()

    statuses[roster.NOBODY] = {"status": "PENDING"}

    assert (right, run.found()) == ({}, {"not settled": 2})


def test_only_the_first_content_of_a_decision_counts(run: Run) -> None:
    run.tables[DECISIONS][DECISION]["context"] = {"mood": "wild"}
    silent = run.found()

    said = {"record": "decision", "pk": DECISION.pk, "sk": DECISION.sk}
    was = {"context": {"mood": "calm"}}
    run.events.append(Event(0.7, "trader", "changed", {**said, "was": was}))

    assert silent["miscounted"] > 0
    assert run.found() == {}


def test_base_ledgers_of_several_times_are_one(run: Run) -> None:
    head = run.tables[PIPELINE].pop(keys.ledger_head("base:trader:TRADE", ISO[:10]))
    later = keys.base_subject("trader", "TRADE", NOW - 9)
    run.tables[PIPELINE][keys.ledger_head(later, ISO[:10])] = head

    assert run.found() == {}


def test_a_base_rate_is_that_of_the_decisions_a_version_does_not_match(run: Run) -> None:
    place = keys.Key(CALM.pk, roster.CALM)
    run.tables[MEMORY][place]["base_rate"] = 0.5
    too_few = run.found()

    run.tables[MEMORY][place]["base_rate"] = 0.681

    assert (too_few, run.found()) == ({}, {"miscounted": 1})


def test_an_acknowledgement_that_was_accepted_must_be_stored(run: Run) -> None:
    run.set_status(status="EXPIRED", reason="unacknowledged", decision_id="dec_1")
    run.tell("scout", SIGNAL)

    assert run.found() == {"not settled": 1}


def test_a_status_that_is_not_final_is_found(run: Run) -> None:
    run.set_status(status="PENDING", decision_id="dec_1")

    assert run.found() == {"not settled": 1}


def test_a_status_that_nobody_caused_is_found(run: Run) -> None:
    run.without("handed")
    run.without("settled")

    assert run.found() == {"delivery lost": 1, "not settled": 1}


def test_a_hand_out_asked_for_after_the_acknowledgement_is_found(run: Run) -> None:
    run.events.append(run.handed(at=3.0, asked=2.5))

    assert run.found() == {"handed out again": 1}


def test_a_process_that_slept_between_its_question_and_its_handler_is_forgiven(run: Run) -> None:
    run.events.append(run.handed(at=9.0, asked=1.5))

    assert run.found() == {}


def test_a_hand_out_to_a_stranger_is_found(run: Run) -> None:
    run.events.append(run.handed(agent="keeper"))

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


def test_whatever_else_verify_finds_is_told(run: Run) -> None:
    run.findings.append("unseen: the archive lacks a decision")

    assert run.found() == {"not verified": 1}


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
