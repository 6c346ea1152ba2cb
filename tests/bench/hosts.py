"""Worker and pump processes that differ from the real ones in one respect, chosen by variables.

`BENCH_SINGLY` routes every record into a message of its own, `BENCH_BASE64` writes bodies as
dramatiq-sqs reads them, `BENCH_LATENCY_S` makes every AWS call of a worker take longer by so much,
`BENCH_CORE` names the only core that it may use.
"""

import os
import sys
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import dramatiq

from sharpwave.schemas import tables
from sharpwave.workers import main
from sharpwave.workers.actors import register
from sharpwave.workers.aws import clients
from sharpwave.workers.settings import Settings
from sharpwave.workers.work.incoming import Route, StreamRecord
from sharpwave.workers.work.outgoing import WorkMessage
from tests.bench.machine import pin


def build_pinned() -> dramatiq.Broker:
    """Build our worker on one core."""
    pin()
    return main.build()


def build_slow() -> dramatiq.Broker:
    """Build our worker with AWS calls that take longer."""
    latency_s = float(os.environ["BENCH_LATENCY_S"])

    def wait(**_: Any) -> None:
        time.sleep(latency_s)

    make = clients.client

    def slowed(service: str) -> Any:
        made = make(service)
        made.meta.events.register("before-send", wait)
        return made

    for module in (clients, main):
        vars(module)["client"] = slowed
    return main.build()


def build_dramatiq_sqs() -> dramatiq.Broker:
    """Build a worker of our handlers on the broker of dramatiq-sqs."""
    sys.path.append(os.environ["BENCH_PACKAGES"])
    settings, made = Settings.read(), clients.clients()
    broker: Any = import_module("dramatiq_sqs").SQSBroker()
    name = tables.physical("deliver", settings.prefix)
    broker.queues["deliver"] = broker.sqs.get_queue_by_name(QueueName=name)
    dramatiq.set_broker(broker)
    composed = main.compose_on_aws(settings, made)
    register(broker, composed.handlers, composed.queues)
    made_broker: dramatiq.Broker = broker
    return made_broker


def pump() -> int:
    """Run a pump whose router is changed as the variables say."""
    from sharpwave.infra.local.stack import run_pump

    whole = main.build_router
    main.build_router = lambda settings: _changed(whole(settings))
    return run_pump()


def _changed(route: Route) -> Any:
    singly, in_base64 = "BENCH_SINGLY" in os.environ, "BENCH_BASE64" in os.environ

    def changed(table: str, records: Sequence[StreamRecord]) -> list[WorkMessage]:
        pages = [[record] for record in records] if singly else [records]
        messages = [message for page in pages for message in route(table, page)]
        if not in_base64:
            return messages
        return [replace(each, body=b64encode(each.body.encode()).decode()) for each in messages]

    return changed


if __name__ == "__main__":
    sys.exit(pump())
