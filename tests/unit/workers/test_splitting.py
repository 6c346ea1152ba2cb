"""What fails of a group is tried again, and ends among the dead letters, without its neighbours."""

from collections.abc import Sequence
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import CurrentMessage

from sharpwave.schemas.keys import Key
from sharpwave.schemas.numbers import parse_json
from sharpwave.workers.actors import SPLIT_AFTER, Entries, _declare, _for_each, splitting
from sharpwave.workers.main import middlewares
from sharpwave.workers.sqs import SQSBroker, VisibilityRetries
from sharpwave.workers.work.envelope import Duty, Entry, ascii_json, pack
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import TryAgain, Unfinished
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually

DUTY = Duty("work", "on_things", 1)
ENTRIES = [{"key": ["p", f"s{n}"]} for n in range(4)]


class Sending:
    """Work queues that keep what they are given."""

    def __init__(self) -> None:
        self.messages: list[WorkMessage] = []

    def send(self, messages: Sequence[WorkMessage]) -> None:
        self.messages += messages

    @property
    def groups(self) -> list[Any]:
        return [parse_json(each.body)["kwargs"]["entries"] for each in self.messages]


def test_a_duty_that_some_entries_leave_unfinished_names_them_after_the_rest_is_done() -> None:
    done: list[Any] = []

    def duty(entry: Any) -> int:
        key = Key(*entry["key"])
        if key.sk in ("s1", "s2"):
            raise Unfinished({key}, f"no {key.sk}")
        done.append(key.sk)
        return 1

    with pytest.raises(Unfinished, match="no s1; no s2") as raised:
        _for_each(ENTRIES, duty)

    assert raised.value.keys == {Key("p", "s1"), Key("p", "s2")}
    assert done == ["s0", "s3"]


def failing(error: Exception) -> Any:
    def handle(entries: Entries) -> None:
        raise error

    return handle


def test_a_group_that_is_handled_is_left_as_it_is() -> None:
    queues = Sending()

    splitting(DUTY, len, queues)(ENTRIES, SPLIT_AFTER)

    assert queues.groups == []


def test_a_group_that_the_world_fails_is_tried_again_whole_before_it_is_split() -> None:
    queues = Sending()
    run = splitting(DUTY, failing(TryAgain("busy")), queues)

    for receives in range(1, SPLIT_AFTER):
        with pytest.raises(TryAgain):
            run(ENTRIES, receives)
    assert queues.groups == []
    run(ENTRIES, SPLIT_AFTER)

    assert queues.groups == [[entry] for entry in ENTRIES]


def test_only_what_is_unfinished_goes_out_again() -> None:
    queues = Sending()

    splitting(DUTY, failing(Unfinished([Key("p", "s2")], "one inbox")), queues)(ENTRIES, 1)

    assert queues.groups == [[ENTRIES[2]]]


@pytest.mark.parametrize(
    "error", [TryAgain("busy"), Unfinished([Key("p", "s0")], "one inbox"), ValueError("a flaw")]
)
def test_what_fails_alone_is_the_brokers_affair(error: Exception) -> None:
    queues = Sending()

    with pytest.raises(type(error)):
        splitting(DUTY, failing(error), queues)(ENTRIES[:1], 99)

    assert queues.groups == []


def test_unfinished_work_that_names_no_entry_is_tried_again_whole() -> None:
    queues = Sending()
    error = Unfinished([Key("p", "another")], "a row of an agent")

    with pytest.raises(Unfinished):
        splitting(DUTY, failing(error), queues)(ENTRIES, 1)
    assert queues.groups == []


def test_unfinished_work_without_keys_is_tried_again() -> None:
    with pytest.raises(Unfinished):
        splitting(DUTY, failing(Unfinished([], "one inbox")), Sending())([{"minute": 7}], 1)


def test_a_flaw_splits_at_once() -> None:
    queues = Sending()

    splitting(DUTY, failing(ValueError("a flaw")), queues)(ENTRIES, 1)

    assert queues.groups == [[entry] for entry in ENTRIES]


def test_the_broker_says_how_often_a_group_was_received() -> None:
    sqs, queues, seen = MemorySqs(), Sending(), list[int]()
    sqs.add_queue("work")
    retries = VisibilityRetries(min_backoff=0, max_retries=None)
    broker = SQSBroker(client=sqs, middleware=[CurrentMessage(), retries])

    def handle(entries: Entries) -> None:
        seen.append(len(entries))
        raise TryAgain("busy")

    _declare(broker, "work", "on_things", handle, queues)
    (whole,) = pack(
        DUTY._replace(limit=10), [Entry(ascii_json(each), "") for each in ENTRIES], moment_ms=0
    )
    sqs.send_message(
        QueueUrl=sqs.get_queue_url(QueueName="work")["QueueUrl"], MessageBody=whole.body
    )
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    try:
        eventually(lambda: not sqs.messages("work"), "the group is split")
    finally:
        worker.stop(timeout=5000)
        broker.close()

    assert seen == [len(ENTRIES)] * SPLIT_AFTER
    assert queues.groups == [[entry] for entry in ENTRIES]


def test_the_workers_broker_asks_for_the_message_under_way() -> None:
    assert any(isinstance(each, CurrentMessage) for each in middlewares())
