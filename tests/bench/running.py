"""One run of the benchmarks: which parts, in which order, and what comes of them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sharpwave.infra.errors import Misused
from tests.bench import budgets, machine
from tests.bench.peers import AGENT_MAIL, AGENT_MEMORY, LANGGRAPH, SAVVI, TASKS, Peer
from tests.bench.results import Failure, Report, Row

Tell = Callable[[str], None]


def _router(quick: bool, tell: Tell) -> Iterator[Row]:
    from tests.bench import router_speed

    return router_speed.measure(1.0 if quick else 3.0, tell)


def _broker(quick: bool, tell: Tell) -> Iterator[Row]:
    from tests.bench import brokers

    return brokers.measure(brokers.QUICK if quick else brokers.FULL, tell)


def _flows(quick: bool, tell: Tell) -> Iterator[Row]:
    from tests.bench import flows

    return flows.measure(30, 3.0, 1, tell) if quick else flows.measure(80, 8.0, 2, tell)


def _pipeline(quick: bool, tell: Tell) -> Iterator[Row]:
    from tests.bench import pipeline

    return pipeline.measure(4_000, 1, tell) if quick else pipeline.measure(8_000, 2, tell)


def _delivery(quick: bool, tell: Tell) -> Iterator[Row]:
    from tests.bench import delivery

    return delivery.measure(6_000, 1, tell) if quick else delivery.measure(20_000, 3, tell)


def _scaling(quick: bool, tell: Tell) -> Iterator[Row]:
    from tests.bench import scaling

    return scaling.measure(500, 3.0, tell) if quick else scaling.measure(1_200, 8.0, tell)


def _promotion(quick: bool, tell: Tell) -> Iterator[Row]:
    from tests.bench import promotion

    few = {"samples": 10, "singly": 300, "bulk": 2_000, "theirs": 60}
    many = {"samples": 30, "singly": 1_000, "bulk": 5_000, "theirs": 200}
    return promotion.measure(few if quick else many, tell)


def _statistics(quick: bool, tell: Tell) -> Iterator[Row]:
    from tests.bench import statistics

    few = {"looks": 2_000, "many": 50, "online": 40, "drift": 100}
    many = {"looks": 20_000, "many": 400, "online": 400, "drift": 1_000}
    return statistics.measure(few if quick else many, tell)


PARTS: Mapping[str, Callable[[bool, Tell], Iterator[Row]]] = {
    "router": _router,
    "broker": _broker,
    "e2e": _flows,
    "pipeline": _pipeline,
    "delivery": _delivery,
    "scaling": _scaling,
    "promotion": _promotion,
    "statistics": _statistics,
}


#: Who stands beside us in which part.
PEERS: Mapping[str, Sequence[Peer]] = {
    "broker": (TASKS,),
    "e2e": (LANGGRAPH, AGENT_MAIL),
    "pipeline": (TASKS,),
    "promotion": (AGENT_MEMORY,),
    "statistics": (SAVVI,),
}


@dataclass(frozen=True)
class Wishes:
    """What to run: every part, or only some; quick runs are smaller and less sure."""

    only: Sequence[str] = ()
    quick: bool = False


def run(wishes: Wishes, tell: Tell = lambda _: None) -> Report:
    """Run the parts one after another; one that breaks off does not keep the others from running.

    Raises:
        Misused: there is no part of a name.
    """
    unknown = sorted(set(wishes.only) - set(PARTS))
    if unknown:
        raise Misused(f"there is no benchmark {unknown[0]!r}; choose among: {', '.join(PARTS)}")
    began, about = time.monotonic(), machine.describe()
    rows: list[Row] = []
    failures: list[Failure] = []
    parts = [part for part in PARTS if part in wishes.only or not wishes.only]
    _look_for_peers(parts, tell)
    for part in parts:
        try:
            # Row by row, so that what was measured before a part broke off is kept.
            rows.extend(PARTS[part](wishes.quick, tell))
        except Exception as error:
            failures.append(Failure(part=part, error=f"{type(error).__name__}: {error}"))
    return Report(
        machine=about,
        quick=wishes.quick,
        took_s=time.monotonic() - began,
        rows=rows,
        verdicts=budgets.judge(rows, parts),
        failures=failures,
    )


def _look_for_peers(parts: Sequence[str], tell: Tell) -> None:
    """Install the peers, and say which cannot be started before anybody waits for their rows."""
    wanted = dict.fromkeys(peer for part in parts for peer in PEERS.get(part, ()))
    for peer in wanted:
        if trouble := peer.trouble:
            missing = ", ".join(part for part in parts if peer in PEERS.get(part, ()))
            tell(f"{trouble}; {missing} will be measured without it")
