"""What one release stored and queued, another reads: additive changes only.

`forms.json` holds the last release's forms: every kind of item, message and archived line, taken
from one history. Today's code must carry on from them, and must come to the same results when
every one of them has more in it than today's code knows. After a release record them anew:

    SHARPWAVE_RECORD_FORMS=1 .venv/bin/pytest tests/contract/test_forms.py
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import NoticeMessage, SignalMessage, parse_message
from sharpwave.schemas.numbers import Wire, parse_json, plain_json
from sharpwave.schemas.ownership import RESERVED
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.actors import register
from sharpwave.workers.patterns.counts import Counts, days_of, total
from sharpwave.workers.patterns.recount import Recount
from sharpwave.workers.work.ports import TryAgain
from tests.world import World
from tests.world.records import (
    decision,
    key_of,
    memory,
    mirror_of,
    outcome,
    signal,
    statuses_of,
)
from tests.world.stores import START

FORMS = Path(__file__).parent / "forms.json"
DAY_S = 86_400
UP = {"market": "up"}
#: A `*` of more agents than fit one audience, so that there are chunks.
CROWD = [f"agent-{number:02d}" for number in range(55)]
SIGNALS = {
    "one": signal("ann", "one", to=["bob"], data={"n": 1}),
    "all": signal("ann", "all", to=["*"]),
}
#: Of these, everything but `image` and its kin may gain keys; a typed image is the agent's own.
TYPED = frozenset({"image", "attributes", "held"})

Forms = dict[str, Any]


# -- the history that the forms are taken from ---------------------------------------------------


def pattern() -> PatternVersion:
    definition = {
        "pattern_id": "up",
        "agent_id": "ann",
        "decision_type": "TRADE",
        "conditions": [{"path": "context.market", "op": "eq", "value": "up"}],
        "shared_with": ["bob"],
    }
    return PatternVersion(
        definition=PatternDefinition.model_validate(definition),
        version=1,
        effective_from=int(START) - DAY_S,
        learned_at=int(START) - DAY_S,
    )


def live(world: World) -> dict[str, str]:
    """Let agents and workers live through everything once; gives a body for each actor."""
    bodies: dict[str, str] = {}

    def settle() -> None:
        while world.pump() or world.queues.visible():
            for held in world.queues.visible():
                bodies.setdefault(json.loads(held.body)["actor_name"], held.body)
                world.queues.receive(held)
                process.handle(held.body)
                world.queues.delete(held)

    version, process = pattern(), world.process()
    entry = {**keys.known_pattern(version.subject).item(), "version": version.model_dump_json()}
    world.tables.put(tables.PIPELINE, entry)
    shown = {"pattern_id": "up", "version": 1, "decision_type": "TRADE", "GSI1_PK": version.pk}
    copy = keys.shared_pattern_copy("bob", "ann", "up").item()
    world.tables.put(tables.MEMORY, {"PK": version.pk, "SK": "up", **shown})
    world.tables.put(tables.MEMORY, {**copy, **shown})
    world.register("ann", may_broadcast=True)
    world.register("bob", *CROWD)
    settle()
    for each in SIGNALS.values():
        world.tables.put(tables.SIGNALS, each)
    world.tables.put(tables.SIGNALS, signal("ann", "bad", to=[]))
    world.tables.put(tables.SIGNALS, signal("ann", "lost", to=["nobody"]))
    for number in range(6):
        item = decision("ann", f"d{number}", context=UP if number < 4 else {"market": "down"})
        world.tables.put(tables.DECISIONS, item)
        if number in (0, 1, 4):
            said = {"outcome": outcome(number != 1, 0.5)}
            world.tables.update(tables.DECISIONS, key_of(item), said)
    world.tables.put(tables.DECISIONS, decision("ann", "old", at=START - 2 * DAY_S))
    world.register("bob", subscriptions=["ALERT"])
    world.tables.put(tables.STATE, memory("ann", "important", importance=1))
    world.tables.put(tables.STATE, memory("ann", "plain"))
    settle()
    world.acknowledge(row_of("one", "bob"))
    settle()
    for jump in (700, 2 * DAY_S, 1500):
        world.clock.advance(jump)
        world.tick()
        settle()
    late = {"outcome": outcome(True), "outcome_rev": 1}
    world.tables.update(tables.DECISIONS, key_of(decision("ann", "d2")), late)
    settle()
    world.tick()
    settle()
    return bodies


def row_of(name: str, target: str) -> keys.Key:
    key = key_of(SIGNALS[name])
    return keys.inbox_row(target, key, signal_uid(*key))


def record() -> Forms:
    """Take the forms of everything that a history left behind."""
    world = World()
    bodies = live(world)
    inbox: dict[str, Any] = {}
    for post in world.inboxes.sent:
        inbox.setdefault(json.loads(post.body)["kind"], json.loads(post.body))
    return {
        "at": world.clock(),
        "items": {table.name: world.tables.scan(table.name) for table in tables.TABLES},
        "messages": {name: json.loads(body) for name, body in sorted(bodies.items())},
        "inbox": inbox,
        "archive": list(world.archive.lines()),
        "facts": facts(world),
    }


def listed(forms: Any, depth: int = 3) -> str:
    """Write JSON with an item to a line, so that a difference can be read."""
    if not depth or not isinstance(forms, dict):
        if depth and isinstance(forms, list):
            return "[\n" + ",\n".join(json.dumps(each) for each in forms) + "\n]"
        return json.dumps(forms)
    parts = [f"{json.dumps(name)}: {listed(each, depth - 1)}" for name, each in forms.items()]
    return "{\n" + ",\n".join(parts) + "\n}"


@pytest.fixture(scope="module")
def today() -> Forms:
    """The recorded forms."""
    if os.environ.get("SHARPWAVE_RECORD_FORMS"):
        FORMS.write_text(listed(json.loads(plain_json(record()))))
    forms: Forms = json.loads(FORMS.read_text())
    return forms


@pytest.fixture(params=["as recorded", "with more in it"])
def forms(request: pytest.FixtureRequest, today: Forms) -> Forms:
    """The recorded forms, and what a later release could make of them."""
    return today if request.param == "as recorded" else newer(today)


# -- the forms of a later release ----------------------------------------------------------------


def newer(forms: Forms) -> Forms:
    """Add what today's code does not know, everywhere that a later release may add something."""
    return {
        **forms,
        "items": {
            table: [newer_item(table, item) for item in items]
            for table, items in forms["items"].items()
        },
        "messages": {name: newer_message(each) for name, each in forms["messages"].items()},
        "inbox": {kind: extended(body) for kind, body in forms["inbox"].items()},
        "archive": [newer_line(line) for line in forms["archive"]],
    }


