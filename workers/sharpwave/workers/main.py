"""Where everything is put together: workers, pump and Lambda, each from settings and clients."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import dramatiq
from dramatiq import Middleware
from dramatiq.middleware import CurrentMessage

from sharpwave.schemas import tables
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.times import Clock, now
from sharpwave.workers import actors, logs, telemetry
from sharpwave.workers.archive import Archiving
from sharpwave.workers.aws.archive import open_archive
from sharpwave.workers.aws.clients import Clients, client, clients
from sharpwave.workers.aws.meter import Meter
from sharpwave.workers.aws.presence import Presence
from sharpwave.workers.aws.queues import (
    BatchSender,
    QueueUrls,
    SqsInboxes,
    SqsWorkQueues,
    StreamSender,
)
from sharpwave.workers.aws.tables import TableLedger, TableReads
from sharpwave.workers.aws.writes import BatchedWrites, SingleWrites, TableTransactions
from sharpwave.workers.gather import Gatherer, SharedWrites
from sharpwave.workers.heap import SettledHeap
from sharpwave.workers.memory.episodes import Day, Episodes
from sharpwave.workers.memory.promote import promote, sweep_memories
from sharpwave.workers.patterns.admission import Admission
from sharpwave.workers.patterns.catalogue import Catalogue, Known, Writers
from sharpwave.workers.patterns.discover.ending import Ending
from sharpwave.workers.patterns.discover.sweep import Discovery
from sharpwave.workers.patterns.keeper import Keeper
from sharpwave.workers.patterns.learn import learn
from sharpwave.workers.patterns.ledger import Slots
from sharpwave.workers.patterns.metrics import Metrics
from sharpwave.workers.patterns.publish import publish
from sharpwave.workers.patterns.units import Units
from sharpwave.workers.reconcile import heal
from sharpwave.workers.router.admission import is_admissible
from sharpwave.workers.router.lambda_handler import Handler, make_handler
from sharpwave.workers.router.router import Router
from sharpwave.workers.settings import Misconfigured, Settings
from sharpwave.workers.signals.acknowledge import acknowledge
from sharpwave.workers.signals.deliver import Courier
from sharpwave.workers.signals.directory import RegisteredAgents
from sharpwave.workers.signals.expiry import Deadlines, Expiry
from sharpwave.workers.signals.notices import Notices
from sharpwave.workers.signals.quota import Quotas
from sharpwave.workers.signals.refusals import (
    ParkingLot,
    RefusedBefore,
    park_in_passing,
    refused_message,
    refused_record,
)
from sharpwave.workers.sqs import SQSBroker, UnknownActor, VisibilityRetries, default_middlewares
from sharpwave.workers.work import ticks
from sharpwave.workers.work.ports import (
    Archive,
    Inboxes,
    Item,
    Ledger,
    Reads,
    Spread,
    Transactions,
    TryAgain,
    WorkQueues,
    Writes,
)

if TYPE_CHECKING:
    from sharpwave.workers.pump import Pump

_LEDGERS_AT_ONCE = 8
_MAX_BACKOFF_MS = 600_000
#: Below the queues' maxReceiveCount, so that the dead letter carries the reason.
_WORLD_RETRIES, _OWN_RETRIES = 18, 4


class Composition(NamedTuple):
    """A process's handlers, and what else of it somebody asks for."""

    handlers: actors.Handlers
    queues: WorkQueues
    agents: RegisteredAgents
    parking: ParkingLot
    courier: Courier
    catalogue: Catalogue
    episodes: Episodes
    admission: Admission
    keeper: Keeper
    discovery: Discovery


