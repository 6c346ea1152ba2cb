"""The short ways past the router lead where the long way does."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sharpwave.infra.aws.function import FILTERS
from sharpwave.schemas import keys, ownership, tables
from sharpwave.schemas.keys import Kind
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.ownership import stamped
from sharpwave.workers.router import admission, fast_path
from sharpwave.workers.router import record as stream_records
from sharpwave.workers.router import router as routing
from sharpwave.workers.router.router import Router
from sharpwave.workers.work.envelope import MAX_FILL_BYTES, ascii_json, image_of
from sharpwave.workers.work.incoming import Streamed, page_of
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import Item
from tests.bench.router_speed import KINDS
from tests.simulation.book import Book
from tests.simulation.histories import Crowd
from tests.simulation.scene import Scene
from tests.simulation.scheduler import Scheduler
from tests.simulation.weather import Weather
from tests.unit.wire_forms import DAY_S, STORIES, UPDATES, VALID, alike, changes, streamed
from tests.world import World
from tests.world.records import decision, key_of, outcome
from tests.world.stores import START

TABLES = {
    **{"decision": tables.DECISIONS, "signal": tables.SIGNALS},
    **dict.fromkeys(("memory", "registration", "state"), tables.STATE),
}
_, ROW = STORIES[5]
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
        patch.setattr(routing, "differing", ownership.differing)
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


def test_only_a_removal_is_the_work_of_time() -> None:
    """Whoever is said to have made it: an acknowledgement is one either way."""
    case = streamed(ROW, {**ROW, "status": {"S": "PROCESSED"}}, by_ttl=True)

    ours = Router()(tables.SIGNALS, [case])

    with the_long_way() as long:
        assert long()(tables.SIGNALS, [case]) == ours != []


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


@pytest.mark.parametrize("place", [0, 3, -1])
@pytest.mark.parametrize("more", [{}, {"decision_id": "d1"}, {"reason": 'so,"status":'}])
def test_an_acknowledged_row_takes_the_short_way_wherever_its_answer_stands(
    more: Item, place: int
) -> None:
    def image(said: Item) -> dict[str, Any]:
        pairs = [pair for pair in ROW.items() if pair[0] != "status"]
        pairs[place:place] = item_to_wire(said).items()
        # Nothing is cut before the first of all.
        return {"PK": ROW["PK"], **dict(pairs)}

    record = streamed(image({"status": "PENDING"}), image({"status": "FAILED", **more}))

    records: list[Any] = [record, *read(record, "compact")]
    for each in records:
        assert ShortWay()(tables.SIGNALS, [each])


@pytest.mark.parametrize("had", [{}, {"reason": "quota"}])
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("before", ["PENDING", "PROCESSED"])
@pytest.mark.parametrize("after", ["PENDING", "PROCESSED"])
def test_a_status_within_what_a_row_carries_is_content_like_all_else(
    before: str, after: str, place: str, had: Item
) -> None:
    rest = {name: value for name, value in ROW.items() if name not in ("status", "data")}

    def image(said: Item, inner: str) -> dict[str, Any]:
        ours, data = item_to_wire(said), item_to_wire({"data": {"k": 1, "status": inner, **had}})
        return {**rest, **(ours | data if place == "first" else data | ours)}

    record = streamed(
        image({"status": "PENDING", **had}, before),
        image({"status": "PROCESSED", "reason": "tired"}, after),
    )

    records: list[Any] = [record, *read(record, "compact")]
    for each in records:
        ours = Router()(tables.SIGNALS, [each])
        with the_long_way() as long:
            assert said(long()(tables.SIGNALS, [each])) == said(ours)
        assert ("restore" in ours[0].body) is (before != after)


@pytest.mark.parametrize(
    ("kind", "mark"),
    [
        ("decision", {"promoted_at": int(START)}),
        ("memory", {"promoted_at": int(START)}),
        ("signal", {"processing_status": {"bob": {"status": "DELIVERED"}}, "status_v": 1}),
        ("signal", {"audience_chunks": 2}),
    ],
)
def test_what_a_worker_marked_takes_the_short_way_to_nothing(kind: Kind, mark: Item) -> None:
    image = item_to_wire(VALID[kind])

    assert ShortWay()(TABLES[kind], [streamed(image, {**image, **item_to_wire(mark)})]) == []


def test_a_row_that_a_worker_wrote_to_takes_the_short_way_to_nothing() -> None:
    key = keys.Key(ROW["PK"]["S"], ROW["SK"]["S"])
    ended = {**ROW, **item_to_wire(stamped(key, {"status": "EXPIRED", "chunk": "c1"}))}

    assert ShortWay()(tables.SIGNALS, [streamed(None, ROW)]) == []
    assert ShortWay()(tables.SIGNALS, [streamed(ROW, ended)]) == []


def escaped(text: str) -> str:
    units = text.encode("utf-16-be").hex()
    return '"' + re.sub("....", r"\\u\g<0>", units) + '"'


def spelled(value: Any, *, name: Callable[[str], str], gap: str, twice: bool) -> str:
    """Write JSON as no service would: texts escaped, gaps anywhere, or a decoy before each text."""
    inner: Any = {"name": name, "gap": gap, "twice": twice}
    if isinstance(value, dict):
        pairs = []
        for each, part in value.items():
            if twice:
                decoy = "decoy" if isinstance(part, str) else part
                pairs.append(f"{name(each)}{gap}:{gap}{json.dumps(decoy)}")
            pairs.append(f"{name(each)}{gap}:{gap}{spelled(part, **inner)}")
        return f"{{{gap}" + f"{gap},{gap}".join(pairs) + f"{gap}}}"
    if isinstance(value, list):
        return f"[{gap}" + f"{gap},{gap}".join(spelled(each, **inner) for each in value) + f"{gap}]"
    return name(value) if isinstance(value, str) else json.dumps(value)


#: How a page may be written, from what DynamoDB writes to what only malice would.
SPELLINGS: dict[str, Callable[[Any], str]] = {
    "compact": lambda page: json.dumps(page, separators=(",", ":"), ensure_ascii=False),
    "ascii": lambda page: json.dumps(page, separators=(",", ":")),
    "spaced": json.dumps,
    "gaps": lambda page: spelled(page, name=json.dumps, gap="\n \t", twice=False),
    "escapes": lambda page: spelled(page, name=escaped, gap="", twice=False),
    "twice": lambda page: spelled(page, name=json.dumps, gap="", twice=True),
}


def read(record: Any, spelling: str) -> list[Streamed]:
    records: list[Streamed] = page_of(
        SPELLINGS[spelling]({"Records": [json.loads(ascii_json(record))]}).encode()
    )["Records"]
    return records


def said(messages: list[WorkMessage]) -> list[Any]:
    """Give what messages say, however it is written; their ids are derived from how it is."""
    found = []
    for each in messages:
        body = {**json.loads(each.body), "message_id": ""}
        for entry in body["kwargs"]["entries"]:
            # Images are compressed as they are spelled, so what they say is compared.
            if "zimage" in entry:
                entry["image"] = image_of(entry)
                del entry["zimage"]
        found.append((each.queue, body, each.sequence_numbers))
    return found


GOOD = {"M": {"success": {"BOOL": True}}}
BAD = {"M": {"success": {"BOOL": False}}}


@pytest.mark.parametrize("spelling", ["compact", "gaps", "escapes"])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{}, {"outcome": GOOD}], [{"outcome": GOOD}, {}]),
        ([{}], [{"outcome": GOOD}]),
        ([{"outcome": GOOD}], [{}]),
        ([{"outcome": BAD}], [{"outcome": GOOD}]),
        ([{"outcome_rev": {"N": "1"}}], [{"outcome_rev": {"N": "2"}}]),
        ([{}], [{"outcome_rev": {"N": "2"}}]),
    ],
)
@pytest.mark.parametrize("had", [{}, {"outcome": BAD}, {"outcome": BAD, "outcome_rev": {"N": "1"}}])
def test_an_outcome_within_another_attribute_is_content_like_all_else(
    had: Item, before: list[Item], after: list[Item], spelling: str, *, is_first: bool
) -> None:
    base = item_to_wire(decision())

    def image(said: Item, inner: list[Item]) -> dict[str, Any]:
        context = {"context": {"M": {"in": {"L": [{"M": {"k": GOOD, **each}} for each in inner]}}}}
        return {**base, **(said | context if is_first else context | said)}

    got: Item = {"outcome": GOOD, "outcome_rev": {"N": "2"}}
    record = streamed(image(had, before), image(got, after))

    records: list[Any] = [record, *read(record, spelling)]
    for each in records:
        ours = Router()(tables.DECISIONS, [each])
        with the_long_way() as long:
            assert said(long()(tables.DECISIONS, [each])) == said(ours)
        assert "immutable" in ours[0].body


@pytest.mark.parametrize("spelling", ["compact", "ascii"])
@pytest.mark.parametrize("place", [1, 5, -1])
@pytest.mark.parametrize("rev_place", [1, 5, 7, -1])
def test_an_outcome_takes_the_short_way_wherever_it_stands(
    place: int, rev_place: int, spelling: str
) -> None:
    def image(said: Item) -> dict[str, Any]:
        pairs = list(item_to_wire(decision(reasoning={"said": 'so,"outcome":'})).items())
        for name, at in (("outcome", place), ("outcome_rev", rev_place)):
            pairs[at:at] = item_to_wire({name: said[name]}).items() if name in said else []
        return dict(pairs)

    got = image({"outcome": outcome(False, 1), "outcome_rev": 3})
    for had in ({}, {"outcome": outcome(True)}, {"outcome": outcome(True), "outcome_rev": 2}):
        record = streamed(image(had), got)
        records: list[Any] = [record, *read(record, spelling)]
        for each in records:
            assert ShortWay()(tables.DECISIONS, [each])


@pytest.mark.parametrize("levels", [1, 13, 14, 15, 16])
@pytest.mark.parametrize("letter", ["L", "M"])
def test_an_outcome_that_was_too_deep_was_no_sound_one(letter: str, levels: int) -> None:
    why: dict[str, Any] = {letter: [] if letter == "L" else {}}
    for _ in range(levels):
        why = {letter: [why] if letter == "L" else {"k": why}}
    old = item_to_wire(decision())
    new = {**old, "outcome": GOOD, "outcome_rev": {"N": "2"}}
    old["outcome"] = {"M": {**BAD["M"], "why": why}}
    (one,) = read(streamed(old, new), "compact")

    ours = Router()(tables.DECISIONS, [one])

    with the_long_way() as long:
        assert long()(tables.DECISIONS, [one]) == ours
    assert ('"state":"revision"' in ours[1].body) is (levels < 16)


@pytest.mark.parametrize(("spare", "is_compressed"), [(1, False), (0, False), (-1, True)])
def test_what_fills_a_message_is_measured_to_the_character(spare: int, is_compressed: bool) -> None:
    def record(size: int) -> dict[str, Any]:
        return streamed(None, item_to_wire(decision(context={"note": "x" * size})))

    (short, *_) = Router()(tables.DECISIONS, [record(0)])
    (entry,) = json.loads(short.body)["kwargs"]["entries"]
    filled = record(MAX_FILL_BYTES - len(ascii_json(entry)) - spare)

    ours = Router()(tables.DECISIONS, [filled])

    with the_long_way() as long:
        assert long()(tables.DECISIONS, [filled]) == ours
    assert all(("zimage" in each.body) is is_compressed for each in ours)


#: What may be said at the top of an image or within one of its maps, and what of it: the last is
#: that there is no such map.
PLACES = ("outcome", "in outcome", "in outcome_rev", "outcome_rev")
SAID = {
    "outcome": (None, GOOD, BAD, None),
    "outcome_rev": (None, {"N": "2"}, {"N": "3"}, None),
}


@given(
    st.permutations(PLACES),
    st.fixed_dictionaries(dict.fromkeys(PLACES, st.integers(0, 3))),
    st.dictionaries(st.sampled_from(PLACES), st.integers(0, 3), min_size=1, max_size=2),
)
# What was added is found in a map; so is what ends the map; a map between came too.
@example(PLACES, dict(zip(PLACES, (1, 0, 3, 0), strict=True)), {"in outcome": 1})
@example(PLACES, dict(zip(PLACES, (1, 2, 3, 1), strict=True)), {"in outcome": 1, "outcome_rev": 2})
@example(
    PLACES,
    dict(zip(PLACES, (2, 3, 3, 0), strict=True)),
    {"outcome": 1, "in outcome": 2, "outcome_rev": 1},
)
@settings(max_examples=200, deadline=None)
def test_all_around_an_outcome_is_compared(
    order: Sequence[str], old: dict[str, int], changed: dict[str, int]
) -> None:
    def image(said: dict[str, int]) -> dict[str, Any]:
        pairs = item_to_wire(decision())
        for name in order:
            outer = name.removeprefix("in ")
            value = SAID[outer][said[name]]
            held: dict[str, Any] = {} if value is None else {outer: value}
            if name == outer:
                pairs.update(held)
            elif said[name] < 3:
                pairs[f"their_{outer}"] = {"M": {"k": GOOD, **held}}
        return pairs

    (one,) = read(streamed(image(old), image({**old, **changed})), "compact")

    ours = Router()(tables.DECISIONS, [one])

    with the_long_way() as long:
        assert long()(tables.DECISIONS, [one]) == ours


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(changes(), st.none() | st.floats(START, START + 1e6))
@settings(max_examples=100, deadline=None)
def test_a_record_makes_the_same_work_however_its_bytes_are_spelled(
    spelling: str, case: tuple[str, dict[str, Any]], now: float | None
) -> None:
    table, record = case
    read_as = read(record, spelling)

    ours = Router()(table, read_as, now=now)

    dicts = Router()(table, [record], now=now)
    assert said(ours) == said(dicts)
    if spelling in ("compact", "ascii"):
        assert [each.body for each in ours] == [each.body for each in dicts]
    assert all(each.body.isascii() for each in ours)
    with the_long_way() as long:
        assert said(long()(table, read_as, now=now)) == said(dicts)


def test_a_decision_whose_old_image_is_null_came_with_its_outcome() -> None:
    record = streamed(None, item_to_wire(decision(outcome=outcome(True))))
    came = Router()(tables.DECISIONS, [record])

    record["dynamodb"]["OldImage"] = None

    for each in ([record], read(record, "compact")):
        assert said(Router()(tables.DECISIONS, each)) == said(came)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("number", range(len(STORIES)))
def test_what_is_too_deep_is_found_however_it_is_spelled(number: int, spelling: str) -> None:
    table, image = STORIES[number]
    levels: dict[str, Any] = {"S": "x"}
    for level in range(17):
        levels = {"L": [levels]} if level % 2 else {"M": {"in": levels}}
    record = streamed(None, {**image, "own": levels})

    assert said(Router()(table, read(record, spelling))) == said(Router()(table, [record]))


@pytest.mark.parametrize("old", [True, False])
def test_an_attribute_written_in_another_way_is_no_change(old: bool) -> None:
    table, image = STORIES[0]
    image = {**image, "context": {"M": {"n": {"N": "2"}}}}
    record = streamed(image, {**image, "outcome_rev": {"N": "3"}})
    text = SPELLINGS["ascii"]({"Records": [json.loads(ascii_json(record))]})
    image_at = text.index('"OldImage"' if old else '"NewImage"')
    spaced = text[:image_at] + text[image_at:].replace('{"n":', '{ "n" : ', 1)

    (one,) = page_of(spaced.encode())["Records"]

    assert said(Router()(table, [one])) == said(Router()(table, [record]))


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

    places = {(each["eventName"], place_kind(each)) for each in dropped}

    assert places == {("INSERT", "inbox_row"), ("INSERT", "mirror"), ("MODIFY", "mirror")}
    assert Router()("agent_signals", dropped) == []


@pytest.mark.parametrize("change", ["forged", "acknowledged", "spoiled", "stray"])
def test_the_event_source_filter_shows_whatever_agents_do_with_a_version(change: str) -> None:
    item, mirror = VALID["signal"], keys.mirror(key_of(VALID["signal"])).item()
    held = {"processing_status": {}, "status_v": 1}
    row = {"PK": "agent:bob#inbox", "SK": "x", "signal_pk": item["PK"], "signal_id": "s1"}
    old, new = {
        "forged": (None, {**item, **held}),
        "acknowledged": (row, {**row, "status": "PROCESSED", "status_v": 1}),
        "spoiled": ({**mirror, **held}, {**mirror, "processing_status": {}}),
        "stray": (None, {**mirror, "note": "mine"}),
    }[change]
    images = (None if each is None else item_to_wire(each) for each in (old, new))
    record = {**streamed(*images), "eventName": "INSERT" if old is None else "MODIFY"}

    assert any(matches(pattern, record) for pattern in FILTERS[tables.SIGNALS])


def place_kind(record: Mapping[str, Any]) -> Kind | None:
    key = record["dynamodb"]["Keys"]
    parsed = keys.parse(tables.SIGNALS, key["PK"]["S"], key["SK"]["S"])
    return parsed and parsed.kind


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
