"""The demo from nothing to a verdict: a stack, five agents, a replay, a recount, a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from sharpwave.infra.connection import Deployment
from sharpwave.infra.cost import load_prices, measured, usage_of
from sharpwave.infra.demo.drafts import AGENTS
from sharpwave.infra.demo.market import load
from sharpwave.infra.demo.picture import draw
from sharpwave.infra.demo.ports import Pipeline
from sharpwave.infra.demo.report import Verification, build
from sharpwave.infra.demo.run import Observe, replay
from sharpwave.infra.demo.strategies import MAY_BROADCAST
from sharpwave.infra.local import EmbeddedBackend
from sharpwave.infra.local.environment import ensure_data
from sharpwave.infra.local.ports import LOCAL_CREDENTIALS, REGION
from sharpwave.infra.local.stack import Stack, StackOptions
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.patterns import Timing, import_patterns
from sharpwave.infra.operate.queues import worker_calls
from sharpwave.infra.operate.verify import verify
from sharpwave.producers import Agent
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.workers.calls import CallMeter

_CACHE_S = 1.0
#: Workers report their calls with each heartbeat.
_WORKER_HEARTBEAT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How the pipeline is set for a demo.

    Attributes:
        tick_s: seconds between sweeps, and between figures of patterns.
        promote_after_s: age at which memories and decisions are promoted, in seconds.
        promote_importance: memories from this importance on are promoted within the demo.
    """

    tick_s: float
    promote_after_s: float
    promote_importance: float


#: Everything is promoted while people watch.
SHORT = Pace(tick_s=5.0, promote_after_s=3.0, promote_importance=0.0)
#: The emulator reads a whole partition for each query of it, so that folding thousands of days
#: would take it hours; early promotion goes on.
LONG = Pace(tick_s=15.0, promote_after_s=86_400.0, promote_importance=0.8)
MANY_DAYS = 600


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a demo is told: how many market days (None: all), for how long, and where to."""

    days: int | None
    deadline_s: float
    folder: Path
    strict: bool = True


def run(wishes: Wishes, observe: Observe) -> dict[str, Any]:
    """Run the demo; gives its report, whose `ok` says whether all went as promised.

    Raises:
        OperationFailed: a part of the stack could not be started.
    """
    days = load(ensure_data("arch"))
    pace = SHORT if wishes.days and wishes.days <= MANY_DAYS else LONG
    options = _options(pace)
    with Stack(EmbeddedBackend(), options) as stack:
        meter = CallMeter(prefix=options.prefix)
        outcome = replay(
            days,
            agents=_agents(stack, meter, strict=wishes.strict),
            pipeline=_pipeline(stack.deployment, meter, pace),
            observe=observe,
            deadline_s=wishes.deadline_s,
            count=wishes.days,
        )
        verification = _verify(stack)
        cost = measured(usage_of(stack.deployment).with_agents(meter.used()), load_prices())
    picture = draw(outcome.samples, wishes.folder / "pattern-confidence.png")
    return {**build(outcome, verification, picture=str(picture)), "cost": cost.as_json()}


def _options(pace: Pace) -> StackOptions:
    return StackOptions(
        agents=AGENTS,
        broadcasters=frozenset(MAY_BROADCAST),
        tick_s=pace.tick_s,
        settings={
            "SHARPWAVE_PROMOTE_AFTER_S": str(pace.promote_after_s),
            "SHARPWAVE_PATTERN_CACHE_S": str(_CACHE_S),
            "SHARPWAVE_CLOCK_SKEW_S": "0",
            "SHARPWAVE_HEARTBEAT_S": str(_WORKER_HEARTBEAT_S),
        },
    )


def _agents(stack: Stack, meter: CallMeter, *, strict: bool) -> dict[str, Agent]:
    session = boto3.Session(
        aws_access_key_id=LOCAL_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=LOCAL_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )
    meter.watch_events(session.events, endpoint_url=stack.backend.endpoint_url)
    return {
        name: Agent(
            name,
            session=session,
            endpoint_url=stack.backend.endpoint_url,
            prefix=stack.options.prefix,
            strict=strict,
        )
        for name in AGENTS
    }


def _pipeline(deployment: Deployment, meter: CallMeter, pace: Pace) -> Pipeline:
    def imported(definitions: Sequence[PatternDefinition]) -> float:
        timing = Timing(clock_skew_s=0.0, cache_s=_CACHE_S)
        done = import_patterns(deployment, definitions, timing=timing)
        return max(float(each.effective_from) for each in done)

    def backlog() -> int:
        return sum(Mailbox(deployment, name).depth().total for name in WORK_QUEUE_NAMES)

    return Pipeline(
        import_patterns=imported,
        backlog=backlog,
        agent_calls=lambda: meter.total,
        worker_calls=lambda: sum(worker_calls(deployment).values()),
        promote_importance=pace.promote_importance,
    )


def _verify(stack: Stack) -> Verification:
    found = verify(stack.deployment, stack.archive)
    differences = [each.what for each in found.findings]
    return Verification(found.ok, found.patterns_checked, differences)
