"""Where everything is put together: settings, clients, ports, broker, actors, pump."""

import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dramatiq
from dramatiq import Middleware
from dramatiq.middleware import CurrentMessage

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.numbers import item_to_wire, parse_json
from sharpwave.schemas.times import now
from sharpwave.workers import logs
from sharpwave.workers.actors import Ports, register
from sharpwave.workers.archive import Archiving
from sharpwave.workers.aws.archive import open_archive
from sharpwave.workers.aws.clients import Clients, clients, make_client
from sharpwave.workers.aws.queues import (
    BatchSender,
    QueueUrls,
    SqsInboxes,
    SqsWorkQueues,
    StreamSender,
)
from sharpwave.workers.aws.tables import TableLedger, TableReads
from sharpwave.workers.aws.writes import BatchedWrites, SingleWrites
from sharpwave.workers.gather import SharedWrites
from sharpwave.workers.meter import Meter
from sharpwave.workers.patterns.catalogue import Catalogue
from sharpwave.workers.ports import Parking, Refusal, TryAgain, Unfinished
from sharpwave.workers.presence import Presence
from sharpwave.workers.pump import (
    DynamoCheckpoints,
    Hooks,
    Progress,
    Pump,
    PumpSettings,
    Tick,
)
from sharpwave.workers.reconcile import reconcile
from sharpwave.workers.router.lambda_handler import Handler, make_handler
from sharpwave.workers.router.router import MAX_PARKED_IMAGE, Router
from sharpwave.workers.settings import Misconfigured, Settings
from sharpwave.workers.signals.deliver import Delivery
from sharpwave.workers.signals.directory import RegisteredAgents
from sharpwave.workers.signals.notices import Notices
from sharpwave.workers.signals.parking import ParkingLot
from sharpwave.workers.signals.quota import Quotas
from sharpwave.workers.signals.refused import RefusedBefore
from sharpwave.workers.sqs import SQSBroker, UnknownActor, VisibilityRetries, default_middlewares
from sharpwave.workers.work import ticks
from sharpwave.workers.work.envelope import ascii_json
from sharpwave.workers.work.outgoing import StreamRecord, WorkMessage

log = logging.getLogger(__name__)

_LEDGERS_AT_ONCE = 8
_MAX_BACKOFF_MS = 600_000
#: Below the queues' maxReceiveCount, so that the dead letter carries the reason.
_WORLD_RETRIES, _OWN_RETRIES = 18, 4


