"""The mirror takes the greatest rank per target, whoever comes first, and outlives its signal.

It lies beside the signal, is begun once and then changed by compare-and-swap, and time removes it.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid, ulid
from sharpwave.schemas.ownership import stamped
from sharpwave.schemas.records import MAX_SIGNAL_TTL_S
from sharpwave.workers.signals.mirror import (
    KEPT_S,
    Holder,
    Sent,
    Statuses,
    first_mirror,
    if_unchanged,
    look,
    mirror,
    readable,
)
from sharpwave.workers.work.ports import Insert, Item, Location, TryAgain, Write
from tests.world import Faults, MemoryTables, VirtualClock, World
from tests.world.interleaving import Job, Step, interleave
from tests.world.records import key_of, mirror_of, signal, statuses_of

ULID = ulid()
SIGNAL = signal(to=["bob", "eve"])
KEY = key_of(SIGNAL)
MIRROR = keys.mirror(KEY)
HOLDER = Holder(KEY)
SENT_AT = SIGNAL["timestamp"] + 2
DEADLINE = SIGNAL["timestamp"] + 3600
EVERYONE = frozenset({"bob", "eve"})


@pytest.fixture
def store() -> MemoryTables:
    made = MemoryTables(VirtualClock())
    made.put(tables.SIGNALS, SIGNAL)
    return made


def row(store: MemoryTables, target: str, status: str, **more: Any) -> Item:
    place = keys.inbox_row(target, KEY, signal_uid(*KEY))
    own = {"signal_pk": KEY.pk, "signal_sk": KEY.sk, "status": status}
    item = {**place.item(), **own, **more}
    store.put(tables.SIGNALS, item)
    return item


def update(store: MemoryTables, sent: Sent | None = None) -> Statuses:
    """Bring the mirror up to date, as a duty that knows the audience unless `sent` says less."""
    told = sent or Sent(audience=EVERYONE)
    return mirror({HOLDER: told}, reads=store, writes=store).get(HOLDER, {})


def held(store: MemoryTables) -> Any:
    return mirror_of(store.items(tables.SIGNALS), KEY).get("processing_status")


def first(holder: Holder, *targets: str, of: Item = SIGNAL) -> Write:
    """Give the first mark of a delivery that sent to all of its audience."""
    statuses = {target: {"status": "DELIVERED"} for target in targets}
    return first_mirror(holder, statuses, of, dict.fromkeys(targets, SENT_AT))


def test_rows_speak_for_their_targets_with_what_the_agent_said(store: MemoryTables) -> None:
    row(store, "bob", "PROCESSED", processed_at=7, decision_id="d1")
    row(store, "eve", "FAILED", reason="no idea", processed_at=8)

    found = update(store)

    assert found == held(store)
    assert found["bob"] == {"status": "PROCESSED", "processed_at": 7, "decision_id": "d1"}
    assert found["eve"] == {"status": "FAILED", "processed_at": 8, "reason": "no idea"}


@pytest.mark.parametrize(
    ("first", "second", "stands"),
    [
        ("PROCESSED", "DELIVERED", "PROCESSED"),
        ("EXPIRED", "DELIVERED", "EXPIRED"),
        ("EXPIRED", "PROCESSED", "PROCESSED"),
        ("FAILED", "EXPIRED", "FAILED"),
    ],
)
def test_the_greater_rank_stands_in_whatever_order(
    store: MemoryTables, first: str, second: str, stands: str
) -> None:
    for status in (first, second):
        update(store, Sent(settled={"bob": {"status": status}}, audience=EVERYONE))

    assert held(store)["bob"]["status"] == stands


def test_a_denial_stands_only_where_nothing_was_delivered(store: MemoryTables) -> None:
    update(store, Sent(frozenset({"bob"}), audience=EVERYONE))
    denial = {"status": "FAILED", "reason": "quota"}

    update(store, Sent(denied={"bob": denial, "eve": denial}))

    assert held(store) == {"bob": {"status": "DELIVERED"}, "eve": denial}


def test_what_an_agent_did_stands_over_a_denial(store: MemoryTables) -> None:
    """Its row says that it was delivered, whatever a quota said to another attempt."""
    row(store, "bob", "PROCESSED")

    found = update(store, Sent(denied={"bob": {"status": "FAILED"}}, audience=EVERYONE))

    assert found["bob"] == {"status": "PROCESSED"}


def test_a_row_that_gained_a_decision_is_heard_and_one_that_lost_it_is_not(
    store: MemoryTables,
) -> None:
    for more in ({}, {"decision_id": "d1"}, {}):
        row(store, "bob", "PROCESSED", **more)
        update(store)

    assert held(store)["bob"] == {"status": "PROCESSED", "decision_id": "d1"}


@pytest.mark.parametrize("status", ["DONE", "DELIVERED", 5, None, ["PROCESSED"]])
def test_a_status_that_no_row_can_have_counts_as_pending(store: MemoryTables, status: Any) -> None:
    row(store, "bob", "PENDING")
    store.update(tables.SIGNALS, keys.inbox_row("bob", KEY, signal_uid(*KEY)), {"status": status})

    assert update(store)["bob"] == {"status": "PENDING"}


@pytest.mark.parametrize(
    "more", [{}, {"worker_rev": "r", "reason": "tired"}, {"reason": "tired"}, {"worker_rev": ULID}]
)
def test_an_expiry_that_no_worker_wrote_counts_as_pending(store: MemoryTables, more: Item) -> None:
    row(store, "bob", "EXPIRED", **more)

    assert update(store)["bob"]["status"] == "PENDING"


def test_what_an_agent_wrote_is_cut_to_what_others_share_a_map_with(store: MemoryTables) -> None:
    row(store, "bob", "FAILED", reason="x" * 300_000, decision_id={"not": "text"})

    assert update(store)["bob"] == {"status": "FAILED", "reason": "x" * 1024}


def test_an_expiry_with_a_workers_stamp_counts(store: MemoryTables) -> None:
    place = keys.inbox_row("bob", KEY, signal_uid(*KEY))
    end = {"status": "EXPIRED", "reason": "unacknowledged"}
    row(store, "bob", **stamped(place, end))

    assert update(store)["bob"] == end


@pytest.mark.parametrize(
    "forged",
    [
        {"processing_status": {"bob": "PROCESSED", "a#b": {"status": "FAILED"}}, "status_v": 1},
        {"processing_status": {"bob": {"status": ["x"]}}, "status_v": "many"},
        {"processing_status": {"bob": 5}, "status_v": None},
    ],
)
def test_a_mirror_that_its_owner_scribbled_on_is_written_anew(
    store: MemoryTables, forged: Item
) -> None:
    store.put(tables.SIGNALS, {**MIRROR.item(), **forged})
    row(store, "bob", "PROCESSED")

    assert update(store, Sent()) == held(store) == {"bob": {"status": "PROCESSED"}}


@pytest.mark.parametrize("listed", [["mallory"], 5, ["bob", "mallory"]])
def test_whom_the_signal_names_by_now_does_not_matter(store: MemoryTables, listed: Any) -> None:
    """Its writer changed it: bob's word still counts, and mallory's still does not."""
    update(store, Sent(frozenset({"bob", "eve"}), audience=EVERYONE))
    store.update(tables.SIGNALS, KEY, {"target_agents": listed})
    row(store, "bob", "PROCESSED")
    row(store, "mallory", "PROCESSED")

    found = update(store, Sent(settled={"mallory": {"status": "FAILED"}}))

    assert found == {"bob": {"status": "PROCESSED"}, "eve": {"status": "DELIVERED"}}


@pytest.mark.parametrize("forged", [{"signal_sk": "x"}, {"signal_pk": None}, {"signal_pk": "x"}])
def test_a_row_that_no_worker_wrote_does_not_count(store: MemoryTables, forged: Item) -> None:
    row(store, "bob", "PROCESSED", **forged)

    assert update(store)["bob"] == {"status": "PENDING"}


def test_an_acknowledgement_cannot_begin_a_mirror_and_makes_its_beginner_look(
    store: MemoryTables,
) -> None:
    """It overtook the delivery's first mark, which does not read the rows."""
    row(store, "bob", "PROCESSED")

    assert update(store, Sent()) == {}
    assert "processing_status" not in mirror_of(store.items(tables.SIGNALS), KEY)
    assert store.apply([first(HOLDER, "bob", "eve")]) == [False]
    found = update(store, Sent(frozenset({"bob", "eve"}), audience=EVERYONE))
    assert found == {"bob": {"status": "PROCESSED"}, "eve": {"status": "DELIVERED"}}