def compose(
    settings: Settings,
    *,
    reads: Reads,
    writes: Writes,
    transactions: Transactions,
    ledger: Ledger,
    inboxes: Inboxes,
    queues: WorkQueues,
    archive: Archive,
    clock: Clock = now,
    spread: Spread = map,
) -> Composition:
    """Put the handlers of one process together, on AWS or on anything that keeps its contract."""
    gather = partial(Gatherer, linger_s=settings.linger_s, threads=settings.threads)
    # Sooner than acknowledgements, which have to look twice at a mirror that is not begun.
    marks = SharedWrites(writes, linger_s=settings.linger_s / 4, threads=settings.threads)
    agents = RegisteredAgents(
        reads=reads, writes=writes, clock=clock, lifetime_s=settings.registration_cache_s
    )
    # One of each per process, for what these remember saves the others a write.
    deadlines, writers = Deadlines(), Writers(writes=writes, clock=clock)
    notices = Notices(writes, inboxes, agents, clock)
    parking = ParkingLot(writes, notices, clock)
    quotas = Quotas(reads=reads, writes=writes, clock=clock, per_minute=settings.quota_per_minute)
    courier = Courier(
        reads=reads,
        writes=writes,
        marks=marks,
        inboxes=inboxes,
        queues=queues,
        directory=agents,
        parking=parking,
        quotas=quotas,
        deadlines=deadlines,
        clock=clock,
        table_name=tables.physical(tables.SIGNALS, settings.prefix),
        urgent=settings.urgent,
    )
    catalogue = Catalogue(
        reads=reads, writes=writes, clock=clock, lifetime_s=settings.pattern_cache_s
    )
    # As far ahead as what people import; see `infra.operate.patterns.Timing`.
    lead_s = settings.clock_skew_s + 2 * settings.pattern_cache_s
    admission = Admission(
        reads=reads,
        transactions=transactions,
        clock=clock,
        lead_s=lead_s,
        policy=settings.policy,
    )
    keeper = Keeper(
        reads=reads,
        writes=writes,
        transactions=transactions,
        ledger=ledger,
        admission=admission,
        policy=settings.policy,
        clock=clock,
    )
    episodes = Episodes(
        reads=reads,
        writes=writes,
        catalogue=catalogue,
        clock=clock,
        promote_after_s=settings.promote_after_s,
        event_ahead=settings.event_ahead,
    )

    def refresh_episode(agent_id: str, decision_type: str, day: str, known: Known) -> None:
        episodes.refresh(Day(agent_id, decision_type, day), known)

    def sound() -> Callable[[Item], bool]:
        # Anew for each sweep: it remembers what it read last.
        refused = RefusedBefore(reads)

        def was_let_in(item: Item) -> bool:
            return is_admissible("decision", item, event_ahead=settings.event_ahead) and not (
                refused.holds(tables.DECISIONS, item_to_wire(item))
            )

        return was_let_in

    ending = Ending(reads=reads, transactions=transactions, clock=clock, lead_s=lead_s)
    discovery = Discovery(
        reads=reads,
        writes=writes,
        admit=admission.admit,
        retire=ending.retire,
        sound=sound,
        clock=clock,
        horizons=settings.outcome_horizon,
    )

    handlers: actors.Handlers = {
        "deliver": actors.deliver_actors(courier),
        "status": actors.status_actors(
            partial(
                acknowledge,
                reads=reads,
                writes=writes,
                parking=parking,
                deadlines=deadlines,
                clock=clock,
            ),
            Expiry(reads, writes, queues, deadlines, clock),
            agents=agents,
            parking=parking,
            notices=notices,
            writers=writers,
            reads=reads,
            queues=queues,
            clock=clock,
            gather=gather,
        ),
        "promote": actors.promote_actors(
            partial(
                promote,
                reads=reads,
                writes=writes,
                transactions=transactions,
                parking=parking,
                clock=clock,
            ),
            partial(
                sweep_memories,
                promote_after_s=settings.promote_after_s,
                reads=reads,
                writes=writes,
                transactions=transactions,
                parking=parking,
                clock=clock,
            ),
            episodes,
            discovery.sweep if settings.discovery else None,
            agents=agents,
            reads=reads,
            queues=queues,
            clock=clock,
            gather=gather,
        ),
        "learn": actors.learn_actors(
            partial(
                learn, catalogue=catalogue, slots=Slots(ledger), writers=writers, spread=spread
            ),
            partial(
                publish,
                catalogue=catalogue,
                reads=reads,
                writes=writes,
                ledger=ledger,
                units=Units(reads),
                metrics=Metrics(reads=reads, writes=writes, clock=clock),
                clock=clock,
                keeper=keeper,
                horizons=settings.outcome_horizon,
                refresh=refresh_episode,
                spread=spread,
            ),
            catalogue=catalogue,
            queues=queues,
            clock=clock,
            gather=gather,
        ),
        "archive": {
            "on_archived": Archiving(
                archive, linger_s=settings.archive_linger_s, threads=settings.threads
            ).store
        },
    }
    return Composition(
        handlers,
        queues,
        agents,
        parking,
        courier,
        catalogue,
        episodes,
        admission,
        keeper,
        discovery,
    )


def compose_on_aws(settings: Settings, made: Clients) -> Composition:
    """Put the handlers of one process on AWS."""
    writes_on = BatchedWrites if settings.writes == "batched" else SingleWrites
    urls = QueueUrls(made.sqs, prefix=settings.prefix)
    return compose(
        settings,
        reads=TableReads(made.dynamodb, prefix=settings.prefix),
        writes=writes_on(made.dynamodb, prefix=settings.prefix),
        transactions=TableTransactions(made.dynamodb, prefix=settings.prefix),
        ledger=TableLedger(made.dynamodb, prefix=settings.prefix),
        inboxes=SqsInboxes(made.sqs, urls=urls),
        queues=SqsWorkQueues(made.sqs, urls=urls),
        archive=open_archive(settings.archive, s3=made.s3),
        # A message may touch many ledgers, and each takes an update of its own.
        spread=ThreadPoolExecutor(_LEDGERS_AT_ONCE, thread_name_prefix="ledgers").map,
    )


