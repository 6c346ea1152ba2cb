"""The demo from nothing to a verdict: a stack, five agents, a replay, a recount, a picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3

from sharpwave.infra.cost.bill import load_prices, measured, usage_of
from sharpwave.infra.demo.agents import AGENTS, MAY_BROADCAST
from sharpwave.infra.demo.market import load
from sharpwave.infra.demo.replay import Pipeline, Progress, Replay
from sharpwave.infra.demo.report import build, draw
from sharpwave.infra.local import EmbeddedBackend
from sharpwave.infra.local.backend import LOCAL_CREDENTIALS, REGION
from sharpwave.infra.local.environment import ensure_data
from sharpwave.infra.local.stack import Stack, StackOptions
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.patterns import Timing, import_patterns
from sharpwave.infra.operate.queues import worker_calls
from sharpwave.infra.operate.verify import verify
from sharpwave.producers import Agent
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.workers.aws.meter import Meter

CACHE_S = 1.0
MANY_DAYS = 600


def run(
    *, days: int | None, deadline_s: float, folder: Path, observe: Callable[[Progress], None]
) -> dict[str, Any]:
    """Run the demo; gives its report, whose `ok` says whether all went as promised.

    Args:
        days: so many of the latest market days; all of them when it is None.
        deadline_s: seconds after which no further day is begun.
        folder: where the picture goes.
        observe: told how far it is.

    Raises:
        OperationFailed: a part of the stack could not be started, or an agent failed.
    """
    history = load(ensure_data("arch"))
    # Everything is promoted while people watch; but the emulator reads a whole partition for each
    # query of it, so that folding thousands of days would take it hours. Early promotion goes on.
    short = days is not None and days <= MANY_DAYS
    tick_s, promote_after_s, importance = (5.0, 3.0, 0.0) if short else (15.0, 86_400.0, 0.8)
    options = StackOptions(
        agents=AGENTS,
        broadcasters=MAY_BROADCAST,
        tick_s=tick_s,
        settings={
            "SHARPWAVE_PROMOTE_AFTER_S": str(promote_after_s),
            "SHARPWAVE_PATTERN_CACHE_S": str(CACHE_S),
            "SHARPWAVE_CLOCK_SKEW_S": "0",
            # Workers report their calls with each sign of life.
            "SHARPWAVE_HEARTBEAT_S": "2.0",
        },
    )
    with Stack(EmbeddedBackend(), options) as stack:
        deployment, endpoint_url = stack.deployment, stack.backend.endpoint_url
        meter = Meter(prefix=options.prefix)
        session = boto3.Session(
            aws_access_key_id=LOCAL_CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=LOCAL_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        session.events.register("before-parameter-build.dynamodb", ask_capacity)
        meter.watch_events(session.events)

        def imported(definitions: Sequence[PatternDefinition]) -> float:
            timing = Timing(clock_skew_s=0.0, cache_s=CACHE_S)
            done = import_patterns(deployment, definitions, timing=timing)
            return max(float(each.effective_from) for each in done)

        outcome = Replay(
            history,
            agents={
                name: Agent(name, session=session, endpoint_url=endpoint_url, prefix=options.prefix)
                for name in AGENTS
            },
            pipeline=Pipeline(
                import_patterns=imported,
                backlog=lambda: sum(
                    Mailbox(deployment, name).depth().total for name in WORK_QUEUE_NAMES
                ),
                agent_calls=lambda: meter.total,
                worker_calls=lambda: sum(worker_calls(deployment).values()),
                promote_importance=importance,
            ),
            observe=observe,
            count=days,
        ).run(deadline_s=deadline_s)
        found = verify(deployment, stack.archive)
        cost = measured(usage_of(deployment).with_agents(meter.used()), load_prices())
    picture = draw(outcome.samples, folder / "pattern-confidence.png")
    recount = {
        "ok": found.ok,
        "patterns_checked": found.patterns_checked,
        "differences": [each.what for each in found.findings],
    }
    return {**build(outcome, recount, picture=str(picture)), "cost": cost.as_json()}


def ask_capacity(params: dict[str, Any], model: Any, **_: Any) -> None:
    """Have DynamoDB say what an agent's call consumed, which the SDK does not ask."""
    if "ReturnConsumedCapacity" in model.input_shape.members:
        params.setdefault("ReturnConsumedCapacity", "INDEXES")
