"""How many signals a source may send: a token bucket per source, leased to this process."""

from threading import Lock

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import Clock
from sharpwave.workers.ports import (
    Change,
    Directory,
    Insert,
    Item,
    Location,
    Reads,
    TryAgain,
    Writes,
)

_ATTEMPTS = 5


class Quotas:
    """Token buckets in the table `pipeline`, a minute's worth deep.

    A process takes a tenth of the bucket at once, so the table sees one write in many signals;
    what a process leased and did not use is lost with it.
    """

    def __init__(
        self, *, reads: Reads, writes: Writes, clock: Clock, per_minute: int | None
    ) -> None:
        """Set the default rate in signals per minute; None means no limit."""
        self._reads, self._writes, self._clock = reads, writes, clock
        self._per_minute = per_minute
        self._leased: dict[str, int] = {}
        self._lock = Lock()

    def take(self, source: str, *, directory: Directory) -> bool:
        """Take one signal's token for a source; False when it has none left.

        Raises:
            TryAgain: other processes kept taking tokens at the same time.
        """
        registration = directory.recall(source)
        rate = (registration and registration.signals_per_minute) or self._per_minute
        if rate is None:
            return True
        with self._lock:
            if self._leased.get(source, 0) < 1:
                self._leased[source] = self._lease(source, rate)
            self._leased[source] -= 1
            if self._leased[source] < 0:
                self._leased[source] = 0
                return False
            return True

    def _lease(self, source: str, rate: int) -> int:
        place = Location(tables.PIPELINE, keys.rate_bucket(source))
        for _ in range(_ATTEMPTS):
            item = self._reads.get([place]).get(place)
            level = self._level(item, rate)
            lease = min(int(level), max(1, rate // 10))
            if lease < 1 or self._writes.apply([self._spend(place, item, level - lease)])[0]:
                return lease
        raise TryAgain(f"the token bucket of {source} kept changing")

    def _level(self, item: Item | None, rate: int) -> float:
        if item is None:
            return float(rate)
        refilled = (self._clock() - item["at_ms"] / 1000) * rate / 60
        left = float(item["tokens_milli"]) / 1000
        return min(float(rate), left + max(0.0, float(refilled)))

    def _spend(self, place: Location, item: Item | None, left: float) -> Insert | Change:
        values = {"tokens_milli": int(left * 1000), "at_ms": int(self._clock() * 1000)}
        if item is None:
            return Insert(place.table, {**place.key.item(), **values, "rev": 1})
        values["rev"] = item["rev"] + 1
        return Change(place, values, equals={"rev": item["rev"]})