def test_what_was_sent_after_all_did_not_expire_before_delivery(store: MemoryTables) -> None:
    """One attempt gave up on a target while another was about to send to it."""
    gave_up = {"status": "EXPIRED", "reason": "expired_before_delivery"}
    update(store, Sent(denied={"bob": gave_up}, audience=EVERYONE))

    found = update(store, Sent(frozenset({"bob"}), audience=EVERYONE))

    assert found["bob"] == {"status": "EXPIRED", "reason": "unacknowledged"}


def test_the_last_image_of_a_row_speaks_for_it(store: MemoryTables) -> None:
    image = row(store, "bob", "PROCESSED")
    store.remove(tables.SIGNALS, keys.inbox_row("bob", KEY, signal_uid(*KEY)))

    found = update(store, Sent(rows={"bob": image}, audience=EVERYONE))

    assert found["bob"] == {"status": "PROCESSED"}


def test_the_last_image_of_a_row_that_no_worker_wrote_says_nothing(store: MemoryTables) -> None:
    image = row(store, "bob", "PROCESSED", signal_sk="x")
    store.remove(tables.SIGNALS, keys.inbox_row("bob", KEY, signal_uid(*KEY)))

    found = update(store, Sent(rows={"bob": image}, audience=EVERYONE))

    assert found["bob"] == {"status": "PENDING"}


