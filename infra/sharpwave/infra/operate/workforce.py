"""The worker processes of a deployment: who is alive, and how many an operator wants."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.operate.items import Items
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.tables import PIPELINE

#: Who is silent for longer is taken for dead or frozen, or for three of its own heartbeats.
SILENT_S = 15.0
MAX_INSTANCES = 64


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """One worker process, as its last heartbeat described it."""

    name: str
    queues: Sequence[str]
    threads: int
    started_at: int
    silent_s: int
    draining: bool
    calls: int
    alive: bool


def is_silent(beat: Mapping[str, Any], now: float) -> bool:
    """Say whether the last sign of life of a worker or a pump is too old, at epoch second `now`."""
    return now - float(beat.get("at", 0)) > max(SILENT_S, 3 * float(beat.get("every_s", 0)))


def list_workers(deployment: Deployment) -> list[WorkerView]:
    """List worker processes by name, with those that ended within the hour."""
    rows = Items(deployment).query(PIPELINE, keys.PRESENCE_PK)
    return [_view(row) for row in rows if "queues" in row]


def worker_calls(deployment: Deployment) -> dict[str, int]:
    """Sum the AWS calls that workers and pump reported, by operation."""
    calls: dict[str, int] = {}
    for owner in {str(row.get("pid", row["SK"])): row for row in _rows(deployment)}.values():
        for name, count in owner.get("calls", {}).items():
            calls[name] = calls.get(name, 0) + int(count)
    return calls


def want(deployment: Deployment, wishes: dict[str, int], *, dry_run: bool = False) -> None:
    """Say how many instances of queues' worker services `sharpwave up` shall run.

    Raises:
        Misused: there is no such queue, or the number is out of range.
    """
    for queue, instances in wishes.items():
        if queue not in WORK_QUEUE_NAMES:
            raise Misused(f"{queue!r} is no work queue; there are: {', '.join(WORK_QUEUE_NAMES)}")
        if not 0 <= instances <= MAX_INSTANCES:
            raise Misused(f"{queue} cannot have {instances} instances; give 0 to {MAX_INSTANCES}")
    for queue, instances in () if dry_run else wishes.items():
        item = {**keys.wanted_workers(queue).item(), "instances": instances}
        deployment.dynamodb.put_item(TableName=deployment.name(PIPELINE), Item=item_to_wire(item))


def wanted(deployment: Deployment) -> dict[str, int]:
    """Read how many instances are wanted, for the queues an operator said so about."""
    rows = Items(deployment).query(PIPELINE, keys.WANTED_PK)
    return {str(row["SK"]): int(row["instances"]) for row in rows}


def parse_wishes(words: Sequence[str]) -> dict[str, int]:
    """Read words such as `deliver=4`.

    Raises:
        Misused: a word has another form.
    """
    wishes = {}
    for word in words:
        queue, _, number = word.partition("=")
        if not number.isdigit():
            raise Misused(f"{word!r} does not say how many; write deliver=4")
        wishes[queue] = int(number)
    return wishes


def _rows(deployment: Deployment) -> list[dict[str, Any]]:
    return list(Items(deployment).query(PIPELINE, keys.PRESENCE_PK))


def _view(row: dict[str, Any]) -> WorkerView:
    now, draining = time.time(), bool(row["draining"])
    return WorkerView(
        name=str(row["SK"]),
        queues=list(row["queues"]),
        threads=int(row["threads"]),
        started_at=int(row["started_at"]),
        silent_s=max(0, int(now) - int(row["at"])),
        draining=draining,
        calls=sum(int(count) for count in row.get("calls", {}).values()),
        alive=not draining and not is_silent(row, now),
    )
