"""The short ways past the router lead where the long way does."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.schemas import tables
from sharpwave.schemas.keys import Kind
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.workers.router import admission, fast_path
from sharpwave.workers.router import record as stream_records
from sharpwave.workers.router.router import Router
from sharpwave.workers.work.ports import Item
from tests.bench.router_speed import KINDS
from tests.simulation.book import Book
from tests.simulation.histories import Crowd
from tests.simulation.scene import Scene
from tests.simulation.scheduler import Scheduler
from tests.simulation.weather import Weather
from tests.unit.wire_forms import DAY_S, STORIES, UPDATES, VALID, alike, changes, streamed
from tests.world import World
from tests.world.records import decision, outcome
from tests.world.stores import START

TABLES = {
    **{"decision": tables.DECISIONS, "signal": tables.SIGNALS},
    **dict.fromkeys(("memory", "registration", "state"), tables.STATE),
}
DEPLOYMENT = Path(__file__).parents[4] / "docs" / "DEPLOYMENT.md"


class LongWay(Router):
    """A router that takes every record the same way."""

    def _take_sound(self, *_: Any) -> bool:
        return False


class ShortWay(Router):
    """A router that takes no record the long way."""

    def _work(self, record: stream_records.Record) -> NoReturn:
        raise AssertionError(f"{record.pk} went the long way")


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


@contextmanager
def the_long_way() -> Iterator[type[Router]]:
    """Give a router without a short way: every image is walked, and judged by the models."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (admission, fast_path):
            patch.setattr(module, "may_be_too_deep", lambda _: True)
        patch.setattr(stream_records, "had_sound_outcome", lambda _: False)
        yield LongWay


@pytest.mark.parametrize("promote_after_s", [60.0, 86_400.0])
def test_a_record_of_a_world_makes_the_same_work_either_way(
    world: World, promote_after_s: float
) -> None:
    for table, record in records(world):
        ours = Router(promote_after_s=promote_after_s)(table, [record])
        with the_long_way() as long:
            assert long(promote_after_s=promote_after_s)(table, [record]) == ours


@pytest.mark.parametrize("number", range(len(STORIES)))
def test_whatever_an_attribute_holds_its_record_makes_the_same_work_either_way(
    number: int,
) -> None:
    table, image = STORIES[number]
    cases = []
    for name, value in alike(image, Random(number)):
        other = {each: image[each] for each in image if each != name}
        other |= {} if value is None else {name: value}
        cases += [streamed(None, other), streamed(image, other), streamed(other, image)]
        for update in UPDATES[:2]:
            cases += [streamed(each, {**other, **update}) for each in (image, other)]
        cases += [streamed(other, None, at=START + 9 * DAY_S, by_ttl=True)]
    ours = [Router()(table, [case]) for case in cases]

    with the_long_way() as router:
        theirs = [router()(table, [case]) for case in cases]

    assert [
        case for case, one, other in zip(cases, ours, theirs, strict=True) if one != other
    ] == []


@given(changes(), st.none() | st.floats(START, START + 1e6))
@settings(max_examples=200, deadline=None)
def test_any_record_makes_the_same_work_either_way(
    case: tuple[str, dict[str, Any]], now: float | None
) -> None:
    table, record = case

    ours = Router()(table, [record], now=now)

    with the_long_way() as long:
        assert long()(table, [record], now=now) == ours


@given(changes())
@settings(max_examples=100, deadline=None)
def test_all_that_is_sent_says_which_record_it_came_from(case: tuple[str, dict[str, Any]]) -> None:
    """A checkpoint stops before the first record of which something was not accepted."""
    table, record = case

    for message in Router()(table, [record]):
        assert set(message.sequence_numbers) == {record["dynamodb"]["SequenceNumber"]}


@pytest.mark.parametrize("kind", sorted(VALID))
def test_what_comes_or_goes_and_is_sound_takes_the_short_way(kind: Kind) -> None:
    image = item_to_wire(VALID[kind])

    came = ShortWay()(TABLES[kind], [streamed(None, image)])
    went = ShortWay()(TABLES[kind], [streamed(image, None)])
    by_time = ShortWay()(TABLES[kind], [streamed(image, None, at=START + 9 * DAY_S, by_ttl=True)])

    assert bool(came) is (kind != "state")
    assert went == []
    assert bool(by_time) is (kind in ("decision", "memory"))


@pytest.mark.parametrize("before", [{}, {"outcome": outcome(True), "outcome_rev": 1}])
def test_a_decision_that_got_an_outcome_and_nothing_else_takes_the_short_way(before: Item) -> None:
    got: Item = {"outcome": outcome(False, 1), "outcome_rev": 2}
    old, new = item_to_wire(decision(**before)), item_to_wire(decision(**got))

    assert ShortWay()(TABLES["decision"], [streamed(old, new)])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_models_are_not_asked_about_what_is_as_it_should_be(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    table, make = KINDS[kind]
    asked: list[Any] = []
    monkeypatch.setattr(admission, "explain", lambda *about: asked.append(about))

    Router()(table, [make(number) for number in range(4)])

    assert asked == []


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