def test_a_mirror_that_says_it_all_is_not_written_again(store: MemoryTables) -> None:
    row(store, "bob", "PROCESSED")
    update(store)
    before = len(store.streams[tables.SIGNALS])

    update(store)

    assert len(store.streams[tables.SIGNALS]) == before


def test_a_mirror_that_is_kept_long_enough_is_not_written_again(store: MemoryTables) -> None:
    store.apply([first(HOLDER, "bob", of={**SIGNAL, "ttl": DEADLINE})])
    before = len(store.streams[tables.SIGNALS])

    update(store, Sent(ttl=DEADLINE))

    assert len(store.streams[tables.SIGNALS]) == before


def test_a_mirror_whose_signal_has_a_spoiled_end_is_removed_by_its_key(store: MemoryTables) -> None:
    store.apply([first(HOLDER, "bob", of={**SIGNAL, "ttl": "soon"})])

    ttl = mirror_of(store.items(tables.SIGNALS), KEY)["ttl"]
    assert ttl >= SIGNAL["timestamp"] + MAX_SIGNAL_TTL_S + KEPT_S


def test_what_somebody_put_in_the_place_of_a_mirror_lends_it_no_end(store: MemoryTables) -> None:
    store.put(tables.SIGNALS, {**MIRROR.item(), "ttl": DEADLINE})

    update(store)

    assert "ttl" not in mirror_of(store.items(tables.SIGNALS), KEY)


def test_who_begins_a_mirror_in_the_place_of_something_else_loses_to_who_was_sooner() -> None:
    class Beaten(MemoryTables):
        is_first = True

        def apply(self, writes: Sequence[Write]) -> list[bool]:
            if self.is_first:
                self.is_first = False
                update(self, Sent(frozenset({"bob"}), audience=EVERYONE))
            return super().apply(writes)

    beaten = Beaten(VirtualClock())
    for item in (SIGNAL, {**MIRROR.item(), "note": "mine"}):
        beaten.put(tables.SIGNALS, item)

    found = update(beaten, Sent(frozenset({"eve"}), audience=EVERYONE))

    assert found == {name: {"status": "DELIVERED"} for name in ("bob", "eve")}


def test_only_who_was_sent_to_has_a_moment_of_it(store: MemoryTables) -> None:
    update(store, Sent(frozenset({"bob"}), audience=EVERYONE, at_ms=SENT_AT))

    assert {name for name, entry in held(store).items() if "delivered_ms" in entry} == {"bob"}


