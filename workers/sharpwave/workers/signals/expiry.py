"""Deliveries that nobody acknowledged in time get a status, a reason and a place in the mirror.

Whatever was sent leaves an entry in the minute of its deadline. A tick hands out the minutes that
have passed, so expiry costs what falls due and not what exists.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from math import ceil
from typing import Any, NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.ownership import is_stamped, stamped
from sharpwave.schemas.status import ACKNOWLEDGED, TERMINAL
from sharpwave.schemas.times import DAY_S, Clock
from sharpwave.workers.signals.mirror import (
    OPEN,
    UNACKNOWLEDGED,
    Holder,
    Sent,
    if_unchanged,
    look,
    mirror,
)
from sharpwave.workers.signals.notices import Notice, Notices
from sharpwave.workers.work import ticks
from sharpwave.workers.work.envelope import Duty, Entry, ascii_json, pack
from sharpwave.workers.work.low_water import CLOCKS_APART_S, LowWater
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import (
    Insert,
    Item,
    Location,
    Reads,
    TryAgain,
    Unfinished,
    WorkQueues,
    Write,
    Writes,
)

EXPIRE = Duty("status", "on_expiry", 1)
TELL = Duty("status", "on_expired", 20)

log = logging.getLogger(__name__)

#: Seconds that a deadline's entry has at least to be written before its minute is handled.
WRITING_S = 10
#: Entries are kept this long after their minute, for outages and for whoever looks into one.
KEPT_S = 10 * DAY_S
#: A row that its agent spoiled has this long to be mended before it ends as it is.
MENDING_S = DAY_S
#: The low-water mark of the last minute that was handed out.
DUE_MARK = ("due", "all")
#: What one tick hands out; after an outage of days it sends itself again for the rest.
MINUTES_PER_TICK = 500
#: Deliveries handled at once, and per message; the rest of a partition gets another message.
PAGE, PER_MESSAGE = 200, 2_000
_HOLDERS = 20
_ROUNDS = 8
_NAMED = 10


class Deadline(NamedTuple):
    """When deliveries of one signal fall due.

    Attributes:
        holder: where they are mirrored.
        at: epoch seconds.
        targets: who was sent to.
        since: the minute since the epoch at which they fell due first; None if they did not.
    """

    holder: Holder
    at: int
    targets: Sequence[str]
    since: int | None = None


class Partition(NamedTuple):
    """Deliveries that fell due in one minute, from behind an entry's sort key on."""

    minute: int
    shard: int
    after: str = ""

    @property
    def pk(self) -> str:
        """Give the partition key."""
        return keys.due_pk(self.minute, self.shard)


class Deadlines:
    """Notes when deliveries fall due; one per process."""

    def __init__(self) -> None:
        """Start as a process that has noted nothing."""
        self._listed: frozenset[int] = frozenset()

    def note(
        self,
        deadlines: Sequence[Deadline],
        *,
        writes: Writes,
        clock: Clock,
        beside: Sequence[Write] = (),
    ) -> list[bool]:
        """Note when deliveries that were sent fall due; noting one again does no harm.

        Args:
            deadlines: of deliveries; one that is not marked yet waits there until it is.
            writes: takes the entries.
            clock: the time in epoch seconds.
            beside: marks of these deliveries, for the same call.

        Returns:
            What became of each write of `beside`.

        Raises:
            TryAgain: this worker kept being too late.
        """
        verdicts: list[bool] = []
        rest = [each for each in deadlines if each.targets]
        for _ in range(_ROUNDS):
            begun = clock()
            by_minute: dict[int, list[Deadline]] = {}
            for each in rest:
                by_minute.setdefault(due_minute(each.at, begun), []).append(each)
            # A minute is put on the list that ticks read once per process.
            fresh = by_minute.keys() - self._listed
            listed = [
                Insert(tables.PIPELINE, {**keys.due_minute(each).item(), "ttl": each * 60 + KEPT_S})
                for each in sorted(fresh)
            ]
            entries = [
                _due_entry(minute, some[start : start + _HOLDERS])
                for minute, some in by_minute.items()
                for start in range(0, len(some), _HOLDERS)
            ]
            # An entry whose minute no tick is told of expires nothing, and a mark without its
            # entry leaves its delivery open for good. So the entries go first, in one call.
            marked = writes.apply([*listed, *entries, *beside[len(verdicts) :]])
            verdicts += marked[len(listed) + len(entries) :]
            # Known as listed only now: a call that failed may have listed nothing.
            self._listed |= fresh
            # A worker may freeze between the choice of a minute and its write. Once that minute
            # has come it may have been handled, so the entry is written again for a later one.
            done = clock()
            self._listed = frozenset(minute for minute in self._listed if minute * 60 > done)
            rest = [
                each for minute, some in by_minute.items() if minute * 60 <= done for each in some
            ]
            if not rest:
                return verdicts
        raise TryAgain("deadlines passed faster than they could be noted")


