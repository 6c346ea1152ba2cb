"""The pattern versions that count decisions, as this process knows them."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.times import Clock
from sharpwave.workers.ports import Reads


class Catalogue:
    """Reads the list of versions, and knows when its copy is too old to judge a decision.

    A version takes effect no sooner than twice the cache's lifetime after it was written, so a
    copy read within that lifetime of a decision holds every version the decision can belong to:
    who looks when never decides membership.
    """

    def __init__(self, *, reads: Reads, clock: Clock, lifetime_s: float) -> None:
        """Keep a copy for at most `lifetime_s` seconds."""
        self._reads, self._clock, self._lifetime_s = reads, clock, lifetime_s
        self._versions: list[PatternVersion] = []
        self._read_at = float("-inf")
        self._lock = Lock()

    def versions(self, *, latest: float) -> list[PatternVersion]:
        """Give the versions, from a copy fresh enough for decisions up to epoch second `latest`."""
        with self._lock:
            now = self._clock()
            stale = now - self._read_at > self._lifetime_s
            if stale or self._read_at < latest - self._lifetime_s:
                self._versions, self._read_at = self._read(), now
            return self._versions

    def counting(self, decision: Mapping[str, Any]) -> list[PatternVersion]:
        """Give the versions that count a decision."""
        versions = self.versions(latest=float(decision["timestamp"]))
        return [version for version in versions if version.counts(decision)]

    def _read(self) -> list[PatternVersion]:
        listed = self._reads.query(tables.PIPELINE, keys.known_pattern("").pk)
        return parse(list(listed))


def parse(items: Sequence[Mapping[str, Any]]) -> list[PatternVersion]:
    """Read entries of the list of versions."""
    return [PatternVersion.model_validate_json(item["version"]) for item in items]