@pytest.mark.parametrize("strong", [True, False])
def test_a_mirror_is_looked_at_as_strongly_as_is_asked(
    store: MemoryTables, *, strong: bool
) -> None:
    """Whoever changes one needs what stands; whoever shows one pays half."""
    asked: list[bool] = []

    class Noting:
        def get(self, places: Sequence[Location], *, strong: bool = True) -> dict[Location, Item]:
            asked.append(strong)
            return store.get(places, strong=strong)

    noting: Any = Noting()
    look([HOLDER], noting, strong=strong)
    assert asked == [strong, strong]
    asked.clear()
    mirror({HOLDER: Sent(audience=EVERYONE)}, reads=noting, writes=store)
    assert all(asked)


def test_a_mirror_is_kept_as_long_as_the_rows_whatever_became_of_its_signal(
    store: MemoryTables,
) -> None:
    store.apply([first(HOLDER, "bob", of={**SIGNAL, "ttl": DEADLINE})])
    row(store, "bob", "PROCESSED")
    store.remove(tables.SIGNALS, KEY, by="ttl")

    assert update(store, Sent()) == {"bob": {"status": "PROCESSED"}}
    assert mirror_of(store.items(tables.SIGNALS), KEY)["ttl"] == DEADLINE + KEPT_S
    assert KEY not in store.keys(tables.SIGNALS)


def test_a_mirror_that_is_made_after_its_signal_was_removed_is_removed_too(
    store: MemoryTables,
) -> None:
    """Whoever touches it knows nothing but the key."""
    store.remove(tables.SIGNALS, KEY, by="ttl")

    assert update(store, Sent()) == {}

    ttl = mirror_of(store.items(tables.SIGNALS), KEY)["ttl"]
    assert ttl >= SIGNAL["timestamp"] + MAX_SIGNAL_TTL_S + KEPT_S
    assert store.apply([first(HOLDER, "bob")]) == [False]


@pytest.mark.parametrize(("by_s", "kept_s"), [(60, 60), (0, 0), (-60, 0)])
def test_a_mirror_is_kept_longer_once_its_signal_is(
    store: MemoryTables, by_s: int, kept_s: int
) -> None:
    """What a scan feeds again would else be delivered again."""
    store.apply([first(HOLDER, "bob", of={**SIGNAL, "ttl": DEADLINE})])

    found = update(store, Sent(ttl=DEADLINE + by_s))

    assert found == {"bob": {"status": "DELIVERED"}}
    assert mirror_of(store.items(tables.SIGNALS), KEY)["ttl"] == DEADLINE + kept_s + KEPT_S


def test_a_mirror_lives_as_long_as_a_signal_without_an_end(store: MemoryTables) -> None:
    """Also one that was touched when its signal had one."""
    store.update(tables.SIGNALS, KEY, {"ttl": DEADLINE})
    update(store, Sent())
    assert mirror_of(store.items(tables.SIGNALS), KEY)["ttl"] == DEADLINE + KEPT_S
    store.update(tables.SIGNALS, KEY, {}, remove=("ttl",))

    update(store)

    assert "ttl" not in mirror_of(store.items(tables.SIGNALS), KEY)


def test_a_mirror_removed_between_read_and_write_never_comes_back(store: MemoryTables) -> None:
    class Removing(MemoryTables):
        def apply(self, writes: Sequence[Write]) -> list[bool]:
            if "processing_status" in mirror_of(self.items(tables.SIGNALS), KEY):
                self.remove(tables.SIGNALS, MIRROR, by="ttl")
            return super().apply(writes)

    removing = Removing(VirtualClock())
    removing.put(tables.SIGNALS, {**SIGNAL, "ttl": DEADLINE})
    MemoryTables.apply(removing, [first(HOLDER, "bob")])
    row(removing, "bob", "PROCESSED")

    assert update(removing, Sent()) == {}

    assert held(removing) is None
    assert "ttl" in mirror_of(removing.items(tables.SIGNALS), KEY)


def test_a_put_of_the_signal_anew_leaves_its_mirror_alone(store: MemoryTables) -> None:
    store.apply([first(HOLDER, "bob")])

    store.put(tables.SIGNALS, SIGNAL)

    assert statuses_of(mirror_of(store.items(tables.SIGNALS), KEY)) == {
        "bob": {"status": "DELIVERED"}
    }