def newer_item(table: str, item: Mapping[str, Wire]) -> dict[str, Wire]:
    """Add an attribute to what workers write, a figure to counts, and keys to a definition."""
    parsed = keys.parse(table, item["PK"]["S"], item["SK"]["S"]) if table in tables.STREAMED else ()
    if parsed is None or (parsed and parsed.kind != "inbox_row"):
        return marked(item)
    new = {name: longer_row(value) for name, value in item.items()}
    if "version" in new and "S" in new["version"]:
        version = extended(json.loads(new["version"]["S"]))
        new["version"] = {"S": json.dumps(version)}
    return {**new, "of_a_later_release": {"M": {"said": {"L": [{"S": "hello"}]}}}}


def marked(image: Mapping[str, Wire]) -> dict[str, Wire]:
    """Let a later release's worker mark an agent's record."""
    return {**image, f"{RESERVED}mark": {"N": "7"}}


def longer_row(value: Wire) -> Wire:
    """Add a figure to a row of counts, which is a list of numbers."""
    numbers = value.get("L", ())
    if len(numbers) > 8 and all("N" in each for each in numbers):
        return {"L": [*numbers, {"N": "77"}]}
    return value


def newer_message(message: Forms) -> Forms:
    entries = [extended(entry) for entry in message["kwargs"]["entries"]]
    kwargs = {"entries": entries, "of_a_later_release": {"priority": 1}}
    return {**message, "kwargs": kwargs, "of_a_later_release": True}


def newer_line(line: Forms) -> Forms:
    """Archive a decision's later states with a mark that the first one had not."""
    is_first = line["state"] == "insert"
    newer: Forms = extended(line if is_first else {**line, "image": marked(line["image"])})
    return newer


def extended(value: Any) -> Any:
    """Add a key to every object but typed images."""
    if isinstance(value, list):
        return [extended(part) for part in value]
    if not isinstance(value, dict):
        return value
    more = {name: part if name in TYPED else extended(part) for name, part in value.items()}
    return {**more, "of_a_later_release": {"said": ["hello"]}}


# -- what came of it -----------------------------------------------------------------------------


