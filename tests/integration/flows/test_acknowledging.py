"""A delivery ends once: by its agent, or by its deadline, and never moves back."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from sharpwave.schemas.tables import SIGNALS

if TYPE_CHECKING:
    from tests.integration.conftest import World


def test_a_delivery_nobody_acknowledges_expires_and_a_late_acknowledgement_still_wins(
    world: World,
) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")

    signal = world.signal(hunter, [risk])
    world.becomes(signal, risk="DELIVERED")

    world.overdue(signal)

    world.becomes(signal, risk="EXPIRED")
    world.eventually(lambda: world.row(risk, signal)["status"] == "EXPIRED", "the row expires")
    assert world.row(risk, signal)["reason"] == "unacknowledged"
    assert world.mirror(signal)[risk]["reason"] == "unacknowledged"

    assert world.acknowledge(risk, signal)
    world.becomes(signal, risk="PROCESSED")


def test_a_signal_that_is_late_when_it_is_delivered_expires_with_that_reason(
    world: World, raw: Any
) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    stored_at = int(time.time()) - 100
    item = raw["signal"](hunter, [risk], at=stored_at, ttl=stored_at + 50)
    signal = world.put(SIGNALS, item)

    world.feed(SIGNALS, [raw["record"](item, stored_at=stored_at)])

    world.becomes(signal, risk="EXPIRED")
    assert world.mirror(signal)[risk]["reason"] == "expired_before_delivery"
    assert world.row(risk, signal)["reason"] == "expired_before_delivery"
    assert world.waiting(f"inbox-{risk}") == 0


def test_an_illegal_move_is_put_back_and_told_to_its_agent(world: World, schema: Any) -> None:
    hunter, risk, trade = (world.agent(name) for name in ("hunter", "risk", "trade"))
    signal = world.signal(hunter, [risk, trade])
    world.becomes(signal, risk="DELIVERED", trade="DELIVERED")
    world.receive(risk)
    world.receive(trade)
    world.acknowledge(risk, signal)
    world.becomes(signal, risk="PROCESSED", trade="DELIVERED")

    world.acknowledge(risk, signal, "PENDING")
    world.acknowledge(trade, signal, "DONE")

    world.eventually(lambda: world.row(risk, signal)["status"] == "PROCESSED", "risk is put back")
    world.eventually(lambda: world.row(trade, signal)["status"] == "PENDING", "trade is put back")
    for target, move in ((risk, "from PROCESSED to PENDING"), (trade, "from PENDING to DONE")):
        [notice] = world.receive(target)
        assert (notice["kind"], notice["code"]) == ("notice", "illegal_status")
        assert move in notice["reasons"][0]["message"]
        world.eventually(partial(world.parked, SIGNALS, world.row_key(target, signal)), "it parks")
    assert world.statuses(signal) == {risk: "PROCESSED", trade: "DELIVERED"}


def test_a_put_that_is_repeated_after_delivery_decides_nothing_twice(
    world: World, raw: Any
) -> None:
    hunter, risk, trade = (world.agent(name) for name in ("hunter", "risk", "trade"))
    item = raw["signal"](hunter, [risk, trade])
    signal = world.put(SIGNALS, item)
    world.becomes(signal, risk="DELIVERED", trade="DELIVERED")
    with world.sdk(risk) as agent:
        made = next(agent.inbox(until=time.time() + 20)).decide("ASSESS")
        world.becomes(signal, risk="PROCESSED", trade="DELIVERED")

        world.put(SIGNALS, item)

        world.becomes(signal, risk="PROCESSED", trade="DELIVERED")
        assert list(agent.inbox(wait_s=0)) == []
        assert agent.decisions() == [made]
    with world.sdk(trade) as agent:
        again = [delivery.decide("ASSESS") for delivery in agent.inbox(wait_s=1, limit=1)]
        assert list(agent.inbox(wait_s=0)) == []
        assert agent.decisions() == again
    world.becomes(signal, risk="PROCESSED", trade="PROCESSED")


def test_what_was_removed_by_its_ttl_is_not_raised_by_a_late_update(world: World, raw: Any) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    item = raw["signal"](hunter, [risk])
    signal = world.put(SIGNALS, item)
    world.becomes(signal, risk="DELIVERED")
    row = world.row(risk, signal)

    world.items.delete(SIGNALS, signal)
    world.acknowledge(risk, signal)
    settled(world, hunter, risk)
    assert world.items.get(SIGNALS, signal) is None
    assert world.row(risk, signal)["status"] == "PROCESSED"

    world.items.delete(SIGNALS, world.row_key(risk, signal))
    wrong, right = {**row, "status": "DONE"}, {**row, "status": "PROCESSED"}
    world.feed(SIGNALS, [raw["record"](wrong, old=row), raw["record"](right, old=row)])
    settled(world, hunter, risk)
    assert not world.acknowledge(risk, signal)
    assert world.row(risk, signal) == {}
    assert world.items.get(SIGNALS, signal) is None


def settled(world: World, source: str, target: str) -> None:
    """Send a signal and acknowledge it: what was on its way before is handled when it ends."""
    after = world.signal(source, [target])
    world.eventually(lambda: world.acknowledge(target, after), "a later signal has its row")
    done = {target: "PROCESSED"}
    world.eventually(lambda: world.statuses(after) == done, "a later signal was acknowledged")
    world.eventually(lambda: not world.waiting("status"), "no status message is left")
