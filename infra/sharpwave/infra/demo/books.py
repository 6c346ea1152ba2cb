"""The replay's own books: deliveries, decisions with their outcomes, and patterns as read.

They are kept beside the pipeline and never read from it, so that the two can be compared.
"""

import itertools
import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sharpwave.infra.demo.market import MarketDay
from sharpwave.infra.demo.scene import DOMAIN, Claim, Verdict
from sharpwave.producers import Agent
from sharpwave.schemas.patterns import PatternDefinition, PatternRow, PatternVersion
from sharpwave.schemas.records import DecisionRecord

_RECENT = 200
_FACTS = {"agent_id", "decision_type", "timestamp", "context", "inputs", "reasoning"}


class Due(NamedTuple):
    """One signal at one target."""

    signal_id: str
    target: str


class Deliveries:
    """Counts every delivery from both ends; safe from several threads.

    A signal may be in its target's hands before its sender has the answer to the write, so the
    two ends are matched only when somebody asks. All times are milliseconds of one clock.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Due, float] = {}
        self._handed: dict[Due, float] = {}
        self._times: Counter[Due] = Counter()
        self._acknowledged: set[Due] = set()
        self._open: set[Due] = set()
        self._days: dict[str, int] = {}

    def wrote(self, signal_id: str, targets: Iterable[str], at_ms: float, index: int = 0) -> None:
        """Note a signal about the day at `index` whose write began at `at_ms`."""
        with self._changed:
            new = {Due(signal_id, target): at_ms for target in targets}
            self._days[signal_id] = index
            self._due.update(new)
            # A fast agent may be done with a signal before its writer has noted it.
            self._open.update(new.keys() - self._acknowledged)
            self._changed.notify_all()

    def handed(self, signal_id: str, target: str, at_ms: float) -> None:
        """Note that a target's handler was given a signal."""
        with self._changed:
            # The first time counts for the latency; `doubled` tells of the others.
            self._handed.setdefault(Due(signal_id, target), at_ms)
            self._times[Due(signal_id, target)] += 1
            self._changed.notify_all()

    def acknowledged(self, signal_id: str, target: str) -> None:
        """Note that a target is done with a signal."""
        with self._changed:
            self._acknowledged.add(Due(signal_id, target))
            self._open.discard(Due(signal_id, target))
            self._changed.notify_all()

    def wait_until_open(self, limit: int, timeout_s: float) -> bool:
        """Wait until at most `limit` deliveries are due and not acknowledged.

        Returns:
            False when that took longer than `timeout_s`.
        """
        with self._changed:
            return self._changed.wait_for(lambda: len(self._open) <= limit, max(0.0, timeout_s))

    def earliest_open(self, latest: int) -> int:
        """Give the earliest day on which somebody is still at work; `latest` if nobody is."""
        with self._changed:
            return min((self._days[due.signal_id] for due in self._open), default=latest)

    def is_due(self, signal_id: str, target: str) -> bool:
        """Say whether a written signal asks for this delivery."""
        return Due(signal_id, target) in self._due

    @property
    def due(self) -> int:
        """Count the deliveries that the written signals ask for."""
        return len(self._due)

    @property
    def delivered(self) -> int:
        """Count the deliveries that reached a handler."""
        return len(self._handed)

    @property
    def processed(self) -> int:
        """Count the deliveries that were acknowledged."""
        return len(self._acknowledged)

    @property
    def lost(self) -> list[Due]:
        """Name what was due and reached nobody, in order."""
        with self._changed:
            return sorted(self._due.keys() - self._handed.keys())

    @property
    def doubled(self) -> list[Due]:
        """Name what a handler was given more than once, in order."""
        with self._changed:
            return sorted(due for due, times in self._times.items() if times > 1)

    @property
    def strays(self) -> list[Due]:
        """Name what reached an agent it was not meant for, in order."""
        with self._changed:
            return sorted(self._handed.keys() - self._due.keys())

    def recent_p50_ms(self) -> float | None:
        """Give the median time from write to receipt of the latest deliveries."""
        with self._changed:
            latest = list(itertools.islice(reversed(self._handed.items()), _RECENT))
            known = [at - self._due[due] for due, at in latest if due in self._due]
        return percentile(sorted(known), 0.5)

    def latencies_ms(self) -> list[float]:
        """Give the time from the write of a signal to its receipt, sorted, in milliseconds."""
        with self._changed:
            pairs = [(self._due[due], at) for due, at in self._handed.items() if due in self._due]
        return sorted(received - written for written, received in pairs)


