"""What agents do to their own rows: legal moves are mirrored, others are told and put back."""

from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid, ulid
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.ownership import stamped
from sharpwave.workers.router.router import MAX_CHUNK_NAME, Router
from sharpwave.workers.work.ports import Insert, Item, Location, Update
from tests.world import MemoryTables, VirtualClock
from tests.world.records import key_of, signal
from tests.world.routed import entries

SIGNAL = key_of(signal(to=["bob"]))
ROW = keys.inbox_row("bob", SIGNAL, signal_uid(*SIGNAL))


class Inbox:
    """One row, as its worker wrote it; or as it would have, had `of` been a signal."""

    def __init__(self, of: keys.Key = SIGNAL, **more: Any) -> None:
        self.tables = MemoryTables(VirtualClock())
        self.row = keys.inbox_row("bob", of, signal_uid(*of))
        self.item: Item = {
            **self.row.item(),
            "signal_pk": of.pk,
            "signal_sk": of.sk,
            "status": "PENDING",
            "expires_at": 9,
            **more,
        }
        self.tables.apply([Insert(tables.SIGNALS, self.item)])

    @property
    def last(self) -> dict[str, Any]:
        return self.tables.streams[tables.SIGNALS][-1].record

    def news(self) -> list[Any]:
        """Give what follows from the last record; a row only ever concerns its mirror."""
        found = entries(Router()(tables.SIGNALS, [self.last]))
        assert {actor for actor, _ in found} <= {"on_acknowledgements"}
        return [entry for _, entry in found]

    def update(self, *, remove: tuple[str, ...] = (), **values: Any) -> list[Any]:
        self.tables.update(tables.SIGNALS, self.row, values, remove=remove)
        return self.news()

    def work(self, **values: Any) -> list[Any]:
        self.tables.apply([Update(Location(tables.SIGNALS, ROW), values)])
        return self.news()


def test_signals_are_handed_on_before_the_acknowledgements_that_came_first() -> None:
    inbox = Inbox()
    inbox.update(status="PROCESSED", processed_at=1)
    inbox.tables.put(tables.SIGNALS, signal(name="next", to=["bob"]))

    page = [each.record for each in inbox.tables.streams[tables.SIGNALS]]
    sent = Router()(tables.SIGNALS, page)

    assert [each.queue for each in sent] == ["deliver", "status"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("PENDING", "PROCESSED"),
        ("PENDING", "FAILED"),
        ("EXPIRED", "PROCESSED"),
        ("EXPIRED", "FAILED"),
    ],
)
def test_an_acknowledgement_names_the_signal_and_the_target(before: str, after: str) -> None:
    inbox = Inbox(**stamped(ROW, {"status": before, "reason": "unacknowledged"}))

    (entry,) = inbox.update(status=after, processed_at=1)

    assert entry == {"key": [SIGNAL.pk, SIGNAL.sk], "targets": ["bob"]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("PROCESSED", "PENDING"),
        ("PROCESSED", "FAILED"),
        ("PENDING", "DELIVERED"),
        ("PENDING", "EXPIRED"),
        ("PENDING", "DONE"),
        ("FAILED", "EXPIRED"),
    ],
)
def test_a_move_backwards_or_into_nonsense_is_illegal(before: str, after: str) -> None:
    inbox = Inbox(status=before)

    (entry,) = inbox.update(status=after, note="mine")

    assert entry == {
        "key": [SIGNAL.pk, SIGNAL.sk],
        "targets": ["bob"],
        "illegal": {
            "row_pk": ROW.pk,
            "row_sk": ROW.sk,
            "before": before,
            "after": {"S": after},
            "worker_rev": None,
            "event_id": inbox.last["eventID"],
        },
    }


def test_an_illegal_move_tells_which_revision_it_left_so_that_no_later_one_is_undone() -> None:
    end = stamped(ROW, {"status": "EXPIRED", "reason": "unacknowledged"})

    (entry,) = Inbox(**end).update(status="DONE")

    assert entry["illegal"]["before"] == "EXPIRED"
    assert entry["illegal"]["worker_rev"] == {"S": end["worker_rev"]}


@pytest.mark.parametrize("after", [5, None, ["PROCESSED"], {"status": "PROCESSED"}])
def test_a_status_that_is_no_text_is_illegal_whatever_it_holds(after: Any) -> None:
    (entry,) = Inbox().update(status=after)

    assert "illegal" in entry


