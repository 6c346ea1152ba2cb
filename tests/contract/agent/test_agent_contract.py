"""What an agent writes and reads is the same on both surfaces and true on the backend."""

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from sharpwave.producers import Choice, Draft, differences
from sharpwave.producers.errors import (
    OutcomeConflict,
    QueueMissing,
    RecordMissing,
    RecordRefused,
    StateConflict,
    TableMissing,
)
from sharpwave.schemas import keys, tables
from sharpwave.schemas.records import StateRecord
from sharpwave.schemas.times import DAY_S, iso_ms

Connect = Callable[..., Any]


def test_a_decision_reads_back_as_it_was_written(connect: Connect) -> None:
    agent = connect("hunter", agent_version="1.2.0")

    made = agent.decide("SOURCE_SELECTION", context={"trend": "up", "score": 0.1}, inputs={"n": 3})

    assert agent.decisions() == [made] == agent.decisions(decision_type="SOURCE_SELECTION")
    assert agent.decision(made.decision_id) == made
    assert (made.agent_version, made.context["score"]) == ("1.2.0", Decimal("0.1"))


def test_decisions_come_newest_first_within_their_range(connect: Connect) -> None:
    moment, made = [0.0], []
    agent = connect("hunter", clock=lambda: moment[0])
    for moment[0] in (1_800_000_000.25, 1_800_000_100.5, 1_800_000_200.75):
        made.append(agent.decide("PICK"))
    first, second, third = made
    moment[0] = 1_800_000_300.0

    assert agent.decisions() == [third, second, first]
    assert agent.decisions(since=1_800_000_100, until=1_800_000_100) == [second]
    assert agent.decisions(decision_type="PICK", until=1_800_000_100) == [second, first]
    assert agent.recent(within_s=150, limit=1) == [third]


def test_outcomes_select_decisions(connect: Connect) -> None:
    agent = connect("hunter")
    good, bad, unknown = (agent.decide("PICK") for _ in range(3))

    agent.record_outcome(good, success=True, quality_score=0.85, latency_ms=12)
    agent.record_outcome(bad.key, success=False)

    for decision_type in (None, "PICK"):
        by = {"decision_type": decision_type}
        assert [d.key for d in agent.decisions(outcome="success", **by)] == [good.key]
        assert [d.key for d in agent.decisions(outcome="failure", **by)] == [bad.key]
        assert [d.key for d in agent.decisions(outcome="pending", **by)] == [unknown.key]
    assert agent.decision(good.decision_id).outcome.quality_score == Decimal("0.85")


def test_an_outcome_is_recorded_once_and_corrected_by_revision(connect: Connect) -> None:
    agent = connect("hunter")
    made = agent.decide("PICK")
    agent.record_outcome(made, success=True, quality_score=0.5)

    agent.record_outcome(made, success=True, quality_score=0.5)
    with pytest.raises(OutcomeConflict, match="use correct_outcome"):
        agent.record_outcome(made, success=False)
    revision = agent.correct_outcome(made, success=False)

    assert revision == 2 == agent.correct_outcome(made, success=False)
    assert agent.correct_outcome(made, success=True) == 3
    assert agent.decision(made.decision_id).outcome_rev == 3


def test_an_outcome_needs_its_decision(connect: Connect) -> None:
    agent = connect("hunter")
    nowhere = keys.Key(keys.decision_pk("hunter", "PICK"), "2026-01-01T00:00:00.000Z#dec_1")

    for change in (agent.record_outcome, agent.correct_outcome):
        with pytest.raises(RecordMissing, match="no decision"):
            change(nowhere, success=True)


def test_a_chain_carries_its_root(connect: Connect) -> None:
    agent = connect("hunter")
    root = agent.decide("SCAN")
    middle = agent.decide("RANK", parent=root)
    leaf = agent.decide("BUY", parent=middle.decision_id)

    chain = agent.chain(leaf.decision_id)

    assert [link.decision_id for link in chain] == [d.decision_id for d in (root, middle, leaf)]
    assert {middle.root_decision_id, leaf.root_decision_id} == {root.decision_id}


