"""One run of the benchmarks: which parts, in which order, and what comes of them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sharpwave.infra.errors import Misused
from tests.bench import (
    brokers,
    budgets,
    caching,
    delivery,
    discovery,
    flows,
    function,
    limiting,
    lives,
    load_step,
    machine,
    memory,
    pipeline,
    promotion,
    router_speed,
    statistics,
)
from tests.bench.peers import AGENT_MAIL, AGENT_MEMORY, GBSTATS, LANGGRAPH, SAVVI, TASKS, Peer
from tests.bench.results import Failure, Report, Row

Tell = Callable[[str], None]

#: What each part measures in a quick run, and in a full one.
PARTS: Mapping[str, Callable[[bool, Tell], Iterator[Row]]] = {
    "router": lambda quick, tell: router_speed.measure(1.0 if quick else 3.0, tell),
    "function": lambda quick, tell: function.measure(
        *((2_000, 3, 1) if quick else (8_000, 7, 3)), tell
    ),
    "broker": lambda quick, tell: brokers.measure(brokers.QUICK if quick else brokers.FULL, tell),
    "e2e": lambda quick, tell: flows.measure(*((30, 3.0, 1) if quick else (80, 8.0, 2)), tell),
    "pipeline": lambda quick, tell: pipeline.measure(*((4_000, 1) if quick else (8_000, 2)), tell),
    "delivery": lambda quick, tell: delivery.measure(*((6_000, 1) if quick else (20_000, 3)), tell),
    "scaling": lambda quick, tell: pipeline.measure_scaling(
        *((500, 3.0) if quick else (1_200, 8.0)), tell
    ),
    "load-step": lambda quick, tell: load_step.measure(15.0 if quick else 60.0, tell),
    "promotion": lambda quick, tell: promotion.measure(
        {"samples": 10, "singly": 300, "bulk": 2_000, "theirs": 60}
        if quick
        else {"samples": 30, "singly": 1_000, "bulk": 5_000, "theirs": 200},
        tell,
    ),
    "memory": lambda quick, tell: memory.measure(*((200, 1) if quick else (1_000, 3)), tell),
    "cache": lambda quick, tell: caching.measure(60 if quick else 300, tell),
    "limits": lambda quick, tell: limiting.measure(1_000 if quick else 5_000, tell),
    "statistics": lambda quick, tell: statistics.measure(
        {"looks": 2_000, "many": 50, "online": 40, "drift": 100}
        if quick
        else {"looks": 20_000, "many": 400, "online": 400, "drift": 1_000},
        tell,
    ),
    "bases": lambda quick, tell: statistics.measure_bases(50 if quick else 200, tell),
    "lives": lambda quick, tell: lives.measure(
        {"years": 40, "falls": 20, "censored": 20}
        if quick
        else {"years": 100, "falls": 40, "censored": 50},
        tell,
    ),
    "discovery": lambda quick, tell: discovery.measure(
        {"shuffles": 10, "planted": 5} if quick else {"shuffles": 100, "planted": 20}, tell
    ),
}

#: Who stands beside us in which part.
PEERS: Mapping[str, Sequence[Peer]] = {
    "broker": (TASKS,),
    "e2e": (LANGGRAPH, AGENT_MAIL),
    "pipeline": (TASKS,),
    "promotion": (AGENT_MEMORY,),
    "memory": (LANGGRAPH, AGENT_MEMORY),
    "statistics": (SAVVI, GBSTATS),
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
    # Peers are installed, and what is missing is said, before anybody waits for their rows.
    for peer in dict.fromkeys(peer for part in parts for peer in PEERS.get(part, ())):
        if trouble := peer.trouble:
            without = ", ".join(part for part in parts if peer in PEERS.get(part, ()))
            tell(f"{trouble}; {without} will be measured without it")
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
