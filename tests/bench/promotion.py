"""Promotion: short-term entries to long-term memory, ours beside redis agent-memory-server.

Both take entries as their writer structured them. Ours copies an entry under a key derived from
it; theirs also embeds its text (by a local stand-in that answers at once) and indexes the vector.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sharpwave.infra.local import open_backend
from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.router.router import Router
from tests.bench.figures import Watch, quantile
from tests.bench.peers import AGENT_MEMORY, ContestantFailed, ask, local_environment
from tests.bench.results import OURS, Row, summed
from tests.bench.system import BACKEND, System

PART = "promotion"
SINGLY, BULK, RACE, LATENCY = "one by one, 8 writers", "in bulk", "10-way race", "write to readable"
THEIRS = "redis agent-memory-server 0.14.0"
AGENTS = tuple(f"agent-{number}" for number in range(20))
WRITERS, COPIES = 8, 10
_NOTE = "text " * 20

Item = dict[str, Any]


def measure(sizes: Mapping[str, int], tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure both; `sizes` holds how many entries each does in each case."""
    tell(f"{PART}: {OURS}")
    with open_backend(BACKEND) as backend, System(backend, AGENTS) as system:
        system.workers("promote")
        system.pump()
        system.wait_ready(["promote"])
        ours = {
            LATENCY: _latency(system, sizes["samples"]),
            SINGLY: _singly(system, sizes["singly"]),
            RACE: _race(system),
        }
    ours[BULK] = _bulk(sizes["bulk"])
    yield from (summed(PART, case, OURS, [found]) for case, found in ours.items())
    tell(f"{PART}: {THEIRS}")
    yield from _theirs(sizes)


def _theirs(sizes: Mapping[str, int]) -> Iterator[Row]:
    trouble = AGENT_MEMORY.trouble
    try:
        if trouble:
            raise ContestantFailed(trouble)
        orders = {**sizes, "writers": WRITERS, "copies": COPIES, "text": _NOTE}
        env = local_environment({"BENCH_PACKAGES": str(AGENT_MEMORY.packages)})
        python = AGENT_MEMORY.interpreter
        found = ask("promote_redis", orders, env=env, python=python, patience_s=240)
    except ContestantFailed as error:
        for case in (LATENCY, SINGLY, RACE, BULK):
            yield Row(part=PART, case=case, who=THEIRS, note=str(error))
        return
    for case, name in ((LATENCY, "latency"), (SINGLY, "singly"), (RACE, "race"), (BULK, "bulk")):
        yield summed(PART, case, THEIRS, [found[name]])


def _latency(system: System, samples: int) -> dict[str, Any]:
    took = []
    for number in range(samples):
        entry = _entry(AGENTS[number % len(AGENTS)])
        began = time.monotonic()
        _put(system, entry)
        while not _is_promoted(system, entry):
            if time.monotonic() - began > 10:
                return {"lost": 1}
            time.sleep(0.002)
        took.append(time.monotonic() - began)
    return {"readable_p50_ms": (quantile(took, 0.5) or 0) * 1000}


def _singly(system: System, number: int) -> dict[str, Any]:
    entries = [_entry(AGENTS[serial % len(AGENTS)]) for serial in range(number)]
    before, began = _promoted(system), time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda entry: _put(system, entry), entries))
    watch = Watch(lambda: _promoted(system) - before)
    done = watch.until(number, quiet_s=10.0)
    return {"promotions_per_s": done / (watch.seen[-1][0] - began), "lost": number - done}


def _bulk(number: int) -> dict[str, Any]:
    """Measure a backlog that waits in the stream when the worker starts."""
    with open_backend(BACKEND) as fresh, System(fresh, AGENTS) as system:
        entries = [_entry(AGENTS[serial % len(AGENTS)]) for serial in range(number)]
        system.write(tables.STATE, entries)
        system.workers("promote")
        system.pump()
        watch = Watch(lambda: _promoted(system), every_s=0.2)
        done = watch.until(number, quiet_s=15.0)
        return {"promotions_per_s": watch.rate(number), "lost": number - done}


def _race(system: System) -> dict[str, Any]:
    """Write one entry ten times at once, and hand the worker ten copies of the same work."""
    entry, before = _entry(AGENTS[0]), _promoted(system)
    image = item_to_wire(entry)
    record = {
        "eventID": "race",
        "dynamodb": {
            "Keys": {"PK": image["PK"], "SK": image["SK"]},
            "NewImage": image,
            "ApproximateCreationDateTime": time.time(),
        },
    }
    (work,) = [each for each in Router()(tables.STATE, [record]) if each.queue == "promote"]
    url = system.url("promote")

    def once(_: int) -> None:
        _put(system, entry)
        system.deployment.sqs.send_message(QueueUrl=url, MessageBody=work.body)

    with ThreadPoolExecutor(COPIES) as pool:
        list(pool.map(once, range(COPIES)))
    Watch(lambda: _promoted(system) - before).until(COPIES, quiet_s=2.0)
    made = _promoted(system) - before
    return {"rows_of_10_writes": made, "lost": max(0, 1 - made), "doubled": max(0, made - 1)}


def _put(system: System, entry: Item) -> None:
    name = system.deployment.name(tables.STATE)
    system.deployment.dynamodb.put_item(TableName=name, Item=item_to_wire(entry))


def _is_promoted(system: System, entry: Item) -> bool:
    key = keys.fact(entry["agent_id"], entry["memory_type"], entry["SK"])
    name = system.deployment.name(tables.MEMORY)
    answer = system.deployment.dynamodb.get_item(
        TableName=name, Key=key.wire(), ConsistentRead=True
    )
    return "Item" in answer


def _promoted(system: System) -> int:
    pages: Sequence[Any] = list(
        system.deployment.dynamodb.get_paginator("scan").paginate(
            TableName=system.deployment.name(tables.MEMORY), Select="COUNT", ConsistentRead=True
        )
    )
    return sum(page["Count"] for page in pages)


def _entry(agent: str) -> Item:
    now, memory_id = int(time.time()), f"mem_{ulid()}"
    return {
        "PK": keys.memory_pk(agent, "NOTE"),
        "SK": keys.dated_sk(iso_ms(now), memory_id),
        "agent_id": agent,
        "memory_id": memory_id,
        "memory_type": "NOTE",
        "timestamp": now,
        "iso_timestamp": iso_ms(now),
        "expires_at": now + 86_400,
        "ttl": now + 3 * 86_400,
        "importance": 1,
        "data": {"text": _NOTE},
    }