def build() -> dramatiq.Broker:
    """Put one worker process together; the Dramatiq command line calls this in each."""
    try:
        settings = Settings.read()
        observers = telemetry.middlewares(
            settings.metrics, prefix=settings.prefix, traces=settings.traces
        )
    except Misconfigured as error:
        # Of what else is raised here, Dramatiq prints the trace and ends with 1.
        print(f"sharpwave: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from error
    logs.set_up(settings.log)
    meter = Meter(prefix=settings.prefix)
    made = clients(meter)
    broker = SQSBroker(
        queue_prefix=settings.prefix,
        visibility_timeout_s=settings.visibility_timeout_s,
        # Of its own: its long polls would take the connections that handlers wait for.
        client=meter.watch(client("sqs")),
        middleware=[*observers, *middlewares(), SettledHeap()],
    )
    broker.add_middleware(
        Presence(
            made.dynamodb,
            reads=TableReads(made.dynamodb, prefix=settings.prefix),
            meter=meter,
            prefix=settings.prefix,
            every_s=settings.heartbeat_s,
        )
    )
    dramatiq.set_broker(broker)
    composed = compose_on_aws(settings, made)
    actors.register(broker, composed.handlers, composed.queues)
    return broker


def middlewares() -> list[Middleware]:
    """Give what surrounds the actors of a worker, retries as this pipeline needs them among it."""
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


def build_router(settings: Settings) -> Router:
    """Make the router with the thresholds of early promotion and of event times."""
    return Router(
        importance=settings.promote_importance,
        access_count=settings.promote_access_count,
        promote_after_s=settings.promote_after_s,
        event_ahead=settings.event_ahead,
    )


def build_pump(
    settings: Settings,
    made: Clients,
    *,
    stop: threading.Event,
    meter: Meter,
    streams: bool = True,
) -> "Pump":
    """Put a pump together; setting `stop` ends it after the page in hand.

    Without `streams`, which Lambda reads then, it sends the periodic work alone.
    """
    # Neither a worker nor Lambda has a use for the laptop's host.
    from sharpwave.workers.pump import (
        DynamoCheckpoints,
        Hooks,
        Pump,
        PumpSettings,
        Tick,
        show_progress,
    )

    parking, route = compose_on_aws(settings, made).parking, build_router(settings)
    sender = _build_sender(settings, made, parking, stop)
    reads = TableReads(made.dynamodb, prefix=settings.prefix)
    hooks = Hooks(
        on_trimmed=partial(
            heal, scan=reads.scan, route=route, send=sender.send, reads=reads, clock=now
        ),
        on_unroutable=lambda *found: park_in_passing(parking, refused_record(*found)),
        on_progress=partial(
            show_progress, client=made.dynamodb, meter=meter, prefix=settings.prefix
        ),
    )
    return Pump(
        {name: tables.physical(name, settings.prefix) for name in tables.STREAMED if streams},
        dynamodb=made.dynamodb,
        streams=made.streams,
        route=route,
        sender=sender,
        checkpoints=DynamoCheckpoints(
            made.dynamodb, tables.physical(tables.PIPELINE, settings.prefix)
        ),
        hooks=hooks,
        stop=stop,
        ticks=[Tick(partial(ticks.tick, each, clock=now), settings.tick_s) for each in ticks.ALL],
        settings=PumpSettings(busy_wait_s=settings.pump_wait_s),
    )


def build_handler(settings: Settings, made: Clients) -> Handler:
    """Put the router together for Lambda, behind an event source mapping for each table."""
    parking = compose_on_aws(settings, made).parking
    names = {tables.physical(name, settings.prefix): name for name in tables.STREAMED}
    return make_handler(
        build_router(settings),
        _build_sender(settings, made, parking, threading.Event()),
        # arn:aws:dynamodb:<region>:<account>:table/<table>/stream/<label>
        lambda arn: names[arn.split("/")[1]],
        on_unroutable=lambda *found: park_in_passing(parking, refused_record(*found)),
    )


def _build_sender(
    settings: Settings, made: Clients, parking: ParkingLot, stop: threading.Event
) -> StreamSender:
    sender = BatchSender(
        made.sqs,
        urls=QueueUrls(made.sqs, prefix=settings.prefix),
        on_refused=lambda *refused: park_in_passing(parking, refused_message(*refused)),
        stop=stop,
    )
    return StreamSender(sender)
