"""A signal reaches its targets, each once, in its own queue and row, and its mirror says so."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.agents import add_agent, remove_agent
from sharpwave.producers import Agent, Draft
from sharpwave.schemas import keys
from sharpwave.schemas.ids import delivery_id, signal_uid
from sharpwave.schemas.tables import PIPELINE, SIGNALS
from sharpwave.workers.signals.audience import members

if TYPE_CHECKING:
    from tests.integration.conftest import World


def test_a_signal_reaches_both_targets_and_ends_when_they_acknowledge(
    world: World, schema: Any
) -> None:
    hunter, risk, trade = (world.agent(name) for name in ("hunter", "risk", "trade"))

    signal = world.signal(hunter, [risk, trade], severity="high", data={"whales": 5})

    for target in (risk, trade):
        [message] = world.receive(target)
        Draft202012Validator(schema("signal_message.v1")).validate(message)
        assert message["delivery_id"] == delivery_id(signal_uid(*signal), target)
        assert (message["source_agent"], message["provenance"]) == (hunter, "bound")
        assert (message["severity"], message["data"]) == ("high", {"whales": 5})
        assert keys.Key(message["row"]["PK"], message["row"]["SK"]) == world.row_key(target, signal)
        assert world.row(target, signal)["status"] == "PENDING"
    world.becomes(signal, risk="DELIVERED", trade="DELIVERED")

    world.acknowledge(risk, signal, decision_id="dec_1")
    world.becomes(signal, risk="PROCESSED", trade="DELIVERED")
    world.acknowledge(trade, signal, "FAILED", reason="no such market")
    world.becomes(signal, risk="PROCESSED", trade="FAILED")
    mirror = world.mirror(signal)
    assert mirror[risk]["decision_id"] == "dec_1"
    assert mirror[risk]["processed_at"] == world.row(risk, signal)["processed_at"]
    assert mirror[trade]["reason"] == "no such market"


def test_a_broadcast_goes_to_those_who_were_there_when_it_was_delivered(
    world: World, raw: Any
) -> None:
    hunter = world.agent("hunter", may_broadcast=True)
    early = [world.agent(f"early{number}") for number in range(3)]

    with ThreadPoolExecutor() as pool:
        joining = [pool.submit(world.agent, f"late{number}") for number in range(4)]
        sent = raw["signal"](hunter, ["*"])
        signal = world.put(SIGNALS, sent)
        late = [joined.result() for joined in joining]
    world.eventually(lambda: world.statuses(signal), "the broadcast is delivered")

    frozen = world.items.get(PIPELINE, keys.audience(signal_uid(*signal)))
    assert frozen is not None
    at_once = set(frozen["targets"])
    assert set(early) <= at_once <= {*early, *late}
    assert world.statuses(signal) == dict.fromkeys(at_once, "DELIVERED")

    # Of the same second a registration counts as the earlier.
    world.eventually(lambda: time.time() >= sent["timestamp"] + 2, "the signal's second is over")
    latecomer = world.agent("latecomer")
    # A raw agent that saw no answer writes again, and another item over the mirror as well.
    world.put(SIGNALS, sent)
    world.put(SIGNALS, keys.mirror(signal).item())
    world.eventually(lambda: world.statuses(signal), "the mirror is rebuilt")
    assert set(world.statuses(signal)) == at_once
    # Who sent it is told of that.
    everyone = (*early, *late, latecomer)
    reached = {name for name in everyone if world.waiting(f"inbox-{name}")}
    # Who registered in the second of the signal, or before, and was listed late has a chunk.
    stored = list(world.items.query(PIPELINE, keys.audience_pk(signal_uid(*signal))))
    assert at_once <= reached <= set(members(stored) or ()) <= {*early, *late}


def test_an_urgent_signal_overtakes_a_backlog_and_comes_once(world: World) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    with world.sdk(hunter) as sender, world.sdk(risk) as agent:
        sent = sender.signal_many(
            Draft(signal_type="WHALE", to=risk, data={"n": n}) for n in range(200)
        )
        world.eventually(lambda: world.waiting(f"inbox-{risk}") == 200, "a backlog", within_s=120)

        handed, urgent = list[str](), f"inbox-{risk}_urgent"
        for delivery in agent.inbox(wait_s=1, limit=240, until=time.time() + 120):
            delivery.ack()
            handed.append(delivery.signal_id)
            if len(handed) == 10:
                now = sender.signal("WHALE", to=risk, severity="critical")
                world.eventually(lambda: world.waiting(urgent), "the copy is there")
            if len(handed) == 201:
                break

        assert now.signal_id in handed[10:30]
        assert sorted(handed) == sorted(each.signal_id for each in [*sent, now])
        assert list(agent.inbox(wait_s=0)) == []
    assert world.waiting(f"inbox-{risk}") == world.waiting(urgent) == 0


def test_a_signal_to_subscribers_goes_to_those_of_its_type(world: World) -> None:
    kind = f"TYPE_{world.tag.upper()}"
    hunter, both = world.agent("hunter", subscriptions=[kind]), world.agent("both")
    risk = world.agent("risk", subscriptions=[kind, "OTHER"])
    world.agent("trade", subscriptions=["OTHER"])

    signal = world.signal(hunter, ["@subscribers"], signal_type=kind)

    world.becomes(signal, risk="DELIVERED")
    [message] = world.receive(risk)
    assert message["signal_type"] == kind
    assert world.waiting(f"inbox-{both}") == 0


def test_a_target_that_nobody_registered_fails_and_the_others_do_not(world: World) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")

    signal = world.signal(hunter, [f"ghost-{world.tag}", risk])

    world.becomes(signal, ghost="FAILED", risk="DELIVERED")
    assert world.mirror(signal)[f"ghost-{world.tag}"]["reason"] == "unknown_target"
    assert world.row(f"ghost-{world.tag}", signal)["reason"] == "unknown_target"


def test_an_agent_receives_only_from_sources_it_accepts(world: World) -> None:
    hunter, spammer = world.agent("hunter"), world.agent("spammer")
    risk = world.agent("risk", accepts_from=[hunter])

    refused, accepted = world.signal(spammer, [risk]), world.signal(hunter, [risk])

    world.becomes(refused, risk="FAILED")
    world.becomes(accepted, risk="DELIVERED")
    assert world.mirror(refused)[risk]["reason"] == "not_accepted"
    [message] = world.receive(risk)
    assert message["source_agent"] == hunter


def test_a_removed_agent_gets_nothing_and_one_without_queue_gets_it_later(world: World) -> None:
    hunter, gone, queueless = (world.agent(name) for name in ("hunter", "gone", "queueless"))
    remove_agent(world.deployment, gone)
    Mailbox(world.deployment, f"inbox-{queueless}").drop()

    signal = world.signal(hunter, [gone, queueless])

    world.becomes(signal, gone="FAILED", queueless="PENDING")
    assert world.mirror(signal)[gone]["reason"] == "agent_removed"

    add_agent(world.deployment, queueless)

    world.becomes(signal, gone="FAILED", queueless="DELIVERED")


def test_a_payload_too_large_for_a_message_is_read_from_the_targets_own_row(world: World) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    text = "é" * 60_000

    signal = world.signal(hunter, [risk], data={"text": text})

    world.becomes(signal, risk="DELIVERED")
    assert world.row(risk, signal)["data"] == {"text": text}
    with world.sdk(risk) as agent, next(agent.inbox(until=time.time() + 20)) as delivery:
        assert delivery.message.omitted == ["data"]
        assert delivery.data == {"text": text}
    world.becomes(signal, risk="PROCESSED")


def test_a_source_has_a_quota_and_what_exceeds_it_fails_with_the_reason(world: World) -> None:
    hunter, risk = world.agent("hunter", signals_per_minute=3), world.agent("risk")

    sent = [world.signal(hunter, [risk]) for _ in range(6)]

    world.eventually(lambda: all(map(world.statuses, sent)), "every signal has a status")
    outcomes = [world.mirror(signal)[risk] for signal in sent]
    assert sum(entry["status"] == "DELIVERED" for entry in outcomes) == 3
    assert [entry["reason"] for entry in outcomes if entry["status"] == "FAILED"] == ["quota"] * 3


def test_a_question_is_answered_and_its_sender_learns_that_it_was_worked(world: World) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")

    def work(agent: Agent) -> None:
        for delivery in agent.inbox(limit=2):
            if delivery.signal_type == "PRICE":
                delivery.reply({"usd": delivery.data["n"] + 1})
            else:
                delivery.ack(reason="seen")

    with world.sdk(hunter) as asker, world.sdk(risk) as worker, ThreadPoolExecutor(1) as pool:
        working = pool.submit(work, worker)
        answer = asker.ask(risk, "PRICE", {"n": 1}, timeout_s=20)
        told = asker.wait_for(asker.signal("WHALE", to=risk), timeout_s=20)
        working.result()

    assert (answer.source_agent, answer.data) == (risk, {"usd": 2})
    assert (told[risk]["status"], told[risk]["reason"]) == ("PROCESSED", "seen")
