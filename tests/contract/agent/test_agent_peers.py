"""Agents find each other by what they can, and by who left a sign of life."""

from collections.abc import Callable
from typing import Any

from sharpwave.producers import Peer
from sharpwave.schemas import keys, tables

Connect = Callable[..., Any]
NOW = 1_800_000_000


def listed(pipeline: Any, agent_id: str, *capabilities: str) -> None:
    """List an agent as workers do when it registered."""
    said = {"agent_id": agent_id, "capabilities": list(capabilities), "registered_at": NOW}
    pipeline.put(tables.MEMORY, {**keys.registry(agent_id).item(), **said})


def test_agents_are_found_by_capability_the_one_seen_last_first(
    connect: Connect, pipeline: Any
) -> None:
    moment = [float(NOW)]
    for name, what in (("hunter", "scan"), ("risk", "price"), ("trade", "price"), ("old", "price")):
        listed(pipeline, name, what)
    agents = {name: connect(name, clock=lambda: moment[0]) for name in ("hunter", "risk", "trade")}
    agents["trade"].state()
    moment[0] += 90
    agents["risk"].state()
    agents["hunter"].state()

    found = agents["hunter"].agents(capability="price")
    living = agents["hunter"].agents(capability="price", alive_within_s=80)
    everyone = agents["hunter"].agents()

    can: dict[str, Any] = {"capabilities": ("price",), "registered_at": NOW}
    risk = Peer(agent_id="risk", last_seen=NOW + 90, **can)
    assert found == [
        risk,
        Peer(agent_id="trade", last_seen=NOW, **can),
        Peer(agent_id="old", last_seen=None, **can),
    ]
    assert living == [risk]
    assert [each.agent_id for each in everyone] == ["hunter", "risk", "trade", "old"]


def test_a_process_leaves_a_sign_a_minute_at_most_whatever_it_does(
    connect: Connect, pipeline: Any
) -> None:
    moment = [float(NOW)]
    agent = connect("risk", clock=lambda: moment[0])
    pipeline.add_queue("risk")
    key, signs = keys.seen("risk"), []

    for after_s in (0, 30, 59, 60, 100):
        moment[0] = NOW + after_s
        list(agent.inbox(wait_s=0))
        signs.append(pipeline.item(tables.MEMORY, key)["last_seen"] - NOW)

    assert signs == [0, 0, 0, 60, 60]


def test_what_an_agent_can_is_registered_and_replaced_like_all_it_says_of_itself(
    connect: Connect, pipeline: Any
) -> None:
    agent = connect("risk")

    said = agent.register(capabilities=["price", "price", "hedge"], subscriptions=["WHALE"])
    again = agent.register(subscriptions=["WHALE"])

    assert (said.capabilities, again.capabilities) == (["price", "hedge"], [])
    assert "capabilities" not in pipeline.item(tables.STATE, keys.registration("risk"))


def test_an_agent_that_may_leave_no_sign_works_as_ever(
    connect: Connect, pipeline: Any, monkeypatch: Any
) -> None:
    agent = connect("risk")
    # As good as forbidden: there is no such table.
    monkeypatch.setattr(tables, "MEMORY", "elsewhere")

    agent.save_state({"n": 1}, expected_version=0)

    assert agent.state().state == {"n": 1}
