"""A recount of archived states is the same in any order and number, and takes bounded memory."""

import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.archive import lines_of
from sharpwave.workers.patterns.catalogue import Writers
from sharpwave.workers.patterns.counts import Arms, Counts, Days, content_digest, days_of
from sharpwave.workers.patterns.learn import learn
from sharpwave.workers.patterns.ledger import Slots
from sharpwave.workers.patterns.recount import Recount
from sharpwave.workers.patterns.stated import Confidences, Weights
from sharpwave.workers.patterns.units import stored_arms
from sharpwave.workers.work.ports import Item
from tests.world import Crash, Faults, MemoryArchive, World
from tests.world.records import decision, key_of, outcome
from tests.world.stores import START

BASE = keys.base_subject("ann", "TRADE")
DAY = "2025-10-18"
UP = {"market": "up"}


def version(number: int = 1, *, begins: int = 0, ends: int | None = None) -> PatternVersion:
    definition = {
        "pattern_id": "up",
        "agent_id": "ann",
        "decision_type": "TRADE",
        "conditions": [{"path": "context.market", "op": "eq", "value": "up"}],
    }
    return PatternVersion(
        definition=PatternDefinition.model_validate(definition),
        version=number,
        effective_from=begins,
        effective_to=ends,
        learned_at=begins,
    )


def counted(states: list[Item], *versions: PatternVersion) -> dict[str, Days]:
    with Recount(versions) as recount:
        for state in states:
            recount.add(state)
        return recount.counts()


def test_the_last_revision_of_a_decision_counts_in_any_order_and_number() -> None:
    item = decision(context=UP)
    states = [
        item,
        {**item, "outcome": outcome(True, 0.25)},
        {**item, "outcome": outcome(False), "outcome_rev": 2},
        {**item, "outcome": outcome(True, 0.5), "outcome_rev": 3},
    ]
    pattern = version()
    expected = Counts(n=1, s=1, q_sum=5000, q_n=1, q_sq=5000**2)

    for seed in range(20):
        mixed = states * 2
        random.Random(seed).shuffle(mixed)

        assert counted(mixed, pattern) == {BASE: {DAY: expected}, pattern.subject: {DAY: expected}}


def test_two_outcomes_of_one_revision_end_alike_everywhere() -> None:
    item = decision()
    won, lost = ({**item, "outcome": outcome(success, 0.9)} for success in (True, False))

    assert (
        counted([won, lost])
        == counted([lost, won])
        == {BASE: {DAY: Counts(n=1, q_sum=9000, q_n=1, q_sq=9000**2)}}
    )


def test_what_a_pattern_names_as_applied_is_counted_as_applied() -> None:
    item = decision(context=UP, reasoning={"patterns_applied": ["up@1"]}, outcome=outcome(True))
    pattern = version()

    counts = counted([item], pattern)

    assert counts[pattern.subject][DAY] == Counts(n=1, s=1, applied=1, applied_s=1)
    assert counts[BASE][DAY] == Counts(n=1, s=1)


def test_of_a_key_with_several_contents_the_smallest_digest_counts_once_a_day() -> None:
    first, second = (
        decision(context=UP),
        decision(context={"market": "down"}, outcome=outcome(True)),
    )
    stands = min((first, second), key=content_digest)
    pattern = version()
    of_base = Counts(pending=1) if stands is first else Counts(n=1, s=1)

    for states in ([first, second], [second, first], [second, first, second]):
        counts = counted(states, pattern)

        assert counts[BASE] == {DAY: of_base}
        assert counts[pattern.subject] == {DAY: Counts(pending=1)}


def test_a_key_that_was_written_for_two_days_counts_on_both() -> None:
    days = ("2008-10-10", "2008-10-13")
    states = [decision(event_time=day) for day in days]

    assert counted(states) == {BASE: {day: Counts(pending=1) for day in days}}


def test_the_base_ledger_changes_where_a_version_begins_or_ends() -> None:
    begins, ends = int(START), int(START) + 60
    pattern = version(begins=begins, ends=ends)
    states = [decision(name=f"d{at}", at=at) for at in (begins - 1, begins, ends - 1, ends)]

    counts = counted(states, pattern)

    assert {subject: days[DAY].pending for subject, days in counts.items()} == {
        BASE: 1,
        keys.base_subject("ann", "TRADE", begins): 2,
        keys.base_subject("ann", "TRADE", ends): 1,
    }


def units(states: list[Item], *versions: PatternVersion) -> dict[str, dict[str, Arms]]:
    with Recount(versions) as recount:
        for state in states:
            recount.add(state)
        return recount.arms()


