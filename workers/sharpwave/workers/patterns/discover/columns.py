"""Counts of single features in bounded room: few values of each, few cuts of numbers.

A column that is full gives its least value away, as SpaceSaving does: what more than one decision
in `MOST_VALUES` has is sure to keep its place, and all the rest is nobody's candidate. Counts of a
value begin when it gets its place, and beside them stands what had been counted by then, so that
a rate is only ever held against decisions of the same time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sharpwave.workers.patterns.discover.features import Feature, Kind, Label, Said, Term, short

MOST_VALUES = 10
#: Cuts of a number, at equal shares of the sample.
CUTS = 4
#: Values of a number after which its cuts are drawn, and each time there are four times as many.
FIRST_CUTS = 32
_RECUT_FACTOR = 4
#: Cuts are drawn anew if the fullest of their cells holds this many times its share by now.
_LOPSIDED = 1.6


class Seen(NamedTuple):
    """Resolved decisions, and the successes among them."""

    n: int = 0
    s: int = 0

    def plus(self, success: bool) -> "Seen":
        """Count one more."""
        return Seen(self.n + 1, self.s + success)

    def since(self, before: "Seen") -> "Seen":
        """Give what came since."""
        return Seen(self.n - before.n, self.s - before.s)

    @property
    def rate(self) -> float:
        """Give the success rate; 0 before the first decision."""
        return self.s / self.n if self.n else 0.0


class Gain(NamedTuple):
    """What a term or rule tells, by counts of decisions of one time.

    Attributes:
        mine: those it holds for.
        all: all of them.
    """

    mine: Seen
    all: Seen

    @property
    def wracc(self) -> float:
        """Give its weighted relative accuracy: share of decisions times difference of rates."""
        if not self.mine.n:
            return 0.0
        return self.mine.n / self.all.n * (self.mine.rate - self.all.rate)

    @property
    def z(self) -> float:
        """Give the difference of rates in standard deviations of drawing as many at random."""
        n, of, rate = self.mine.n, self.all.n, self.all.rate
        variance = rate * (1 - rate) * (of - n) / (n * max(1, of - 1)) if 0 < n < of else 0.0
        return (self.mine.rate - rate) / math.sqrt(variance) if variance > 0 else 0.0

    def z_within(self, parent: "Gain") -> float:
        """Give the difference to the rate of a part it was taken from, in the same measure."""
        rate = parent.mine.rate
        # A parent that always or never succeeds leaves nothing to be better than by chance.
        spread = math.sqrt(max(rate * (1 - rate), 0.01) / max(1, self.mine.n))
        return (self.mine.rate - rate) / spread


@dataclass(slots=True)
class Value:
    """A value that has a place in a column.

    Attributes:
        label: it.
        weight: how many decisions it may have had, by SpaceSaving.
        seen: those it had since it got the place.
        before: all that the column's lattice had seen by then.
    """

    label: Label
    weight: int
    seen: Seen
    before: Seen


@dataclass(slots=True)
class Column:
    """What was counted of one feature.

    Attributes:
        feature: which.
        weight: how many decisions had it since it got its place.
        values: of labels and members, at most `MOST_VALUES`.
        numbers: how many numbers it had.
        cuts: of numbers, ascending.
        cells: counts below the first cut, between two, and from the last one on.
        before: all that the lattice had seen when the cuts were drawn.
    """

    feature: Feature
    weight: int = 0
    values: list[Value] = field(default_factory=list)
    numbers: int = 0
    cuts: list[float] = field(default_factory=list)
    cells: list[Seen] = field(default_factory=list)
    before: Seen = field(default_factory=Seen)

    def count(self, said: Said, success: bool, so_far: Seen) -> list[Term]:
        """Count what one decision says; gives the terms that lost their place to it.

        Args:
            said: its value.
            success: what became of it.
            so_far: what was seen before it.
        """
        self.weight += 1
        if isinstance(said, float):
            self.numbers += 1
            if self.cuts:
                cell = sum(said >= cut for cut in self.cuts)
                self.cells[cell] = self.cells[cell].plus(success)
            return []
        lost = []
        for label in said if isinstance(said, tuple) else (said,):
            # In Python True equals 1, and no label is a number, so a type apart is a value apart.
            alike = (each for each in self.values if type(each.label) is type(label))
            value = next((each for each in alike if each.label == label), None)
            if value is None:
                value = Value(label, 0, Seen(), so_far)
                if len(self.values) < MOST_VALUES:
                    self.values.append(value)
                else:
                    place = min(range(MOST_VALUES), key=lambda at: self.values[at].weight)
                    lost.append(self._term(self.values[place].label))
                    value.weight = self.values[place].weight
                    self.values[place] = value
            value.weight += 1
            value.seen = value.seen.plus(success)
        return lost

    @property
    def is_due(self) -> bool:
        """Say whether cuts are to be drawn or looked at again now."""
        due = FIRST_CUTS
        while due < self.numbers:
            due *= _RECUT_FACTOR
        return due == self.numbers

    def draw_cuts(self, sample: Sequence[float], so_far: Seen) -> bool:
        """Draw cuts at quantiles of a sample, if those there are do not serve; says if it did."""
        if not sample:
            return False
        ordered = sorted(map(short, sample))
        places = (len(ordered) * number // (CUTS + 1) for number in range(1, CUTS + 1))
        # Nothing lies below the least value, so a cut there would tell nothing.
        cuts = sorted({ordered[place] for place in places} - {ordered[0]})
        total = sum(cell.n for cell in self.cells)
        if self.cuts and total:
            fullest = max(cell.n for cell in self.cells) / total
            held = [sum(number >= cut for cut in cuts) for number in ordered]
            share = max(held.count(cell) for cell in range(len(cuts) + 1)) / len(ordered)
            if fullest <= _LOPSIDED * share:
                return False
        if cuts == self.cuts:
            return False
        self.cuts, self.cells, self.before = cuts, [Seen() for _ in range(len(cuts) + 1)], so_far
        return True

    def gains(self, so_far: Seen) -> Iterator[tuple[Term, Gain]]:
        """Give the terms that are counted, each with what it tells."""
        for value in self.values:
            yield self._term(value.label), Gain(value.seen, so_far.since(value.before))
        time = so_far.since(self.before)
        for number, cut in enumerate(self.cuts):
            below, above = self.cells[: number + 1], self.cells[number + 1 :]
            path = self.feature.path
            yield Term(path, "ge", cut), Gain(_summed(above), time)
            yield Term(path, "lt", cut), Gain(_summed(below), time)

    def row(self) -> list[Any]:
        """Give it as JSON has it."""
        kind = self.feature.kind[0]
        if self.feature.kind == "number":
            cells = [list(cell) for cell in self.cells]
            counted: list[Any] = [self.numbers, self.cuts, cells, list(self.before)]
        else:
            counted = [[v.label, v.weight, *v.seen, *v.before] for v in self.values]
        return [kind, self.feature.path, self.weight, counted]

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Column":
        """Read what `row` gave."""
        kind, path, weight, counted = row
        column = cls(Feature(path, _KINDS[kind]), weight)
        if column.feature.kind == "number":
            numbers, cuts, cells, before = counted
            column.numbers, column.cuts = numbers, [float(cut) for cut in cuts]
            column.cells, column.before = [Seen(*cell) for cell in cells], Seen(*before)
        else:
            column.values = [
                Value(label, held, Seen(n, s), Seen(of, of_s))
                for label, held, n, s, of, of_s in counted
            ]
        return column

    def _term(self, label: Label) -> Term:
        op: Literal["eq", "contains"] = "eq" if self.feature.kind == "label" else "contains"
        return Term(self.feature.path, op, label)


_KINDS: dict[str, Kind] = {"l": "label", "n": "number", "m": "members"}


def _summed(cells: Sequence[Seen]) -> Seen:
    return Seen(sum(cell.n for cell in cells), sum(cell.s for cell in cells))
