"""How many signals a source may send: a token bucket per source, drawn by this process.

A signal costs one token, however often it is attempted: what its quota said is stored beside its
audience, and the first stored verdict holds.
"""

import time
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import SYSTEM, signal_uid, ulid
from sharpwave.schemas.times import Clock, now
from sharpwave.schemas.tokens import Bucket, Rate, Watched
from sharpwave.workers.signals.audience import about
from sharpwave.workers.work.ports import (
    Directory,
    Insert,
    Item,
    Location,
    Reads,
    TryAgain,
    Update,
    Writes,
)

_ATTEMPTS = 5
#: Tokens kept for signals whose verdict was perhaps not stored; more are lost.
_MAX_UNSURE = 1_000
#: How many of them are looked up along with other verdicts.
_LOOKED_UP = 100


class Quotas:
    """Token buckets in the table `pipeline`, a minute's worth deep.

    A process draws a tenth of the bucket at once, so the table sees one write in many signals;
    what a process drew and did not use is lost with it.
    """

    def __init__(
        self, *, reads: Reads, writes: Writes, clock: Clock, per_minute: int | None
    ) -> None:
        """Set the default rate in signals per minute; None means no limit."""
        self._reads, self._writes, self._clock = reads, writes, clock
        self._per_minute = per_minute
        # Where time is made, the watch goes by it as well.
        self._watch: Clock = time.monotonic if clock is now else clock
        self._drawn: dict[str, int] = {}
        self._watched: dict[str, Watched] = {}
        self._unsure: dict[str, _Taken] = {}
        self._lock = Lock()

    def admit(self, signals: Sequence[Item], *, directory: Directory) -> list[bool]:
        """Say of distinct signals whether their sources may send them; the answer stays.

        A source without a limit costs nothing.

        Raises:
            TryAgain: other processes kept taking tokens at the same time.
        """
        uids = [signal_uid(signal["PK"], signal["SK"]) for signal in signals]
        limited: dict[str, tuple[Item, int]] = {}
        for uid, signal in zip(uids, signals, strict=True):
            source = signal["source_agent"]
            if source == SYSTEM:
                continue
            # As remembered, unknown sources too: one that does not register would cost a read each.
            known = directory.recall(source)
            rate = (known and known.signals_per_minute) or self._per_minute
            if rate is not None:
                limited[uid] = (signal, rate)
        if not limited:
            return [True] * len(signals)
        verdicts = self._stored([*limited, *list(self._unsure)[:_LOOKED_UP]])
        mine = {
            uid: self._take_for(uid, signal["source_agent"], rate)
            for uid, (signal, rate) in limited.items()
            if uid not in verdicts
        }
        if not mine:
            return [verdicts.get(uid, True) for uid in uids]
        # Tokens before verdicts: a verdict stands for all attempts, and must not promise what the
        # bucket does not hold. Until the write has answered nobody knows whether a token is spent:
        # should it fail, the token is neither given back nor taken again, but kept for the signal.
        stored = self._writes.apply(
            [
                Insert(
                    tables.PIPELINE,
                    {
                        **keys.quota_verdict(uid).item(),
                        **about(limited[uid][0]),
                        "granted": taken.granted,
                        "by": taken.name,
                    },
                )
                for uid, taken in mine.items()
            ]
        )
        lost = []
        for (uid, taken), is_first in zip(mine.items(), stored, strict=True):
            verdicts[uid] = taken.granted
            if is_first:
                self._unsure.pop(uid, None)
            else:
                lost.append(uid)
        # What others stored first holds.
        verdicts |= self._stored(lost) if lost else {}
        return [verdicts.get(uid, True) for uid in uids]

    def take(self, source: str, *, rate: int) -> bool:
        """Take one token of a source; False when it has none left.

        Raises:
            TryAgain: other processes kept taking tokens at the same time.
        """
        with self._lock:
            if self._drawn.get(source, 0) < 1:
                self._drawn[source] = self._draw(source, rate)
            self._drawn[source] -= 1
            if self._drawn[source] < 0:
                self._drawn[source] = 0
                return False
            return True

    def _take_for(self, uid: str, source: str, rate: int) -> "_Taken":
        """Take a signal's token, or find the one taken when its verdict could not be stored."""
        held = self._unsure.get(uid)
        if held is None:
            taken = _Taken(source, self.take(source, rate=rate), ulid())
            with self._lock:
                held = self._unsure.setdefault(uid, taken)
                if held is not taken:
                    self._give_back(taken)
                elif len(self._unsure) > _MAX_UNSURE:
                    del self._unsure[next(iter(self._unsure))]
        return held

    def _stored(self, uids: Iterable[str]) -> dict[str, bool]:
        """Read verdicts; tokens go back that were taken for signals and that no verdict names."""
        places = {Location(tables.PIPELINE, keys.quota_verdict(uid)): uid for uid in uids}
        verdicts: dict[str, bool] = {}
        for place, item in self._reads.get(list(places)).items():
            uid = places[place]
            verdicts[uid] = is_granted(item)
            with self._lock:
                # By name, for a verdict of this process too may be that of another thread, whose
                # token it spent.
                held = self._unsure.pop(uid, None)
                if held is not None and item["by"] != held.name:
                    self._give_back(held)
        return verdicts

    def _give_back(self, taken: "_Taken") -> None:
        if taken.granted:
            self._drawn[taken.source] = self._drawn.get(taken.source, 0) + 1

    def _draw(self, source: str, rate: int) -> int:
        """Draw tokens for this process, as many as are left of a tenth of the bucket."""
        place = Location(tables.PIPELINE, keys.rate_bucket(source))
        watched = self._watched.get(source)
        if watched is None or watched.rate.per_minute != rate:
            watched = self._watched[source] = Watched(Rate(rate, burst=rate))
        for _ in range(_ATTEMPTS):
            watch_ms = int(self._watch() * 1000)
            item = self._reads.get([place]).get(place)
            stored = None
            if item is not None:
                stored = Bucket(int(item["tokens_milli"]), int(item["at_ms"]))
            watched.see(stored, now_ms=int(self._clock() * 1000), watch_ms=watch_ms)
            level = watched.standing(watch_ms)
            drawn = min(level.tokens_milli // 1000, watched.rate.lease)
            if drawn < 1 and not watched.is_set_back:
                return drawn
            left = level._replace(tokens_milli=level.tokens_milli - drawn * 1000)
            # Only on the bucket that was read: two processes must not draw the same tokens.
            write: Insert | Update
            if item is None:
                write = Insert(place.table, {**place.key.item(), **left._asdict(), "rev": 1})
            else:
                values = {**left._asdict(), "rev": item["rev"] + 1}
                write = Update(place, values, equals={"rev": item["rev"]})
            if self._writes.apply([write])[0]:
                watched.drawn(left, watch_ms)
                return drawn
        raise TryAgain(f"the token bucket of {source} kept changing")


class _Taken(NamedTuple):
    """What a bucket said when it was asked for a signal, with a name of its own."""

    source: str
    granted: bool
    name: str


def is_granted(verdict: Item | None) -> bool:
    """Say what a stored verdict says; a source without a limit has none."""
    return verdict is None or bool(verdict["granted"])
