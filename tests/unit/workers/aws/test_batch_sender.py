"""A sender returns once SQS has every message, or has refused it as the sender's fault."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.workers.aws import queues
from sharpwave.workers.aws.queues import BatchSender, QueueUrls, SendAbandoned, StreamSender
from sharpwave.workers.work.outgoing import WorkMessage
from tests.unit.workers.pump.conftest import Stop, client_error
from tests.world import VirtualClock

Verdict = Callable[[str, str], dict[str, Any] | None]


class FakeSqs:
    """Accepts batches within AWS's limits; `verdict` gives the fault of an entry, if any."""

    def __init__(self, verdict: Verdict = lambda url, body: None) -> None:
        self.verdict = verdict
        self.accepted: list[tuple[str, str]] = []
        self.sizes: list[tuple[int, int]] = []
        self.faults: list[Exception] = []
        self.max_bytes = 1_048_576
        self._lock = threading.Lock()

    def get_queue_url(self, *, QueueName: str) -> dict[str, str]:
        return {"QueueUrl": QueueName}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> Any:
        with self._lock:
            size = sum(len(entry["MessageBody"].encode()) for entry in Entries)
            self.sizes.append((len(Entries), size))
            if self.faults:
                raise self.faults.pop(0)
            if size > self.max_bytes:
                code = "AWS.SimpleQueueService.BatchRequestTooLong"
                raise client_error(code)
            return self._judge(QueueUrl, Entries)

    def _judge(self, url: str, entries: list[dict[str, str]]) -> Any:
        failed = []
        for entry in entries:
            if fault := self.verdict(url, entry["MessageBody"]):
                failed.append({"Id": entry["Id"], **fault})
            else:
                self.accepted.append((url, entry["MessageBody"]))
        bad = {entry["Id"] for entry in failed}
        return {
            "Successful": [{"Id": e["Id"]} for e in entries if e["Id"] not in bad],
            "Failed": failed,
        }


