"""Feeds tables to the pipeline again, by hand: after a gap, a restore, or a mended record."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.schemas import tables
from sharpwave.schemas.numbers import Wire
from sharpwave.workers.aws.queues import QueueUrls, SqsWorkQueues
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.main import build_router
from sharpwave.workers.reconcile import reconcile
from sharpwave.workers.settings import Settings
from sharpwave.workers.signals.refused import RefusedBefore
from sharpwave.workers.work.outgoing import WorkMessage


def reconcile_tables(
    deployment: Deployment, names: Sequence[str] = (), *, dry_run: bool = False
) -> dict[str, int]:
    """Feed every item of streamed tables to the router; gives how many, by table.

    Safe at any time: what was handled before changes nothing, and what was refused is passed
    over until its agent changes it; `dlq redrive parked` hands it over all the same.

    Raises:
        Misused: a name is no streamed table.
    """
    wrong = [name for name in names if name not in tables.STREAMED]
    if wrong:
        known = ", ".join(tables.STREAMED)
        raise Misused(f"{wrong[0]!r} is no streamed table; there are: {known}")
    route = build_router(Settings(prefix=deployment.prefix))
    queues = SqsWorkQueues(deployment.sqs, urls=QueueUrls(deployment.sqs, prefix=deployment.prefix))
    reads = TableReads(deployment.dynamodb, prefix=deployment.prefix)
    return {
        name: reconcile(
            name,
            scan(deployment, name),
            route=route,
            send=_nothing if dry_run else queues.send,
            now=time.time(),
            refused=RefusedBefore(reads),
        )
        for name in names or tables.STREAMED
    }


def scan(deployment: Deployment, table: str) -> Iterator[dict[str, Wire]]:
    """Read a whole table, in typed form."""
    client: Any = deployment.dynamodb
    pages = client.get_paginator("scan")
    for page in pages.paginate(TableName=deployment.name(table), ConsistentRead=True):
        yield from page["Items"]


def _nothing(messages: Sequence[WorkMessage]) -> None:
    """Send nothing."""
