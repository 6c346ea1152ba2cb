"""What has to be done to make a queue what it should be."""

from collections.abc import Iterator
from functools import partial

from botocore.exceptions import ClientError

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing, code_of, translated
from sharpwave.infra.mailbox import Mailbox, redrive_of
from sharpwave.infra.provision.steps import TAG, Difference, Finding, Step, tag_value
from sharpwave.schemas.queues import DLQ_ATTRIBUTES, DLQ_SUFFIX, Queue

_TUNABLE = ("VisibilityTimeout", "MessageRetentionPeriod", "ReceiveMessageWaitTimeSeconds")


def queue_findings(deployment: Deployment, queue: Queue) -> Iterator[Finding]:
    """Compare one queue and its dead-letter queue with their definition."""
    name, dlq = deployment.name(queue.name), deployment.name(queue.dlq)
    if attributes_of(deployment, queue.dlq) is None:
        run = partial(_create, deployment, queue.dlq, DLQ_ATTRIBUTES)
        yield Step("create", "queue", dlq, "dead letters", run)
    found = attributes_of(deployment, queue.name)
    if found is None:
        run = partial(_create_main, deployment, queue)
        yield Step("create", "queue", name, f"dead letters to {dlq}", run)
        return
    redrive = redrive_of(found)
    if redrive is None or redrive[0].rpartition(":")[2] != dlq:
        run = partial(_mend_redrive, deployment, queue)
        yield Step("mend", "queue", name, f"dead letters to {dlq}", run)
    elif redrive[1] != queue.max_receive_count:
        what = f"maxReceiveCount is {redrive[1]}, {queue.max_receive_count} by definition"
        yield Difference("queue", name, what, breaks=False)
    yield from _tuned(name, queue, found)


def attributes_of(deployment: Deployment, name: str) -> dict[str, str] | None:
    """Read a queue's attributes; None if there is no such queue."""
    try:
        return Mailbox(deployment, name).attributes()
    except Missing:
        return None


def is_ours(deployment: Deployment, name: str) -> bool:
    """Say whether a queue was made here for this deployment."""
    with translated(f"queue {deployment.name(name)}"):
        url = Mailbox(deployment, name).url
        answer = deployment.sqs.list_queue_tags(QueueUrl=url)
    return answer.get("Tags", {}).get(TAG) == tag_value(deployment.prefix)


def inbox_names(deployment: Deployment) -> list[str]:
    """List the logical names of all inbox queues that exist, without dead-letter queues, sorted."""
    start = deployment.name("inbox-")
    lead = len(start) - len("inbox-")
    with translated("the list of queues"):
        pages = deployment.sqs.get_paginator("list_queues").paginate(
            QueueNamePrefix=start, PaginationConfig={"PageSize": 1000}
        )
        urls = [url for page in pages for url in page.get("QueueUrls", [])]
    names = (url.rpartition("/")[2][lead:] for url in urls)
    return sorted(name for name in names if not name.endswith(DLQ_SUFFIX))


def delete(deployment: Deployment, name: str) -> None:
    """Delete a queue and what is in it; its name is free again after a minute."""
    box = Mailbox(deployment, name)
    with translated(f"queue {box.physical}"):
        deployment.sqs.delete_queue(QueueUrl=box.url)


def _create(deployment: Deployment, name: str, attributes: dict[str, str]) -> None:
    physical = deployment.name(name)
    with translated(f"queue {physical}"):
        try:
            deployment.sqs.create_queue(
                QueueName=physical,
                Attributes=attributes,  # type: ignore[arg-type]
                tags={TAG: tag_value(deployment.prefix)},
            )
        except ClientError as error:
            # Made by somebody else since it was looked for; the next run compares it.
            if code_of(error) not in ("QueueAlreadyExists", "QueueNameExists"):
                raise


def _create_main(deployment: Deployment, queue: Queue) -> None:
    _create(deployment, queue.name, queue.attributes(_dlq_arn(deployment, queue)))


def _mend_redrive(deployment: Deployment, queue: Queue) -> None:
    policy = queue.attributes(_dlq_arn(deployment, queue))["RedrivePolicy"]
    box = Mailbox(deployment, queue.name)
    with translated(f"queue {box.physical}"):
        deployment.sqs.set_queue_attributes(QueueUrl=box.url, Attributes={"RedrivePolicy": policy})


def _dlq_arn(deployment: Deployment, queue: Queue) -> str:
    return Mailbox(deployment, queue.dlq).attributes()["QueueArn"]


def _tuned(name: str, queue: Queue, found: dict[str, str]) -> Iterator[Difference]:
    wanted = queue.attributes("")
    for attribute in _TUNABLE:
        value = found.get(attribute)
        if value is not None and value != wanted[attribute]:
            what = f"{attribute} is {value}, {wanted[attribute]} by definition"
            yield Difference("queue", name, what, breaks=False)