def build() -> dramatiq.Broker:
    """Put one worker process together; the Dramatiq command line calls this in each."""
    try:
        settings = Settings.read()
    except Misconfigured as error:
        # Of what else is raised here, Dramatiq prints the trace and ends with 1.
        print(f"sharpwave: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from error
    logs.set_up(settings.log)
    meter = Meter(prefix=settings.prefix)
    made = clients(meter)
    reads = TableReads(made.dynamodb, prefix=settings.prefix)
    broker = SQSBroker(
        queue_prefix=settings.prefix,
        visibility_timeout_s=settings.visibility_timeout_s,
        client=meter.watch(make_client("sqs")),
        middleware=_middleware(),
    )
    broker.add_middleware(
        Presence(
            made.dynamodb,
            reads=reads,
            meter=meter,
            prefix=settings.prefix,
            every_s=settings.heartbeat_s,
        )
    )
    dramatiq.set_broker(broker)
    register(broker, build_ports(settings, made))
    return broker


def _middleware() -> list[Middleware]:
    kept = [each for each in default_middlewares() if not isinstance(each, VisibilityRetries)]
    # How often a message was received is asked of the one under way; see `actors.splitting`.
    retries = VisibilityRetries(max_backoff=_MAX_BACKOFF_MS, retry_when=worth_retrying)
    return [*kept, CurrentMessage(), retries]


def worth_retrying(retries: int, error: BaseException) -> bool:
    """Say whether a failed message is tried again, or goes to the dead letters.

    What the world refused is worth hours, and so is what only a newer worker knows; what our own
    code cannot handle is not.
    """
    is_worldly = isinstance(error, TryAgain | UnknownActor)
    return retries < (_WORLD_RETRIES if is_worldly else _OWN_RETRIES)


def build_ports(settings: Settings, made: Clients) -> Ports:
    """Put the handlers' ports on AWS."""
    reads = TableReads(made.dynamodb, prefix=settings.prefix)
    writes_on = BatchedWrites if settings.writes == "batched" else SingleWrites
    writes = writes_on(made.dynamodb, prefix=settings.prefix)
    urls = QueueUrls(made.sqs, prefix=settings.prefix)
    inboxes, work = SqsInboxes(made.sqs, urls=urls), SqsWorkQueues(made.sqs, urls=urls)
    agents = RegisteredAgents(
        reads=reads, writes=writes, clock=now, lifetime_s=settings.registration_cache_s
    )
    notices = Notices(writes, inboxes, agents, now)
    parking = ParkingLot(writes, notices, now)
    quotas = Quotas(reads=reads, writes=writes, clock=now, per_minute=settings.quota_per_minute)
    delivery = Delivery(
        reads=reads,
        writes=writes,
        # Sooner than acknowledgements, which have to look twice at a mirror that is not begun.
        marks=SharedWrites(writes, linger_s=settings.linger_s / 4, threads=settings.threads),
        inboxes=inboxes,
        queues=work,
        directory=agents,
        parking=parking,
        notices=notices,
        quotas=quotas,
        clock=now,
        table_name=tables.physical(tables.SIGNALS, settings.prefix),
    )
    return Ports(
        delivery=delivery,
        reads=reads,
        writes=writes,
        queues=work,
        agents=agents,
        parking=parking,
        catalogue=Catalogue(
            reads=reads, writes=writes, clock=now, lifetime_s=settings.pattern_cache_s
        ),
        ledger=TableLedger(made.dynamodb, prefix=settings.prefix),
        archiving=Archiving(
            open_archive(settings.archive, s3=made.s3),
            linger_s=settings.archive_linger_s,
            threads=settings.threads,
        ),
        clock=now,
        promote_after_s=settings.promote_after_s,
        event_ahead=settings.event_ahead,
        spread=ThreadPoolExecutor(_LEDGERS_AT_ONCE, thread_name_prefix="ledgers").map,
        threads=settings.threads,
        linger_s=settings.linger_s,
    )


def build_router(settings: Settings) -> Router:
    """Make the router with the thresholds of early promotion and of event times."""
    return Router(
        importance=settings.promote_importance,
        access_count=settings.promote_access_count,
        promote_after_s=settings.promote_after_s,
        event_ahead=settings.event_ahead,
    )


def build_pump(settings: Settings, made: Clients, *, stop: threading.Event, meter: Meter) -> Pump:
    """Put a pump together; setting `stop` ends it after the page in hand."""
    parking, route = build_ports(settings, made).parking, build_router(settings)
    sender = _build_sender(settings, made, parking, stop)

    def on_trimmed(table: str, shard_id: str) -> None:
        log.error("stream_trimmed", extra={"table": table, "shard": shard_id})
        reads = TableReads(made.dynamodb, prefix=settings.prefix)
        count = reconcile(
            table,
            reads.scan(table),
            route=route,
            send=sender.send,
            now=now(),
            refused=RefusedBefore(reads),
        )
        log.warning("reconciled", extra={"table": table, "items": count})

    def on_unroutable(table: str, record: StreamRecord, error: Exception) -> None:
        _keep(parking, _unroutable(table, record, error))

    def on_progress(progress: Progress) -> None:
        _write_progress(progress, settings, made, meter)

    return Pump(
        {name: tables.physical(name, settings.prefix) for name in tables.STREAMED},
        dynamodb=made.dynamodb,
        streams=made.streams,
        route=route,
        sender=sender,
        checkpoints=DynamoCheckpoints(
            made.dynamodb,
            tables.physical(tables.PIPELINE, settings.prefix),
            key=keys.checkpoint,
        ),
        hooks=Hooks(on_trimmed=on_trimmed, on_unroutable=on_unroutable, on_progress=on_progress),
        stop=stop,
        ticks=[_tick(periodic, settings.tick_s) for periodic in ticks.ALL],
        settings=PumpSettings(busy_wait_s=settings.pump_wait_s),
    )


def build_handler(settings: Settings, made: Clients) -> Handler:
    """Put the router together for Lambda, behind an event source mapping for each table."""
    parking = build_ports(settings, made).parking
    names = {tables.physical(name, settings.prefix): name for name in tables.STREAMED}
    return make_handler(
        build_router(settings),
        _build_sender(settings, made, parking, threading.Event()),
        lambda arn: names[arn.split("/")[1]],
        on_unroutable=lambda *found: _keep(parking, _unroutable(*found)),
    )


def _build_sender(
    settings: Settings, made: Clients, parking: Parking, stop: threading.Event
) -> StreamSender:
    sender = BatchSender(
        made.sqs,
        urls=QueueUrls(made.sqs, prefix=settings.prefix),
        on_refused=lambda *refused: _keep(parking, _unsendable(*refused)),
        stop=stop,
    )
    return StreamSender(sender)


def _keep(parking: Parking, refusal: Refusal) -> None:
    """Park a record that stands in a stream's way; that nobody can be told must not."""
    try:
        parking.park([refusal])
    except Unfinished:
        log.warning("owner_not_told", extra={"table": refusal.table, "owner": refusal.owner})


def _tick(periodic: ticks.Periodic, every_s: float) -> Tick:
    return Tick(lambda: ticks.tick(periodic, clock=now), every_s)


def _unsendable(message: WorkMessage, code: str, reason: str) -> Refusal:
    content = parse_json(message.body)
    fault = Fault("unsendable", "", f"SQS refused its work message: {code}: {reason}")
    key = keys.Key(f"queue#{message.queue}", content["message_id"])
    return Refusal("queue", key, content["message_id"], [fault], message.body[:MAX_PARKED_IMAGE])


def _unroutable(table: str, record: StreamRecord, error: Exception) -> Refusal:
    change = record["dynamodb"]
    key = keys.Key(change["Keys"]["PK"]["S"], change["Keys"]["SK"]["S"])
    fault = Fault("unroutable", "", f"the router failed on it: {error!r:.500}")
    image = ascii_json(change.get("NewImage", {}))[:MAX_PARKED_IMAGE]
    return Refusal(table, key, record["eventID"], [fault], image)


def _write_progress(progress: Progress, settings: Settings, made: Clients, meter: Meter) -> None:
    row = {
        **keys.presence(f"pump:{progress.table}").item(),
        "records": progress.records,
        "open_shards": progress.open_shards,
        "failing_shards": progress.failing_shards,
        "lag_s": progress.lag_s,
        "at": int(progress.at),
        "pid": os.getpid(),
        "calls": meter.snapshot(),
        "used": meter.used(),
        "cpu_s": round(time.process_time(), 2),
    }
    name = tables.physical(tables.PIPELINE, settings.prefix)
    made.dynamodb.put_item(TableName=name, Item=item_to_wire(row), ReturnConsumedCapacity="INDEXES")
