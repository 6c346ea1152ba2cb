"""What no worker can run is set aside with its reason, and comes back when it is asked to."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from sharpwave.infra.mailbox import Mailbox, Received
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.tables import DECISIONS
from sharpwave.workers.work.outgoing import WorkMessage

if TYPE_CHECKING:
    from tests.integration.conftest import World

POISON = {
    "junk": "body is neither JSON nor base64 of JSON",
    '{"actor_name": 7}': "body is not a work message",
    '{"sharpwave_claim": "nowhere"}': "body is kept in a ClaimStore",
    base64.b64encode(b"[1, 2]").decode(): "body is not a work message",
}


@pytest.fixture
def no_dead_letters(world: World) -> Any:
    """Leave the dead-letter queues as empty as they were found."""
    yield
    for queue in WORK_QUEUE_NAMES:
        world.sharpwave("dlq", "discard", queue, "--all", "--yes")


@pytest.mark.usefixtures("no_dead_letters")
def test_bodies_no_worker_can_run_die_with_their_reason_and_stop_nothing(world: World) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")

    for queue in WORK_QUEUE_NAMES:
        world.send([WorkMessage(queue, body, ()) for body in POISON])
    signal = world.signal(hunter, [risk])

    world.becomes(signal, risk="DELIVERED")
    dead = [f"{queue}_dlq" for queue in WORK_QUEUE_NAMES]
    world.eventually(lambda: {*map(world.waiting, dead)} == {len(POISON)}, "all of them are dead")
    for queue in WORK_QUEUE_NAMES:
        _, letters = world.sharpwave("dlq", "show", queue)
        for letter in letters:
            assert POISON[letter["body"]] in letter["reason"]
    _, listed = world.sharpwave("dlq", "ls")
    assert {group["queue"] for group in listed["groups"]} >= set(WORK_QUEUE_NAMES)
    code, found = world.sharpwave("doctor")
    assert code == 1
    assert {f"{queue}_dlq holds {len(POISON)} dead letters" for queue in WORK_QUEUE_NAMES} <= {
        finding["what"] for finding in found["findings"]
    }


def test_work_that_died_is_done_after_a_redrive(world: World, raw: Any) -> None:
    hunter = world.agent("hunter")
    decision = raw["decision"](hunter, outcome={"success": True})
    learned, archived = world.route(DECISIONS, [raw["record"](decision)])
    assert (learned.queue, archived.queue) == ("learn", "archive")
    world.send([archived])
    reason = {"dead_letter_reason": {"DataType": "String", "StringValue": "OSError: disk 7"}}
    dead = Mailbox(world.deployment, "learn_dlq")
    assert dead.send([Received("", "", learned.body, reason, {})])

    _, planned = world.sharpwave("dlq", "redrive", "learn", "--error", "disk", "--dry-run")
    assert planned["redriven"] == 1
    assert world.counts(hunter).n == 0
    code, done = world.sharpwave("dlq", "redrive", "learn", "--error", "disk")

    assert (code, done["redriven"]) == (0, 1)
    world.counted(hunter, n=1, s=1)
    assert world.waiting("learn_dlq") == 0


def test_a_message_an_agent_never_acknowledges_dies_and_is_handed_out_after_a_redrive(
    world: World,
) -> None:
    hunter, risk = world.agent("hunter"), world.agent("risk")
    world.signal(hunter, [risk], data={"whales": 5})
    inbox = Mailbox(world.deployment, f"inbox-{risk}")

    def dropped() -> bool:
        inbox.receive(hold_s=0)
        return world.waiting(f"inbox-{risk}_dlq") == 1

    world.eventually(dropped, "SQS gives up")
    assert world.waiting(f"inbox-{risk}") == 0
    _, listed = world.sharpwave("dlq", "show", f"inbox-{risk}")
    assert [letter["reason"] for letter in listed] == ["received too often without an end"]

    code, answer = world.sharpwave("dlq", "redrive", f"inbox-{risk}")

    assert (code, answer["redriven"]) == (0, 1)
    [message] = world.receive(risk)
    assert message["data"] == {"whales": 5}
