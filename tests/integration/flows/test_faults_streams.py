"""A stream that repeats, reorders or delays records changes nothing in the end."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from sharpwave.schemas.tables import SIGNALS

if TYPE_CHECKING:
    from tests.integration.conftest import World


def test_records_that_come_often_late_and_in_any_order_deliver_once(world: World, raw: Any) -> None:
    hunter, risk, trade = (world.agent(name) for name in ("hunter", "risk", "trade"))
    items = [raw["signal"](hunter, [risk, trade], data={"n": number}) for number in range(12)]
    signals = [world.put(SIGNALS, item) for item in items]
    for signal in signals:
        world.becomes(signal, risk="DELIVERED", trade="DELIVERED")
    with world.sdk(risk) as agent:
        handled = [d.decide("ASSESS").decision_id for d in agent.inbox(limit=12)]
        for signal in signals:
            world.becomes(signal, risk="PROCESSED", trade="DELIVERED")

        records = [raw["record"](item, stored_at=time.time() - 60) for item in items]
        acked = [world.row(risk, signal) for signal in signals]
        before = [row | {"status": "PENDING"} for row in acked]
        records += [raw["record"](new, old=old) for new, old in zip(acked, before, strict=True)]
        again = records * 3
        random.Random(5).shuffle(again)
        for start in range(0, len(again), 9):
            world.feed(SIGNALS, again[start : start + 9])
        world.eventually(lambda: not world.waiting("deliver"), "the signals are handled again")
        world.eventually(lambda: not world.waiting("status"), "the rows are handled again")

        assert [*agent.inbox(wait_s=1, until=time.time() + 1)] == []
        assert sorted(d.decision_id for d in agent.decisions()) == sorted(handled)
    for signal in signals:
        assert world.statuses(signal) == {risk: "PROCESSED", trade: "DELIVERED"}
    numbers = sorted(message["data"]["n"] for message in world.receive(trade, 12))
    assert numbers == list(range(12))
