"""The model of the flow: what a million signals or decisions make the pipeline do, and a month.

Sizes follow from the records, batch sizes from the router's and the broker's limits, and the few
ratios that depend on traffic are fields of `Flow`, to be replaced by measured ones.
"""

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal, NamedTuple

from sharpwave.infra.cost.bill import MILLION, Bill, Payer, PriceFile, Use, priced, scaled
from sharpwave.producers.presence import EVERY_S
from sharpwave.schemas.keys import CHANGED_SHARDS, DUE_SHARDS
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.aws.meter import PAYLOAD_BLOCK
from sharpwave.workers.patterns.ledger import CLOSE_AT, ELEMENT_BYTES
from sharpwave.workers.router.router import ACKNOWLEDGE, DELIVER, LEARN
from sharpwave.workers.work.low_water import LOTS

WRITE_BLOCK, READ_BLOCK = 1024, 4096
#: Bytes of stored items beside the payload, as the pipeline writes them.
ROW_BYTES, MIRROR_BYTES, MIRROR_ENTRY_BYTES = 470, 150, 100
OUTCOME_BYTES, MARK_BYTES, INDEX_ENTRIES = 45, 30, 2
SLOT_BYTES = 110
#: Signals of one note of deadlines; its bytes, those of each signal, and of each target once.
DUE_TOGETHER, NOTE_BYTES, DUE_BYTES, TARGET_BYTES = 20, 130, 58, 15
#: Reads of a round of publishing for one ledger's day: slots' heads, sums by day, figures.
PUBLISH_READS = 6
#: More of them for a pattern's ledger: its units, by the slots' heads and the sets that changed.
UNIT_READS = 4
SUMMARY_BYTES, SOURCES_BYTES, INDEX_ENTRY_BYTES = 350, 150, 160
#: An image as JSON in a work message, against its size in DynamoDB; and what goes around it.
JSON_FACTOR, ENTRY_BYTES, INBOX_BYTES = 1.25, 250, 450
PART_BYTES, GZIP_FACTOR = 5 * 1024 * 1024, 0.2
#: Lambda: GB-seconds of a record and of an invocation.
LAMBDA_RECORD, LAMBDA_CALL, LAMBDA_BATCH = 0.00077, 0.025, 100
SWEEP_EVERY_S = TICK_S = 60


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One kind of traffic."""

    targets: int = 2  # targets of a signal
    item_kb: float = 1.0  # size of a signal or a decision as its agent writes it
    full: float = 0.7  # share of the most messages that fit a batch which batches hold, 0 to 1
    # Mirror writes that the acknowledgements of one signal share; up to one for each target
    # when they come far apart
    mirrors_after_acks: float = 1.1
    ledgers: int = 1  # ledgers that count a decision: the base, patterns, sources if any
    states: int = 2  # states of a decision that count: with its outcome, later or corrected
    per_message: float = 50.0  # decisions of one ledger's hour that share a message
    daily_group: float = 1000.0  # decisions of one agent and type in a day
    cpu_ms: float = 1.5  # worker processor time of a signal or of a decision
    urgent: float = 0.0  # share of the signals that are urgent, 0 to 1

    @property
    def bytes(self) -> int:
        """Give the item's size."""
        return round(self.item_kb * 1024)


