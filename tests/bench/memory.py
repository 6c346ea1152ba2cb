"""Recall and state: ours beside LangGraph's DynamoDBStore and redis agent-memory-server.

Ours and LangGraph's lie in tables of the same backend, theirs in a Redis of its own. Each reads ten
of a hundred lasting entries, saves its own state, and, from eight clients at once, adds to a state
that they share.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sharpwave.infra.local import open_backend
from sharpwave.producers import Agent
from tests.bench.peers import AGENT_MEMORY, LANGGRAPH, ContestantFailed, Peer, ask
from tests.bench.results import OURS, Row, summed
from tests.bench.system import BACKEND, System

PART = "memory"
STORE, SERVER = "LangGraph DynamoDBStore 1.2.6", "redis agent-memory-server 0.14.0"
_AGENT, _CLIENTS = "recalling", 8
_ENTRIES, _WANTED, _TEXT = 100, 10, "text " * 20
_PATIENCE_S, _PROMOTED_WITHIN_S = 400.0, 90.0
CASES = {
    "recall": "ten of a hundred entries, one client",
    "recall by all": f"ten of a hundred entries, {_CLIENTS} clients",
    "save": "own state, one client",
    "add": f"one more in a shared state, {_CLIENTS} clients",
}


def measure(count: int, turns: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure each with so many operations of each kind, in turns."""
    found: dict[str, list[dict[str, Any]]] = {OURS: [], STORE: [], SERVER: []}
    trouble: dict[str, str] = {}
    orders = {"clients": _CLIENTS, "entries": _ENTRIES, "wanted": _WANTED, "text": _TEXT}
    for _ in range(turns):
        for who, run in ((OURS, _ours), (STORE, _store), (SERVER, _server)):
            if who in trouble:
                continue
            tell(f"{PART}: {who}")
            try:
                found[who].append(run({**orders, "count": count}))
            except ContestantFailed as error:
                if who == OURS:
                    raise
                trouble[who] = str(error).splitlines()[-1][:200]
    for name, case in CASES.items():
        for who, runs in found.items():
            mine = [run[name] for run in runs]
            yield summed(PART, case, who, mine, note=trouble.get(who, ""))


def _ours(orders: Mapping[str, Any]) -> dict[str, Any]:
    with open_backend(BACKEND) as backend, System(backend, [_AGENT]) as system:
        workers, pump = system.workers("promote"), system.pump()
        system.wait_ready(["promote"])
        with Agent(
            _AGENT,
            prefix=system.deployment.prefix,
            session=system.deployment.session,
            endpoint_url=system.deployment.endpoint("dynamodb"),
        ) as agent:
            for _ in range(_ENTRIES):
                agent.remember("NOTE", {"text": _TEXT}, importance=1)
            until = time.monotonic() + _PROMOTED_WITHIN_S
            while (made := len(agent.recall("NOTE", limit=2 * _ENTRIES))) < _ENTRIES:
                if time.monotonic() > until:
                    raise ContestantFailed(f"{made} of {_ENTRIES} entries were promoted")
                time.sleep(0.2)
        # Nobody else's workers run while others are measured.
        workers.stop()
        pump.stop()
        more = {"agent": _AGENT, "prefix": system.deployment.prefix}
        return _asked("memory_sharpwave", {**orders, **more}, system, None)


def _store(orders: Mapping[str, Any]) -> dict[str, Any]:
    with open_backend(BACKEND) as backend, System(backend, ()) as system:
        endpoint = system.environment["AWS_ENDPOINT_URL"]
        more = {"table": system.deployment.name("store"), "endpoint": endpoint}
        return _asked("memory_langgraph", {**orders, **more}, system, LANGGRAPH)


def _server(orders: Mapping[str, Any]) -> dict[str, Any]:
    with open_backend(BACKEND) as backend, System(backend, ()) as system:
        return _asked("memory_redis", orders, system, AGENT_MEMORY)


def _asked(
    script: str, orders: Mapping[str, Any], system: System, peer: Peer | None
) -> dict[str, Any]:
    if peer is None:
        return ask(script, orders, env=system.environment, patience_s=_PATIENCE_S)
    if peer.trouble:
        raise ContestantFailed(peer.trouble)
    env = {**system.environment, "BENCH_PACKAGES": str(peer.packages)}
    return ask(script, orders, env=env, python=peer.interpreter, patience_s=_PATIENCE_S)
