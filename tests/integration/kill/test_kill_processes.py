"""Whatever is killed in the middle of its work, nothing is lost and nothing is done twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from sharpwave.infra.operate.verify import verify
from sharpwave.schemas import keys
from sharpwave.schemas.tables import MEMORY, SIGNALS, STATE
from tests.world.hosts import needs_pump

if TYPE_CHECKING:
    from tests.integration.conftest import World
    from tests.integration.kill.conftest import Fragile


@pytest.mark.parametrize("step", ["rows", "messages"])
def test_a_deliverer_killed_after_its(
    step: str, fragile: Fragile, world: World, calls: Any
) -> None:
    hunter, risk, trade = (world.agent(name) for name in ("hunter", "risk", "trade"))
    gate = fragile.gates["deliver"]
    held = (
        gate.hold(calls["writes"], f"agent:{trade}#inbox", "PENDING")
        if step == "rows"
        else gate.hold(calls["sends"], risk)
    )

    signal = world.signal(hunter, [risk, trade])
    held.wait()
    fragile.kill("deliver")
    held.release()

    assert world.row(trade, signal)["status"] == "PENDING"
    world.becomes(signal, risk="DELIVERED", trade="DELIVERED")
    for target in (risk, trade):
        with world.sdk(target) as agent:
            made = [d.decide("ASSESS") for d in agent.inbox(limit=1)]
            assert list(agent.inbox(wait_s=1, until=time.time() + 1)) == []
            assert agent.decisions() == made
    world.becomes(signal, risk="PROCESSED", trade="PROCESSED")
    world.eventually(lambda: not world.waiting("deliver"), "no work is left")


def test_workers_killed_between_their_effect_and_its_receipt_have_it_once(
    fragile: Fragile, world: World, calls: Any
) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    signal = world.signal(hunter, [risk])
    world.becomes(signal, risk="DELIVERED")
    gates, base = fragile.gates, keys.base_subject(hunter, "SOURCE_SELECTION")
    holds = [
        gates["learn"].hold(frozenset({"UpdateItem"}), base, "ADD"),
        gates["archive"].hold(calls["deletes"], applied=False),
        gates["promote"].hold(calls["writes"], f"agent:{hunter}#fact"),
        gates["status"].hold(calls["writes"], signal.sk, "processing_status", applied=False),
    ]

    world.decision(hunter, outcome={"success": True})
    entry = world.memory(hunter, importance=1)
    world.acknowledge(risk, signal)
    for held in holds:
        held.wait()
    fragile.kill("learn", "archive", "promote", "status")
    for held in holds:
        held.release()

    fact = keys.fact(hunter, "NOTE", entry.sk)
    assert world.items.get(MEMORY, fact)
    world.becomes(signal, risk="PROCESSED")
    world.eventually(
        lambda: "promoted_at" in (world.items.get(STATE, entry) or {}), "the memory is marked"
    )
    world.counted(hunter, n=1, s=1)
    found = verify(fragile.deployment, fragile.archive)
    assert found.ok, found


def test_an_acknowledgement_that_overtakes_the_mirror_stays(
    fragile: Fragile, world: World, calls: Any
) -> None:
    hunter, risk, trade = (world.agent(name) for name in ("hunter", "risk", "trade"))
    held = fragile.gates["deliver"].hold(
        calls["writes"], "processing_status", risk, "DELIVERED", applied=False
    )

    signal = world.signal(hunter, [risk, trade])
    held.wait()
    world.acknowledge(risk, signal)
    # The delivery begins the mirror; one that was acknowledged before only says so.
    world.eventually(lambda: world.items.get(SIGNALS, keys.mirror(signal)), "the mirror is touched")
    held.release()

    world.becomes(signal, risk="PROCESSED", trade="DELIVERED")


@needs_pump("kill")
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


@needs_pump("heal what it lost")
@pytest.mark.deviates("moto", "nothing-kept")
@pytest.mark.deviates("localstack", "nothing-kept")
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