@pytest.mark.parametrize("is_touched", [False, True])
def test_what_an_earlier_release_left_in_the_signal_is_what_the_mirror_beside_begins_with(
    store: MemoryTables, *, is_touched: bool
) -> None:
    if is_touched:
        update(store, Sent())
    older = {"bob": {"status": "PROCESSED"}, "eve": {"status": "DELIVERED"}}
    store.update(tables.SIGNALS, KEY, {"processing_status": older, "status_v": 7})
    row(store, "eve", "FAILED")

    found = update(store, Sent(settled={"bob": {"status": "EXPIRED"}}))

    assert found == held(store) == {"bob": {"status": "PROCESSED"}, "eve": {"status": "FAILED"}}
    store.update(tables.SIGNALS, KEY, {"processing_status": {"zoe": {"status": "FAILED"}}})
    assert update(store, Sent()) == found


def test_when_a_delivery_was_sent_stays_known_of_the_first_attempt_and_in_no_row(
    store: MemoryTables,
) -> None:
    sent = Sent(EVERYONE, audience=EVERYONE)
    for moment in (SENT_AT, SENT_AT + 60):
        assert update(store, sent._replace(at_ms=moment))["bob"] == {"status": "DELIVERED"}
    row(store, "bob", "PROCESSED", processed_at=SENT_AT + 9)

    found = update(store, Sent(settled={"eve": {"status": "EXPIRED", "reason": "r"}}))

    assert all("delivered_ms" not in entry for entry in found.values())
    assert held(store) == {
        target: {**entry, "delivered_ms": SENT_AT} for target, entry in found.items()
    }
    assert [entry["status"] for entry in found.values()] == ["PROCESSED", "EXPIRED"]


def test_a_mirror_that_is_put_back_says_again_when_its_deliveries_were_sent(
    store: MemoryTables,
) -> None:
    store.apply([first(HOLDER, "bob", "eve")])
    wiped = held(store)
    store.put(tables.SIGNALS, {**MIRROR.item(), "note": "mine"})

    update(store, Sent(settled=wiped, audience=EVERYONE))

    assert held(store) == wiped


@pytest.mark.parametrize("seed", range(8))
def test_mirrors_that_race_end_with_all_they_know(seed: int) -> None:
    """Ten writers, each with news of its own, call by call in a random order."""
    world, names = World(), [f"agent-{n}" for n in range(10)]
    item = signal(to=names)
    world.tables.put(tables.SIGNALS, item)

    def job(name: str) -> Job:
        def run(step: Step) -> None:
            process = world.process(Faults(step=step))
            sent = Sent(settled={name: {"status": "PROCESSED"}}, audience=frozenset(names))
            while True:
                try:
                    mirror({HOLDER: sent}, reads=process.reads, writes=process.writes)
                except TryAgain:
                    continue
                return

        return run

    errors = interleave([job(name) for name in names], Random(seed))

    assert errors == [None] * 10
    assert held(world.tables) == {name: {"status": "PROCESSED"} for name in names}


def test_a_mirror_that_keeps_changing_is_tried_again_later(store: MemoryTables) -> None:
    class Restless(MemoryTables):
        def apply(self, writes: Sequence[Write]) -> list[bool]:
            return [False for _ in writes]

    restless = Restless(VirtualClock())
    restless.put(tables.SIGNALS, SIGNAL)

    with pytest.raises(TryAgain, match="kept changing"):
        update(restless, Sent(frozenset({"bob"}), audience=EVERYONE))


