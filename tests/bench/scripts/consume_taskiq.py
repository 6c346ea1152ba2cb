"""taskiq on SQS by taskiq-aio-sqs, in one process with coroutines for threads."""

import asyncio
import logging
from importlib import import_module
from typing import Any

from gauge import ORDERS, Gauge, finish, http_calls, in_background, measure  # type: ignore[import-not-found]

BROKER: Any = import_module("taskiq_aio_sqs").SQSBroker(
    ORDERS["queue"],
    endpoint_url=ORDERS["endpoint"],
    aws_access_key_id="test",
    aws_secret_access_key="test",
    max_number_of_messages=10,
    wait_time_seconds=10,
)
GAUGE = Gauge()


@BROKER.task(task_name="task")  # type: ignore[untyped-decorator]
async def task(number: int) -> None:
    """Be the task."""
    GAUGE.begin(number)
    if GAUGE.task_s:
        await asyncio.sleep(GAUGE.task_s)
    GAUGE.end()


async def main() -> None:
    """Load the queue, or consume it."""
    await BROKER.startup()
    if ORDERS["mode"] == "load":
        for _ in range(0, ORDERS["load"], 10):
            await asyncio.gather(*(task.kiq(-1) for _ in range(10)))
        finish({"loaded": ORDERS["load"]})
    loop = asyncio.get_running_loop()

    def send(number: int) -> None:
        asyncio.run_coroutine_threadsafe(task.kiq(number), loop).result()

    in_background(lambda: measure(GAUGE, send=send, calls=http_calls))
    receive = import_module("taskiq.api").run_receiver_task
    await receive(BROKER, max_async_tasks=ORDERS["threads"], max_prefetch=10)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    asyncio.run(main())