def due_minute(deadline: int, now: float) -> int:
    """Give the minute since the epoch from whose beginning on a deadline is acted upon."""
    return ceil((max(deadline, now) + WRITING_S) / 60)


def _due_entry(minute: int, deadlines: Sequence[Deadline]) -> Insert:
    """Give one entry; its key is a digest, so that one noted again is written once."""
    # What signals have in common is named once, so that a group of one sender fits a kilobyte.
    common: dict[tuple[Any, ...], list[str]] = {}
    for (signal, chunk), _, targets, since in deadlines:
        common.setdefault((signal.pk, tuple(targets), chunk, since), []).append(signal.sk)
    entries: list[Item] = [
        {"pk": pk, **({"sk": sks[0]} if len(sks) == 1 else {"sks": sks}), "targets": list(targets)}
        | {name: each for name, each in (("chunk", chunk), ("since", since)) if each is not None}
        for (pk, targets, chunk, since), sks in common.items()
    ]
    digest = blake2b(ascii_json(entries).encode(), digest_size=12)
    key = keys.due(minute, digest.digest()[0] % keys.DUE_SHARDS, digest.hexdigest())
    item = {**key.item(), "entries": entries, "ttl": minute * 60 + KEPT_S}
    return Insert(tables.PIPELINE, item)


class Expired(NamedTuple):
    """Deliveries of one signal that expired.

    Attributes:
        signal: the signal.
        targets: whose deliveries, sorted.
        event_id: what led to this.
    """

    signal: keys.Key
    targets: Sequence[str]
    event_id: str


class _Addressee(NamedTuple):
    """One target of one signal, and where its delivery is mirrored."""

    holder: Holder
    target: str

    @property
    def row(self) -> Location:
        """Say where the row of the delivery is."""
        return self.holder.row_of(self.target)


class _Since(NamedTuple):
    """Since which minute a delivery is due, and the event by which that is known."""

    minute: int
    event_id: str


_Due = dict[_Addressee, _Since]