def world_of(forms: Forms) -> World:
    """Make a world that holds the stored forms."""
    world = World()
    world.clock.now = forms["at"]
    for table, items in forms["items"].items():
        for item in items:
            world.tables.put_wire(table, item)
    world.unread()
    for agent in ("ann", "bob", *CROWD):
        world.inboxes.create(agent)
    return world


def facts(world: World) -> Forms:
    """Say in figures what readers of the tables see."""
    memories = world.tables.items(tables.MEMORY)
    version = pattern()
    shown = memories[keys.Key(version.pk, "up")]
    kinds = [keys.family(*key) for key in memories]
    return {
        "mirrors": {
            name: {target: each["status"] for target, each in sorted(mirror(world, name).items())}
            for name in SIGNALS
        },
        "counts": {
            subject: figures(total(days_of(subject, world.tables).values()))
            for subject in (base_subject(version), version.subject)
        },
        "published": {name: int(shown[name]) for name in ("sample_size", "successes")},
        "memories": {kind: kinds.count(kind) for kind in ("fact", "episode")},
        "parked": sum(key.pk.startswith("parked#") for key in world.tables.keys(tables.PIPELINE)),
    }


def base_subject(version: PatternVersion) -> str:
    return keys.base_subject("ann", "TRADE", version.effective_from)


def mirror(world: World, name: str) -> dict[str, Any]:
    """Give a signal's statuses, those of its chunks too."""
    key, stored = key_of(SIGNALS[name]), world.tables.items(tables.SIGNALS)
    # That release kept them in the signal, and what stands beside it by now comes first.
    statuses = statuses_of(mirror_of(stored, key) or stored[key])
    for chunk in world.tables.query(tables.PIPELINE, keys.audience_pk(signal_uid(*key))):
        statuses |= statuses_of(chunk)
    return statuses


def figures(counts: Counts) -> list[int]:
    return [counts.n, counts.s, counts.pending, counts.q_sum]


def handle(world: World, messages: list[Forms]) -> None:
    process = world.process()
    for message in messages:
        # What a queue's actor gets, unknown keyword arguments too, is read by it alone.
        process.handle(json.dumps(message))
    world.settle()


# -- the rules -----------------------------------------------------------------------------------


def test_the_forms_hold_a_message_for_every_actor(today: Forms) -> None:
    actors = {name for duties in World().process().handlers.values() for name in duties}

    assert set(today["messages"]) == actors


def test_the_forms_hold_an_item_of_every_kind(today: Forms) -> None:
    kinds = {
        keys.family(item["PK"]["S"], item["SK"]["S"])
        for items in today["items"].values()
        for item in items
    }

    assert kinds >= KINDS


KINDS = frozenset(
    {"decision", "signal", "row", "memory", "registration", "pattern", "fact", "episode"}
    | {"slot", "head", "audience", "agents", "patterns", "parked", "low_water"}
)


def test_messages_of_that_release_are_handled_again_without_effect(forms: Forms) -> None:
    world = world_of(forms)

    handle(world, list(forms["messages"].values()))

    assert facts(world) == forms["facts"]


@pytest.mark.parametrize("seed", range(5))
def test_they_are_handled_in_any_order(forms: Forms, seed: int) -> None:
    world, messages = world_of(forms), list(forms["messages"].values()) * 2
    Random(seed).shuffle(messages)

    handle(world, messages)

    assert facts(world) == forms["facts"]


def test_life_goes_on_with_the_tables_of_that_release(forms: Forms) -> None:
    world = world_of(forms)
    before = forms["facts"]["counts"]

    later = signal("ann", "later", at=world.clock(), to=["bob", "agent-07"])
    world.tables.put(tables.SIGNALS, later)
    new = decision("ann", "new", at=world.clock(), context=UP, outcome=outcome(True, 1))
    world.tables.put(tables.DECISIONS, new)
    corrected = {"outcome": outcome(False, 0.25), "outcome_rev": 2}
    world.tables.update(tables.DECISIONS, key_of(decision("ann", "d0")), corrected)
    resolved = {"outcome": outcome(True)}
    world.tables.update(tables.DECISIONS, key_of(decision("ann", "d3")), resolved)
    assert world.acknowledge(row_of("all", "agent-07"))
    world.settle()
    world.tick()
    world.settle()

    statuses = statuses_of(mirror_of(world.tables.items(tables.SIGNALS), key_of(later)))
    assert {name: each["status"] for name, each in statuses.items()} == {
        "bob": "DELIVERED",
        "agent-07": "DELIVERED",
    }
    assert mirror(world, "all")["agent-07"]["status"] == "PROCESSED"
    after = facts(world)
    for subject, (n, s, pending, quality) in before.items():
        assert after["counts"][subject] == [n + 2, s + 1, pending - 1, quality + 10_000 - 2_500]
    n, s, *_ = after["counts"][pattern().subject]
    assert after["published"] == {"sample_size": n, "successes": s}


