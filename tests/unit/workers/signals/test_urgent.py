"""What is urgent overtakes a backlog, and its second copy is never a second delivery."""

from typing import Any

import pytest

from sharpwave.schemas import tables
from sharpwave.schemas.messages import SignalBody
from sharpwave.workers.work.ports import InboxMessage
from tests.world import records
from tests.world.agents import Clients, MemoryAgent
from tests.world.world import World

INBOX, URGENT = "inbox-risk", "inbox-risk_urgent"


@pytest.fixture
def world() -> World:
    """A fleet of two, `hunter` and `risk`."""
    made = World()
    made.register("hunter", "risk")
    return made


def send(world: World, *signal_ids: str, **more: Any) -> None:
    for signal_id in signal_ids:
        item = records.signal("hunter", signal_id, to=["risk"], at=world.clock(), **more)
        world.tables.put(tables.SIGNALS, item)
    world.settle()


def test_an_urgent_signal_is_in_the_next_batch_but_one_behind_a_backlog_of_5000(
    world: World,
) -> None:
    for number in range(5000):
        item = records.signal("hunter", f"s{number}", to=["risk"], at=world.clock())
        body, _ = SignalBody(item, tables.SIGNALS).to("risk")
        world.inboxes.send([InboxMessage("risk", body)])
    risk = MemoryAgent(world, "risk")
    risk.work()

    send(world, "now", severity="Critical")
    worked = [risk.work() for _ in range(2)]

    assert "now" in [*worked[0], *worked[1]]


def test_each_of_a_backlog_is_handed_out_once_though_the_urgent_ones_lie_there_twice(
    world: World,
) -> None:
    for number in range(40):
        send(world, f"s{number}")
        send(world, f"u{number}", severity="high")
    risk = MemoryAgent(world, "risk")

    worked: list[str] = []
    while leases := risk.receive():
        for lease in leases:
            if received := risk.admit(lease):
                worked.append(received.message.signal_id)
                risk.acknowledge(received)

    assert sorted(worked) == sorted(f"{kind}{n}" for n in range(40) for kind in "su")
    assert world.inboxes.waiting("risk") == world.inboxes.waiting("risk_urgent") == []
    assert set(worked[10:50]) >= {f"u{number}" for number in range(10, 40)}


def test_without_a_backlog_nothing_but_an_urgent_delivery_costs_another_call(
    world: World,
) -> None:
    risk = MemoryAgent(world, "risk")
    send(world, "s1", "s2", severity="low")

    risk.work()
    risk.work()
    quiet = [queue for call, queue in risk.clients.calls if call == "receive_message"]
    send(world, "u1", severity="urgent")
    first, then = risk.work(), risk.work()

    assert quiet == [INBOX, INBOX]
    assert (first, then) == (["u1"], [])
    looked = [queue for call, queue in risk.clients.calls if call == "receive_message"]
    # The look that clears the other copy away, and none after it.
    assert looked[2:] == [INBOX, URGENT]
    risk.work()
    assert risk.clients.calls[-1] == ("receive_message", INBOX)


@pytest.mark.parametrize(
    ("waiting", "at_most", "looked"), [(5, 10, False), (6, 10, True), (1, 1, True), (1, 2, False)]
)
def test_more_than_half_of_what_was_asked_for_is_a_backlog(
    world: World, waiting: int, at_most: int, looked: bool
) -> None:
    """At AWS a queue of hundreds gives seven or eight of ten."""
    send(world, *(f"s{number}" for number in range(waiting)))
    risk = MemoryAgent(world, "risk")

    risk.work(at_most)
    risk.work(at_most)

    assert (("receive_message", URGENT) in risk.clients.calls) is looked


@pytest.mark.parametrize("is_first", ["usual", "urgent"])
def test_what_one_process_acknowledged_is_not_handed_out_by_another_or_after_a_restart(
    world: World, is_first: str
) -> None:
    send(world, "u1", severity="critical")
    clients = Clients(world)
    one, other = (MemoryAgent(world, "risk", clients) for _ in range(2))
    one.inbox.has_backlog = is_first == "urgent"
    assert one.work() == ["u1"]

    other.inbox.has_backlog = is_first == "usual"
    assert (other.work(), other.work()) == ([], [])
    restarted = MemoryAgent(world, "risk", clients)
    restarted.inbox.has_backlog = True

    assert (restarted.work(), restarted.work()) == ([], [])
    assert world.inboxes.waiting("risk") == world.inboxes.waiting("risk_urgent") == []


def test_a_delivery_in_hand_or_failed_is_not_handed_out_by_its_other_copy(world: World) -> None:
    send(world, "u1", severity="critical")
    risk = MemoryAgent(world, "risk")
    (lease,) = risk.receive()
    in_hand = risk.admit(lease)
    assert in_hand is not None

    # The handler raises: the message is left to its visibility timeout, the other copy goes.
    assert risk.work() == []
    assert world.inboxes.waiting("risk_urgent") == []
    world.clock.advance(61)

    assert risk.work() == ["u1"]


def test_an_answer_that_is_waited_for_leaves_no_second_copy_behind(world: World) -> None:
    send(world, "u1", severity="critical", in_reply_to="question")
    risk = MemoryAgent(world, "risk")
    risk.me.awaited.add("question")

    left = [risk.work(), risk.work()]

    assert left == [[], []]
    assert world.inboxes.waiting("risk_urgent") == []
    risk.me.awaited.clear()
    world.clock.advance(61)
    assert risk.work() == ["u1"]


def test_a_process_that_died_with_one_copy_leaves_the_other_to_the_next(world: World) -> None:
    send(world, "u1", severity="critical")
    clients = Clients(world)
    died = MemoryAgent(world, "risk", clients)
    (lease,) = died.receive()
    died.admit(lease)

    again = MemoryAgent(world, "risk", clients)
    again.inbox.has_backlog = True

    assert again.work() == ["u1"]
    world.clock.advance(61)
    assert [again.work() for _ in range(2)] == [[], []]


def test_without_an_urgent_queue_all_goes_the_usual_way(world: World) -> None:
    world.inboxes.remove("risk")
    world.inboxes.create("risk", urgent=False)
    risk = MemoryAgent(world, "risk")
    send(world, *(f"u{number}" for number in range(25)), severity="critical")

    worked = [signal_id for _ in range(4) for signal_id in risk.work()]

    assert sorted(worked) == sorted(f"u{number}" for number in range(25))
    assert risk.clients.calls.count(("get_queue_url", URGENT)) == 1
    assert ("receive_message", URGENT) not in risk.clients.calls


def test_a_deployment_says_what_is_urgent(world: World) -> None:
    world.settings = world.settings.model_copy(update={"urgent": frozenset({"sev1"})})

    send(world, "u1", severity="SEV1")
    send(world, "s1", severity="critical")

    assert [len(world.inboxes.waiting(name)) for name in ("risk", "risk_urgent")] == [2, 1]
