"""Celery on SQS by kombu, in one process with a pool of threads."""

import logging
from importlib import import_module
from urllib.parse import urlsplit

from gauge import ORDERS, Gauge, finish, http_calls, in_background, measure  # type: ignore[import-not-found]

PLACE = urlsplit(ORDERS["endpoint"])
APP = import_module("celery").Celery("bench", broker=f"sqs://test:test@{PLACE.netloc}")
APP.conf.update(
    task_default_queue=ORDERS["queue"],
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "region": "us-east-1",
        "is_secure": False,
        # The default of 1 s only adds idle latency; this is as low as its users go.
        "polling_interval": 0.1,
        "wait_time_seconds": 10,
    },
)
GAUGE = Gauge()


@APP.task(name="task")  # type: ignore[untyped-decorator]
def task(number: int) -> None:
    """Be the task."""
    GAUGE.run(number)


def main() -> None:
    """Load the queue, or consume it."""
    logging.disable(logging.WARNING)
    if ORDERS["mode"] == "load":
        with APP.producer_pool.acquire(block=True) as producer:
            for _ in range(ORDERS["load"]):
                task.apply_async((-1,), producer=producer)
        finish({"loaded": ORDERS["load"]})
    in_background(lambda: measure(GAUGE, send=task.delay, calls=http_calls))
    options = ["--pool=threads", f"--concurrency={ORDERS['threads']}", "--loglevel=ERROR"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    APP.worker_main(["worker", *options, *quiet])


if __name__ == "__main__":
    main()
