"""The product with one rule broken at a time; a machine that misses one of these proves nothing.

Each mutant replaces functions of the product for the length of a history. A seed catches it if a
promise is broken with the mutant and none is without.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from threading import local
from typing import Any, NamedTuple
from unittest.mock import patch

from sharpwave.infra.operate import verify
from sharpwave.producers.operations import receiving
from sharpwave.schemas import faults, keys, tables, times
from sharpwave.schemas.patterns import seated
from sharpwave.workers import actors
from sharpwave.workers.memory import promote
from sharpwave.workers.patterns import (
    account,
    catalogue,
    learn,
    ledger,
    metrics,
    publish,
    seats,
    statistics,
    units,
)
from sharpwave.workers.patterns.discover import sweep
from sharpwave.workers.patterns.sources import Used, shares_of
from sharpwave.workers.patterns.stated import Confidences
from sharpwave.workers.router import router
from sharpwave.workers.router.fast_path import PARTITIONS, PLACES
from sharpwave.workers.signals import acknowledge, deliver, expiry, mirror, quota
from sharpwave.workers.signals.deliver import Courier
from sharpwave.workers.signals.directory import RegisteredAgents
from sharpwave.workers.signals.refusals import RefusedBefore
from sharpwave.workers.work.ports import Delete, Location, TryAgain, Update
from tests.simulation.broken import STORMY, Mutant, changed, together
from tests.simulation.broken_lives import LIVES
from tests.simulation.histories import run
from tests.simulation.weather import CALM, QUIET, SEASONS
from tests.world import world
from tests.world.queues import MemoryWorkQueues

_ACCOUNT_OF_ROW = account.Account.of_row


class Caught(NamedTuple):
    """How a mutant was caught: by which seed, after how many, and by what; -1 if it was not."""

    name: str
    seed: int
    seeds: int
    violation: str


def _forgetful(row: Mapping[str, Any]) -> account.Account:
    """Read an owner's account, but for whom others promoted."""
    return replace(_ACCOUNT_OF_ROW(row), promoted={})


@contextmanager
def _chunks_read_again() -> Iterator[None]:
    """Let chunks read the signal's item as it is by now."""
    whole, admitted = Courier.deliver_chunk, vars(deliver)["admitted"]
    # Handlers run abreast in threads, so what one reads is no other's.
    mine = local()

    def deliver_chunk(self: Courier, signal: keys.Key, chunk: str) -> int:
        place = Location(tables.SIGNALS, signal)
        before, mine.item = getattr(mine, "item", None), self.reads.get([place]).get(place)
        try:
            return whole(self, signal, chunk)
        finally:
            mine.item = before

    def as_it_is(head: Any) -> Any:
        return getattr(mine, "item", None) or admitted(head)

    with (
        patch.object(deliver, "admitted", as_it_is),
        patch.object(Courier, "deliver_chunk", deliver_chunk),
    ):
        yield


def _admit_each_attempt(self: Any, signals: Sequence[Any], *, directory: Any) -> list[bool]:
    rates = [self._rate(signal["source_agent"], directory) for signal in signals]
    return [
        rate is None or self.take(signal["source_agent"], rate=rate)
        for signal, rate in zip(signals, rates, strict=True)
    ]


def _looks_nowhere(*_: Any) -> Generator[Any, Any, list[Any]]:
    """Be asked for urgent messages, and have none."""
    return []
    yield


def _units_of_each_slot(slots: Any) -> Any:
    """Count a unit in every slot that holds a decision of it."""
    days: dict[str, Any] = {}
    for day, members in slots:
        for on, arms in _MERGED([(day, members)]).items():
            days[on] = days[on] + arms if on in days else arms
    return days


