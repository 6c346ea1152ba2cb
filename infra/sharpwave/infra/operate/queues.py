"""The queues and who works on them: how full they are, which are paused, and who is alive."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.items import Item, Items
from sharpwave.infra.mailbox import (
    Depth,
    attributes_of,
    depth_at,
    depth_of,
    inbox_names,
    redrive_of,
)
from sharpwave.schemas import keys
from sharpwave.schemas.queues import DLQ_SUFFIX, WORK_QUEUE_NAMES
from sharpwave.schemas.tables import PIPELINE

#: Who is silent for longer is taken for dead or frozen, or for three of its own heartbeats.
SILENT_S = 15.0
MAX_INSTANCES = 64
#: As many messages may wait for each instance, as in the demo's profile for AWS.
PER_INSTANCE = 200


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """One queue: its depth and its dead letters' (None if the queue is missing)."""

    name: str
    depth: Depth | None
    dlq: Depth | None
    redrives: bool
    paused: bool


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """One worker process, as its last sign of life described it."""

    name: str
    queues: Sequence[str]
    threads: int
    started_at: int
    silent_s: int
    draining: bool
    calls: int
    alive: bool


def list_queues(deployment: Deployment) -> list[QueueView]:
    """List the work queues, then every inbox queue that exists."""
    paused = paused_queues(Items(deployment))
    names = [*WORK_QUEUE_NAMES, *inbox_names(deployment)]
    return [_view(deployment, name, is_paused=name in paused) for name in names]


def view_queue(deployment: Deployment, name: str) -> QueueView:
    """Look at one queue."""
    return _view(deployment, name, is_paused=name in paused_queues(Items(deployment)))


def _view(deployment: Deployment, name: str, *, is_paused: bool) -> QueueView:
    own = attributes_of(deployment, name)
    redrive = redrive_of(own) if own else None
    target = deployment.name(name + DLQ_SUFFIX)
    return QueueView(
        name=name,
        depth=None if own is None else depth_of(own),
        dlq=depth_at(deployment, name + DLQ_SUFFIX),
        # A queue made by hand may redrive elsewhere, where no command of ours looks.
        redrives=redrive is not None and redrive[0].rpartition(":")[2] == target,
        paused=is_paused,
    )


def faulty(views: list[QueueView]) -> Iterator[QueueView]:
    """Give the queues that are missing, or whose spent messages go nowhere."""
    return (view for view in views if view.depth is None or view.dlq is None or not view.redrives)


def paused_queues(items: Items) -> dict[str, Item]:
    """Read which work queues are paused, with the flag of each."""
    return {flag["SK"]: flag for flag in items.query(PIPELINE, keys.PAUSED_PK)}


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
    # The first reason stays: who paused it before knows why, and resumes it.
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
    return items.get(PIPELINE, key) is not None if dry_run else items.delete(PIPELINE, key)


def _check_work_queue(queue: str) -> None:
    if queue not in WORK_QUEUE_NAMES:
        raise Misused(f"{queue!r} is no work queue; there are {', '.join(WORK_QUEUE_NAMES)}")


def is_silent(beat: Mapping[str, Any], now: float) -> bool:
    """Say whether the last sign of life of a worker or a pump is too old, at epoch second `now`."""
    return now - float(beat.get("at", 0)) > max(SILENT_S, 3 * float(beat.get("every_s", 0)))


def list_workers(deployment: Deployment) -> list[WorkerView]:
    """List worker processes by name, with those that ended within the hour."""
    now = time.time()
    return [
        WorkerView(
            name=str(row["SK"]),
            queues=list(row["queues"]),
            threads=int(row["threads"]),
            started_at=int(row["started_at"]),
            silent_s=max(0, int(now) - int(row["at"])),
            draining=bool(row["draining"]),
            calls=sum(int(count) for count in row.get("calls", {}).values()),
            alive=not row["draining"] and not is_silent(row, now),
        )
        for row in Items(deployment).query(PIPELINE, keys.PRESENCE_PK)
        if "queues" in row
    ]


def worker_calls(deployment: Deployment) -> dict[str, int]:
    """Sum the AWS calls that workers and pump reported, by operation."""
    rows = Items(deployment).query(PIPELINE, keys.PRESENCE_PK)
    calls: dict[str, int] = {}
    # The pump writes a row for each table, each with the calls of its whole process.
    for owner in {str(row.get("pid", row["SK"])): row for row in rows}.values():
        for name, count in owner.get("calls", {}).items():
            calls[name] = calls.get(name, 0) + int(count)
    return calls


class Wanted(NamedTuple):
    """How many instances of a queue's worker service are wanted.

    Attributes:
        least: never fewer.
        most: never more; above `least` their number follows the backlog.
        per_instance: how many messages may wait for each of them.
    """

    least: int
    most: int
    per_instance: int = PER_INSTANCE

    def __str__(self) -> str:
        """Write it as the command takes it."""
        return str(self.most) if self.least == self.most else f"{self.least}..{self.most}"


def want(deployment: Deployment, wishes: dict[str, Wanted], *, dry_run: bool = False) -> None:
    """Say how many instances of queues' worker services `sharpwave up` shall run.

    Raises:
        Misused: there is no such queue, or a number is out of range.
    """
    for queue, wish in wishes.items():
        if queue not in WORK_QUEUE_NAMES:
            raise Misused(f"{queue!r} is no work queue; there are: {', '.join(WORK_QUEUE_NAMES)}")
        if not 0 <= wish.least <= wish.most <= MAX_INSTANCES:
            raise Misused(f"{queue} cannot have {wish} instances; give 0 to {MAX_INSTANCES}")
        if wish.per_instance < 1:
            raise Misused(f"{wish.per_instance} messages for each instance; give 1 or more")
    for queue, wish in () if dry_run else wishes.items():
        Items(deployment).put(PIPELINE, {**keys.wanted_workers(queue).item(), **wish._asdict()})


def wanted(deployment: Deployment) -> dict[str, Wanted]:
    """Read how many instances are wanted, for the queues an operator said so about."""
    rows = Items(deployment).query(PIPELINE, keys.WANTED_PK)
    return {
        str(row["SK"]): Wanted(*(int(row[name]) for name in Wanted._fields))
        for row in rows
        if "least" in row
    }


def parse_wishes(words: Sequence[str], per_instance: int = PER_INSTANCE) -> dict[str, Wanted]:
    """Read words such as `deliver=4`, or `deliver=0..4` to follow the backlog.

    Raises:
        Misused: a word has another form.
    """
    wishes = {}
    for word in words:
        if (found := re.fullmatch(r"([^=]*)=(\d+)(?:\.\.(\d+))?", word)) is None:
            raise Misused(f"{word!r} does not say how many; write deliver=4, or deliver=0..4")
        queue, least, most = found.groups()
        wishes[queue] = Wanted(int(least), int(most or least), per_instance)
    return wishes
