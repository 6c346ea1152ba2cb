"""What we promise ourselves, held against what was measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from sharpwave.workers.patterns.evidence import ALPHA
from tests.bench import discovery, lives, pace, statistics
from tests.bench.figures import ratio
from tests.bench.flows import RAW
from tests.bench.results import OURS, Row, Verdict, figure
from tests.bench.router_speed import BYTES

Measured = Callable[[Sequence[Row]], float | None]

#: Fewer years than those of a full run tell no rate of one in a hundred.
_YEARS = 100


@dataclass(frozen=True)
class Budget:
    """A limit on one measured figure, which alone decides.

    Attributes:
        at_pace: what it would be on the machine that the limit was set on, to be read beside it.
    """

    part: str
    text: str
    better: Literal["lower", "higher"]
    limit: float
    measured: Measured
    at_pace: Measured = lambda rows: None

    def judge(self, rows: Sequence[Row]) -> Verdict:
        """Hold the limit against the rows."""
        measured = self.measured(rows)
        if measured is None:
            met = None
        else:
            met = measured <= self.limit if self.better == "lower" else measured >= self.limit
        return Verdict(
            budget=self.text,
            limit=self.limit,
            better=self.better,
            measured=measured,
            met=met,
            at_pace=self.at_pace(rows),
        )


def judge(rows: Sequence[Row], parts: Sequence[str]) -> list[Verdict]:
    """Judge the budgets of the parts that were run."""
    return [budget.judge(rows) for budget in BUDGETS if budget.part in parts]


def _ours(part: str, case: str, name: str) -> Measured:
    return lambda rows: figure(rows, part, case, OURS, name)


def _times(
    part: str, case: str, name: str, other: str, other_case: str = "", own: str = OURS
) -> Measured:
    return lambda rows: ratio(
        figure(rows, part, case, own, name), figure(rows, part, other_case or case, other, name)
    )


def _slowest(part: str, name: str, cases: str) -> Measured:
    """Give the least of our rates over those cases of a part whose names end so."""

    def least(rows: Sequence[Row]) -> float | None:
        ours = [row for row in rows if (row.part, row.who) == (part, OURS)]
        mine = [row.figures.get(name) for row in ours if row.case.endswith(cases)]
        return min((rate for rate in mine if rate is not None), default=None)

    return least


def _most(part: str, name: str) -> Measured:
    """Give the greatest of our figures over all cases of a part."""

    def greatest(rows: Sequence[Row]) -> float | None:
        mine = [row.figures.get(name) for row in rows if (row.part, row.who) == (part, OURS)]
        return max((found for found in mine if found is not None), default=None)

    return greatest


def _mean_promoted(rows: Sequence[Row]) -> float | None:
    """Give how often we promote what is no better than the base, over all that may be missing."""
    found = [figure(rows, lives.CENSORED, case, OURS, "promoted_percent") for case in lives.NULLS]
    known = [each for each in found if each is not None]
    return fmean(known) if known else None


def _doubted(case: str) -> Measured:
    """Give how often a pattern is doubted, of years enough that a single doubt decides nothing."""

    def doubted(rows: Sequence[Row]) -> float | None:
        years = figure(rows, lives.DOUBTED, case, OURS, "years")
        found = figure(rows, lives.DOUBTED, case, OURS, "doubted_per_100_years")
        return found if years is not None and years >= _YEARS else None

    return doubted


def _over_uniform(rows: Sequence[Row]) -> float | None:
    """Give our power over that on uniformly weighted evidence, where it is least."""
    theirs = [row for row in rows if row.who == statistics.UNIFORM]
    over = [
        ratio(figure(rows, row.part, row.case, OURS, "power_percent"), row.figures["power_percent"])
        for row in theirs
    ]
    return min((times for times in over if times is not None), default=None)


def _at_pace(part: str, measured: Measured) -> Measured:
    """Give a rate as it would be where the limits were set, from what boto3 costs here."""

    def scaled(rows: Sequence[Row]) -> float | None:
        rate = measured(rows)
        here = figure(rows, part, pace.CASE, pace.WHO, "us_per_call")
        return None if rate is None or here is None else rate * here / pace.BUDGETED_US

    return scaled


def _over_plain(rows: Sequence[Row]) -> float | None:
    own = figure(rows, "broker-memory", "idle", "plain", "p50_ms")
    mine = figure(rows, "broker-memory", "idle", OURS, "p50_ms")
    return None if own is None or mine is None else mine - own


BUDGETS = (
    Budget(
        "broker",
        "broker, no-op tasks, 8 threads: times the msg/s of dramatiq-sqs",
        "higher",
        10,
        _times("broker-memory", "8 x no-op", "msg_per_s", "dramatiq-sqs"),
    ),
    Budget(
        "broker",
        "broker, no-op tasks: API calls per message",
        "lower",
        0.22,
        _ours("broker-memory", "8 x no-op", "calls_per_msg"),
    ),
    Budget(
        "broker",
        "broker, 32 x 50 ms: share of ideal concurrency",
        "higher",
        0.98,
        _ours("broker-memory", "32 x 50 ms", "of_ideal"),
    ),
    Budget(
        "broker",
        "broker, 64 x 200 ms: share of ideal concurrency",
        "higher",
        0.98,
        _ours("broker-memory", "64 x 200 ms", "of_ideal"),
    ),
    Budget("broker", "broker, idle: ms beyond the queue's own p50", "lower", 5, _over_plain),
    Budget(
        "e2e",
        "signal write to receive on plain boto3, light load, 1 target: times the floor's p50",
        "lower",
        1.3,
        _times("e2e", "1 target, one by one", "p50_ms", "floor", own=RAW),
    ),
    Budget(
        "scaling",
        "API calls per delivered (signal, target) under load, all workers",
        "lower",
        1.0,
        _ours("scaling-calls", "500 signals/s", "calls_per_delivery"),
    ),
    Budget(
        "router",
        "router: records/s on one core, from bytes, validated, of the kind that is slowest",
        "higher",
        100_000,
        _slowest("router", "records_per_s", BYTES),
        _at_pace("router", _slowest("router", "records_per_s", BYTES)),
    ),
    Budget(
        "router",
        "router: new signals/s on one core, from bytes, validated; an aim",
        "higher",
        200_000,
        _ours("router", f"signal, {BYTES}", "records_per_s"),
        _at_pace("router", _ours("router", f"signal, {BYTES}", "records_per_s")),
    ),
    Budget(
        "pipeline",
        "signals/s with 2 targets, one worker process, from a backlog",
        "higher",
        1_000,
        _ours("pipeline", "1 process", "signals_per_s"),
        _at_pace("pipeline", _ours("pipeline", "1 process", "signals_per_s")),
    ),
    *(
        Budget(
            "delivery",
            f"worker's CPU ms for a signal with {targets}, over HTTP to a stub",
            "lower",
            0.4,
            _ours("delivery", f"HTTP, {targets}", "worker_cpu_ms"),
        )
        for targets in ("1 target", "2 targets")
    ),
    Budget(
        "scaling",
        "signals/s of two worker processes, times one, where cores are not the limit",
        "higher",
        1.8,
        _times("scaling", "2 processes", "signals_per_s", OURS, "1 process"),
    ),
    Budget(
        "pipeline",
        "memory of a worker process, MB",
        "lower",
        250,
        _ours("pipeline", "1 process", "peak_mb"),
    ),
    Budget(
        "promotion",
        "promotions/s, one worker process: times redis agent-memory-server",
        "higher",
        20,
        _times("promotion", "in bulk", "promotions_per_s", "redis"),
    ),
    Budget(
        "statistics",
        "no pattern, asked after every outcome: promoted, %",
        "lower",
        100 * statistics.ALPHA,
        _ours(statistics.LOOKS, statistics.NULL_CASE, "promoted_percent"),
    ),
    *(
        Budget(
            "statistics",
            f"300 candidates, {when}: false share of the promoted, %",
            "lower",
            100 * statistics.ALPHA,
            _most(part, "fdr_percent"),
        )
        for part, when in (
            (statistics.MANY, "at one moment"),
            (statistics.ONLINE, "as they come, at its greatest"),
        )
    ),
    Budget(
        "statistics",
        "300 candidates: power, times that on uniformly weighted evidence, least of six",
        "higher",
        1.0,
        _over_uniform,
    ),
    Budget(
        "statistics",
        "promise kept by ten points: degraded within a year, %",
        "lower",
        1.3,
        _ours(statistics.DRIFT, statistics.KEPT_CASE, "degraded_in_a_year_percent"),
    ),
    Budget(
        "statistics",
        "drop from 0.72 to 0.50: median days until it is noticed",
        "lower",
        14,
        _ours(statistics.DRIFT, statistics.FALLEN_CASE, "median_days"),
    ),
    *(
        Budget(
            "lives",
            f"{case}: doubted, times in 100 years",
            "lower",
            1.3,
            _doubted(case),
        )
        for case in (lives.KEPT_CASE, lives.LATE_CASE)
    ),
    Budget(
        "lives",
        f"{lives.FALLEN_CASE}: median days until it is degraded",
        "lower",
        14,
        _ours(lives.DOUBTED, lives.FALLEN_CASE, "median_days"),
    ),
    Budget(
        "lives",
        f"no better than the base, whatever is missing: promoted, %, mean of {len(lives.NULLS)}",
        "lower",
        100 * ALPHA,
        _mean_promoted,
    ),
    Budget(
        "bases",
        "no better than a market that jumps, as workers promote: promoted within a year, %",
        "lower",
        100 * ALPHA,
        lambda rows: figure(
            rows,
            statistics.BASES,
            f"{statistics.JUMPING}, lift 0.00",
            statistics.CONFIDENT,
            "promoted_percent",
        ),
    ),
    Budget(
        "discovery",
        "outcomes shuffled: histories in which a pattern is promoted, %",
        "lower",
        100 * ALPHA,
        _ours(discovery.PART, discovery.SHUFFLED, "promoted_percent"),
    ),
)
