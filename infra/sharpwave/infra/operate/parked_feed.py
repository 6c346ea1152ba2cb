"""Hands single records to the pipeline again, as `reconcile` does with whole tables."""

import time

from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.schemas.keys import Key
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.workers.aws.queues import QueueUrls, SqsWorkQueues
from sharpwave.workers.main import build_router
from sharpwave.workers.reconcile import reconcile
from sharpwave.workers.settings import Settings


class RecordFeed:
    """Feeds a record to the router by its key; safe to repeat."""

    def __init__(self, deployment: Deployment) -> None:
        self._items = Items(deployment)
        self._route = build_router(Settings(prefix=deployment.prefix))
        urls = QueueUrls(deployment.sqs, prefix=deployment.prefix)
        self._queues = SqsWorkQueues(deployment.sqs, urls=urls)

    def __call__(self, table: str, record: Key) -> bool:
        """Feed the record at a key; say whether there still is one."""
        item = self._items.get(table, record)
        if item is None:
            return False
        wire = item_to_wire(item)
        # Whoever asks for this record means it, though it is parked under another event too.
        reconcile(
            table,
            [wire],
            route=self._route,
            send=self._queues.send,
            now=time.time(),
            refused=None,
        )
        return True
