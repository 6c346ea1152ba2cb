"""What a benchmark run found, in a shape that is also its JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.bench.figures import Figures, median_of_runs

FORMAT = 1
OURS = "sharpwave"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contestant in one case.

    Attributes:
        part: which benchmark.
        case: the load, the same for all contestants beside each other.
        who: the contestant, with its version where it is not ours.
        figures: medians over the runs; the unit is the end of each name.
        runs: how many runs there were; 0 if it could not be run.
        lost: messages that never arrived, over all runs.
        doubled: messages handed over again after success, over all runs.
        note: why there is no figure, or what to know about it.
    """

    part: str
    case: str
    who: str
    figures: Figures = field(default_factory=dict)
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One budget, what was measured, and whether it holds.

    Attributes:
        met: whether `measured` keeps the limit; None if nothing was measured.
        at_pace: a rate as it would be where the limit was set, roughly; it decides nothing.
    """

    budget: str
    limit: float
    better: Literal["lower", "higher"]
    measured: float | None
    met: bool | None
    at_pace: float | None = None

    @property
    def text(self) -> str:
        """Say met, or missed by how much."""
        if self.measured is None:
            return "not measured"
        if self.met:
            return "met"
        return f"missed by {abs(self.measured - self.limit) / self.limit:.0%}"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A part that broke off, and why."""

    part: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything one command measured."""

    machine: Mapping[str, Any]
    quick: bool
    took_s: float
    rows: Sequence[Row]
    verdicts: Sequence[Verdict]
    failures: Sequence[Failure] = ()
    format: int = FORMAT

    @property
    def ok(self) -> bool:
        """Say whether every part ran, and we lost and doubled nothing; budgets do not count."""
        ours = [row for row in self.rows if row.who.startswith(OURS)]
        return not self.failures and not any(row.lost or row.doubled for row in ours)


def summed(part: str, case: str, who: str, runs: Sequence[Mapping[str, Any]], **more: Any) -> Row:
    """Make a row of runs; `lost` and `doubled` of each run are added up, the rest is medians."""
    figures = [{k: v for k, v in run.items() if k not in ("lost", "doubled")} for run in runs]
    return Row(
        part=part,
        case=case,
        who=who,
        figures=median_of_runs(figures),
        runs=len(runs),
        lost=int(sum(run.get("lost", 0) for run in runs)),
        doubled=int(sum(run.get("doubled", 0) for run in runs)),
        **more,
    )


def find(rows: Sequence[Row], part: str, case: str, who: str) -> Row | None:
    """Find a row by what it is about; a contestant is named by the start of its name."""
    found = (r for r in rows if (r.part, r.case) == (part, case) and r.who.startswith(who))
    return next(found, None)


def figure(rows: Sequence[Row], part: str, case: str, who: str, name: str) -> float | None:
    """Give one figure, or None if it was not measured."""
    row = find(rows, part, case, who)
    return None if row is None else row.figures.get(name)


def cases(rows: Sequence[Row], part: str) -> Iterator[tuple[str, list[Row]]]:
    """Group a part's rows by case, in order."""
    mine = [row for row in rows if row.part == part]
    for case in dict.fromkeys(row.case for row in mine):
        yield case, [row for row in mine if row.case == case]
