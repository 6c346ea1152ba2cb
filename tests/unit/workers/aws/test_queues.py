"""Messages for inboxes are sent queue by queue; the trouble of one reaches no other's messages."""

from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from sharpwave.workers.aws import queues
from sharpwave.workers.aws.errors import ATTEMPTS
from sharpwave.workers.aws.queues import (
    BatchSender,
    QueueUrls,
    SqsInboxes,
    SqsWorkQueues,
    StreamSender,
)
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import CallRefused, Fate, InboxMessage, TryAgain


class Sqs:
    """A client whose queues `inbox-<agent>` accept, refuse or fail as told."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.trouble: dict[str, Any] = {}
        self.refused_bodies: set[str] = set()
        self.fault: dict[str, Any] = {"Code": "InternalError"}
        self.lookups: list[str] = []
        self.delays: dict[str, int | None] = {}
        self.calls = 0

    def get_queue_url(self, *, QueueName: str) -> dict[str, str]:
        self.lookups.append(QueueName)
        if self.trouble.get(QueueName) == "unknown":
            raise failure("AWS.SimpleQueueService.NonExistentQueue")
        return {"QueueUrl": QueueName}

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:
        self.calls += 1
        trouble = self.trouble.get(QueueUrl)
        if isinstance(trouble, Exception):
            raise trouble
        failed, accepted = [], []
        for entry in Entries:
            if entry["MessageBody"] in self.refused_bodies:
                failed.append({"Id": entry["Id"], **self.fault})
            else:
                self.taken.append((QueueUrl, entry["MessageBody"]))
                self.delays[entry["MessageBody"]] = entry.get("DelaySeconds")
                accepted.append({"Id": entry["Id"]})
        return {"Successful": accepted, "Failed": failed}


def failure(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "SendMessageBatch")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "full_jitter_s", lambda *_, **__: 0.0)


@pytest.fixture
def sqs() -> Sqs:
    return Sqs()


@pytest.mark.parametrize(
    ("trouble", "fate"),
    [
        ("unknown", Fate.GONE),
        (failure("AWS.SimpleQueueService.NonExistentQueue"), Fate.GONE),
        (failure("QueueDoesNotExist"), Fate.GONE),
        (failure("AccessDenied"), Fate.FAILED),
        (failure("ServiceUnavailable"), Fate.FAILED),
        (failure("ValidationError"), Fate.FAILED),
        (EndpointConnectionError(endpoint_url="http://sqs"), Fate.FAILED),
    ],
)
def test_a_queue_in_trouble_is_told_from_its_neighbours(sqs: Sqs, trouble: Any, fate: Fate) -> None:
    sqs.trouble["inbox-bob"] = trouble
    inboxes = SqsInboxes(sqs, urls=QueueUrls(sqs))
    posts = [
        InboxMessage(agent, f"{agent}{n}") for n in range(2) for agent in ("ann", "bob", "eve")
    ]

    fates = inboxes.send(posts)

    assert fates == [Fate.SENT, fate, Fate.SENT] * 2
    assert sorted(sqs.taken) == [
        (f"inbox-{agent}", f"{agent}{n}") for agent in ("ann", "eve") for n in range(2)
    ]


def test_of_one_queue_each_message_is_told_apart(sqs: Sqs) -> None:
    sqs.refused_bodies = {"3", "17"}
    inboxes = SqsInboxes(sqs, urls=QueueUrls(sqs))

    fates = inboxes.send([InboxMessage("ann", str(n)) for n in range(25)])

    assert [n for n, fate in enumerate(fates) if fate is not Fate.SENT] == [3, 17]
    assert len(sqs.taken) == 23


def test_a_queue_made_anew_is_found(sqs: Sqs) -> None:
    inboxes = SqsInboxes(sqs, urls=QueueUrls(sqs))
    sqs.trouble["inbox-ann"] = failure("QueueDoesNotExist")
    before = inboxes.send([InboxMessage("ann", "1")])
    del sqs.trouble["inbox-ann"]

    assert before == [Fate.GONE]
    assert inboxes.send([InboxMessage("ann", "1")]) == [Fate.SENT]
    assert len(sqs.lookups) == 2


def test_a_copy_of_what_is_urgent_goes_to_the_urgent_queue_too(sqs: Sqs) -> None:
    inboxes = SqsInboxes(sqs, urls=QueueUrls(sqs))

    fates = inboxes.send([InboxMessage("ann", "1", urgent=True), InboxMessage("bob", "2")])

    assert fates == [Fate.SENT, Fate.SENT]
    assert sorted(sqs.taken) == [("inbox-ann", "1"), ("inbox-ann_urgent", "1"), ("inbox-bob", "2")]


@pytest.mark.parametrize("trouble", ["unknown", failure("AccessDenied"), failure("OverLimit")])
def test_an_urgent_queue_in_trouble_takes_nothing_away_from_the_inbox(
    sqs: Sqs, trouble: Any
) -> None:
    sqs.trouble["inbox-ann_urgent"] = trouble

    fates = SqsInboxes(sqs, urls=QueueUrls(sqs)).send([InboxMessage("ann", "1", urgent=True)])

    assert (fates, sqs.taken) == ([Fate.SENT], [("inbox-ann", "1")])


def test_an_urgent_queue_that_is_missing_is_looked_for_once_a_minute(sqs: Sqs) -> None:
    sqs.trouble["inbox-ann_urgent"] = "unknown"
    moment = [0.0]
    inboxes = SqsInboxes(sqs, urls=QueueUrls(sqs), clock=lambda: moment[0])
    for text in ("1", "2"):
        inboxes.send([InboxMessage("ann", text, urgent=True)])
    del sqs.trouble["inbox-ann_urgent"]

    moment[0] = 61.0
    inboxes.send([InboxMessage("ann", "3", urgent=True)])

    assert sqs.lookups.count("inbox-ann_urgent") == 2
    assert ("inbox-ann_urgent", "3") in sqs.taken


def test_a_queue_that_cannot_be_looked_up_is_not_taken_for_gone(
    sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_: str) -> dict[str, str]:
        raise failure("AccessDenied")

    monkeypatch.setattr(sqs, "get_queue_url", refused)

    assert SqsInboxes(sqs, urls=QueueUrls(sqs)).send([InboxMessage("ann", "1")]) == [Fate.FAILED]


def test_work_for_a_queue_that_is_not_there_waits_for_it(sqs: Sqs) -> None:
    sqs.trouble["deliver"] = "unknown"

    with pytest.raises(TryAgain, match="run `sharpwave provision`"):
        SqsWorkQueues(sqs, urls=QueueUrls(sqs)).send([WorkMessage("deliver", "{}", ())])


@pytest.mark.parametrize(
    ("code", "error"), [("ServiceUnavailable", TryAgain), ("ValidationError", CallRefused)]
)
def test_work_is_accepted_whole_or_not_at_all(sqs: Sqs, code: str, error: type[Exception]) -> None:
    work = SqsWorkQueues(sqs, urls=QueueUrls(sqs))
    sqs.trouble["deliver"] = failure(code)

    with pytest.raises(error):
        work.send([WorkMessage("deliver", "{}", ())])


def test_work_that_is_refused_in_part_is_tried_again(sqs: Sqs) -> None:
    work = SqsWorkQueues(sqs, urls=QueueUrls(sqs))
    sqs.refused_bodies = {"2"}

    with pytest.raises(TryAgain, match="refused 1 messages"):
        work.send([WorkMessage("deliver", str(n), ()) for n in range(3)])


def test_a_queue_url_is_looked_up_once(sqs: Sqs) -> None:
    urls = QueueUrls(sqs, prefix="dev")

    assert urls.find("learn") == urls.find("learn") == "dev-learn"
    assert sqs.lookups == ["dev-learn"]


def test_a_message_for_a_queue_nobody_configured_is_parked(sqs: Sqs) -> None:
    parked: list[tuple[str, str, str]] = []
    sender = BatchSender(
        sqs,
        urls=QueueUrls(sqs),
        on_refused=lambda message, code, reason: parked.append((message.body, code, reason)),
    )

    StreamSender(sender).send([WorkMessage("lern", "x", ("1",))])

    known = "deliver, status, promote, learn, archive"
    reason = f"queue 'lern' is not configured; known are {known}"
    assert parked == [("x", "UnknownQueue", reason)]
    assert sqs.lookups == []


def test_work_that_sqs_never_takes_is_offered_once_and_is_not_worth_hours(sqs: Sqs) -> None:
    sqs.refused_bodies = {"2"}
    sqs.fault = {"SenderFault": True, "Code": "InvalidMessageContents", "Message": "odd"}

    with pytest.raises(CallRefused, match="deliver refused 1 messages: InvalidMessageContents"):
        SqsWorkQueues(sqs, urls=QueueUrls(sqs)).send(
            [WorkMessage("deliver", str(n), ()) for n in range(3)]
        )
    assert sqs.calls == 1
    assert SqsInboxes(sqs, urls=QueueUrls(sqs)).send([InboxMessage("ann", "2")]) == [Fate.FAILED]
    assert sqs.calls == 2


def test_what_sqs_throttles_and_blames_on_the_sender_is_sent_again(sqs: Sqs) -> None:
    sqs.refused_bodies = {"2"}
    sqs.fault = {"SenderFault": True, "Code": "RequestThrottled"}

    with pytest.raises(TryAgain, match="RequestThrottled"):
        SqsWorkQueues(sqs, urls=QueueUrls(sqs)).send([WorkMessage("deliver", "2", ())])
    assert sqs.calls == ATTEMPTS


def test_a_call_that_botocore_gave_up_is_not_made_again(sqs: Sqs) -> None:
    sqs.trouble["deliver"] = failure("RequestThrottled")

    with pytest.raises(TryAgain, match="RequestThrottled"):
        SqsWorkQueues(sqs, urls=QueueUrls(sqs)).send([WorkMessage("deliver", "2", ())])
    assert sqs.calls == 1


def test_a_delay_goes_with_its_message_only(sqs: Sqs) -> None:
    work = SqsWorkQueues(sqs, urls=QueueUrls(sqs))

    work.send([WorkMessage("deliver", "1", (), delay_s=7), WorkMessage("deliver", "2", ())])

    assert sqs.delays == {"1": 7, "2": None}
    assert sqs.calls == 1