def test_who_lost_the_swap_reads_its_rows_again_and_nobody_else_waits_for_it(
    store: MemoryTables,
) -> None:
    """Of two mirrors in one call one is changed meanwhile, and so is a row of it."""
    other = signal(to=["bob", "eve"], name="s2")
    store.put(tables.SIGNALS, other)
    calm = Holder(key_of(other))
    written: list[list[Location]] = []

    class Contested:
        def apply(self, writes: Sequence[Write]) -> list[bool]:
            written.append([write.location for write in writes])
            if len(written) == 1:
                update(store, Sent(settled={"bob": {"status": "EXPIRED"}}, audience=EVERYONE))
                row(store, "eve", "PROCESSED")
            return store.apply(writes)

    sent = Sent(EVERYONE, audience=EVERYONE)
    found = mirror({HOLDER: sent, calm: sent}, reads=store, writes=Contested())

    assert written == [[HOLDER.location, calm.location], [HOLDER.location]]
    assert found[HOLDER] == held(store)
    assert found[HOLDER] == {"bob": {"status": "EXPIRED"}, "eve": {"status": "PROCESSED"}}
    assert found[calm] == {"bob": {"status": "DELIVERED"}, "eve": {"status": "DELIVERED"}}


def test_a_map_that_the_signals_owner_made_up_begins_no_mirror(store: MemoryTables) -> None:
    """No worker gave it a version, so what it says counts for nothing."""
    made_up = {"bob": {"status": "PROCESSED"}, "mallory": {"status": "PROCESSED"}}
    store.put(tables.SIGNALS, {**MIRROR.item(), "processing_status": made_up})

    assert update(store, Sent()) == {}
    assert update(store) == {"bob": {"status": "PENDING"}, "eve": {"status": "PENDING"}}


def test_a_row_is_changed_only_while_its_status_is_as_it_was_read(store: MemoryTables) -> None:
    place = Location(tables.SIGNALS, keys.inbox_row("bob", KEY, signal_uid(*KEY)))
    read = row(store, "bob", "PENDING")
    without = {name: value for name, value in read.items() if name != "status"}
    end = {"status": "EXPIRED"}

    assert store.apply([if_unchanged(place, end, without)]) == [False]
    store.update(tables.SIGNALS, place.key, {"status": "PROCESSED"})
    assert store.apply([if_unchanged(place, end, read)]) == [False]
    store.update(tables.SIGNALS, place.key, {}, remove=["status"])
    assert store.apply([if_unchanged(place, end, read)]) == [False]
    assert store.apply([if_unchanged(place, end, without)]) == [True]
    assert store.apply([if_unchanged(place, {"status": "PENDING"}, end)]) == [True]


def test_of_a_scribbled_map_what_can_be_read_is_kept() -> None:
    fine = {"status": "DELIVERED"}
    scribbled = {
        "not a name": fine,
        "bob": "PROCESSED",
        "eve": {"status": "DONE"},
        "ann": {},
        "zoe": fine,
    }

    assert readable(scribbled) == {"zoe": fine}
    assert readable(None) == readable(["zoe"]) == {}


def test_a_chunk_has_a_mirror_of_its_own(store: MemoryTables) -> None:
    holder = Holder(KEY, "abc#00000")
    place = Location(tables.PIPELINE, holder.location.key)
    store.apply([Insert(tables.PIPELINE, {**place.key.item(), "targets": ["bob"]})])
    row(store, "bob", "PROCESSED")
    row(store, "eve", "PROCESSED")

    store.apply([first(holder, "bob")])
    found = mirror({holder: Sent()}, reads=store, writes=store)

    assert found == {holder: {"bob": {"status": "PROCESSED"}}}
    assert held(store) is None


def test_a_worker_frozen_over_a_repeated_put_takes_no_acknowledgement_back(
    store: MemoryTables,
) -> None:
    """The put wipes the mirror, which is begun anew: not every version may be taken for another."""
    both = Sent(EVERYONE, audience=EVERYONE)
    for target in EVERYONE:
        row(store, target, "PENDING")
    update(store, both)
    row(store, "bob", "PROCESSED")

    def meanwhile() -> None:
        row(store, "eve", "PROCESSED")
        update(store)
        wiped = held(store)
        store.put(tables.SIGNALS, {**MIRROR.item(), "note": "mine"})
        update(store, Sent(settled=wiped, audience=EVERYONE))

    class Frozen:
        thawed = False

        def apply(self, writes: Sequence[Write]) -> list[bool]:
            if not self.thawed:
                self.thawed = True
                meanwhile()
            return store.apply(writes)

    mirror({HOLDER: Sent()}, reads=store, writes=Frozen())

    assert {entry["status"] for entry in held(store).values()} == {"PROCESSED"}