def test_one_nonsense_after_another_is_illegal() -> None:
    inbox = Inbox()
    inbox.update(status=5)

    (entry,) = inbox.update(status=6)

    assert entry["illegal"]["after"] == {"N": "6"}


@pytest.mark.parametrize(
    "more",
    [{}, {"worker_rev": "r", "reason": "tired"}, {"worker_rev": ulid()}],
    ids=["bare", "with a reason", "with a worker's stamp"],
)
def test_an_expiry_that_an_agent_claims_counts_for_nothing(more: Item) -> None:
    inbox = Inbox(status="EXPIRED", **more)

    (entry,) = inbox.update(status="DONE")

    assert entry["illegal"]["before"] == ""


def test_a_note_on_the_side_is_mirrored() -> None:
    (entry,) = Inbox(status="PROCESSED").update(reason="took a while")

    assert "illegal" not in entry


def test_a_workers_write_to_a_row_is_known_by_its_revision() -> None:
    inbox = Inbox()

    assert inbox.work(**stamped(ROW, {"status": "EXPIRED"})) == []
    assert inbox.work(**stamped(ROW, {"status": "PENDING"})) == []


@pytest.mark.parametrize(
    "rev",
    ["r", ulid(), stamped(ROW, {"status": "EXPIRED"})["worker_rev"], 5],
    ids=["text", "bare", "of another status", "number"],
)
def test_an_acknowledgement_that_also_writes_a_revision_is_no_workers(rev: Any) -> None:
    (entry,) = Inbox().update(status="PROCESSED", worker_rev=rev)

    assert entry == {"key": [SIGNAL.pk, SIGNAL.sk], "targets": ["bob"]}


def test_a_row_that_its_agent_replaced_is_given_back_what_the_worker_wrote() -> None:
    inbox = Inbox(worker_rev="r1", chunk="c1")
    inbox.tables.put(tables.SIGNALS, {**ROW.item(), "status": "PROCESSED", "processed_at": 7})

    (entry,) = inbox.news()

    assert entry["chunk"] == "c1"
    assert (entry["restore"]["row_pk"], entry["restore"]["row_sk"]) == ROW
    assert entry["restore"]["attributes"] == {
        "signal_pk": {"S": SIGNAL.pk},
        "signal_sk": {"S": SIGNAL.sk},
        "expires_at": {"N": "9"},
        "chunk": {"S": "c1"},
    }


def test_a_replaced_row_is_given_back_its_payload_and_loses_a_chunk_that_was_made_up() -> None:
    inbox = Inbox(data={"x": 1})
    inbox.tables.put(tables.SIGNALS, {**ROW.item(), "status": "PROCESSED", "chunk": "c2"})

    (entry,) = inbox.news()

    assert entry["restore"]["attributes"] == {
        "signal_pk": {"S": SIGNAL.pk},
        "signal_sk": {"S": SIGNAL.sk},
        "expires_at": {"N": "9"},
        "data": {"M": {"x": {"N": "1"}}},
        "chunk": {"NULL": True},
    }


def test_what_its_agent_wrote_over_is_given_back_too() -> None:
    inbox = Inbox(chunk="c1")

    (entry,) = inbox.update(status="PROCESSED", signal_pk="signal#OTHER", expires_at=1, chunk="c2")

    assert entry["key"] == [SIGNAL.pk, SIGNAL.sk]
    assert entry["chunk"] == "c1"
    assert entry["restore"]["attributes"] == {
        "signal_pk": {"S": SIGNAL.pk},
        "signal_sk": {"S": SIGNAL.sk},
        "expires_at": {"N": "9"},
        "chunk": {"S": "c1"},
    }


def test_a_chunk_that_its_agent_made_up_is_taken_back() -> None:
    (entry,) = Inbox().update(status="PROCESSED", chunk="c2")

    assert "chunk" not in entry
    assert entry["restore"]["attributes"] == {"chunk": {"NULL": True}}
    # The row still names its signal, so whoever reads it sees how it was acknowledged.
    assert "said" not in entry["restore"]


