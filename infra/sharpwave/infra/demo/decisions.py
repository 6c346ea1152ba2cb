"""The replay's own book of decisions, and the outcomes that the market gives them."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.infra.demo.drafts import Choice
from sharpwave.infra.demo.market import MarketDay
from sharpwave.infra.demo.outcomes import Verdict
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.records import DecisionRecord

_FACTS = {"agent_id", "decision_type", "timestamp", "context", "inputs", "reasoning"}


@dataclass(slots=True)
class Entry:
    """One decision: its record, what patterns look at in it, the claim behind it, its outcome."""

    record: DecisionRecord
    facts: Mapping[str, Any]
    choice: Choice
    index: int
    mark: Verdict | None = None
    verdict: Verdict | None = None

    @property
    def success(self) -> bool | None:
        """Give the latest outcome written; None while there is none."""
        latest = self.verdict or self.mark
        return None if latest is None else latest.success


@dataclass(frozen=True, slots=True)
class Resolution:
    """An outcome to write; a correction when another one was written before."""

    entry: Entry
    verdict: Verdict
    corrects: bool


class Book:
    """Every decision taken; safe to add to while another thread resolves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._open: list[Entry] = []

    def add(self, record: DecisionRecord, choice: Choice, index: int) -> None:
        """Note a decision taken on the day at `index`."""
        entry = Entry(record, record.model_dump(include=_FACTS), choice, index)
        with self._lock:
            self._entries.append(entry)
            self._open.append(entry)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def unresolved(self) -> int:
        """Count the decisions without any outcome."""
        with self._lock:
            return sum(entry.success is None for entry in self._entries)

    def resolve(self, known: Sequence[MarketDay]) -> list[Resolution]:
        """Give the outcomes that `known`, and nothing later, newly decides; oldest first."""
        with self._lock:
            waiting, self._open = self._open, []
        due = [step for entry in waiting for step in _steps(entry, known)]
        with self._lock:
            self._open.extend(entry for entry in waiting if entry.verdict is None)
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
        with self._lock:
            entries = list(self._entries)
        outcomes = [
            entry.success
            for entry in entries
            if entry.success is not None and version.counts(entry.facts)
        ]
        return len(outcomes), sum(outcomes)


def _steps(entry: Entry, known: Sequence[MarketDay]) -> list[Resolution]:
    steps = []
    rule, early = entry.choice.rule, entry.choice.mark
    if early is not None and entry.mark is None:
        entry.mark = early.verdict(known, entry.index)
        if entry.mark is not None:
            steps.append(Resolution(entry, entry.mark, corrects=False))
    entry.verdict = rule.verdict(known, entry.index)
    if entry.verdict is None:
        return steps
    if entry.mark is None:
        steps.append(Resolution(entry, entry.verdict, corrects=False))
    elif entry.mark.success != entry.verdict.success:
        steps.append(Resolution(entry, entry.verdict, corrects=True))
    return steps