def wrote(pipeline: Any, decision_type: str, *agents: str) -> None:
    """List agents as writers of a type, as the pipeline does once it has counted a decision."""
    for agent in agents:
        pipeline.put(tables.MEMORY, keys.writer(decision_type, agent).item())


def test_everyones_decisions_are_merged_newest_first(connect: Connect, pipeline: Any) -> None:
    agents = [connect(name) for name in ("hunter", "other", "third")]
    made = [agents[n % 3].decide("PICK").key for n in range(33)]
    agents[1].decide("SCAN")
    wrote(pipeline, "PICK", "hunter", "other", "third", "who-left")

    def read(limit: int) -> list[keys.Key]:
        found = agents[0].decisions(agent_id="*", decision_type="PICK", limit=limit)
        return [decision.key for decision in found]

    assert sorted(read(100)) == sorted(made)
    newest_first = sorted(made, key=lambda key: key.sk, reverse=True)
    assert [key.sk for key in read(7)] == [key.sk for key in newest_first[:7]]
    assert agents[0].decisions(agent_id="*", decision_type="NEVER") == []


def test_everyones_decisions_are_read_one_type_at_a_time(connect: Connect) -> None:
    hunter = connect("hunter")
    with pytest.raises(ValueError, match="one type at a time"):
        hunter.decisions(agent_id="*")


def test_forged_and_expired_decisions_are_left_out(connect: Connect, pipeline: Any) -> None:
    agent = connect("hunter")
    mine = agent.decide("PICK")
    item = pipeline.item(tables.DECISIONS, mine.key)
    pipeline.put(tables.DECISIONS, {**item, "PK": keys.decision_pk("evil", "PICK")})
    old = {**item, "decision_id": "dec_old", "SK": mine.SK[:24] + "#dec_old", "ttl": 1}
    pipeline.put(tables.DECISIONS, old)
    wrote(pipeline, "PICK", "hunter", "evil")

    found = agent.decisions(limit=1)
    by_type = agent.decisions(agent_id="*", decision_type="PICK")

    assert found == by_type == [mine]
    assert agent.decision("dec_old") is None
    assert agent.counters["forged"] == 2


def test_nothing_is_sent_of_a_record_that_breaks_its_schema(
    connect: Connect, pipeline: Any
) -> None:
    agent = connect("hunter")

    with pytest.raises(RecordRefused, match="decision_type"):
        agent.decide("not a type")
    with pytest.raises(RecordRefused, match="nan is not a number"):
        agent.decide("PICK", context={"score": float("nan")})
    with pytest.raises(RecordRefused, match="Bad Name"):
        agent.signal_many([Draft(signal_type="A", to="b"), Draft(signal_type="A", to="Bad Name")])
    with pytest.raises(RecordRefused, match="at most 131072"):
        agent.signal("A", to="b", data={"blob": "x" * 140_000})

    assert pipeline.count(tables.DECISIONS) == pipeline.count(tables.SIGNALS) == 0


def test_signals_are_written_under_the_key_of_their_mode(connect: Connect, pipeline: Any) -> None:
    strict, compatible = connect("hunter"), connect("hunter", strict=False)

    bound = strict.signal("WHALE", to="risk", data={"btc": 0.1}, confidence=0.9, ttl_s=60)
    loose = compatible.signal("WHALE", to=["risk", "risk", "trade"])
    many = strict.signal_many(Draft(signal_type="BULK", to="*") for _ in range(30))

    assert (bound.PK, loose.PK) == ("signal#WHALE#hunter", "signal#WHALE")
    assert loose.target_agents == ["risk", "trade"]
    assert pipeline.item(tables.SIGNALS, bound.key)["data"] == {"btc": Decimal("0.1")}
    assert len({one.key for one in many}) == 30 == pipeline.count(tables.SIGNALS) - 2


