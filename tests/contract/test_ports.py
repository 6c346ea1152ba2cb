"""One contract for reads, writes, ledgers and inboxes: the fake keeps it, and so do the adapters.

Written once and run against the tables in memory, and against a real backend with each of the two
adapters for conditional writes.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config

from sharpwave.infra.local import Backend
from sharpwave.schemas import keys, queues, tables
from sharpwave.schemas.keys import Key
from sharpwave.workers.aws.clients import written_at_once
from sharpwave.workers.aws.queues import QueueUrls, SqsInboxes, SqsWorkQueues
from sharpwave.workers.aws.tables import TableLedger, TableReads
from sharpwave.workers.aws.writes import BatchedWrites, SingleWrites, TableTransactions
from sharpwave.workers.gather import SharedWrites
from sharpwave.workers.patterns.ledger import Bucket, Slots
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import (
    CallRefused,
    Check,
    Delete,
    Fate,
    Inboxes,
    InboxMessage,
    Insert,
    Item,
    Ledger,
    Location,
    Put,
    Reads,
    Slot,
    Transactions,
    Update,
    Write,
    Writes,
)
from tests.world import MemoryInboxes, MemoryTables, MemoryWorkQueues, VirtualClock
from tests.world.records import decision
from tests.world.waiting import eventually

TABLE = tables.PIPELINE
ON_MOTO = os.environ.get("SHARPWAVE_TEST_BACKEND", "").startswith("moto")
# moto's BatchExecuteStatement ignores conditions, which is why there are two adapters.
ADAPTERS = ["memory", "shared", "single"] if ON_MOTO else ["memory", "shared", "batched", "single"]


class Ports(NamedTuple):
    """The ports under test; `prefix` and `sqs` are set where they are real."""

    reads: Reads
    writes: Writes
    transactions: Transactions
    ledger: Ledger
    inboxes: Inboxes
    prefix: str = ""
    sqs: Any = None

    def create_inbox(self, agent: str) -> None:
        if isinstance(self.inboxes, MemoryInboxes):
            self.inboxes.create(agent)
        else:
            name = tables.physical(queues.inbox(agent).name, self.prefix)
            self.sqs.create_queue(QueueName=name)

    def remove_inbox(self, agent: str) -> None:
        if isinstance(self.inboxes, MemoryInboxes):
            self.inboxes.remove(agent)
        else:
            name = tables.physical(queues.inbox(agent).name, self.prefix)
            url = self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
            self.sqs.delete_queue(QueueUrl=url)

    def received(self, agent: str) -> list[str]:
        if isinstance(self.inboxes, MemoryInboxes):
            return self.inboxes.waiting(agent)
        name = tables.physical(queues.inbox(agent).name, self.prefix)
        url = self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        bodies: list[str] = []
        while True:
            reply = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
            found = reply.get("Messages", [])
            bodies += [message["Body"] for message in found]
            if not found:
                return bodies


@pytest.fixture(scope="module")
def real(backend: Backend) -> Iterator[Ports]:
    """Tables of our own on the backend."""
    login = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    where = {"endpoint_url": backend.endpoint_url, "region_name": "us-east-1", **login}
    session: Any = boto3.session.Session()
    config = Config(parameter_validation=False)
    # As workers have them.
    dynamodb, sqs = (
        written_at_once(session.client(service, config=config, **where))
        for service in ("dynamodb", "sqs")
    )
    prefix = f"c{uuid.uuid4().hex[:8]}"
    for table in tables.TABLES:
        dynamodb.create_table(**tables.create_request(table, prefix))
    yield Ports(
        TableReads(dynamodb, prefix=prefix),
        BatchedWrites(dynamodb, prefix=prefix),
        TableTransactions(dynamodb, prefix=prefix),
        TableLedger(dynamodb, prefix=prefix),
        SqsInboxes(sqs, urls=QueueUrls(sqs, prefix=prefix)),
        prefix,
        sqs,
    )
    for table in tables.TABLES:
        dynamodb.delete_table(TableName=tables.physical(table.name, prefix))


@pytest.fixture(params=ADAPTERS)
def ports(request: pytest.FixtureRequest) -> Ports:
    if request.param in ("memory", "shared"):
        store = MemoryTables(VirtualClock())
        writes = SharedWrites(store, linger_s=0.001, threads=8)
        is_shared = request.param == "shared"
        return Ports(store, writes if is_shared else store, store, store, MemoryInboxes())
    real: Ports = request.getfixturevalue("real")
    if request.param == "batched":
        return real
    client = real.writes._client  # type: ignore[attr-defined]
    return real._replace(writes=SingleWrites(client, prefix=real.prefix))


@pytest.fixture
def pk() -> str:
    """A partition that no other test writes to."""
    return f"test#{uuid.uuid4().hex}"


def place(pk: str, sk: str = "a") -> Location:
    return Location(TABLE, Key(pk, sk))


def insert(pk: str, sk: str = "a", /, **more: Any) -> Insert:
    return Insert(TABLE, {"PK": pk, "SK": sk, **more})


def stored(ports: Ports, location: Location) -> Item | None:
    return ports.reads.get([location]).get(location)


VALUES: Item = {
    "text": "é\uffff😀",
    "number": 12_345_678_901_234_567_890,
    "fraction": Decimal("0.10000000000000000555"),
    "flag": True,
    "nothing": None,
    "bytes": b"\x00\xff",
    "list": [1, ["x", {}]],
    "map": {"a#b": {"c": []}},
    "texts": {"a", "b"},
    "numbers": {1, Decimal("2.5")},
    "it's": 1,
    'a "quoted" name': 2,
    "a.dotted[0] name": 3,
    "status": "reserved",
}


def test_an_insert_stores_every_kind_of_value(ports: Ports, pk: str) -> None:
    assert ports.writes.apply([insert(pk, **VALUES)]) == [True]

    assert stored(ports, place(pk)) == {"PK": pk, "SK": "a", **VALUES}


def test_a_read_that_need_not_be_strong_finds_what_was_written_long_ago(
    ports: Ports, pk: str
) -> None:
    ports.writes.apply([insert(pk, n=1)])

    found = eventually(
        lambda: ports.reads.get([place(pk), place(pk, "none")], strong=False), "it can be read"
    )

    assert found == {place(pk): {"PK": pk, "SK": "a", "n": 1}}


def test_an_insert_never_replaces(ports: Ports, pk: str) -> None:
    ports.writes.apply([insert(pk, n=1)])

    assert ports.writes.apply([insert(pk, n=2)]) == [False]
    assert stored(ports, place(pk)) == {"PK": pk, "SK": "a", "n": 1}


def test_a_change_sets_attributes_and_keeps_the_rest(ports: Ports, pk: str) -> None:
    ports.writes.apply([insert(pk, n=1, kept="yes")])

    assert ports.writes.apply([Update(place(pk), {**VALUES, "n": 2})]) == [True]
    assert stored(ports, place(pk)) == {"PK": pk, "SK": "a", "kept": "yes", **VALUES, "n": 2}


def test_a_transaction_writes_all(ports: Ports, pk: str) -> None:
    ports.writes.apply([insert(pk, "a", n=1, kept=1, old=1), insert(pk, "b"), insert(pk, "c", m=4)])
    writes: list[Write | Put | Check] = [
        Update(place(pk, "a"), {"n": 2}, equals={"n": 1}, missing=("m",), remove=("old",)),
        Delete(place(pk, "b"), {}),
        Check(place(pk, "c"), equals={"m": 4}, below={"m": 5, "none": 0}),
        Check(place(pk, "none"), below={"m": 5}),
        insert(pk, "d", n=4),
        Put(TABLE, {"PK": pk, "SK": "e", **VALUES}),
    ]

    assert ports.transactions.transact(writes) is True
    assert list(ports.reads.query(TABLE, pk)) == [
        {"PK": pk, "SK": "a", "n": 2, "kept": 1},
        {"PK": pk, "SK": "c", "m": 4},
        {"PK": pk, "SK": "d", "n": 4},
        {"PK": pk, "SK": "e", **VALUES},
    ]


@pytest.mark.parametrize(
    "unmet",
    [
        lambda pk: insert(pk, "a"),
        lambda pk: Update(place(pk, "a"), {"n": 2}, equals={"n": 9}),
        lambda pk: Update(place(pk, "a"), {"m": 2}, missing=("n",)),
        lambda pk: Update(place(pk, "none"), {"n": 2}),
        lambda pk: Delete(place(pk, "a"), {"n": 9}),
        lambda pk: Check(place(pk, "a"), equals={"n": 9}),
        lambda pk: Check(place(pk, "a"), below={"n": 1}),
        lambda pk: Check(place(pk, "none"), equals={"n": 1}),
    ],
    ids=["taken", "unequal", "not missing", "ghost", "kept", "other", "not below", "gone"],
)
def test_a_transaction_of_which_one_condition_fails_writes_nothing(
    ports: Ports, pk: str, unmet: Callable[[str], Write | Put | Check]
) -> None:
    ports.writes.apply([insert(pk, "a", n=1)])

    parts = [Put(TABLE, {"PK": pk, "SK": "b"}), unmet(pk), insert(pk, "c")]

    assert ports.transactions.transact(parts) is False
    assert list(ports.reads.query(TABLE, pk)) == [{"PK": pk, "SK": "a", "n": 1}]


def test_a_change_never_raises_a_ghost(ports: Ports, pk: str) -> None:
    ghosts: list[Write] = [
        Update(place(pk, "a"), {"n": 1}),
        Update(place(pk, "b"), {"n": 1}, missing=("n",)),
    ]

    assert ports.writes.apply(ghosts) == [False, False]
    assert list(ports.reads.query(TABLE, pk)) == []


@pytest.mark.parametrize(
    ("equals", "missing", "holds"),
    [
        ({"n": 1}, (), True),
        ({"n": 2}, (), False),
        ({"n": "1"}, (), False),
        ({"gone": 1}, (), False),
        ({"nothing": None}, (), True),
        ({"n": 1, "text": "x"}, (), True),
        ({"n": 1, "text": "y"}, (), False),
        ({}, ("gone",), True),
        ({}, ("n",), False),
        ({}, ("nothing",), False),
        ({"n": 1}, ("gone", "also gone"), True),
        ({"n": 1}, ("gone", "n"), False),
    ],
)
def test_a_change_happens_only_if_its_conditions_hold(
    ports: Ports, pk: str, equals: Item, missing: tuple[str, ...], *, holds: bool
) -> None:
    ports.writes.apply([insert(pk, n=1, text="x", nothing=None)])

    change = Update(place(pk), {"n": 5, "done": True}, equals=equals, missing=missing)

    assert ports.writes.apply([change]) == [holds]
    assert (stored(ports, place(pk)) or {}).get("done", False) is holds


def test_a_change_removes_attributes_that_are_there_or_not(ports: Ports, pk: str) -> None:
    ports.writes.apply([insert(pk, n=1, text="x", **{"a.dotted[0] name": 3})])

    change = Update(place(pk), {"n": 2}, remove=("text", "a.dotted[0] name", "gone"))

    assert ports.writes.apply([change]) == [True]
    assert stored(ports, place(pk)) == {"PK": pk, "SK": "a", "n": 2}


def test_writes_of_one_call_stand_or_fail_each_alone(ports: Ports, pk: str) -> None:
    ports.writes.apply([insert(pk, f"{n:03d}", n=n) for n in range(0, 60, 2)])

    writes: list[Write] = [insert(pk, f"{n:03d}", n=-n) for n in range(60)]
    writes += [Update(place(pk, f"x{n}"), {"n": n}) for n in range(3)]

    assert ports.writes.apply(writes) == [n % 2 == 1 for n in range(60)] + [False] * 3
    assert len(list(ports.reads.query(TABLE, pk))) == 60


def test_no_writes_are_no_call(ports: Ports) -> None:
    assert ports.writes.apply([]) == []
    assert ports.reads.get([]) == {}


def test_an_item_of_many_long_names_is_written_like_any_other(ports: Ports, pk: str) -> None:
    many = {f"attribute number {n} of quite some length": n for n in range(300)}

    assert ports.writes.apply([insert(pk, "a", **many), insert(pk, "b")]) == [True, True]
    assert ports.writes.apply([insert(pk, "a", **many)]) == [False]
    assert stored(ports, place(pk, "a")) == {"PK": pk, "SK": "a", **many}


@pytest.mark.parametrize("item", [{"x": "y" * 410_000}, {"x": "é" * 205_000}])
def test_what_no_table_holds_is_refused_for_good(ports: Ports, pk: str, item: Item) -> None:
    with pytest.raises(CallRefused):
        ports.writes.apply([insert(pk, **item)])


# ministack's batch checks no types of index keys, and moto never does.
@pytest.mark.parametrize("ports", ["memory"] if ON_MOTO else ["memory", "single"], indirect=True)
def test_a_key_of_an_index_has_its_type(ports: Ports, pk: str) -> None:
    wrong = Insert(tables.MEMORY, {"PK": pk, "SK": "a", "GSI1_PK": "p", "GSI1_SK": "text"})

    with pytest.raises(CallRefused):
        ports.writes.apply([wrong])


def test_many_items_are_read_at_once_and_missing_ones_left_out(ports: Ports, pk: str) -> None:
    ports.writes.apply([insert(pk, f"{n:03d}", n=n) for n in range(120)])
    places = [place(pk, f"{n:03d}") for n in range(130)]

    found = ports.reads.get([*places, places[0]])

    assert {where.key.sk: item["n"] for where, item in found.items()} == {
        f"{n:03d}": n for n in range(120)
    }


def test_items_of_several_tables_are_read_at_once(ports: Ports, pk: str) -> None:
    other = Location(tables.MEMORY, Key(pk, "a"))
    ports.writes.apply([insert(pk, n=1), Insert(tables.MEMORY, {**other.key.item(), "n": 2})])

    found = ports.reads.get([place(pk), other])

    assert (found[place(pk)]["n"], found[other]["n"]) == (1, 2)


@pytest.mark.parametrize(
    ("after", "until", "limit", "expected"),
    [
        ("", "", None, "abcde"),
        ("b", "", None, "cde"),
        ("", "c", None, "abc"),
        ("b", "d", None, "cd"),
        ("bb", "cc", None, "c"),
        ("", "", 2, "ab"),
        ("a", "e", 3, "bcd"),
        ("d", "b", None, ""),
        ("c", "c", None, ""),
        ("z", "", None, ""),
    ],
)
def test_a_partition_is_read_in_order_between_bounds(
    ports: Ports, pk: str, after: str, until: str, limit: int | None, expected: str
) -> None:
    ports.writes.apply([insert(pk, sk) for sk in "ebdac"])
    ports.writes.apply([insert(pk + "x", "c")])

    found = ports.reads.query(TABLE, pk, after=after, until=until, limit=limit)

    assert "".join(item["SK"] for item in found) == expected


def test_a_partition_larger_than_a_page_is_read_whole(ports: Ports, pk: str) -> None:
    for start in range(0, 12, 4):
        ports.writes.apply(
            [insert(pk, f"{n:02d}", x="y" * 300_000) for n in range(start, start + 4)]
        )

    assert len(list(ports.reads.query(TABLE, pk))) == 12


def test_an_agents_decisions_are_found_by_time(ports: Ports) -> None:
    agent, start = f"a{uuid.uuid4().hex[:8]}", 1_760_000_000
    items = [
        decision(agent, f"d{n}", at=start + n, kind="TRADE" if n % 2 else "HEDGE") for n in range(6)
    ]
    items[3]["outcome"] = {"success": True}
    items[3]["event_time"] = "2008-10-10"
    ports.writes.apply([Insert(tables.DECISIONS, item) for item in items])
    ports.writes.apply([Insert(tables.DECISIONS, decision("other", at=start + 2))])

    found = list(ports.reads.by_agent(agent, after=start + 1, until=start + 4))

    assert [entry["timestamp"] - start for entry in found] == [2, 3, 4]
    assert found[1]["outcome"] == {"success": True}
    assert found[1]["event_time"] == "2008-10-10"
    assert {"PK", "SK"} <= found[0].keys()
    assert "outcome" not in found[0]
    assert list(ports.reads.by_agent(agent, after=start + 4, until=start + 1)) == []


def elements(text: str) -> list[bytes]:
    return [letter.encode() * 20 for letter in text]


def test_a_ledger_answers_with_its_whole_set(ports: Ports, pk: str) -> None:
    first = ports.ledger.add(place(pk), elements("ab"), below=9, is_open=True)
    second = ports.ledger.add(place(pk), elements("bc"), below=9, is_open=True)

    assert first == (True, Slot(frozenset(elements("ab")), 1, is_closed=False))
    assert second == (True, Slot(frozenset(elements("abc")), 2, is_closed=False))


def test_a_full_set_takes_nothing_and_says_what_it_holds(ports: Ports, pk: str) -> None:
    ports.ledger.add(place(pk), elements("abc"), below=3, is_open=True)
    held = Slot(frozenset(elements("abc")), 1, is_closed=False)

    for is_open in (True, False):
        added = ports.ledger.add(place(pk), elements("d"), below=3, is_open=is_open)
        assert added == (False, held)
    assert ports.ledger.add(place(pk), elements("d"), below=4, is_open=True)[0]


def test_a_closed_set_takes_only_what_may_join_closed_ones(ports: Ports, pk: str) -> None:
    ports.ledger.add(place(pk), elements("ab"), below=9, is_open=True)

    closed = ports.ledger.close(place(pk))
    again = ports.ledger.close(place(pk))
    refused = ports.ledger.add(place(pk), elements("c"), below=9, is_open=True)
    taken = ports.ledger.add(place(pk), elements("d"), below=9, is_open=False)

    assert closed == again == Slot(frozenset(elements("ab")), 1, is_closed=True)
    assert refused == (False, closed)
    assert taken == (True, Slot(frozenset(elements("abd")), 2, is_closed=True))


def test_a_ledger_splits_as_it_fills(ports: Ports, pk: str) -> None:
    """What one process put there another one finds, whoever closed what."""
    sk = "2026-11-22T14:35:27.000Z#d"
    keyed = {n.to_bytes(8, "big") + bytes(12): sk for n in range(400)}
    later = {element[:8] + bytes(7) + b"\0\1\1\0\0": sk for element in keyed}
    bucket = Bucket.of(pk, "2026-11-22", sk, next(iter(keyed)))
    first, second = Slots(ports.ledger), Slots(ports.ledger)

    _, left = first.add(bucket, dict(list(keyed.items())[:350]))
    _, refused = second.add(bucket, dict(list(keyed.items())[350:]))
    slot, deeper = second.add(bucket, later)

    assert left == []
    assert len(refused) == 50
    assert slot is not None
    assert slot.is_closed
    assert len(slot.elements) == 2 * 350
    assert len(deeper) == 50
    assert {each[:8] for each in deeper} == {each[:8] for each in refused}


def test_elements_are_taken_out_and_the_rest_stays(ports: Ports, pk: str) -> None:
    ports.ledger.add(place(pk), elements("abc"), below=9, is_open=True)

    ports.ledger.discard(place(pk), elements("ax"))
    ports.ledger.discard(place(pk, "never there"), elements("a"))

    _, slot = ports.ledger.add(place(pk), elements("b"), below=9, is_open=True)
    assert slot.elements == frozenset(elements("bc"))
    assert stored(ports, place(pk, "never there")) is None


def test_only_counts_of_a_greater_revision_replace_those_that_are_there(
    ports: Ports, pk: str
) -> None:
    rows: list[list[Any]] = [
        [2, 1, 0],
        [1, 9, 9],
        [2, 9, 9],
        [10, 5, 5, 1, 0, [], [7, 0, 10**16], [[], [3, [1]]]],
    ]

    assert [ports.ledger.raise_counts(place(pk), row) for row in rows] == [True, False, False, True]
    assert (stored(ports, place(pk)) or {})["c"] == rows[-1]


def test_a_mark_is_never_the_same_twice_and_goes_only_as_it_was_read(ports: Ports, pk: str) -> None:
    read = []
    for _ in range(2):
        ports.ledger.mark(place(pk))
        read.append((stored(ports, place(pk)) or {})["rev"])

    late = ports.writes.apply([Delete(place(pk), {"rev": read[0]})])
    kept = stored(ports, place(pk))
    done = ports.writes.apply([Delete(place(pk), {"rev": read[1]})])

    assert (late, done) == ([False], [True])
    assert kept == {"PK": pk, "SK": "a", "rev": read[1]}
    assert stored(ports, place(pk)) is None


def test_removals_stand_among_other_writes(ports: Ports, pk: str) -> None:
    ports.writes.apply([insert(pk, "a", n=1), insert(pk, "b", n=1)])

    verdicts = ports.writes.apply(
        [Delete(place(pk, "a"), {"n": 1}), Delete(place(pk, "b"), {"n": 2}), insert(pk, "c")]
    )

    assert verdicts == [True, False, True]
    assert [item["SK"] for item in ports.reads.query(TABLE, pk)] == ["b", "c"]


def test_a_removal_without_conditions_removes(ports: Ports, pk: str) -> None:
    ports.writes.apply([insert(pk)])

    assert ports.writes.apply([Delete(place(pk), {})]) == [True]
    assert stored(ports, place(pk)) is None


def test_a_delayed_message_comes_later_and_the_others_now(ports: Ports) -> None:
    messages = [WorkMessage("learn", "{}", (), delay_s=2), WorkMessage("learn", "[]", ())]
    if isinstance(ports.inboxes, MemoryInboxes):
        clock = VirtualClock()
        memory = MemoryWorkQueues(clock)
        memory.send(messages)
        now = [held.body for held in memory.visible()]
        clock.advance(2)
        later = [held.body for held in memory.visible()]
    else:
        name = tables.physical("learn", ports.prefix)
        url = ports.sqs.create_queue(QueueName=name)["QueueUrl"]
        SqsWorkQueues(ports.sqs, urls=QueueUrls(ports.sqs, prefix=ports.prefix)).send(messages)
        visible = {"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0}
        sent = time.monotonic()

        def bodies() -> list[str]:
            answer = ports.sqs.receive_message(**visible)
            return [each["Body"] for each in answer.get("Messages", [])]

        now = later = bodies()
        # A backend may look once a second which delays have passed.
        while len(later) < 2 and time.monotonic() < sent + 20:
            threading.Event().wait(0.05)
            later = bodies()
        assert time.monotonic() - sent > 1
        ports.sqs.delete_queue(QueueUrl=url)

    assert now == ["[]"]
    assert sorted(later) == ["[]", "{}"]


def test_messages_reach_the_inboxes_that_exist(ports: Ports) -> None:
    ann, bob = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("ann", "bob"))
    for agent in (ann, bob):
        ports.create_inbox(agent)
    posts = [InboxMessage(ann, f'{{"n":{n}}}') for n in range(12)]

    sent = ports.inboxes.send([*posts, InboxMessage("nobody-here", "{}"), InboxMessage(bob, "[]")])

    assert sent == [Fate.SENT] * 12 + [Fate.GONE, Fate.SENT]
    assert sorted(ports.received(ann)) == sorted(post.body for post in posts)
    assert ports.received(bob) == ["[]"]


def test_a_removed_inbox_is_noticed_though_it_was_known(ports: Ports) -> None:
    agent = f"ann-{uuid.uuid4().hex[:8]}"
    ports.create_inbox(agent)
    before = ports.inboxes.send([InboxMessage(agent, "{}")])
    ports.remove_inbox(agent)

    assert before == [Fate.SENT]
    assert ports.inboxes.send([InboxMessage(agent, "{}")]) == [Fate.GONE]


def test_keys_of_the_schemas_fit_the_tables(ports: Ports) -> None:
    row = keys.parked("agent_signals", "signal#T#ann", "x" * 900, "e" * 64)

    assert ports.writes.apply([Insert(TABLE, {**row.item(), "n": uuid.uuid4().hex})]) in (
        [True],
        [False],
    )