@pytest.mark.parametrize("before", ["PENDING", "PROCESSED"])
def test_a_replacement_tells_how_it_acknowledged(before: str) -> None:
    """Whoever takes the row for none of a worker's writes over it, and asks nobody."""
    end = {"status": "PROCESSED", "processed_at": 7, "decision_id": "d1"}
    inbox = Inbox(status=before)
    inbox.tables.put(tables.SIGNALS, {**ROW.item(), **end, "note": "mine"})

    (entry,) = inbox.news()

    assert item_from_wire(entry["restore"]["said"]) == end


@pytest.mark.parametrize("status", ["PENDING", "DONE", "EXPIRED"])
def test_a_replacement_that_acknowledges_nothing_says_nothing(status: str) -> None:
    inbox = Inbox()
    inbox.tables.put(tables.SIGNALS, {**ROW.item(), "status": status})

    (entry,) = inbox.news()

    assert "said" not in entry["restore"]


def test_a_lost_stamp_of_an_expiry_is_renewed() -> None:
    end = stamped(ROW, {"status": "EXPIRED", "reason": "unacknowledged"})

    (entry,) = Inbox(**end).update(remove=("worker_rev",))

    assert entry["restore"]["attributes"] == {"worker_rev": {"S": end["worker_rev"]}}


def test_an_illegal_replacement_also_gets_back_the_agents_own_attributes() -> None:
    inbox = Inbox(status="PROCESSED", decision_id="d1")
    inbox.tables.put(tables.SIGNALS, {**ROW.item(), "status": "PENDING"})

    (entry,) = inbox.news()

    assert entry["illegal"]["before"] == "PROCESSED"
    assert entry["restore"]["attributes"]["decision_id"] == {"S": "d1"}


@pytest.mark.parametrize(
    "forged",
    [
        {"signal_pk": 5},
        {"signal_sk": "no time"},
        {"signal_pk": "agent:eve#inbox"},
        {"signal_pk": "signal#OTHER"},
    ],
)
def test_a_row_that_names_no_signal_reaches_no_mirror(forged: Item) -> None:
    assert Inbox(**forged).update(status="PROCESSED") == []


@pytest.mark.parametrize(
    "of",
    [
        keys.Key("agent:eve#inbox", SIGNAL.sk),
        keys.Key(SIGNAL.pk, "no time"),
        keys.Key("signal#lower", SIGNAL.sk),
    ],
)
def test_a_row_whose_key_is_the_digest_of_what_is_no_signal_reaches_no_mirror(
    of: keys.Key,
) -> None:
    assert Inbox(of).update(status="PROCESSED") == []


@pytest.mark.parametrize(
    ("length", "is_kept"), [(0, False), (1, True), (MAX_CHUNK_NAME, True), (65, False)]
)
def test_a_chunk_is_named_as_far_as_a_worker_may_have_named_it(
    length: int, *, is_kept: bool
) -> None:
    (entry,) = Inbox(chunk="x" * length).update(status="PROCESSED")

    assert ("chunk" in entry) is is_kept


def test_what_happens_to_rows_travels_together_in_the_order_of_the_stream() -> None:
    inbox = Inbox()
    inbox.update(status="PROCESSED")
    acknowledged = inbox.last
    inbox.tables.remove(tables.SIGNALS, ROW)

    (message,) = Router()(tables.SIGNALS, [acknowledged, inbox.last])

    assert [actor for actor, _ in entries([message])] == ["on_acknowledgements"] * 2
    assert list(message.sequence_numbers) == [
        each["dynamodb"]["SequenceNumber"] for each in (acknowledged, inbox.last)
    ]


def test_rows_that_come_and_go_in_time_concern_nobody() -> None:
    inbox = Inbox()
    inserted = inbox.news()
    inbox.tables.remove(tables.SIGNALS, ROW, by="ttl")

    assert inserted == inbox.news() == []


def test_a_row_that_its_agent_deletes_is_told_with_how_it_was() -> None:
    inbox = Inbox(chunk="c1")
    inbox.tables.remove(tables.SIGNALS, ROW)

    (entry,) = inbox.news()

    assert entry["gone"] == [ROW.pk, ROW.sk]
    assert (entry["key"], entry["chunk"]) == ([SIGNAL.pk, SIGNAL.sk], "c1")
    assert item_from_wire(entry["image"]) == inbox.item