def _the_best_stands_for_it(elements: Any) -> bytes:
    """Let a success stand for its unit, if there is one."""
    order = {ledger.Outcome.SUCCESS: 0, ledger.Outcome.FAILURE: 1, ledger.Outcome.PENDING: 2}
    best: dict[bytes, tuple[bytes, int]] = {}
    for element in ledger.standing_of(elements).values():
        held = ledger.Element.decode(element)
        mine = bytes([order[held.outcome]]) + held.decision + held.content[:2], int(held.outcome)
        best[held.unit] = min(best.get(held.unit, mine), mine)
    return b"".join(units._MEMBER.pack(unit, *best[unit]) for unit in sorted(best))


def _superseded_confidences_count(elements: Any, *, revision: int = 0) -> Any:
    """Add up what every state of a decision stated, not only what stands."""
    counts = _FOLD(elements, revision=revision)
    for element in set(elements) - set(ledger.standing_of(elements).values()):
        held = ledger.Element.decode(element)
        if held.confidence is not None and held.outcome is not ledger.Outcome.PENDING:
            success = held.outcome is ledger.Outcome.SUCCESS
            more = Confidences.of(held.confidence, success)
            counts = replace(counts, confidences=counts.confidences + more)
    return counts


def _superseded_sources_count(elements: Any, *, revision: int = 0) -> Any:
    """Count a source again for each outcome that stands no more."""
    counts = _FOLD(elements, revision=revision)
    for element in set(elements) - set(ledger.standing_of(elements).values()):
        held = ledger.Element.decode(element)
        if held.named and held.outcome is not ledger.Outcome.PENDING:
            more = Used.merged(shares_of(held.named, (0, 1, 1, 0, 0)))
            counts = replace(counts, used=counts.used + more)
    return counts


_MERGED, _FOLD = units._merged, ledger.fold
_ARMS_IN = units.Units.arms_in


def _seated_now(versions: Any, agent_id: str, decision_type: str, epoch: int) -> Any:
    """Give seats to those alone that have not ended, and to who ended what would be theirs."""
    found = seated(versions, agent_id, decision_type, epoch)
    return sorted(found, key=lambda version: (version.effective_to is not None, version.subject))


def _arms_of_each_ledger(self: Any, places: Any, days_of: Any) -> Any:
    """Count the units of each ledger by itself."""
    days: dict[str, Any] = {}
    for subject, seat in places.items():
        for day, arms in _ARMS_IN(self, {subject: seat}, days_of).items():
            days[day] = days[day] + arms if day in days else arms
    return days


def _one_fails_all() -> AbstractContextManager[object]:
    """Let an inbox that does not answer fail all that is sent with it, before any mark."""
    whole: Any = Courier._send

    def _send(self: Any, posts: Any) -> None:
        whole(self, posts)
        if any(plan.failed for plan, _ in posts):
            raise TryAgain("an inbox did not answer")

    return patch.object(Courier, "_send", _send)


def _found_is_sent() -> AbstractContextManager[object]:
    """Take a row that is there for a message that was sent, and call it delivered."""
    whole: Any = Courier._settled

    def _settled(self: Any, plans: Any) -> Any:
        result = whole(self, plans)
        for plan in plans:
            result.setdefault(plan.holder, set()).update(plan.found)
            plan.sent |= plan.found
        return result

    return patch.object(Courier, "_settled", _settled)


def _marked_before_sent() -> AbstractContextManager[object]:
    """Write the mark before the effect."""
    whole: Any = Courier._send

    def _send(self: Any, posts: Any) -> None:
        for plan, post in posts:
            plan.sent.add(post.target)
        self._mark(list({id(plan): plan for plan, _ in posts}.values()))
        for plan, post in posts:
            plan.sent.discard(post.target)
        whole(self, posts)

    return patch.object(Courier, "_send", _send)


def _never_marked() -> AbstractContextManager[object]:
    """Leave out the mark."""
    return patch.object(Courier, "_mark", lambda self, plans: [(plan, {}) for plan in plans])


def _acknowledged_is_open() -> AbstractContextManager[object]:
    """Take an acknowledged row for one that was not sent yet."""
    return together(
        patch.object(Courier, "_settled", lambda self, plans: {}),
        patch.object(Courier, "_marked", lambda self, plans: {}),
    )


