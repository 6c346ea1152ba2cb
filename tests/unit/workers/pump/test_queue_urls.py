"""A logical queue name leads to one URL, looked up once."""

import pytest

from sharpwave.workers.pump import QueueUrls, Sender, UnknownQueue
from sharpwave.workers.work.outgoing import WorkMessage


class Lookup:
    """Knows the URL of every queue and who was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_queue_url(self, *, QueueName: str) -> dict[str, str]:
        self.asked.append(QueueName)
        return {"QueueUrl": f"http://sqs/{QueueName}"}

    def send_message_batch(self, **_: object) -> None:
        raise AssertionError("nothing is to be sent")


def test_a_queue_url_is_looked_up_once() -> None:
    sqs = Lookup()
    urls = QueueUrls(sqs, {"learn": "dev-learn"})

    assert urls("learn") == urls("learn") == "http://sqs/dev-learn"
    assert sqs.asked == ["dev-learn"]


def test_a_queue_nobody_configured_is_named_with_those_that_are() -> None:
    urls = QueueUrls(Lookup(), {"learn": "dev-learn"})

    with pytest.raises(UnknownQueue, match="queue 'lern' is not configured; known are learn"):
        urls("lern")


def test_a_message_for_a_queue_nobody_configured_is_parked() -> None:
    parked: list[tuple[str, str]] = []
    sender = Sender(
        Lookup(),
        queue_url=QueueUrls(Lookup(), {}),
        on_refused=lambda message, code, reason: parked.append((message.body, code)),
    )

    sender.send([WorkMessage("nowhere", "x", ("1",))])

    assert parked == [("x", "UnknownQueue")]
