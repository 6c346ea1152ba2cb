"""The short ways past the router lead where the long way does."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sharpwave.workers.router.router import Router
from tests.simulation.book import Book
from tests.simulation.histories import Crowd
from tests.simulation.scene import Scene
from tests.simulation.scheduler import Scheduler
from tests.simulation.weather import Weather
from tests.world import World

DEPLOYMENT = Path(__file__).parents[4] / "docs" / "DEPLOYMENT.md"


class LongWay(Router):
    """A router without the short way for new records."""

    def _take_new(self, *_: Any) -> bool:
        return False


@pytest.fixture(scope="module")
def world() -> World:
    made, chance = Scene(Book()), Random(5)
    themes = ("signals", "broadcasts", "tampering", "rows", "counting", "memory")
    weather = Weather(themes=themes)
    crowd, scheduler = Crowd(made, chance, weather), Scheduler(made, chance, weather)
    crowd.begin()
    for _ in range(250):
        getattr(crowd, chance.choice(weather.acts))()
        scheduler.drain()
        made.clock.advance(1.0)
    return made


def records(world: World) -> Iterator[tuple[str, Any]]:
    for table, stream in world.tables.streams.items():
        yield from ((table, recorded.record) for recorded in stream)


@pytest.mark.parametrize("promote_after_s", [60.0, 86_400.0])
def test_a_new_record_makes_the_same_work_either_way(world: World, promote_after_s: float) -> None:
    short, long = (kind(promote_after_s=promote_after_s) for kind in (Router, LongWay))
    made = [(short(table, [record]), long(table, [record])) for table, record in records(world)]

    assert all(ours == theirs for ours, theirs in made)
    assert sum(bool(ours) for ours, _ in made) > 100


def test_the_event_source_filter_drops_only_what_makes_no_work(world: World) -> None:
    (block,) = re.findall(r'```json\n(\{"Filters".*?)```', DEPLOYMENT.read_text(), re.DOTALL)
    patterns = [json.loads(each["Pattern"]) for each in json.loads(block)["Filters"]]
    signals = [record for table, record in records(world) if table == "agent_signals"]
    dropped = [each for each in signals if not any(matches(p, each) for p in patterns)]

    assert dropped
    assert {each["eventName"] for each in dropped} == {"INSERT"}
    assert all(each["dynamodb"]["Keys"]["PK"]["S"].endswith("#inbox") for each in dropped)
    assert Router()("agent_signals", dropped) == []


def matches(pattern: Mapping[str, Any], found: Any) -> bool:
    """Match as Lambda does: all of the fields, any of a field's rules."""
    return all(
        matches(rule, (found or {}).get(name))
        if isinstance(rule, dict)
        else any(holds(each, (found or {}).get(name)) for each in rule)
        for name, rule in pattern.items()
    )


def holds(rule: Any, value: Any) -> bool:
    if not isinstance(rule, dict):
        return bool(value == rule)
    if "exists" in rule:
        return (value is not None) is bool(rule["exists"])
    return isinstance(value, str) and value.startswith(rule["prefix"])