def write_units(size: int) -> int:
    """Give the write units of an item of `size` bytes; at least one."""
    return max(1, -(-size // WRITE_BLOCK))


def read_units(size: int, *, consistent: bool) -> float:
    """Give the read units of `size` bytes read at once; half of them if eventually consistent."""
    return max(1, -(-size // READ_BLOCK)) * (1.0 if consistent else 0.5)


def mirror_bytes(flow: Flow) -> int:
    """Give the size of the item beside a signal that says how far it got."""
    return MIRROR_BYTES + flow.targets * MIRROR_ENTRY_BYTES


def signals(flow: Flow) -> list[Use]:
    """Give what a million signals use."""
    mirror = mirror_bytes(flow)
    rounds = flow.mirrors_after_acks
    # The signal and the acknowledged rows; new rows and mirrors are filtered out.
    records = 1 + flow.targets
    together = min(ACKNOWLEDGE.limit, LAMBDA_BATCH * flow.targets / records)
    body, due = flow.bytes * JSON_FACTOR, deadline(flow, mirror)
    reads = rounds * (
        read_units(mirror, consistent=True) + flow.targets * read_units(ROW_BYTES, consistent=True)
    )
    return [
        _use("the agent's own write", "dynamodb_write", write_units(flow.bytes), "writer"),
        *_router(records),
        *_queued("work queue", body + ENTRY_BYTES, 1, flow, per_message=DELIVER.limit),
        *_queued("acknowledgements' queue", ENTRY_BYTES, flow.targets, flow, per_message=together),
        _use("inbox rows", "dynamodb_write", flow.targets * write_units(ROW_BYTES)),
        _use("mirror at delivery", "dynamodb_write", write_units(mirror)),
        _use("mirror after acknowledgements", "dynamodb_write", rounds * write_units(mirror)),
        _use("mirror's reads", "dynamodb_read", reads),
        _use("notes of deadlines", "dynamodb_write", due.writes),
        _use("reads when deadlines pass", "dynamodb_read", due.reads),
        _use(
            "inbox sends", "sqs_request", flow.targets * _requests(flow.bytes + INBOX_BYTES, flow)
        ),
        _use("workers' compute", "fargate_hour", flow.cpu_ms / 1000 / 3600),
        _use(
            "agents' acknowledgements",
            "dynamodb_write",
            flow.targets * write_units(ROW_BYTES),
            "agents",
        ),
        _use(
            "agents' receives",
            "sqs_request",
            flow.targets * _requests(flow.bytes + INBOX_BYTES, flow),
            "agents",
        ),
        _use("agents' deletes", "sqs_request", flow.targets, "agents"),
        *_copies(flow),
    ]


def _copies(flow: Flow) -> list[Use]:
    """Give what the second copies of urgent signals use: each is sent, looked for and dropped."""
    copies = flow.urgent * flow.targets
    requests = copies * _requests(flow.bytes + INBOX_BYTES, flow)
    found = [
        _use("sends of urgent copies", "sqs_request", requests),
        _use("agents' receives of urgent copies", "sqs_request", copies, "agents"),
        _use("agents' deletes of urgent copies", "sqs_request", copies, "agents"),
        _use(
            "agents' looks at rows of urgent copies",
            "dynamodb_read",
            copies * read_units(ROW_BYTES, consistent=True),
            "agents",
        ),
    ]
    return found if copies else []


class Share(NamedTuple):
    """Units of one signal's or one decision's share in work that several have in common."""

    writes: float
    reads: float


def deadline(flow: Flow, mirror: int) -> Share:
    """Give the cost of a deadline that is kept: a note for a message of signals, and its mirror.

    The signals of a message have their sender, type and targets in common; where they do not,
    each takes `NOTE_BYTES` less some of its own. A mirror that says that all was processed is
    read as it may have been some moments ago, and no row is.
    """
    together = max(1.0, min(DUE_TOGETHER, DELIVER.limit * flow.full))
    size = DUE_BYTES + (NOTE_BYTES + flow.targets * TARGET_BYTES) / together
    return Share(
        max(1 / together, size / WRITE_BLOCK),
        max(1 / together, size / READ_BLOCK) + read_units(mirror, consistent=False),
    )


def decisions(flow: Flow) -> list[Use]:
    """Give what a million decisions use, from the put to the summary of their day."""
    whole = decision_units(flow)
    image = (flow.bytes + OUTCOME_BYTES) * JSON_FACTOR + ENTRY_BYTES
    ledger = ledger_units(flow)
    shares = flow.states * flow.ledgers / flow.per_message
    published, units = (each * publishings(flow) for each in (flow.ledgers, flow.ledgers - 1))
    day = episode(flow)
    parts = flow.states * image * GZIP_FACTOR / PART_BYTES
    learning = _queued("work queue", image, flow.states, flow, per_message=LEARN.limit)
    archiving = _queued("archive's queue", image, flow.states, flow, per_message=LEARN.limit)
    return [
        _use("the agent's own put", "dynamodb_write", whole.put, "writer"),
        _use("index entries of the put", "dynamodb_write", whole.put_indexes, "writer"),
        _use("the agent's outcome", "dynamodb_write", whole.outcome, "writer"),
        _use("index entry of the outcome", "dynamodb_write", whole.outcome_index, "writer"),
        *_router(flow.states + 1),
        *learning,
        _use("ledger", "dynamodb_write", shares * ledger.slot),
        _use("ledger's head", "dynamodb_write", shares * ledger.head),
        _use("mark of the ledger's day", "dynamodb_write", shares * ledger.mark),
        # The day's sum, the ledger's sum, and the mark's removal.
        _use("sums of ledgers", "dynamodb_write", published * 3),
        _use("reads for the sums of ledgers", "dynamodb_read", published * PUBLISH_READS),
        _use("reads for the units of patterns", "dynamodb_read", units * UNIT_READS),
        *archiving,
        _use("archive's parts", "s3_put", parts),
        _use("mark of promotion", "dynamodb_write", whole.mark),
        _use("summary of the day", "dynamodb_write", day.writes),
        _use("reads for the summary of the day", "dynamodb_read", day.reads),
        _use("workers' compute", "fargate_hour", flow.cpu_ms / 1000 / 3600),
    ]


class Life(NamedTuple):
    """Write units of one decision's life, without ledgers."""

    put: float
    put_indexes: float
    outcome: float
    outcome_index: float
    mark: float


def decision_units(flow: Flow) -> Life:
    """Give the write units of one decision: put, outcome and promotion."""
    resolved = write_units(flow.bytes + OUTCOME_BYTES)
    later = flow.states - 1
    return Life(
        put=write_units(flow.bytes),
        put_indexes=INDEX_ENTRIES,
        outcome=later * resolved,
        outcome_index=later,
        mark=write_units(flow.bytes + OUTCOME_BYTES + MARK_BYTES),
    )


class Addition(NamedTuple):
    """Write units of one addition of elements to a ledger."""

    slot: float
    head: float
    mark: float


def ledger_units(flow: Flow, *, fill: float = 0.5) -> Addition:
    """Give the write units of one addition to a slot, of its head, and of its day's mark.

    A slot takes the decisions of an hour until it closes, and then their later states. It is
    `fill` full: half on average, 1 at the end.
    """
    held = flow.states * min(CLOSE_AT, max(flow.per_message, flow.daily_group / 24))
    slot = write_units(round(SLOT_BYTES + held * ELEMENT_BYTES * fill))
    return Addition(slot, head=1, mark=1)


def publishings(flow: Flow) -> float:
    """Give one decision's share of the rounds that sum up one ledger's day after it changed."""
    additions = flow.states * flow.daily_group / flow.per_message
    return min(additions, DAY_S / TICK_S) / flow.daily_group


def episode(flow: Flow) -> Share:
    """Give one decision's share of its day's summary, brought up to date hour by hour.

    Each hour is read whole for the sources its decisions used, once they came of age: their keys
    twice from the index, then the decisions, the counts of the day and the parts of its sources.
    An outcome that comes later costs what its ledger costs, and the summary once per tick.
    """
    hours = min(flow.daily_group, LOTS)
    share = flow.daily_group / hours
    size = flow.bytes + OUTCOME_BYTES + MARK_BYTES
    reads = read_units(round(share * size), consistent=True)
    reads += 2 * read_units(round(share * INDEX_ENTRY_BYTES), consistent=False)
    reads += 2 + read_units(round(hours * SOURCES_BYTES / 2), consistent=True)
    writes = write_units(SUMMARY_BYTES) + write_units(SOURCES_BYTES)
    return Share(writes=hours * writes / flow.daily_group, reads=hours * reads / flow.daily_group)


def _queued(
    item: str, body: float, messages: float, flow: Flow, *, per_message: float
) -> list[Use]:
    """Give the requests of sending, receiving and deleting work that shares messages."""
    share = messages / max(1.0, per_message * flow.full)
    moved = max(messages * body / PAYLOAD_BLOCK, share / (10 * flow.full))
    return [
        _use(f"{item}: send and receive", "sqs_request", 2 * moved),
        _use(f"{item}: delete", "sqs_request", share / (10 * flow.full)),
    ]


def _requests(body: float, flow: Flow) -> float:
    """Give the billed requests of one message in a batch of messages of that size."""
    return max(body / PAYLOAD_BLOCK, 1 / (10 * flow.full))


def _router(records: float) -> list[Use]:
    calls = records / LAMBDA_BATCH
    return [
        _use("Lambda router: invocations", "lambda_request", calls),
        _use(
            "Lambda router: time", "lambda_gb_second", records * LAMBDA_RECORD + calls * LAMBDA_CALL
        ),
    ]


def _use(item: str, price: str, each: float, payer: Payer = "pipeline") -> Use:
    return Use(item, payer, price, each * MILLION)


class Budget(NamedTuple):
    """A budget of the design: what it limits, the limit, and what was found."""

    what: str
    limit: float
    found: float
    kept: bool


def budgets(flow: Flow, signals: Bill) -> list[Budget]:
    """Judge the budgets for one kind of traffic, given the bill of its signals."""
    life = sum(decision_units(flow)) + episode(flow).writes
    average, full = sum(ledger_units(flow)), sum(ledger_units(flow, fill=1.0))
    each = f"write units of a decision in a ledger at {flow.per_message:g} a message"
    judged = (
        (f"dollars of a million signals with {flow.targets} targets", 4.0, signals.total),
        (f"{each}, on average", 0.5, average / flow.per_message),
        (f"{each}, when its slot is full", 0.5, full / flow.per_message),
        (f"write units of a {flow.item_kb:g} KB decision's life", 8.0, life),
    )
    return [Budget(what, most, round(found, 3), found <= most) for what, most, found in judged]


HOURS, SECONDS, DAYS = 730, 730 * 3600, 365 / 12
GB = 1_000_000_000
POLL_S, HEARTBEAT_S = 20, 5
#: Storage DynamoDB adds to each item and index entry.
OVERHEAD_BYTES = 100
ROW_KEPT_DAYS = 8
#: What one sweep costs for one agent without work, in read units and in SQS requests: two marks
#: and four partitions of memory, in a message for ten agents.
SWEEP_READS, SWEEP_REQUESTS = 6.0, 0.3
#: What the ticks cost for a whole deployment without work: the minute's partitions of what falls
#: due, those of changed ledgers, the list of agents, and the mark that rises by a minute.
TICK_READS, TICK_WRITES, TICK_REQUESTS = CHANGED_SHARDS + DUE_SHARDS + 2, 1, 9

Dax = Literal["none", "t3.small"]
ProfileName = Literal["demo", "production"]


#: Processed, failed and how long that took.
METRICS_A_QUEUE = 3


class Profile(NamedTuple):
    """What a deployment keeps running."""

    tasks: int  # Fargate tasks of 1 vCPU and 2 GB that always run; none where workers scale to zero
    dax_nodes: int  # nodes of a DAX cluster, if there is one
    endpoints: int  # interface endpoints, each in each of its zones
    keys: int  # customer managed keys
    alarms: int  # that are deployed unless asked for, counted by the metrics that they watch
    dashboards: int  # likewise
    metrics: int  # that workers write of their own
    ticks: float  # invocations of each schedule in a month
    public: bool  # whether tasks have public addresses


PROFILES: dict[ProfileName, Profile] = {
    "demo": Profile(
        tasks=0,
        dax_nodes=1,
        endpoints=0,
        keys=0,
        alarms=1,
        dashboards=0,
        metrics=0,
        ticks=DAYS * 4,
        public=True,
    ),
    "production": Profile(
        tasks=len(WORK_QUEUE_NAMES),
        dax_nodes=3,
        endpoints=6 * 2,
        keys=1,
        alarms=45,
        dashboards=1,
        # And what a recount found.
        metrics=METRICS_A_QUEUE * len(WORK_QUEUE_NAMES) + 1,
        ticks=SECONDS / 60,
        public=False,
    ),
}
#: A schedule for each periodic duty.
SCHEDULES = 3
#: Of logs, bytes a message that is worked on, at the level INFO: figures and faults alone.
LOG_BYTES = 20
#: Signals a second, and as many decisions, at which a month is priced.
RATES = (0, 1, 100, 10_000)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a month is asked about."""

    signals: float = MILLION
    decisions: float = MILLION
    agents: int = 5
    flow: Flow = field(default_factory=Flow)
    dax: Dax = "none"
    ttl_days: int = 90
    profile: ProfileName = "demo"

    def for_its_decisions(self) -> Flow:
        """Give the flow with as many decisions of one agent in a day as the month holds."""
        group = self.decisions / DAYS / max(1, self.agents)
        return replace(self.flow, daily_group=max(1.0, group))


def month(plan: Plan, prices: PriceFile) -> Bill:
    """Price one month in the steady state, when as much expires as is written."""
    flow, profile = plan.for_its_decisions(), PROFILES[plan.profile]
    of_signals = scaled(signals(flow), plan.signals / MILLION)
    of_decisions = scaled(decisions(flow), plan.decisions / MILLION)
    nodes = profile.dax_nodes if plan.dax != "none" else 0
    uses = [
        *(use._replace(item=f"signals: {use.item}") for use in of_signals),
        *(use._replace(item=f"decisions: {use.item}") for use in of_decisions),
        *_stored(plan),
        *_idle(plan),
        Use("tasks that always run", "pipeline", "fargate_hour", profile.tasks * HOURS),
        Use("DAX nodes", "pipeline", "dax_t3_small_hour", nodes * HOURS),
        Use("interface endpoints", "pipeline", "endpoint_hour", profile.endpoints * HOURS),
        Use("keys", "pipeline", "kms_key", profile.keys),
        Use("alarms", "pipeline", "alarm", profile.alarms),
        Use("dashboard", "pipeline", "dashboard", profile.dashboards),
        Use("workers' own metrics", "pipeline", "custom_metric", profile.metrics),
        Use("schedules", "pipeline", "schedule", SCHEDULES * profile.ticks),
        Use("logs", "pipeline", "log_gb", (plan.signals + plan.decisions) * LOG_BYTES / GB),
    ]
    if profile.public:
        # They exist while tasks run, which scale with the work.
        work = sum(use.quantity for use in uses if use.price == "fargate_hour")
        uses.append(Use("public addresses", "pipeline", "public_address_hour", work))
    return priced(uses, prices)


class AtRate(NamedTuple):
    """A month at one rate.

    Attributes:
        profile: what is deployed.
        per_s: signals a second, and as many decisions.
        usd: of the month, without what receiving agents pay.
        dearest: the two lines that cost most, and the share of each.
    """

    profile: ProfileName
    per_s: int
    usd: float
    dearest: list[tuple[str, float]]


def at_rates(plan: Plan, prices: PriceFile) -> list[AtRate]:
    """Price a month idle and at three rates, for both profiles, and say what costs most."""
    found = []
    for profile, rate in product(PROFILES, RATES):
        traffic = float(rate) * SECONDS
        asked = replace(plan, profile=profile, signals=traffic, decisions=traffic)
        bill = month(asked, prices)
        lines = sorted(
            (line for line in bill.lines if line.payer != "agents"),
            key=lambda line: -line.usd,
        )
        dearest = [(line.item, line.usd / bill.total) for line in lines[:2]]
        found.append(AtRate(profile, rate, bill.total, dearest))
    return found


def alternatives(plan: Plan, prices: PriceFile) -> list[tuple[Plan, Bill]]:
    """Price every choice of DAX, retention and profile for the same traffic."""
    dax: tuple[Dax, ...] = ("none", "t3.small")
    profiles: tuple[ProfileName, ...] = ("demo", "production")
    plans = [
        replace(plan, dax=cache, ttl_days=days, profile=profile)
        for profile, cache, days in product(profiles, dax, (7, 90))
    ]
    return [(each, month(each, prices)) for each in plans]


def _stored(plan: Plan) -> list[Use]:
    flow = plan.flow
    signal = flow.bytes + OVERHEAD_BYTES
    rows = flow.targets * (ROW_BYTES + OVERHEAD_BYTES) + mirror_bytes(flow) + OVERHEAD_BYTES
    decision = flow.bytes + OUTCOME_BYTES + MARK_BYTES + OVERHEAD_BYTES
    decision += INDEX_ENTRIES * (INDEX_ENTRY_BYTES + OVERHEAD_BYTES)
    kept = plan.signals * (signal + rows * ROW_KEPT_DAYS)
    kept += plan.decisions * decision * plan.ttl_days
    size = kept / DAYS / GB
    archived = plan.decisions * flow.states * flow.bytes * JSON_FACTOR * GZIP_FACTOR / GB
    return [
        Use("tables' storage", "pipeline", "dynamodb_storage", size),
        Use("tables' point-in-time recovery", "pipeline", "dynamodb_recovery", size),
        Use("archive's storage, for each month kept", "pipeline", "s3_storage", archived),
    ]


def _idle(plan: Plan) -> list[Use]:
    processes = len(WORK_QUEUE_NAMES)
    beats, sweeps = SECONDS / HEARTBEAT_S * processes, SECONDS / SWEEP_EVERY_S
    requests = sweeps * (TICK_REQUESTS + plan.agents * SWEEP_REQUESTS)
    alive = beats if PROFILES[plan.profile].tasks else 0.0
    polls = SECONDS / POLL_S
    return [
        Use("idle polling by workers", "pipeline", "sqs_request", polls * processes),
        Use("idle polling by agents", "agents", "sqs_request", polls * plan.agents),
        Use("agents' signs of life", "agents", "dynamodb_write", SECONDS / EVERY_S * plan.agents),
        Use("workers' heartbeats", "pipeline", "dynamodb_write", alive),
        Use("workers' heartbeats", "pipeline", "dynamodb_read", alive),
        Use("ticks", "pipeline", "dynamodb_read", sweeps * TICK_READS),
        Use("ticks", "pipeline", "dynamodb_write", sweeps * TICK_WRITES),
        Use("sweeps", "pipeline", "dynamodb_read", sweeps * plan.agents * SWEEP_READS),
        Use("sweeps", "pipeline", "sqs_request", requests),
    ]