class Refusals:
    """Parks refused messages, unless told to fail."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.faults: list[Exception] = []

    def __call__(self, message: WorkMessage, code: str, reason: str) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.seen.append((message.body, code))


@pytest.fixture
def sqs() -> FakeSqs:
    return FakeSqs()


@pytest.fixture
def refusals() -> Refusals:
    return Refusals()


@pytest.fixture
def stop() -> Stop:
    return Stop(VirtualClock())


@pytest.fixture
def sender(sqs: FakeSqs, refusals: Refusals, stop: Stop) -> StreamSender:
    return make_sender(sqs, refusals, stop)


def make_sender(
    sqs: FakeSqs,
    refusals: Refusals,
    stop: threading.Event,
    *,
    max_batch_bytes: int = 1_048_576,
) -> StreamSender:
    return StreamSender(
        BatchSender(
            sqs,
            urls=QueueUrls(sqs),
            on_refused=refusals,
            parallel=2,
            max_bytes=max_batch_bytes,
            stop=stop,
        )
    )


def messages(count: int, queue: str = "deliver") -> list[WorkMessage]:
    return [WorkMessage(queue, f"{queue}-{i}", (str(i),)) for i in range(count)]


def throttled_once() -> Verdict:
    tries: Counter[str] = Counter()

    def verdict(url: str, body: str) -> dict[str, Any] | None:
        tries[body] += 1
        return {"SenderFault": False, "Code": "InternalError"} if tries[body] == 1 else None

    return verdict


def bodies(sent: list[tuple[str, str]]) -> list[str]:
    return sorted(body for _, body in sent)


def test_messages_go_to_their_own_queues_ten_at_a_time(sender: StreamSender, sqs: FakeSqs) -> None:
    sender.send(messages(23) + messages(4, "learn"))

    assert sorted(count for count, _ in sqs.sizes) == [3, 4, 10, 10]
    assert all(body.startswith(url) for url, body in sqs.accepted)
    assert len(sqs.accepted) == 27


def test_a_batch_stays_within_the_byte_limit(refusals: Refusals, stop: Stop) -> None:
    sqs = FakeSqs()
    sqs.max_bytes = 1000
    sender = make_sender(sqs, refusals, stop, max_batch_bytes=1000)

    sender.send([WorkMessage("archive", "x" * 400, (str(i),)) for i in range(5)])

    assert sorted(sqs.sizes) == [(1, 400), (2, 800), (2, 800)]


def test_an_entry_that_failed_on_the_side_of_sqs_is_sent_again(
    refusals: Refusals, stop: Stop
) -> None:
    sqs = FakeSqs(throttled_once())

    make_sender(sqs, refusals, stop).send(messages(3))

    assert bodies(sqs.accepted) == ["deliver-0", "deliver-1", "deliver-2"]
    assert len(stop.waits) == 1
    assert refusals.seen == []


def test_only_the_failed_entries_of_a_batch_are_sent_again(refusals: Refusals, stop: Stop) -> None:
    again = throttled_once()
    sqs = FakeSqs(lambda url, body: again(url, body) if body == "deliver-1" else None)

    make_sender(sqs, refusals, stop).send(messages(3))

    assert [count for count, _ in sqs.sizes] == [3, 1]


def test_a_message_refused_as_our_fault_is_parked_and_holds_up_nothing(
    refusals: Refusals, stop: Stop
) -> None:
    poison = {"SenderFault": True, "Code": "InvalidMessageContents", "Message": "bad"}
    sqs = FakeSqs(lambda url, body: poison if body == "deliver-1" else None)

    make_sender(sqs, refusals, stop).send(messages(3))

    assert refusals.seen == [("deliver-1", "InvalidMessageContents")]
    assert bodies(sqs.accepted) == ["deliver-0", "deliver-2"]
    assert stop.waits == []


@pytest.mark.parametrize("code", ["RequestThrottled", "KMS.ThrottlingException", "KmsDisabled"])
def test_what_sqs_blames_on_the_sender_but_may_accept_later_is_sent_again(
    code: str, refusals: Refusals, stop: Stop
) -> None:
    judged = throttled_once()
    sqs = FakeSqs(lambda url, body: judged(url, body) and {"SenderFault": True, "Code": code})

    make_sender(sqs, refusals, stop).send(messages(3))

    assert bodies(sqs.accepted) == ["deliver-0", "deliver-1", "deliver-2"]
    assert refusals.seen == []


def test_a_refused_message_that_cannot_be_parked_comes_again(
    refusals: Refusals, stop: Stop
) -> None:
    refusals.faults = [RuntimeError("table is throttled")]
    sqs = FakeSqs(lambda url, body: {"SenderFault": True, "Code": "InvalidMessageContents"})

    make_sender(sqs, refusals, stop).send(messages(1))

    assert refusals.seen == [("deliver-0", "InvalidMessageContents")]
    assert len(stop.waits) == 1


def test_an_entry_sqs_does_not_mention_is_sent_again(sender: StreamSender, sqs: FakeSqs) -> None:
    real = sqs.send_message_batch
    answers: list[Any] = [{"Successful": [], "Failed": []}]
    sqs.send_message_batch = lambda **call: answers.pop() if answers else real(**call)  # type: ignore[method-assign]

    sender.send(messages(2))

    assert bodies(sqs.accepted) == ["deliver-0", "deliver-1"]


@pytest.mark.parametrize("code", ["RequestThrottled", "InternalFailure", "QueueDoesNotExist"])
def test_a_call_that_fails_whole_is_made_again(
    sender: StreamSender, sqs: FakeSqs, refusals: Refusals, code: str
) -> None:
    sqs.faults = [client_error(code), client_error(code)]

    sender.send(messages(2))

    assert bodies(sqs.accepted) == ["deliver-0", "deliver-1"]
    assert refusals.seen == []


def test_an_unreachable_queue_is_tried_until_it_answers(
    sender: StreamSender, sqs: FakeSqs, stop: Stop
) -> None:
    sqs.faults = [EndpointConnectionError(endpoint_url="http://127.0.0.1:1") for _ in range(20)]

    sender.send(messages(1))

    assert bodies(sqs.accepted) == ["deliver-0"]
    assert len(stop.waits) == 20
    assert max(stop.waits) <= 5.0


def test_one_oversized_message_is_found_and_parked_alone(refusals: Refusals, stop: Stop) -> None:
    sqs = FakeSqs()
    sqs.max_bytes = 100
    huge = WorkMessage("deliver", "x" * 101, ("9",))

    make_sender(sqs, refusals, stop).send([*messages(2), huge])

    assert refusals.seen == [(huge.body, "BatchRequestTooLong")]
    assert bodies(sqs.accepted) == ["deliver-0", "deliver-1"]


def test_a_stop_ends_the_retries_and_says_that_messages_are_left(
    sqs: FakeSqs, refusals: Refusals
) -> None:
    sqs.verdict = lambda url, body: {"SenderFault": False, "Code": "ServiceUnavailable"}
    sender = make_sender(sqs, refusals, Stop(VirtualClock(), patience=3))

    with pytest.raises(SendAbandoned, match="2 messages were not accepted"):
        sender.send(messages(2))


def test_a_stop_still_lets_the_page_in_hand_be_sent(
    sender: StreamSender, sqs: FakeSqs, stop: Stop
) -> None:
    stop.set()

    sender.send(messages(2))

    assert len(sqs.accepted) == 2


def test_a_bounded_try_gives_back_what_was_not_accepted(refusals: Refusals, stop: Stop) -> None:
    sqs = FakeSqs(lambda url, body: {"SenderFault": False} if body == "deliver-1" else None)

    left = make_sender(sqs, refusals, stop).try_send(messages(3), attempts=3)

    assert [message.body for message in left] == ["deliver-1"]
    assert len(sqs.sizes) == 3


@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from(["deliver", "status", "learn"]),
            st.sampled_from(["ok", "refused", "throttled"]),
            st.integers(1, 120),
        ),
        max_size=60,
    )
)
def test_every_message_is_accepted_or_parked_exactly_once(
    plan: list[tuple[str, str, int]],
) -> None:
    tries: Counter[str] = Counter()

    def verdict(url: str, body: str) -> dict[str, Any] | None:
        tries[body] += 1
        if "throttled" in body and tries[body] < 3:
            return {"SenderFault": False, "Code": "InternalError"}
        return {"SenderFault": True, "Code": "Invalid"} if "refused" in body else None

    sqs, refusals = FakeSqs(verdict), Refusals()
    sqs.max_bytes = 100
    stop = threading.Event()
    stop.wait = lambda timeout=None: False  # type: ignore[method-assign]
    sender = make_sender(sqs, refusals, stop, max_batch_bytes=100)
    sent = [
        WorkMessage(queue, f"{i}-{fate}-".ljust(size, "x"), (str(i),))
        for i, (queue, fate, size) in enumerate(plan)
    ]

    sender.send(sent)
    sender._sender.close()

    settled = [body for _, body in sqs.accepted] + [body for body, _ in refusals.seen]
    assert sorted(settled) == sorted(message.body for message in sent)


def test_a_part_that_is_accepted_starts_the_waits_over(
    refusals: Refusals, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: Counter[str] = Counter()

    def verdict(url: str, body: str) -> dict[str, Any] | None:
        tries[body] += 1
        most = {"deliver-0": 3, "deliver-1": 5}[body]
        return {"Code": "InternalError"} if tries[body] <= most else None

    failures: list[int] = []

    def noted(failed: int, **_: float) -> float:
        failures.append(failed)
        return 0.0

    monkeypatch.setattr(queues, "full_jitter_s", noted)
    make_sender(FakeSqs(verdict), refusals, stop).send(messages(2))

    assert failures == [0, 1, 2, 0, 1]
