"""Nothing is left to do, nothing outgrew its place, and standing still costs next to nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import SYSTEM
from sharpwave.schemas.numbers import wire_size
from sharpwave.workers.work import ticks
from tests.simulation.scene import Scene
from tests.simulation.scheduler import Scheduler
from tests.simulation.weather import Weather

_MOST_LEDGER_BYTES = 64 * 1024
#: Port calls of the duties that cost what changed, where nothing did.
_MOST_IDLE_CALLS = 60


def upkeep(scene: Scene, scheduler: Scheduler) -> Iterator[str]:
    """Check queues, sizes, reactions and the cost of standing still."""
    for held in [*scene.queues.messages, *scene.queues.dead]:
        yield f"{held.queue} still holds {held.body[:160]} after {held.errors[-2:]}"
    for item in scene.tables.scan(tables.PIPELINE):
        size = wire_size(item)
        if size > _MOST_LEDGER_BYTES and item["PK"]["S"].startswith("ledger#"):
            yield f"the ledger item {item['PK']['S']} {item['SK']['S']} has {size} bytes"
    for table, stream in scene.tables.streams.items():
        for record, by in stream:
            if by == "worker":
                if _is_said_now(record):
                    continue  # what the pipeline says itself; it ends where it is delivered
                for message in scene.route(table, [record]):
                    yield f"a worker's write to {table} started {message.body[:200]}"
    yield from _idle(scene, scheduler)


def _is_said_now(record: Mapping[str, Any]) -> bool:
    pk, sk = (record["dynamodb"]["Keys"][name]["S"] for name in ("PK", "SK"))
    is_ours = pk.endswith(f"#{SYSTEM}") and not keys.is_mirror_sk(sk)
    return is_ours and record["eventName"] == "INSERT"


def _idle(scene: Scene, scheduler: Scheduler) -> Iterator[str]:
    scheduler.weather = Weather(themes=())
    for _ in range(2):
        scene.clock.advance(60)
        before = scheduler.calls
        duties = [ticks.tick(each, clock=scene.clock) for each in (ticks.EXPIRY, ticks.FIGURES)]
        scene.queues.send(duties)
        scheduler.drain()
    calls = scheduler.calls - before
    if calls > _MOST_IDLE_CALLS:
        yield f"where nothing changed, expiry and figures took {calls} calls"