def test_a_sender_reads_how_far_its_signal_got(connect: Connect, pipeline: Any) -> None:
    agent = connect("hunter")
    sent = agent.signal("WHALE", to="risk")
    assert agent.signal_status(sent) == {}
    status = {"risk": {"status": "PROCESSED", "processed_at": 5, "delivered_ms": 4}}
    mirror = {**keys.mirror(sent.key).item(), "processing_status": status, "status_v": 1}

    pipeline.put(tables.SIGNALS, mirror)

    assert agent.signal_status(sent) == status


def test_a_sender_reads_what_workers_of_an_earlier_release_wrote_into_its_signal(
    connect: Connect, pipeline: Any
) -> None:
    agent = connect("hunter")
    sent = agent.signal("WHALE", to="risk")
    status = {"risk": {"status": "DELIVERED"}}
    older = pipeline.item(tables.SIGNALS, sent.key) | {"processing_status": status}

    pipeline.put(tables.SIGNALS, {**older, "status_v": 1})

    assert agent.signal_status(sent) == status


def test_a_status_that_its_sender_put_itself_is_none(connect: Connect, pipeline: Any) -> None:
    agent = connect("hunter")
    sent = agent.signal("WHALE", to="risk")
    made_up = {"processing_status": {"risk": {"status": "PROCESSED"}}}
    pipeline.put(tables.SIGNALS, {**pipeline.item(tables.SIGNALS, sent.key), **made_up})
    pipeline.put(tables.SIGNALS, {**keys.mirror(sent.key).item(), **made_up})

    assert agent.signal_status(sent) == {}


def test_registering_makes_the_queue_and_keeps_what_operators_set(
    connect: Connect, pipeline: Any
) -> None:
    agent = connect("hunter")
    with pytest.raises(QueueMissing, match=r"inbox-hunter does not exist; call Agent\.register"):
        next(agent.inbox(wait_s=0))

    agent.register(subscriptions=["WHALE"])
    key = keys.registration("hunter")
    stored = pipeline.item(tables.STATE, key)
    pipeline.put(tables.STATE, {**stored, "signals_per_minute": 7})
    again = agent.register(subscriptions=["WHALE"], accepts_from=["risk"])

    assert list(agent.inbox(wait_s=0)) == []
    assert (again.signals_per_minute, again.accepts_from) == (7, ["risk"])
    assert again.registered_at == stored["registered_at"]


def test_memory_lasts_a_day_and_counts_its_use(connect: Connect) -> None:
    moment = [1_800_000_000.0]
    agent = connect("hunter", clock=lambda: moment[0])
    kept = agent.remember("NOTE", {"text": "calm"}, importance=0.5)

    counts = [agent.touch(kept), agent.touch(kept.key)]

    assert counts == [1, 2]
    assert [m.memory_id for m in agent.memories("NOTE", consistent=True)] == [kept.memory_id]
    moment[0] += DAY_S + 1
    assert agent.memories("NOTE", since=0) == []
    with pytest.raises(RecordMissing, match="recall"):
        agent.touch(keys.Key(kept.PK, "2026-01-01T00:00:00.000Z#gone"))


def test_facts_and_episodes_are_recalled_by_type(connect: Connect, pipeline: Any) -> None:
    agent = connect("hunter")
    note, query = (keys.fact("hunter", kind, iso_ms(0)) for kind in ("NOTE", "QUERY"))
    day = keys.episode("hunter", "PICK", "2026-01-01")
    for key in (note, query, day):
        pipeline.put(tables.MEMORY, {**key.item(), "data": {"of": key.sk}})

    assert [fact["SK"] for fact in agent.recall()] == [query.sk, note.sk]
    assert [fact["SK"] for fact in agent.recall("NOTE")] == [note.sk]
    assert [found["SK"] for found in agent.episodes("PICK")] == [day.sk]