def test_a_cycle_is_one_unit_of_a_pattern_whatever_its_decisions_became() -> None:
    pattern = version()
    decisions = [
        decision(name=f"d{number}", context={**UP, "cycle": cycle}, event_time=f"2008-10-1{number}")
        for number, cycle in enumerate([1, "1", Decimal("1.0"), 2])
    ]
    stands = min(decisions[:3], key=digest_of)
    won = {each["SK"]: {**each, "outcome": outcome(True)} for each in decisions}
    day = stands["event_time"]

    assert units(decisions, pattern) == {}
    assert units([*decisions, won[stands["SK"]]], pattern) == {pattern.subject: {day: Arms(1, 1)}}
    others = [each for name, each in won.items() if name != stands["SK"]]
    assert units([*decisions, *others], pattern) == {pattern.subject: {"2008-10-13": Arms(1, 1)}}


def digest_of(item: Item) -> bytes:
    return blake2b(f"{item['PK']}\0{item['SK']}".encode(), digest_size=8).digest()


def test_what_was_stated_counts_in_the_ledger_that_adds_it_up() -> None:
    pattern = version()
    item = decision(
        context=UP,
        reasoning={"confidence": Decimal("0.9"), "selection_prob": Decimal("0.3")},
        outcome=outcome(False),
    )

    counts = counted([item], pattern)

    assert counts[BASE][DAY] == Counts(n=1, confidences=Confidences.of(9_000, False))
    assert counts[pattern.subject][DAY] == Counts(n=1, other_weights=Weights.of(3_000, False))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_ledgers_agree_with_a_recount_in_any_order_after_any_crash(data: st.DataObject) -> None:
    """What was handed out and perhaps half counted is handed out again, in another order."""
    pattern, world = version(), World()
    entry = {**keys.known_pattern(pattern.subject).item(), "version": pattern.model_dump_json()}
    world.tables.put(tables.PIPELINE, entry)
    chance = data.draw(st.randoms(use_true_random=False))
    states = data.draw(st.lists(st.builds(some_state, st.integers(0, 9), st.integers(0, 3))))
    for crashes in (0.3, 0.0):
        chance.shuffle(states)
        for start in range(0, len(states), 3):
            process = world.process(Faults(crash_rate=crashes, chance=chance))
            with suppress(Crash):
                learn(
                    states[start : start + 3],
                    catalogue=process.catalogue,
                    slots=Slots(process.ledger),
                    writers=Writers(writes=process.writes, clock=process.clock),
                )
    world.settle()

    assert units(states, pattern).get(pattern.subject, {}) == stored_arms(
        {pattern.subject: None}, world.tables
    )
    recounted = counted(states, pattern)
    for subject in (BASE, pattern.subject):
        found = days_of(subject, world.tables)
        assert {day: replace(each, revision=0, units=0) for day, each in found.items()} == (
            recounted.get(subject, {})
        )


def some_state(number: int, revision: int) -> Item:
    draw = random.Random(f"{number}")
    item = decision(
        name=f"d{number}",
        at=START - draw.choice([0, 60, 4_000]),
        context={"market": draw.choice(["up", "up", "down"]), "cycle": number % 3},
        reasoning={
            "confidence": draw.choice([Decimal("0.35"), Decimal("0.91"), "high"]),
            "selection_prob": draw.choice([Decimal("0.3"), 1, 0]),
            "patterns_applied": draw.choice([["up"], []]),
        },
    )
    if draw.random() < 0.5:
        item["event_time"] = "2008-10-10"
    chance = random.Random(f"{number}/{revision}")
    said = outcome(chance.random() < 0.5, Decimal(chance.randint(0, 100)) / 100)
    return {**item, "outcome": said, "outcome_rev": revision} if revision else item


def test_decisions_that_are_not_accepted_count_nowhere() -> None:
    with Recount((), accepts=lambda state: state["decision_id"] == "d1") as recount:
        recount.add(decision(name="d1"))
        recount.add(decision(name="d2"))

        assert recount.counts() == {BASE: {DAY: Counts(pending=1)}}


def line(state: Item, kind: str = "insert", **more: Any) -> tuple[str, str]:
    entry = {
        "event_id": f"{kind}{state['SK']}",
        "state": kind,
        "table": "agent_decisions",
        "key": [state["PK"], state["SK"]],
        "stored_at": START,
        "image": item_to_wire(state),
        **more,
    }
    ((day, (text,)),) = lines_of([entry]).items()
    return day, text


