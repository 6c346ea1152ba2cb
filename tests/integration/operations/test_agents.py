"""Agents come with a queue, and go without losing a message unasked."""

from typing import Any

import pytest

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing, Misused
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox, attributes_of
from sharpwave.infra.operate.agents import Wishes, add_agent, list_agents, remove_agent
from sharpwave.infra.provision.structure import destroy
from sharpwave.schemas import keys
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.queues import of_agent
from sharpwave.schemas.records import Registration


def registration(deployment: Deployment, agent_id: str) -> Registration:
    item = Items(deployment).get("agent_state", keys.registration(agent_id))
    return Registration.model_validate(item)


def test_an_agent_gets_a_registration_a_queue_and_a_place_in_the_list(
    deployment: Deployment,
) -> None:
    add_agent(deployment, "risk-manager", Wishes(subscriptions=["WHALE"], may_broadcast=True))

    (agent,) = list_agents(deployment)
    assert agent.agent_id == "risk-manager"
    assert agent.registered
    assert agent.inbox is not None
    assert agent.inbox.total == 0
    assert agent.dlq is not None
    assert agent.urgent is not None
    assert registration(deployment, "risk-manager").subscriptions == ["WHALE"]
    assert Items(deployment).get("pipeline", keys.known_agent("risk-manager"))