@dataclass(slots=True)
class Entry:
    """A decision in the book: what patterns look at in it, its claim, its day, and its outcome.

    `mark` is the verdict of an early mark, `verdict` the final one.
    """

    record: DecisionRecord
    facts: Mapping[str, Any]
    claim: Claim
    index: int
    mark: Verdict | None = None
    verdict: Verdict | None = None

    @property
    def success(self) -> bool | None:
        """Give the latest outcome written; None while there is none."""
        latest = self.verdict or self.mark
        return None if latest is None else latest.success


class Resolution(NamedTuple):
    """An outcome to write; a correction when another one was written before."""

    record: DecisionRecord
    verdict: Verdict
    corrects: bool


class Decisions:
    """Every decision taken; safe to add to while another thread resolves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Entry] = []
        self._open: list[Entry] = []

    def add(self, record: DecisionRecord, claim: Claim, index: int) -> None:
        """Note a decision taken on the day at `index`."""
        entry = Entry(record, record.model_dump(include=_FACTS), claim, index)
        with self._lock:
            self._all.append(entry)
            self._open.append(entry)

    def __len__(self) -> int:
        return len(self._all)

    def resolved(self) -> list[Entry]:
        """Give the decisions with an outcome, in the order of their days."""
        with self._lock:
            return sorted((e for e in self._all if e.success is not None), key=lambda e: e.index)

    @property
    def unresolved(self) -> int:
        """Count the decisions without any outcome."""
        with self._lock:
            return sum(one.success is None for one in self._all)

    def resolve(self, known: Sequence[MarketDay]) -> list[Resolution]:
        """Give the outcomes that `known`, and nothing later, newly decides; oldest first."""
        with self._lock:
            # Taken out, so that agents go on deciding while outcomes are looked for.
            waiting, self._open = self._open, []
        due = []
        for one in waiting:
            if one.claim.mark is not None and one.mark is None:
                one.mark = one.claim.verdict(known, one.index, early=True)
                if one.mark is not None:
                    due.append(Resolution(one.record, one.mark, corrects=False))
            one.verdict = one.claim.verdict(known, one.index)
            # An early mark that proves right stands.
            if one.verdict and (one.mark is None or one.mark.success != one.verdict.success):
                due.append(Resolution(one.record, one.verdict, corrects=one.mark is not None))
        with self._lock:
            self._open.extend(one for one in waiting if one.verdict is None)
        return due

    def expected(self, definition: PatternDefinition, *, since: float) -> tuple[int, int]:
        """Count resolved decisions and successes that a pattern must have, from this book alone.

        Args:
            definition: the pattern.
            since: epoch seconds from which it counts.
        """
        version = PatternVersion(
            definition=definition, version=1, effective_from=int(since), learned_at=int(since)
        )
        counted = [one.success for one in self.resolved() if version.counts(one.facts)]
        return len(counted), sum(map(bool, counted))


class Sample(NamedTuple):
    """A pattern's figures as they stood when its counts had reached `day`."""

    day: str
    pattern: PatternRow


class Patterns:
    """The patterns as the agents read them, now and then; safe from several threads."""

    def __init__(self, definitions: Sequence[PatternDefinition]) -> None:
        self.definitions = {one.pattern_id: one for one in definitions}
        self.samples: list[Sample] = []
        self.standings: dict[str, PatternRow] = {}
        self._lock = threading.Lock()

    def read(self, agents: Mapping[str, Agent], day: str) -> None:
        """Ask every agent for the patterns it can read, and keep what they say."""
        for agent_id, agent in agents.items():
            rows = agent.patterns(domain=DOMAIN)
            found = [row for row in rows if row.pattern_id in self.definitions]
            with self._lock:
                # The owner's own row goes before the copy which others were given.
                self.standings.update(
                    (one.pattern_id, one)
                    for one in found
                    if self.definitions[one.pattern_id].agent_id in (None, agent_id)
                )
        with self._lock:
            self.samples.extend(Sample(one.as_of or day, one) for one in self.standings.values())


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Give the smallest value that at least `share` of the sorted values do not exceed."""
    if not ordered:
        return None
    rank = math.ceil(round(len(ordered) * share, 6))
    return ordered[max(1, rank) - 1]