def test_an_agent_reads_how_it_did_each_day(connect: Connect, pipeline: Any) -> None:
    agent = connect("hunter")
    days = [("PICK", "2026-01-02"), ("PICK", "2026-01-01"), ("TRADE", "2026-01-01")]
    for kind, day in days:
        counted = {"sample_size": 4, "successes": 3, "pending": 1, "sources": {"whales": 2}}
        named = {"memory_type": "EPISODE", "decision_type": kind, "day": day}
        quality = {"quality_mean": Decimal("0.25")} if kind == "PICK" else {}
        key = keys.episode("hunter", kind, day)
        pipeline.put(tables.MEMORY, {**key.item(), **named, **counted, **quality})

    found = agent.analytics()

    assert [(one.decision_type, one.day) for one in found] == sorted(days)
    first, trade = found[0], found[-1]
    assert (first.decisions, first.outcomes, first.successes, first.rate) == (5, 4, 3, 0.75)
    assert (first.quality, first.sources, trade.quality) == (0.25, {"whales": 2}, None)
    assert agent.analytics("PICK", since="2026-01-02") == [found[1]]
    assert agent.analytics("PICK") == found[:2]
    assert agent.analytics(until="2026-01-01") == [found[0], trade]


def test_patterns_come_from_all_three_places_by_confidence(connect: Connect, pipeline: Any) -> None:
    agent = connect("hunter")
    places = {
        "own": (keys.pattern_pk("hunter"), "own", Decimal("0.6")),
        "own@1": (keys.pattern_pk("hunter"), "own@1", Decimal("0.99")),
        "shared": (keys.shared_with_pk("hunter"), "pattern#risk#shared", Decimal("0.9")),
        "domain": (keys.shared_pattern_pk("crypto"), "domain", None),
    }
    condition = {"path": "context.trend", "op": "eq", "value": "up"}
    for name, (pk, sk, confidence) in places.items():
        row: dict[str, Any] = {
            "PK": pk,
            "SK": sk,
            "memory_type": "PATTERN",
            "pattern_id": name.split("@")[0],
        }
        row |= {"decision_type": "PICK", "version": 1, "learned_at": 1, "effective_from": 1}
        row |= {"confidence": confidence, "conditions": [condition] if name == "own" else None}
        pipeline.put(tables.MEMORY, row)

    found = agent.patterns(domain="crypto")
    matching = agent.patterns(matching={"context": {"trend": "up"}})

    assert [row.pattern_id for row in found] == ["shared", "own", "domain"]
    assert [row.pattern_id for row in agent.patterns(min_confidence=0.7)] == ["shared"]
    assert [row.pattern_id for row in matching] == ["own"]


def test_a_decision_recalls_the_patterns_it_falls_under_best_proven_first(
    connect: Connect, pipeline: Any
) -> None:
    agent = connect("hunter")
    condition = {"path": "inputs.whales", "op": "ge", "value": 5}
    places = {
        "own": (keys.pattern_pk("hunter"), "own", {}),
        "proven": (keys.shared_with_pk("hunter"), "pattern#risk#proven", {"state": "active"}),
        "over": (keys.shared_pattern_pk("general"), "over", {"state": "retired"}),
    }
    for name, (pk, sk, more) in places.items():
        row: dict[str, Any] = {"PK": pk, "SK": sk, "pattern_id": name, **more}
        row |= {"decision_type": "PICK", "version": 1, "learned_at": 1, "effective_from": 1}
        row |= {"memory_type": "PATTERN", "conditions": [condition]}
        pipeline.put(tables.MEMORY, row)

    found = agent.recall(decision_type="PICK", inputs={"whales": 5})

    assert [(each.pattern_id, each.is_proven) for each in found] == [
        ("proven", True),
        ("own", False),
    ]
    assert agent.recall(decision_type="PICK", inputs={"whales": 4}) == []