@dataclass(frozen=True, slots=True)
class Expiry:
    """Ends deliveries whose time has passed."""

    reads: Reads
    writes: Writes
    queues: WorkQueues
    deadlines: Deadlines
    clock: Clock

    def hand_out(self) -> int:
        """Send a message for each partition that fell due since the last tick.

        Returns:
            The number of partitions.
        """
        low = LowWater(*DUE_MARK, reads=self.reads, writes=self.writes)
        # A minute is over for every worker when it has been over for some seconds on this clock.
        latest = int((self.clock() - CLOCKS_APART_S) // 60)
        listed = self.reads.query(
            tables.PIPELINE,
            keys.DUE_MINUTES_PK,
            after=low.mark,
            until=keys.due_minute(latest).sk,
            limit=MINUTES_PER_TICK,
        )
        minutes = [int(item["SK"]) for item in listed]
        if not minutes:
            return 0
        parts = [Partition(each, shard) for each in minutes for shard in range(keys.DUE_SHARDS)]
        due = [part for part in parts if any(self.reads.query(tables.PIPELINE, part.pk, limit=1))]
        self._send(due)
        # The mark after the messages: a crash in between hands out again, and loses no minute.
        low.raise_to(str(minutes[-1]), at_once=True)
        if len(minutes) == MINUTES_PER_TICK:
            self.queues.send([ticks.tick(ticks.EXPIRY, clock=self.clock)])
        return len(due)

    def expire(self, part: Partition) -> int:
        """Expire what is open of one partition.

        What cannot be expired is tried again with the whole message, after the rest was done.

        Returns:
            The number of deliveries looked at.
        """
        seen, failed = 0, None
        for page in self._pages(part):
            failed = self._expire_all(_deliveries(page, part.minute)) or failed
            seen += _size(page)
            if seen >= PER_MESSAGE:
                self._send([part._replace(after=page[-1]["SK"])])
                break
        if failed is not None:
            raise failed
        return seen

    def _send(self, parts: Sequence[Partition]) -> None:
        entries = [Entry(ascii_json(part._asdict()), "") for part in parts]
        self.queues.send([*pack(EXPIRE, entries, moment_ms=int(self.clock() * 1000))])

    def _pages(self, part: Partition) -> Iterator[list[Item]]:
        page: list[Item] = []
        for item in self.reads.query(tables.PIPELINE, part.pk, after=part.after):
            page.append(item)
            if _size(page) >= PAGE:
                yield page
                page = []
        if page:
            yield page

    def _expire_all(self, due: _Due) -> Exception | None:
        """Expire deliveries; one that cannot be expired is left out, and what went wrong given."""
        try:
            self._expire(due)
        except TryAgain:
            raise
        except Exception as error:
            if len(due) == 1:
                (each,) = due
                log.warning("expiry_failed", extra={"delivery": each, "error": repr(error)})
                return error
            alone = [self._expire_all({each: since}) for each, since in due.items()]
            return next(filter(None, alone), None)
        return None

    def _expire(self, due: _Due) -> None:
        # What is known to be processed is left out, by the mirrors alone and at half the price.
        # An older image may only show less: nothing outranks PROCESSED, and it comes from a row.
        # An EXPIRED there says nothing of the row, which is settled after the mirror.
        mirrors = look(dict.fromkeys(each.holder for each in due), self.reads, strong=False)
        said = {holder: held.statuses for holder, held in mirrors.items()}
        due = {
            each: since
            for each, since in due.items()
            if said.get(each.holder, {}).get(each.target, OPEN)["status"] != "PROCESSED"
        }
        if not due:
            return
        found = self.reads.get([each.row for each in due])
        rows = {each: found.get(each.row, {}) for each in due}
        is_open = [each for each, row in rows.items() if not _has_ended(row)]
        now = self.clock()
        # A row that its agent wrote over may be about to be mended, and its word then count.
        spoiled = {each for each in is_open if rows[each].get("status") != "PENDING"}
        recent = {each for each in is_open if now - due[each].minute * 60 < MENDING_S}
        waiting = spoiled & recent
        # Mirrors first, rows second: a row still open when this dies is found again by its entry,
        # a mirror behind an ended row by nobody. And the mirror may know a greater end than ours.
        ends = self._ends({each: rows[each] for each in is_open if each not in waiting}, recent)
        self.writes.apply(
            [
                # An acknowledgement since the read wins: it comes by the router and outranks this.
                if_unchanged(each.row, stamped(each.row.key, end), rows[each])
                for each, end in ends.items()
                if rows[each]
            ]
        )
        # The others fall due again, at growing distances, as long as they may be mended.
        left = [(each, due[each].minute) for each in is_open if each not in ends]
        again = [
            Deadline(each.holder, int(now + (now - minute * 60) / 2), [each.target], minute)
            for each, minute in left
        ]
        self.deadlines.note(again, writes=self.writes, clock=self.clock)
        ended = {each: row for each, row in rows.items() if _has_ended(row)} | ends
        expired = [each for each, end in ended.items() if end.get("status") == "EXPIRED"]
        # By the entry's event: another attempt at it finds the claim to tell its own.
        events = {each.holder.signal: since.event_id for each, since in due.items()}
        self.queues.send(telling(expired, events, clock=self.clock))

    def _ends(
        self, due: Mapping[_Addressee, Item], recent: Collection[_Addressee]
    ) -> dict[_Addressee, dict[str, Any]]:
        """Give the ends of deliveries with open rows, or none, as their mirrors have them now.

        An end is empty if nobody knows of one; left out is what has to wait, as only those do
        that fell due `recent`ly.
        """
        by_holder: dict[Holder, list[str]] = {}
        for holder, target in due:
            by_holder.setdefault(holder, []).append(target)
        # What fell due was sent, for only then it is noted.
        sent = {
            holder: Sent(targets=frozenset(names), settled=dict.fromkeys(names, UNACKNOWLEDGED))
            for holder, names in by_holder.items()
        }
        known = mirror(sent, reads=self.reads, writes=self.writes)
        ends: dict[_Addressee, dict[str, Any]] = {}
        for each, row in due.items():
            statuses = known.get(each.holder, {})
            if statuses:
                held = statuses.get(each.target)
                if held is not None and held["status"] in TERMINAL:
                    ends[each] = held
            # A mirror that was not begun, or was wiped, is about to be: who begins it may have
            # read the row, open, a moment ago. After so long it is gone, so the row alone ends;
            # with the row gone too nobody knows of an end.
            elif each not in recent:
                ends[each] = UNACKNOWLEDGED if row else {}
        return ends


def telling(
    expired: Iterable[tuple[Holder, str]], events: Mapping[keys.Key, str], *, clock: Clock
) -> list[WorkMessage]:
    """Give the work of telling each signal's sender, if its key binds one, what expired.

    Only the event that claimed to tell tells, and whatever it found expired may be acknowledged
    before it comes again. So nobody claims before there is a message that says what to tell.

    Args:
        expired: deliveries, by where they are mirrored and to whom.
        events: what led to this, by signal.
        clock: the time in epoch seconds.
    """
    targets: dict[keys.Key, set[str]] = {}
    for holder, target in expired:
        if keys.owner_of(holder.signal.pk) is not None:
            targets.setdefault(holder.signal, set()).add(target)
    entries = [
        {"key": signal, "targets": sorted(names), "event_id": events[signal]}
        for signal, names in targets.items()
    ]
    texts = [Entry(ascii_json(entry), "") for entry in entries]
    return list(pack(TELL, texts, moment_ms=int(clock() * 1000)))


def tell_of_expiry(expired: Iterable[Expired], notices: Notices) -> None:
    """Tell each signal's sender, once, which deliveries expired and where to see all.

    Raises:
        Unfinished: some senders' inboxes took no notice; the others are told.
    """
    news = []
    for signal, names, event_id in expired:
        owner = keys.owner_of(signal.pk) or ""
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        _, signal_id = keys.time_and_id(signal.sk)
        text = (
            f"the deadline passed and {', '.join(names[:_NAMED])}{more} had not acknowledged;"
            f" `sharpwave trace {signal_id}` shows every target and reason"
        )
        claim = keys.told_of_expiry(owner, signal_uid(*signal))
        reasons = [Fault("expired", "target_agents", text)]
        news.append(Notice(owner, claim, event_id, "expired", reasons, tables.SIGNALS, signal))
    if untold := notices.tell(news):
        raise Unfinished(untold, f"{len(untold)} senders could not be told")


def _deliveries(page: Sequence[Item], minute: int) -> _Due:
    due: _Due = {}
    for item in page:
        event_id = f"{item['PK']}|{item['SK']}"
        for entry in item["entries"]:
            since = _Since(entry.get("since", minute), event_id)
            for sk, target in product(_sks(entry), entry["targets"]):
                each = _Addressee(Holder(keys.Key(entry["pk"], sk), entry.get("chunk")), target)
                due[each] = min(since, due.get(each, since))
    return due


def _size(page: Sequence[Item]) -> int:
    return sum(
        len(_sks(entry)) * len(entry["targets"]) for item in page for entry in item["entries"]
    )


def _sks(entry: Item) -> list[str]:
    return entry["sks"] if "sks" in entry else [entry["sk"]]


def _has_ended(row: Item) -> bool:
    status = str(row.get("status"))
    return status in ACKNOWLEDGED or (status == "EXPIRED" and "reason" in row and is_stamped(row))
