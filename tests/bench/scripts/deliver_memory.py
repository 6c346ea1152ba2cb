"""Delivery in one process: our broker, actors and handlers on tables and queues in memory."""

import json
import sys
import time
from collections import Counter

import dramatiq

from sharpwave.schemas import tables
from sharpwave.workers.actors import register
from sharpwave.workers.sqs import SQSBroker
from tests.bench.delivery import AGENTS, QUIET_S, THREADS, WORK, Backlog, figures
from tests.bench.figures import Watch
from tests.bench.machine import pin
from tests.world.sqs import MemorySqs
from tests.world.world import World


def main() -> None:
    """Deliver a backlog, and print what that took."""
    pin()
    orders = json.loads(sys.argv[1])
    backlog = Backlog(orders["signals"], orders["targets"])
    world, sqs = World(), MemorySqs()
    world.clock.advance(time.time() - world.clock())
    world.register(*AGENTS)
    url = sqs.add_queue(WORK)
    for body in backlog.bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)
    for item in backlog.items:
        world.tables.put(tables.SIGNALS, item)
    broker = SQSBroker(client=sqs)
    process = world.process()
    register(broker, process.handlers, process.queues)
    worker = dramatiq.Worker(broker, queues={WORK}, worker_threads=THREADS)
    watch = Watch(lambda: len(world.inboxes.sent), spent=time.process_time, every_s=0.05)
    worker.start()
    watch.until(backlog.deliveries, quiet_s=QUIET_S)
    worker.stop()
    found = Counter(json.loads(post.body)["delivery_id"] for post in world.inboxes.sent)
    print(json.dumps(figures(backlog, watch, found)))


if __name__ == "__main__":
    main()