def test_adding_again_keeps_what_is_not_wished_otherwise(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager", Wishes(subscriptions=["WHALE"], signals_per_minute=9))

    again = add_agent(deployment, "risk-manager")
    changed = add_agent(deployment, "risk-manager", Wishes(may_broadcast=True))

    found = registration(deployment, "risk-manager")
    assert again.steps == ()
    assert [step.kind for step in changed.steps] == ["agent"]
    assert (found.subscriptions, found.signals_per_minute) == (["WHALE"], 9)
    assert found.may_broadcast


def test_a_filter_in_words_subscribes_and_goes_without_words(deployment: Deployment) -> None:
    filters = {"WHALE": "data.share >= 0.1 and severity = high", "NEWS": "data.n = 1"}
    add_agent(deployment, "risk-manager", Wishes(filters=filters))
    filtered = registration(deployment, "risk-manager")
    again = add_agent(deployment, "risk-manager", Wishes(filters=filters))

    add_agent(deployment, "risk-manager", Wishes(filters={"WHALE": ""}))

    assert again.steps == ()
    wanted = {"signal_type": "WHALE", "source_agent": "hunter", "severity": "high"}
    assert filtered.wants({**wanted, "data": {"share": 0.2}})
    assert not filtered.wants({**wanted, "data": {"share": 0.05}})
    found = registration(deployment, "risk-manager")
    assert (found.subscriptions, set(found.filters)) == (["NEWS", "WHALE"], {"NEWS"})
    with pytest.raises(Misused, match=r"filter of WHALE: .* cannot be read"):
        add_agent(deployment, "risk-manager", Wishes(filters={"WHALE": "data.n >="}))


def test_a_wish_that_cannot_be_changes_nothing(deployment: Deployment) -> None:
    with pytest.raises(Misused, match="subscriptions"):
        add_agent(deployment, "risk-manager", Wishes(subscriptions=["whale activity"]))

    assert list_agents(deployment) == []
    assert attributes_of(deployment, "inbox-risk-manager") is None


def test_a_removed_agent_with_an_empty_queue_leaves_only_its_mark(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")

    remove_agent(deployment, "risk-manager")

    (agent,) = list_agents(deployment)
    assert not agent.registered
    assert agent.inbox is None
    assert agent.dlq is None
    for name in ("inbox-risk-manager_dlq", *(each.name for each in of_agent("risk-manager"))):
        assert attributes_of(deployment, name) is None


def test_a_removed_agent_that_wrote_is_swept_like_before(deployment: Deployment) -> None:
    """It may come back, too."""
    items, entry = Items(deployment), keys.known_agent("ann")
    add_agent(deployment, "ann")
    items.update("pipeline", entry, {"writes": True})

    remove_agent(deployment, "ann")
    removed = items.get("pipeline", entry) or {}
    add_agent(deployment, "ann")
    back = items.get("pipeline", entry) or {}

    assert (removed["registered"], removed["writes"]) == (False, True)
    assert (back["registered"], back["writes"]) == (True, True)


def test_a_queue_that_holds_messages_is_deleted_only_on_demand(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")
    box = Mailbox(deployment, "inbox-risk-manager")
    deployment.sqs.send_message(QueueUrl=box.url, MessageBody="{}")

    kept = remove_agent(deployment, "risk-manager")
    assert kept.kept_queue is not None
    assert box.depth().total == 1

    purged = remove_agent(deployment, "risk-manager", purge=True)

    assert purged.kept_queue is None
    assert attributes_of(deployment, "inbox-risk-manager") is None


def test_a_dry_run_removes_nothing(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")

    planned = remove_agent(deployment, "risk-manager", dry_run=True)

    assert len(planned.steps) == 5
    assert list_agents(deployment)[0].registered


def test_an_agent_that_comes_back_is_registered_again(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")
    items = Items(deployment)
    box = Mailbox(deployment, "inbox-risk-manager")
    deployment.sqs.send_message(QueueUrl=box.url, MessageBody="{}")
    remove_agent(deployment, "risk-manager")

    add_agent(deployment, "risk-manager")

    entry = items.get("pipeline", keys.known_agent("risk-manager"))
    assert entry is not None
    assert entry["registered"] is True
    assert list_agents(deployment)[0].registered


def test_who_wrote_without_registering_is_listed_as_such(
    deployment: Deployment, sharpwave: Any
) -> None:
    place = keys.known_agent("stranger").item()
    Items(deployment).put("pipeline", {**place, "agent_id": "stranger"})

    (agent,) = list_agents(deployment)

    assert (agent.registered, agent.removed) == (False, False)
    assert sharpwave("agents", "ls")[1][0]["removed"] is False


def test_an_unknown_agent_cannot_be_removed(deployment: Deployment) -> None:
    with pytest.raises(Missing, match="agents ls"):
        remove_agent(deployment, "nobody")


def test_inboxes_go_with_the_deployment(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")

    done = destroy(deployment)

    assert deployment.name("inbox-risk-manager_dlq") in {step.name for step in done.steps}


def test_the_command_lists_what_it_added(deployment: Deployment, sharpwave: Any) -> None:
    wanted = ("--subscribe", "WHALE", "--subscribe", "CRASH", "--filter", "NEWS: data.n > 1")
    sharpwave("agents", "add", "risk-manager", *wanted, "--capability", "price")
    sign = {**keys.seen("risk-manager").item(), "last_seen": 1_800_000_000}
    Items(deployment).put("agent_memory_ltm", sign)

    code, agents = sharpwave("agents", "ls")

    assert code == 0
    said = agents[0]["registration"]
    assert (said["subscriptions"], said["capabilities"]) == (["CRASH", "NEWS", "WHALE"], ["price"])
    assert said["filters"] == {"NEWS": [{"path": "data.n", "op": "gt", "value": 1}]}
    assert agents[0]["inbox"] == {"ready": 0, "in_flight": 0, "delayed": 0}
    assert (agents[0]["urgent"], agents[0]["last_seen"]) == (agents[0]["inbox"], 1_800_000_000)
    assert sharpwave("agents", "rm", "risk-manager", "--yes")[0] == 0


def test_removing_an_agent_ends_what_was_under_way_to_it(deployment: Deployment) -> None:
    add_agent(deployment, "risk-manager")
    items = Items(deployment)
    keys_of = [_deliver(items, f"s{n}", "risk-manager") for n in range(3)]
    items.update("agent_signals", keys_of[2][1], {"status": "PROCESSED", "processed_at": 1})

    planned = remove_agent(deployment, "risk-manager", dry_run=True)
    done = remove_agent(deployment, "risk-manager")

    assert (planned.closed, done.closed) == (2, 2)
    end = {"status": "FAILED", "reason": "agent_removed"}
    for signal, row in keys_of[:2]:
        assert end.items() <= (items.get("agent_signals", row) or {}).items()
        mirror = items.get("agent_signals", keys.mirror(signal)) or {}
        assert mirror["processing_status"] == {"risk-manager": end}
    assert (items.get("agent_signals", keys_of[2][1]) or {})["status"] == "PROCESSED"
    (telling,) = Mailbox(deployment, "status").receive(hold_s=30, wait_s=1)
    assert '"on_bounced"' in telling.body
    assert telling.body.count("agent_removed") == 2
    assert remove_agent(deployment, "risk-manager").closed == 0
    assert Mailbox(deployment, "status").receive(hold_s=30) == []


def test_an_agents_data_goes_as_a_whole_and_nobody_elses(
    deployment: Deployment, sharpwave: Any
) -> None:
    items = Items(deployment)
    for agent in ("risk-manager", "risk-manager-2"):
        add_agent(deployment, agent)
        for table, item in _belongings(agent):
            items.put(table, item)
    before = {table: len(_all(items, table)) for table in TABLE_NAMES}
    counted = sharpwave("agents", "rm", "risk-manager", "--data", "--dry-run")[1]["deleted"]

    code, done = sharpwave("agents", "rm", "risk-manager", "--data", "--yes")

    assert code == 0
    assert done["deleted"] == counted
    left = {table: _all(items, table) for table in TABLE_NAMES}
    assert {name: before[name] - len(left[name]) for name in TABLE_NAMES} == {
        # The registration goes first, as a step of its own.
        **done["deleted"],
        "agent_state": done["deleted"]["agent_state"] + 1,
    }
    mine = [
        (table, key)
        for table, found in left.items()
        for key in found
        if "risk-manager-2" not in "".join(key) and "risk-manager" in "".join(key)
    ]
    assert mine == [("pipeline", ("audience#others", "late#risk-manager"))]
    for table, item in _belongings("risk-manager-2"):
        assert (item["PK"], item["SK"]) in left[table]


def test_data_that_patterns_of_a_newer_release_may_count_is_left_to_it(
    deployment: Deployment,
) -> None:
    add_agent(deployment, "risk-manager")
    entry = keys.known_pattern(keys.pattern_subject("shared#general", "p", 1)).item()
    newer = '{"definition": {"decision_type": "TRADE", "op": "newer"}}'
    Items(deployment).put("pipeline", {**entry, "version": newer})

    with pytest.raises(Misused, match="remove its data with that one"):
        remove_agent(deployment, "risk-manager", data=True, dry_run=True)


TABLE_NAMES = ("agent_decisions", "agent_signals", "agent_memory_ltm", "agent_state", "pipeline")


def _belongings(agent: str) -> list[tuple[str, dict[str, Any]]]:
    """Give one item of each kind that is an agent's own, and one of others that names it."""
    signal = keys.Key(keys.signal_pk("ALERT", agent), "2025-10-18T14:30:00.000Z#s1")
    own = [
        ("agent_decisions", keys.Key(keys.decision_pk(agent, "TRADE"), "2025-10-18T14:30:00Z#d")),
        ("agent_signals", signal),
        ("agent_signals", keys.inbox_row(agent, signal, "u")),
        ("agent_memory_ltm", keys.fact(agent, "NOTE", "m")),
        ("agent_memory_ltm", keys.episode(agent, "TRADE", "2025-10-18")),
        ("agent_memory_ltm", keys.writer("TRADE", agent)),
        ("agent_state", keys.current_state(agent)),
        ("agent_state", keys.Key(keys.memory_pk(agent, "NOTE"), "2025-10-18T14:30:00Z#m")),
        ("pipeline", keys.low_water("memory", agent)),
        ("pipeline", keys.rate_bucket(agent)),
        ("pipeline", keys.notice_window(agent, "immutable", 7)),
        ("pipeline", keys.ledger_day(keys.base_subject(agent, "TRADE"), "2025-10-18")),
        ("pipeline", keys.changed(keys.base_subject(agent, "TRADE"), "2025-10-18")),
    ]
    about = {"signal_pk": signal.pk, "signal_sk": signal.sk}
    definition = PatternDefinition(pattern_id="p", agent_id=agent, decision_type="TRADE")
    pattern = PatternVersion(definition=definition, version=1, effective_from=1, learned_at=1)
    listed = {**keys.known_pattern(pattern.subject).item(), "version": pattern.model_dump_json()}
    return [
        *((table, key.item()) for table, key in own),
        ("pipeline", listed),
        ("pipeline", {**keys.audience(f"of-{agent}").item(), **about}),
        ("pipeline", {**keys.quota_verdict(f"of-{agent}").item(), **about}),
        ("pipeline", {**keys.resolved("*", "2025-10-18T14:30:00", f"of-{agent}").item(), **about}),
        ("pipeline", {**keys.parked("t", *signal, "e").item(), "record_pk": signal.pk}),
        ("pipeline", {**keys.late_chunk("others", agent).item(), "signal_pk": "signal#T#other"}),
    ]


def _all(items: Items, table: str) -> set[tuple[str, str]]:
    return {(item["PK"]["S"], item["SK"]["S"]) for item in items.scan(table)}


def _deliver(items: Items, name: str, target: str) -> tuple[keys.Key, keys.Key]:
    """Put a signal and the row of its delivery, as workers leave them; gives both keys."""
    key = keys.Key(keys.signal_pk("ALERT", "ann"), f"2025-10-18T14:30:00.000Z#{name}")
    row = keys.inbox_row(target, key, signal_uid(*key))
    delivered = {"processing_status": {target: {"status": "DELIVERED"}}, "status_v": 1}
    items.put("agent_signals", {**key.item(), "target_agents": [target]})
    items.put("agent_signals", {**keys.mirror(key).item(), **delivered})
    about = {"signal_pk": key.pk, "signal_sk": key.sk, "status": "PENDING"}
    items.put("agent_signals", {**row.item(), **about})
    return key, row
