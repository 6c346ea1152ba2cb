"""Behind an event source mapping no record is lost, whatever becomes of the function.

Each history draws crashes before and after the sends, queues that refuse, records that kill the
function, a mapping that is switched off, and one that begins again where it was a while ago.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.connection import connect
from sharpwave.infra.operate.discarded import feed_discarded
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.workers.aws.queues import SqsWorkQueues
from sharpwave.workers.router.lambda_handler import make_handler
from sharpwave.workers.router.router import Router
from sharpwave.workers.work.outgoing import WorkMessage
from tests.world.event_source import EventSourceMapping, Function
from tests.world.records import signal
from tests.world.stores import START

ARN = "arn:aws:dynamodb:eu-west-1:1:table/agent_signals/stream/2026-01-01T00:00:00.000"
LOCAL = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


class Died(Exception):
    """The function was killed, or ran out of memory or time."""


class Queue:
    """Refuses now and then; keeps what it accepted."""

    def __init__(self, rng: random.Random, refuses: float) -> None:
        self._rng, self._refuses = rng, refuses
        self.accepted = ""

    def try_send(
        self, messages: Sequence[WorkMessage], *, attempts: int | None
    ) -> list[WorkMessage]:
        refused = [each for each in messages if self._rng.random() < self._refuses]
        self.accepted += "".join(each.body for each in messages if each not in refused)
        return refused


def record(number: int) -> dict[str, Any]:
    item = signal("ann", name(number), to=["bob"], at=START + number)
    return {
        "eventID": f"event-{number}",
        "eventName": "INSERT",
        "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": START + number,
            "Keys": item_to_wire({key: item[key] for key in ("PK", "SK")}),
            "NewImage": item_to_wire(item),
            "SequenceNumber": str(100 + number),
        },
    }


def name(number: int) -> str:
    return f"signal-{number:03}-"


def dying(function: Function, rng: random.Random, poison: set[str], dies: float) -> Function:
    """Kill a function on some records always, and on any batch sometimes, early or late."""

    def called(event: Mapping[str, Any]) -> Mapping[str, Any]:
        if poison & {each["eventID"] for each in event["Records"]} or rng.random() < dies:
            raise Died
        answer = function(event)
        if rng.random() < dies:
            raise Died
        return answer

    return called


def history(
    seed: int, handler: Callable[[Queue], Function]
) -> tuple[set[str], EventSourceMapping, Queue]:
    """Live one; gives the ids of the records that kill, the mapping at its end, and the queue."""
    rng = random.Random(seed)
    stream = [record(number) for number in range(rng.randint(1, 60))]
    poison = {each["eventID"] for each in stream if rng.random() < 0.05}
    queue = Queue(rng, rng.choice([0.0, 0.1, 0.5]))
    mapping = EventSourceMapping(
        stream,
        dying(handler(queue), rng, poison, rng.choice([0.0, 0.1, 0.4])),
        batch_size=rng.randint(1, 20),
        retries=rng.choice([0, 3, 10]),
    )
    while True:
        mapping.enabled = rng.random() > 0.2
        if not mapping.poll() and mapping.enabled:
            return poison, mapping, queue
        if rng.random() < 0.1:
            mapping.position = rng.randint(0, mapping.position)


def lost(mapping: EventSourceMapping, queue: Queue, total: int) -> list[int]:
    kept = queue.accepted + "".join(mapping.discarded)
    return [number for number in range(total) if name(number) not in kept]


def real(queue: Queue) -> Function:
    handler = make_handler(Router(), queue, lambda arn: arn.split("/")[1])
    return lambda event: handler(event, None)


def test_every_record_is_accepted_or_in_the_bucket() -> None:
    for seed in range(150):
        poison, mapping, queue = history(seed, real)

        assert lost(mapping, queue, mapping.position) == [], f"seed {seed}"
        killers = [name(int(each.removeprefix("event-"))) for each in poison]
        assert all(each in "".join(mapping.discarded) for each in killers), f"seed {seed}"


def test_a_function_that_hides_what_was_refused_is_caught() -> None:
    def hiding(queue: Queue) -> Function:
        return lambda event: real(queue)(event) and {"batchItemFailures": []}

    found = (history(seed, hiding) for seed in range(50))

    assert any(lost(mapping, queue, mapping.position) for _, mapping, queue in found)


def test_a_function_that_names_the_last_failure_is_caught() -> None:
    def late(queue: Queue) -> Function:
        def call(event: Mapping[str, Any]) -> Mapping[str, Any]:
            if not real(queue)(event)["batchItemFailures"]:
                return {"batchItemFailures": []}
            number = event["Records"][-1]["dynamodb"]["SequenceNumber"]
            return {"batchItemFailures": [{"itemIdentifier": number}]}

        return call

    found = (history(seed, late) for seed in range(50))

    assert any(lost(mapping, queue, mapping.position) for _, mapping, queue in found)


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[WorkMessage]:
    """What would be sent to the work queues."""
    sent: list[WorkMessage] = []
    monkeypatch.setattr(SqsWorkQueues, "send", lambda _, messages: sent.extend(messages))
    return sent


def test_what_was_discarded_is_fed_once_the_fault_is_mended(
    tmp_path: Path, fed: list[WorkMessage]
) -> None:
    seed = next(seed for seed in range(50) if len(history(seed, real)[1].discarded) > 2)
    _, mapping, queue = history(seed, real)
    for number, text in enumerate(mapping.discarded):
        path = tmp_path / "aws/lambda/mapping/shard" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    found = feed_discarded(connect(LOCAL), tmp_path.as_uri())

    bodies = "".join(message.body for message in fed)
    everywhere = queue.accepted + bodies
    assert [n for n in range(mapping.position) if name(n) not in everywhere] == []
    assert (found.batches, found.unread, found.unroutable) == (len(mapping.discarded), {}, {})
    assert found.records["agent_signals"] >= found.batches


def test_an_object_that_holds_no_batch_of_these_tables_is_named_and_the_rest_is_fed(
    tmp_path: Path, fed: list[WorkMessage]
) -> None:
    _, mapping, _ = history(next(s for s in range(50) if history(s, real)[1].discarded), real)
    whole = mapping.discarded[0]
    wrong = {
        "a": "no JSON",
        "b": "[]",
        "c": whole.replace("payload", "nothing"),
        "d": whole.replace("table/agent_signals", "table/other-agent_signals"),
        "e": whole.replace("eventSourceARN", "arn"),
    }
    for file, text in {**wrong, "z": whole}.items():
        (tmp_path / file).write_text(text)

    found = feed_discarded(connect(LOCAL), tmp_path.as_uri())

    said = {Path(path).name: why for path, why in found.unread.items()}
    assert said.keys() == wrong.keys()
    assert "`sharpwave reconcile TABLE`" in said["c"]
    assert "other-agent_signals" in said["d"]
    assert found.batches == 1
    assert fed