def _told_each_time() -> AbstractContextManager[object]:
    """Tell the sender at every sweep that its signal expired, claimed or not."""
    from sharpwave.workers.signals import notices

    whole: Any = notices.Notices.tell

    def tell(self: Any, many: Any) -> Any:
        anew = [
            each._replace(claim=each.claim._replace(sk=f"{each.claim.sk}#{time.time_ns()}{n}"))
            if hasattr(each, "_replace")
            else replace(each, claim=each.claim._replace(sk=f"{each.claim.sk}#{time.time_ns()}{n}"))
            for n, each in enumerate([*many, *many, *many])
        ]
        return whole(self, anew)

    return patch.object(notices.Notices, "tell", tell)


def _nobody_is_told() -> AbstractContextManager[object]:
    return patch.object(actors, "tell_of_expiry", lambda *_, **__: None)


def _chunks_tell_at_once() -> AbstractContextManager[object]:
    """Let each chunk take another one's claim to tell for that of an attempt that died."""
    whole: Any = expiry.telling

    def telling(expired: Any, events: Any, *, clock: Any) -> Any:
        return whole(expired, {signal: "|".join(signal) for signal in events}, clock=clock)

    return patch.object(deliver, "telling", telling)


@contextmanager
def _digits_name_agents() -> Iterator[None]:
    """Take the digits of a shard for an agent's name."""
    # What keys were parsed as is remembered by the process, from one history to the next.
    remembered: list[dict[Any, Any]] = [*PARTITIONS.values(), PLACES]
    for each in remembered:
        each.clear()
    with patch.object(keys, "is_shard", lambda name: False):
        yield
    for each in remembered:
        each.clear()


def _any_row_counts() -> AbstractContextManager[object]:
    return patch.object(mirror, "is_workers", lambda row, signal: True)


def _old_list() -> AbstractContextManager[object]:
    """Judge every decision by the copy of the list that happens to be there."""

    def _known_until(self: Any, timestamp: int) -> Any:
        if self._known.until < 0 or self._clock() - getattr(self, "read_at", 0.0) > 600:
            self._known = catalogue.listed(self._reads, until=1)
            self.read_at = self._clock()
        return self._known

    return patch.object(catalogue.Catalogue, "_known_until", _known_until)


def _decayed_by_calendar(days: Any, as_of: str, half_life_days: float = 14.0) -> Any:
    from datetime import date

    end = date.fromisoformat(as_of).toordinal()
    weights = {
        day: 2.0 ** ((date.fromisoformat(day).toordinal() - end) / half_life_days) for day in days
    }
    return (
        sum(weight * days[day].s for day, weight in weights.items()),
        sum(weight * days[day].n for day, weight in weights.items()),
    )


def _one_way() -> AbstractContextManager[object]:
    """Let `verify` look only at what the archive holds."""
    whole: Any = vars(verify)["_days"]

    def _days(evidence: verify.Evidence) -> Iterator[Any]:
        for subject, day, stored, recounted in whole(evidence):
            if stored.n + stored.pending <= recounted.n + recounted.pending:
                yield subject, day, stored, recounted

    def judge(evidence: verify.Evidence) -> Any:
        return judged(replace(evidence, unseen=0, unseen_keys=(), stored=0))

    judged: Any = vars(verify)["judge"]
    return together(patch.object(verify, "_days", _days), patch.object(verify, "judge", judge))


def _marks_stay() -> AbstractContextManager[object]:
    """Leave every mark of a change where it is, so that each round publishes everything."""
    return patch.object(publish, "Delete", lambda place, equals: Delete(place, {"rev": -1}))


def _cursor_stays() -> AbstractContextManager[object]:
    """Write what was counted and not how far it went."""

    def update(place: Location, values: Any, **more: Any) -> Update:
        return Update(place, {n: v for n, v in values.items() if n != "cursor"}, **more)

    return patch.object(sweep, "Update", update)


