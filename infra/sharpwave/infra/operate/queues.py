"""The work queues and inboxes: how full they are, and which are paused."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.operate.items import Item, Items
from sharpwave.infra.operate.mailbox import Depth, depth_of, redrive_of
from sharpwave.infra.provision import queue_setup
from sharpwave.schemas import keys
from sharpwave.schemas.queues import DLQ_SUFFIX, WORK_QUEUE_NAMES
from sharpwave.schemas.tables import PIPELINE


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """One queue: its depth and its dead letters' (None if the queue is missing)."""

    name: str
    depth: Depth | None
    dlq: Depth | None
    redrives: bool
    paused: bool


def list_queues(deployment: Deployment) -> list[QueueView]:
    """List the work queues, then every inbox queue that exists."""
    flags = paused_queues(Items(deployment))
    names = [*WORK_QUEUE_NAMES, *queue_setup.inbox_names(deployment)]
    return [_view(deployment, name, is_paused=name in flags) for name in names]


def view_queue(deployment: Deployment, name: str) -> QueueView:
    """Look at one queue."""
    return _view(deployment, name, is_paused=name in paused_queues(Items(deployment)))


def paused_queues(items: Items) -> dict[str, Item]:
    """Read which work queues are paused, with the flag of each."""
    partition = keys.PAUSED_PK
    return {flag["SK"]: flag for flag in items.query(PIPELINE, partition)}


def pause(
    deployment: Deployment, queue: str, *, reason: str | None = None, dry_run: bool = False
) -> bool:
    """Make workers stop taking from a work queue; say whether that is a change.

    What they hold is finished. The queue keeps filling.

    Raises:
        Misused: it is no work queue.
    """
    _check_work_queue(queue)
    items, key = Items(deployment), keys.paused(queue)
    if items.get(PIPELINE, key):
        return False
    flag = {**key.item(), "queue": queue, "paused_at": int(time.time())}
    return dry_run or items.put_new(PIPELINE, flag | ({"reason": reason} if reason else {}))


def resume(deployment: Deployment, queue: str, *, dry_run: bool = False) -> bool:
    """Let workers take from a work queue again; say whether that is a change.

    Raises:
        Misused: it is no work queue.
    """
    _check_work_queue(queue)
    items, key = Items(deployment), keys.paused(queue)
    if dry_run:
        return items.get(PIPELINE, key) is not None
    return items.delete(PIPELINE, key)


def _check_work_queue(queue: str) -> None:
    if queue not in WORK_QUEUE_NAMES:
        raise Misused(f"{queue!r} is no work queue; there are {', '.join(WORK_QUEUE_NAMES)}")


def _view(deployment: Deployment, name: str, *, is_paused: bool) -> QueueView:
    own = queue_setup.attributes_of(deployment, name)
    dead = queue_setup.attributes_of(deployment, name + DLQ_SUFFIX)
    redrive = redrive_of(own) if own else None
    target = deployment.name(name + DLQ_SUFFIX)
    return QueueView(
        name=name,
        depth=None if own is None else depth_of(own),
        dlq=None if dead is None else depth_of(dead),
        redrives=redrive is not None and redrive[0].rpartition(":")[2] == target,
        paused=is_paused,
    )


def faulty(views: list[QueueView]) -> Iterator[QueueView]:
    """Give the queues that are missing, or whose spent messages go nowhere."""
    return (view for view in views if view.depth is None or view.dlq is None or not view.redrives)