def archive_of(*lines: tuple[str, str]) -> MemoryArchive:
    archive = MemoryArchive()
    for day, text in lines:
        archive.write(day, [text])
    return archive


class Noting(MemoryArchive):
    """An archive that notes which parts are read."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def read(self, name: str) -> Iterator[dict[str, Any]]:
        self.noted.append(name)
        return super().read(name)


def test_a_part_is_read_once_and_new_ones_are_added() -> None:
    archive = Noting()

    with Recount(()) as recount:
        for number in range(3):
            day, text = line(decision(name=f"d{number}"))
            archive.write(day, [text])
            assert recount.read(archive) == []

        assert archive.noted == [f"{DAY}/{number}" for number in range(3)]
        assert (recount.parts, recount.decisions) == (3, 3)


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"state": "insert"}', '{"image": {}}'])
def test_what_is_no_archived_state_is_named_and_the_rest_is_read(text: str) -> None:
    archive = archive_of(("2025-10-17", text), line(decision()))

    with Recount(()) as recount:
        (damage,) = recount.read(archive)

        assert damage.part == "2025-10-17/0"
        assert recount.decisions == 1


def unseen(stored: list[Item], *lines: tuple[str, str]) -> list[keys.Key]:
    with Recount(()) as recount:
        for item in stored:
            recount.note_stored(item)
        assert recount.read(archive_of(*lines)) == []
        found = recount.unseen_keys(10)
        assert (recount.stored, recount.unseen) == (len(stored), len(found))
        return found


def test_a_stored_decision_that_is_archived_as_it_is_was_seen() -> None:
    item = decision()
    resolved = {**item, "outcome": outcome(True)}

    assert unseen([resolved], line(item), line(resolved, "resolution")) == []
    assert unseen([item], line(item), line(resolved, "resolution")) == []


def test_marks_of_workers_do_not_make_a_decision_unseen() -> None:
    item = decision()

    assert unseen([{**item, "promoted_at": 7, "is_stm": False, "ttl": 9}], line(item)) == []


def test_a_stored_decision_that_nobody_archived_is_named() -> None:
    items = [decision(name=name) for name in ("d1", "d2")]

    assert unseen(items, line(items[0])) == [key_of(items[1])]


def test_a_late_outcome_that_nobody_archived_is_named() -> None:
    item = decision(outcome=outcome(True))
    revised = {**item, "outcome": outcome(False), "outcome_rev": 2}

    assert unseen([revised], line(item)) == [key_of(item)]


def test_a_change_that_was_refused_was_seen() -> None:
    item = decision()
    changed = {**item, "context": {"market": "down"}, "outcome": outcome(True)}

    assert unseen([changed], line(item)) == [key_of(item)]
    assert unseen([changed], line(item), line(changed, "refusal")) == []
    assert unseen([{**changed, "outcome_rev": 2}], line(changed, "refusal")) == [key_of(item)]


def test_a_refusal_of_what_is_no_decision_harms_nothing() -> None:
    item = decision()
    broken = {**item, "outcome": {"success": None, "quality_score": "good"}, "outcome_rev": "x"}

    assert unseen([item], line(item), line(broken, "refusal")) == []


class Stream:
    """An archive of one part that is made as it is read."""

    def __init__(self, count: int) -> None:
        self.count = count

    def part_names(self) -> list[str]:
        return ["day=2025-10-18/part-1.jsonl.gz"]

    def read(self, name: str) -> Iterator[Mapping[str, Any]]:
        for number in range(self.count):
            state = decision(name=f"d{number}", context={"cycle": number, "text": "x" * 100})
            yield {
                "state": "insert",
                "PK": state["PK"],
                "SK": state["SK"],
                "image": item_to_wire(state),
            }


def test_memory_does_not_grow_with_the_number_of_decisions() -> None:
    """SQLite's own pages are bounded by its cache; Python's objects are measured here."""
    few, many = (peak_bytes(count) for count in (300, 2_000))

    assert many < few + 100_000


def peak_bytes(count: int) -> int:
    tracemalloc.start()
    try:
        with Recount([version()]) as recount:
            assert recount.read(Stream(count)) == []
            assert recount.counts()[BASE][DAY].pending == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_it_counts_without_the_code_that_it_checks() -> None:
    code = "import sys, sharpwave.workers.patterns.recount; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    names = ("ledger", "learn", "publish", "units")
    checked = {f"sharpwave.workers.patterns.{name}" for name in names}
    assert not checked & set(done.stdout.split())