@contextmanager
def _first_effect_stands() -> Iterator[None]:
    """Delete messages when they are received instead of after their effect."""
    whole = MemoryWorkQueues.receive

    def receive(self: Any, held: Any) -> bool:
        done = whole(self, held)
        self.delete(held)
        return done

    with patch.object(MemoryWorkQueues, "receive", receive):
        yield


def _strict(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def parse_json(text: Any) -> Any:
        content = parse(text)
        if any("since_next_release" in entry for entry in content["kwargs"]["entries"]):
            raise ValueError("unknown key since_next_release")
        return content

    return parse_json


def _strict_forms(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def parse_all(items: Any) -> Any:
        held = list(items)
        if any("since_next_release" in item["version"] for item in held):
            raise ValueError("unknown key since_next_release")
        return parse(held)

    return parse_all


@contextmanager
def _denials_write_no_row() -> Iterator[None]:
    """Let an attempt that reads no registration deny without a look at what others did."""
    whole: Any = Courier._address

    def _address(self: Courier, plans: Any) -> None:
        whole(self, plans)
        for plan in plans:
            plan.targets[:] = [name for name in plan.targets if name not in plan.denied]

    with patch.object(Courier, "_address", _address):
        yield


MUTANTS: dict[str, Mutant] = {
    "account-forgets": Mutant(
        18,
        "who enters a promotion takes back those before it",
        changed(account.Account, "of_row", staticmethod(_forgetful)),
        (SEASONS,),
        QUIET,
    ),
    "anyone-is-the-pipeline": Mutant(
        19,
        "a signal in the pipeline's name is its own",
        changed(deliver, "is_told", lambda signal, reads: True),
        ("lives",),
    ),
    **LIVES,
    "late-joiners-left-out": Mutant(
        1,
        "who registers looks for no signals that it missed",
        changed(actors, "missed", lambda *_, **__: iter(())),
        ("broadcasts",),
    ),
    "chunks-as-they-are-now": Mutant(
        2, "a chunk reads the signal again", _chunks_read_again, ("crowds",)
    ),
    "token-per-attempt": Mutant(
        3,
        "each attempt takes a token",
        changed(quota.Quotas, "admit", _admit_each_attempt),
        ("quotas",),
        STORMY,
    ),
    "one-inbox-fails-all": Mutant(
        4, "an inbox that refuses fails its neighbours", _one_fails_all, ("outages",), CALM
    ),
    "gone-is-removed": Mutant(
        5,
        "a queue that is said not to exist means that its agent was removed",
        changed(RegisteredAgents, "confirm", lambda self, agent_ids: {}),
        ("outages",),
    ),
    "found-is-sent": Mutant(
        6, "a row that is there counts as sent", _found_is_sent, ("deadlines",), STORMY
    ),
    "marked-before-sent": Mutant(
        6, "the mark comes before the effect", _marked_before_sent, ("signals",), STORMY
    ),
    "never-marked": Mutant(6, "what was sent is never marked", _never_marked, ("signals",), CALM),
    "acknowledged-is-open": Mutant(
        6,
        "what was acknowledged is sent again",
        _acknowledged_is_open,
        ("signals",),
        {"crash_rate": 0.06, "replay_rate": 0.3},
    ),
    "told-each-time": Mutant(
        6, "the sender is told at every sweep", _told_each_time, ("deadlines",)
    ),
    "denials-write-no-row": Mutant(
        6,
        "a target is denied by a registration that was read, whatever its row says",
        _denials_write_no_row,
        ("crowds", "delays"),
        {"freeze_rate": 0.01, "nest_rate": 0.1, "replay_rate": 0.3, "abreast_rate": 0.3},
    ),
    "nobody-told": Mutant(
        6, "the sender is not told that a delivery expired", _nobody_is_told, ("deadlines",)
    ),
    "chunks-tell-at-once": Mutant(
        6,
        "chunks that are too late tell the sender at once",
        _chunks_tell_at_once,
        ("delays",),
        {**CALM, "nest_rate": 0.1},
    ),
    "any-row-counts": Mutant(
        7, "a mirror takes rows that no worker wrote", _any_row_counts, ("forgeries",)
    ),
    "spoiled-stays-spoiled": Mutant(
        7,
        "a mirror that its signal's writer put something else over is not put back",
        changed(router, "_held", lambda record: ""),
        ("tampering", "signals"),
    ),
    "deleted-stays-gone": Mutant(
        7,
        "a row that its agent deletes while it is open is not put back",
        changed(acknowledge, "_put_back", lambda *_: {}),
        ("rows",),
    ),
    "digits-name-agents": Mutant(
        7,
        "signal#T#3 is parsed as agent 3",
        _digits_name_agents,
        ("signals",),
    ),
    "list-of-old": Mutant(
        8, "decisions are judged by an old list of versions", _old_list, ("clocks", "counting")
    ),
    "slots-never-split": Mutant(
        9,
        "a slot never closes",
        lambda: together(
            patch.object(ledger, "CLOSE_AT", 10**9),
            patch.object(ledger, "FULL_AT", 10**9),
        ),
        ("counting",),
        {"burst": 4_000, "actions": 6, "small_slots": False},
    ),
    "any-event-time": Mutant(
        10,
        "event times are not bounded",
        lambda: together(
            patch.object(times, "is_far_ahead", lambda *_: False),
            patch.object(faults, "is_far_ahead", lambda *_: False),
        ),
        ("days",),
    ),
    "a-day-wipes-all": Mutant(
        10,
        "one day far away decays all other evidence",
        changed(statistics, "decayed", _decayed_by_calendar),
        ("days",),
    ),
    "one-epoch": Mutant(
        11,
        "a base rate counts decisions of all times",
        changed(learn, "epoch_of", lambda *_, **__: 0),
        ("rates",),
    ),
    "only-registered-count": Mutant(
        11,
        "a base rate leaves out who never registered",
        changed(catalogue.Writers, "note", lambda self, writers: None),
        ("rates",),
    ),
    "verify-one-way": Mutant(
        12,
        "verify overlooks what is counted and not archived",
        _one_way,
        ("counting",),
    ),
    "unknown-keys-refused": Mutant(
        13,
        "messages with keys of a newer release are not read",
        lambda: patch.object(world, "parse_json", _strict(vars(world)["parse_json"])),
        ("versions",),
    ),
    "unknown-forms-refused": Mutant(
        13,
        "a version with keys of a newer release is not read",
        lambda: patch.object(catalogue, "parse", _strict_forms(catalogue.parse)),
        ("versions", "counting"),
    ),
    "strangers-left-out": Mutant(
        14,
        "who never registered is not swept",
        lambda: together(
            patch.object(catalogue.Writers, "note", lambda self, writers: None),
            patch.object(catalogue.Writers, "note_agents", lambda self, agent_ids: None),
        ),
        ("strangers",),
    ),
    "first-fact-stands": Mutant(
        14,
        "a promoted entry takes no later change",
        changed(promote, "_follow", lambda *_, **__: []),
        ("memory",),
    ),
    "refused-comes-back": Mutant(
        15,
        "what was refused is let in by sweeps and reconcile",
        changed(RefusedBefore, "holds", lambda self, table, image: False),
        ("gaps", "tampering", "days"),
    ),
    "gap-stays": Mutant(
        15,
        "reconcile and sweeps take everything for refused",
        changed(RefusedBefore, "holds", lambda self, table, image: True),
        ("gaps", "crowds"),
    ),
    "other-content-counts": Mutant(
        15,
        "a rewritten key counts as it says last",
        changed(learn, "content_digest", lambda decision: b"\0" * 3),
        ("days",),
    ),
    "unit-of-each-slot": Mutant(
        11,
        "a unit counts once a slot, and not once",
        changed(units, "_merged", _units_of_each_slot),
        ("cycles",),
    ),
    "units-read-once": Mutant(
        11,
        "a ledger's sets are read once and never again",
        changed(units.Units, "_changed", lambda self, subject, days, known: known.slots),
        ("cycles",),
    ),
    "seats-move-up": Mutant(
        11,
        "who ends gives its seat to the next one, in ledgers of before too",
        lambda: together(*(patch.object(room, "seated", _seated_now) for room in (learn, seats))),
        ("candidates",),
        {"actions": 40},
    ),
    "units-of-each-epoch": Mutant(
        11,
        "what is seated has a unit of evidence in each of its ledgers",
        changed(units.Units, "arms_in", _arms_of_each_ledger),
        ("candidates",),
        {"actions": 40},
    ),
    "the-best-stands": Mutant(
        11,
        "the outcome decides which decision stands for a unit",
        changed(units, "_condensed", _the_best_stands_for_it),
        ("cycles",),
    ),
    "every-state-states": Mutant(
        11,
        "a confidence counts again with each correction",
        changed(seats, "fold", _superseded_confidences_count),
        ("cycles",),
    ),
    "every-state-is-a-use": Mutant(
        11,
        "a source counts again with each correction",
        changed(seats, "fold", _superseded_sources_count),
        ("cycles",),
    ),
    "metrics-once": Mutant(
        11,
        "how sources did is published once and never again",
        changed(metrics, "Update", lambda place, *_, **__: Update(place, {})),
        ("cycles",),
    ),
    "everything-published": Mutant(
        16, "publishing costs what exists", _marks_stay, ("rates", "counting")
    ),
    "looked-at-again": Mutant(
        9,
        "the search for patterns does not note how far it came",
        _cursor_stays,
        ("counting", "episodes"),
        {"discovery": True, "actions": 18},
    ),
    "urgent-waits": Mutant(
        20,
        "an agent with a backlog does not look for what is urgent",
        changed(receiving, "_receive_urgent", _looks_nowhere),
        ("urgency",),
    ),
    "no-copy-of-what-is-urgent": Mutant(
        20,
        "what is urgent is sent as everything else is",
        changed(deliver, "is_urgent", lambda *_: False),
        ("urgency",),
    ),
    "other-copy-again": Mutant(
        20,
        "the SDK hands out a message without a look at its row",
        changed(receiving, "is_acknowledged", lambda row: False),
        ("urgency",),
    ),
    "ack-first": Mutant(
        0, "a message is deleted before its effect", _first_effect_stands, (), STORMY
    ),
}


def hunt(name: str, *, patience: int, start: int = 0) -> Caught:
    """Look for a seed that catches a mutant."""
    mutant = MUTANTS[name]
    for count, seed in enumerate(range(start, start + patience), 1):
        weather = mutant.weather(seed)
        try:
            with mutant.breaks():
                broken = run(seed, weather).violations
        except (ImportError, AttributeError) as missing:
            return Caught(name, -1, 0, f"not applicable: {missing}")
        if broken and not run(seed, weather).violations:
            return Caught(name, seed, count, broken[0])
    return Caught(name, -1, patience, "")


def table(names: Sequence[str], *, patience: int, jobs: int) -> int:
    """Print which mutants are caught, and how soon; gives 1 if one is not."""
    chosen = list(names) or list(MUTANTS)
    print("| rule | mutant | seeds until caught | by |\n| --- | --- | --- | --- |")
    missed = 0
    with ProcessPoolExecutor(jobs) as pool:
        for caught in pool.map(partial(hunt, patience=patience), chosen):
            mutant = MUTANTS[caught.name]
            missed += caught.seed < 0
            until = str(caught.seeds) if caught.seed >= 0 else "not caught"
            line = f"{mutant.rule or '-'} | {caught.name}: {mutant.what} | {until}"
            print(f"| {line} | {caught.violation[:110]} |", flush=True)
    return 1 if missed else 0