def test_a_choice_is_stored_with_its_decision_and_counts_for_the_next_one(
    connect: Connect,
) -> None:
    agent = connect("hunter")
    for _ in range(12):
        made = agent.decide("PICK", context={"hour": 9}, choice=Choice("news", 0.5))
        agent.record_outcome(made, success=True)

    drawn = agent.choose(
        ["news"], decision_type="PICK", context={"hour": 9}, chance=random.Random(1)
    )
    shares = [
        agent.choose(
            ["news", "rumours"], decision_type="PICK", context=where, chance=random.Random(1)
        ).selection_prob
        for where in ({"hour": 9}, {"hour": 10})
    ]

    assert drawn == Choice("news", 1.0, bucket="hour=9")
    assert shares[0] > 0.8 > shares[1]
    assert [each.reasoning["selection_prob"] for each in agent.recent(limit=1)] == [Decimal("0.5")]


def test_state_is_never_overwritten_unseen(connect: Connect) -> None:
    agent = connect("hunter")
    first = agent.save_state({"cycle": 1}, expected_version=0, configuration={"rate": 0.1})
    second = agent.save_state({"cycle": 2}, expected_version=first.version)

    with pytest.raises(StateConflict) as conflict:
        agent.save_state({"cycle": 9}, expected_version=1)
    kept = agent.checkpoint()

    assert conflict.value.stored == second.version == 2
    assert conflict.value.expected == 1
    assert agent.state().state == {"cycle": 2} == kept.state
    assert agent.state().configuration == {"rate": Decimal("0.1")}
    assert agent.checkpoints() == [kept]


def test_an_update_of_state_keeps_what_others_saved_meanwhile(
    connect: Connect, pipeline: Any
) -> None:
    mine, seen = connect("hunter"), list[int]()
    theirs = {**keys.current_state("hunter").item(), "agent_id": "hunter", "version": 1}
    theirs |= {"state_type": "CURRENT", "last_updated": 1_800_000_000, "state": {"other": 1}}

    def add_mine(found: StateRecord | None) -> dict[str, Any]:
        seen.append(found.version if found else 0)
        if len(seen) == 1:
            pipeline.put(tables.STATE, theirs)
        return {**(found.state if found else {}), "mine": 1}

    saved = mine.update_state(add_mine)

    left = mine.update_state(lambda found: None)

    assert saved is not None
    assert (saved.state, saved.version, seen) == ({"other": 1, "mine": 1}, 2, [0, 1])
    assert left == saved, "a function that gives nothing leaves the state as it is"


def test_a_backup_is_restored_as_a_new_version_and_told_apart(connect: Connect) -> None:
    moment = [1_800_000_000.0]
    agent = connect("hunter", clock=lambda: moment[0])
    first = agent.save_state({"risk": {"max": 1}}, expected_version=0)
    backup, checkpoint = agent.backup(), agent.checkpoint(keep_s=60)
    second = agent.save_state({"risk": {"max": 2, "min": 0}}, expected_version=1)

    with pytest.raises(StateConflict):
        agent.restore_state(backup, expected_version=first.version)
    restored = agent.restore_state(backup, expected_version=second.version)

    assert differences(backup, second) == [("state.risk.max", 1, 2), ("state.risk.min", None, 0)]
    assert (restored.version, restored.state, differences(first, restored)) == (3, first.state, [])
    assert (agent.checkpoints(), agent.backups()) == ([checkpoint], [backup])
    moment[0] += 61
    assert (agent.checkpoints(), agent.backups()) == ([], [backup])


def test_a_missing_table_is_named(connect: Connect) -> None:
    agent = connect("hunter", prefix="nowhere")

    with pytest.raises(TableMissing, match=r"nowhere-agent_decisions.*sharpwave provision"):
        agent.decide("PICK")
