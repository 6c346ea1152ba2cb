"""A month: traffic, storage and what costs something even when nothing happens."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal, NamedTuple

from sharpwave.infra.cost.bill import Bill, PriceFile, Use, priced, scaled
from sharpwave.infra.cost.flow import (
    GZIP_FACTOR,
    INDEX_ENTRIES,
    INDEX_ENTRY_BYTES,
    JSON_FACTOR,
    MARK_BYTES,
    MILLION,
    MIRROR_BYTES,
    OUTCOME_BYTES,
    ROW_BYTES,
    SWEEP_EVERY_S,
    Flow,
    decisions,
    signals,
)
from sharpwave.schemas.keys import CHANGED_SHARDS, DUE_SHARDS
from sharpwave.schemas.queues import WORK_QUEUE_NAMES

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


class Profile(NamedTuple):
    """What a deployment keeps running.

    Attributes:
        tasks: Fargate tasks of 1 vCPU and 2 GB that always run; none where workers scale to zero.
        dax_nodes: nodes of a DAX cluster, if there is one.
        endpoints: interface endpoints, each in each of its zones.
        keys: customer managed keys.
    """

    tasks: int
    dax_nodes: int
    endpoints: int
    keys: int


PROFILES: dict[ProfileName, Profile] = {
    "demo": Profile(tasks=0, dax_nodes=1, endpoints=0, keys=0),
    "production": Profile(tasks=len(WORK_QUEUE_NAMES), dax_nodes=3, endpoints=6 * 2, keys=1),
}


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
    flow = plan.for_its_decisions()
    uses = [
        *_labelled("signals", scaled(signals(flow), plan.signals / MILLION)),
        *_labelled("decisions", scaled(decisions(flow), plan.decisions / MILLION)),
        *_stored(plan),
        *_idle(plan),
        *_running(PROFILES[plan.profile], plan.dax),
    ]
    return priced(uses, prices)


def alternatives(plan: Plan, prices: PriceFile) -> list[tuple[Plan, Bill]]:
    """Price every choice of DAX, retention and profile for the same traffic."""
    dax: tuple[Dax, ...] = ("none", "t3.small")
    profiles: tuple[ProfileName, ...] = ("demo", "production")
    plans = [
        replace(plan, dax=cache, ttl_days=days, profile=profile)
        for profile, cache, days in product(profiles, dax, (7, 90))
    ]
    return [(each, month(each, prices)) for each in plans]


def _labelled(name: str, uses: list[Use]) -> Iterator[Use]:
    for use in uses:
        yield use._replace(item=f"{name}: {use.item}")


def _stored(plan: Plan) -> list[Use]:
    flow = plan.flow
    signal = flow.bytes + MIRROR_BYTES + OVERHEAD_BYTES
    rows = flow.targets * (ROW_BYTES + OVERHEAD_BYTES) * ROW_KEPT_DAYS
    decision = flow.bytes + OUTCOME_BYTES + MARK_BYTES + OVERHEAD_BYTES
    decision += INDEX_ENTRIES * (INDEX_ENTRY_BYTES + OVERHEAD_BYTES)
    kept = plan.signals * (signal + rows) + plan.decisions * decision * plan.ttl_days
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
        Use("workers' heartbeats", "pipeline", "dynamodb_write", alive),
        Use("workers' heartbeats", "pipeline", "dynamodb_read", alive),
        Use("ticks", "pipeline", "dynamodb_read", sweeps * TICK_READS),
        Use("ticks", "pipeline", "dynamodb_write", sweeps * TICK_WRITES),
        Use("sweeps", "pipeline", "dynamodb_read", sweeps * plan.agents * SWEEP_READS),
        Use("sweeps", "pipeline", "sqs_request", requests),
    ]


def _running(profile: Profile, dax: Dax) -> list[Use]:
    nodes = profile.dax_nodes if dax != "none" else 0
    return [
        Use("tasks that always run", "pipeline", "fargate_hour", profile.tasks * HOURS),
        Use("DAX nodes", "pipeline", "dax_t3_small_hour", nodes * HOURS),
        Use("interface endpoints", "pipeline", "endpoint_hour", profile.endpoints * HOURS),
        Use("keys", "pipeline", "kms_key", profile.keys),
    ]