def test_the_mark_of_a_later_release_starts_nothing(today: Forms) -> None:
    world = world_of(today)
    records = {tables.DECISIONS: decision("ann", "d0"), tables.SIGNALS: SIGNALS["one"]}

    for table, item in records.items():
        assert world.tables.update(table, key_of(item), {f"{RESERVED}mark": 7})

    assert world.pump() == 0


def test_a_state_with_the_mark_of_a_later_release_is_the_same_decision(today: Forms) -> None:
    world = world_of(today)
    key = key_of(decision("ann", "d3"))
    world.tables.update(tables.DECISIONS, key, {f"{RESERVED}mark": 7})

    world.tables.update(tables.DECISIONS, key, {"outcome": outcome(True)})
    world.settle()

    for subject, (n, s, pending, quality) in today["facts"]["counts"].items():
        assert facts(world)["counts"][subject] == [n + 1, s + 1, pending - 1, quality]


def test_actors_pass_over_arguments_they_do_not_know() -> None:
    broker = StubBroker()
    process = World().process()
    register(broker, process.handlers, process.queues)

    for name in broker.get_declared_actors():
        actor = broker.get_actor(name)
        if "tick" not in name:
            actor.fn(entries=[], of_a_later_release={"priority": 1})


def test_inbox_messages_of_that_release_are_read(forms: Forms) -> None:
    read = {kind: parse_message(plain_json(body)) for kind, body in forms["inbox"].items()}

    assert isinstance(read["signal"], SignalMessage)
    assert isinstance(read["notice"], NoticeMessage)


class Lines:
    """The archived lines, as an archive of one part."""

    def __init__(self, forms: Forms) -> None:
        self.lines = [parse_json(plain_json(line)) for line in forms["archive"]]

    def part_names(self) -> list[str]:
        return ["part"]

    def read(self, name: str) -> Iterator[Mapping[str, Any]]:
        return iter(self.lines)


def test_an_archive_of_that_release_is_recounted(forms: Forms) -> None:
    with Recount([pattern()]) as recount:
        damages = recount.read(Lines(forms))
        counts = recount.counts()

    assert damages == []
    recounted = {subject: figures(total(days.values())) for subject, days in counts.items()}
    assert {name: recounted[name] for name in forms["facts"]["counts"]} == forms["facts"]["counts"]


# -- what cannot be read is not guessed ----------------------------------------------------------


def unknown_operator(version: Forms) -> None:
    version["definition"]["conditions"][0]["op"] = "resembles"


def unknown_rules(version: Forms) -> None:
    version["form"] = 3


@pytest.mark.parametrize("change", [unknown_operator, unknown_rules])
def test_decisions_wait_while_a_pattern_that_may_count_them_cannot_be_read(
    today: Forms, change: Callable[[Forms], None]
) -> None:
    world = world_of(today)
    place = keys.known_pattern(pattern().subject)
    known = world.tables.items(tables.PIPELINE)[place]["version"]
    version = json.loads(known)
    change(version)
    world.tables.update(tables.PIPELINE, place, {"version": json.dumps(version)})
    of_other = decision("bob", "b1", at=world.clock(), outcome=outcome(True))
    own = decision("ann", "new", at=world.clock(), context=UP, outcome=outcome(True))
    world.tables.put(tables.DECISIONS, own)
    world.tables.put(tables.DECISIONS, of_other)
    world.pump()

    process, waiting = world.process(), []
    for held in list(world.queues.messages):
        try:
            process.handle(held.body)
        except TryAgain:
            waiting.append(held)
        else:
            world.queues.delete(held)

    assert [json.loads(held.body)["actor_name"] for held in waiting] == ["on_decisions"]
    assert facts(world)["counts"] == today["facts"]["counts"]
    of_bob = total(days_of(keys.base_subject("bob", "TRADE"), world.tables).values())
    assert (of_bob.n, of_bob.s) == (1, 1)

    world.tables.update(tables.PIPELINE, place, {"version": known})
    world.clock.advance(60)
    for held in waiting:
        world.process().handle(held.body)
    n, s, *_ = facts(world)["counts"][pattern().subject]
    assert [n - 1, s - 1] == today["facts"]["counts"][pattern().subject][:2]
