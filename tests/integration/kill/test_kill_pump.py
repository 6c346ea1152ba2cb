"""A pump or a backend that goes down at the worst moment loses no change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sharpwave.infra.verify import verify

if TYPE_CHECKING:
    from tests.integration.conftest import World
    from tests.integration.kill.conftest import Fragile


def test_a_pump_killed_between_send_and_checkpoint_changes_nothing(
    fragile: Fragile, world: World, calls: Any
) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    held = fragile.gates["pump"].hold(calls["sends"], hunter, "on_decisions")

    world.decision(hunter, outcome={"success": True})
    signal = world.signal(hunter, [risk])
    held.wait()
    fragile.kill("pump")
    held.release()
    world.decision(hunter, outcome={"success": False})

    world.counted(hunter, n=2, s=1)
    world.becomes(signal, risk="DELIVERED")
    assert len(world.receive(risk)) == 1
    assert verify(fragile.deployment, fragile.archive).ok


@pytest.mark.deviates("moto", "nothing-kept")
def test_a_backend_that_lost_its_streams_is_healed_from_its_tables(
    fragile: Fragile, world: World
) -> None:
    hunter, risk, trade = (world.agent(name) for name in ("hunter", "risk", "trade"))
    known = world.signal(hunter, [risk, trade])
    world.decision(hunter, outcome={"success": True})
    world.becomes(known, risk="DELIVERED", trade="DELIVERED")
    world.receive(risk)
    world.counted(hunter, n=1, s=1)

    fragile.supervisor.scale("pump", 0)
    unseen = world.signal(hunter, [risk, trade])
    world.decision(hunter, outcome={"success": False})
    world.acknowledge(risk, known)
    fragile.backend.restart()
    fragile.supervisor.scale("pump", 1)

    world.becomes(unseen, risk="DELIVERED", trade="DELIVERED")
    world.becomes(known, risk="PROCESSED", trade="DELIVERED")
    world.counted(hunter, n=2, s=1)
    [message] = world.receive(risk)
    assert message["row"]["SK"] == world.row_key(risk, unseen).sk
    assert len(world.receive(trade, 2)) == 2
    assert verify(fragile.deployment, fragile.archive).ok
    assert "stream_trimmed" in (fragile.folder / "pump.log").read_text()
