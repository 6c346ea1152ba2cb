"""Dramatiq on SQS, by our broker or by dramatiq-sqs, over HTTP or in memory."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import dramatiq
from gauge import ORDERS, Gauge, drain, finish, http_calls, idle  # type: ignore[import-not-found]
from resource_facade import Resource  # type: ignore[import-not-found]

from sharpwave.workers.sqs import SQSBroker
from tests.world.sqs import Latencies, MemorySqs

QUEUE = ORDERS["queue"]


def main() -> None:
    """Make the broker and the task, then load, drain or idle."""
    memory = MemorySqs() if ORDERS["layer"] == "memory" else None
    broker = _ours(memory) if ORDERS["who"] == "sharpwave" else _theirs(memory)
    gauge = Gauge()
    task = dramatiq.actor(broker=broker, queue_name=QUEUE, actor_name="task")(gauge.run)
    if memory is not None:
        memory.add_queue(QUEUE)
    if ORDERS["mode"] == "load" or (memory is not None and ORDERS["mode"] == "drain"):
        _load(broker, task)
    if ORDERS["mode"] == "load":
        finish({"loaded": ORDERS["load"]})
    if memory is not None:
        memory.latencies = Latencies(**ORDERS["latencies"])
    worker = dramatiq.Worker(broker, worker_threads=ORDERS["threads"])
    worker.start()
    calls: Callable[[], int] = http_calls if memory is None else lambda: memory.calls.total()
    found = drain(gauge, calls) if ORDERS["mode"] == "drain" else idle(gauge, task.send)
    finish(found)


def _ours(memory: MemorySqs | None) -> SQSBroker:
    if memory is not None:
        return SQSBroker(client=memory)
    return SQSBroker()


def _theirs(memory: MemorySqs | None) -> Any:
    # Behind our own packages, so that both brokers run on the same dramatiq and boto3.
    sys.path.append(os.environ["BENCH_PACKAGES"])
    made = import_module("dramatiq_sqs").SQSBroker()
    if memory is not None:
        made.sqs = Resource(memory)
    return made


def _load(broker: Any, task: Any) -> None:
    messages = [task.message(-1) for _ in range(ORDERS["load"])]
    if isinstance(broker, SQSBroker):
        broker.enqueue_many(messages)
    else:
        for message in messages:
            broker.enqueue(message)


if __name__ == "__main__":
    main()
