"""Reports of runs as text, as data and as the table in the documents."""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sharpwave.infra.errors import Misused
from tests.chaos.checker import tally
from tests.chaos.run import Trial

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"
_SHOWN = 12
_COLUMNS = (
    "run",
    "signals",
    "attempted",
    "acknowledged",
    "ok",
    "ended",
    "lost",
    "unexpected",
    "duplicated",
    "recovered",
    "repeats absorbed",
    "kill -9",
    "freeze",
    "other strikes",
    "calls",
    "broken",
    "p50 / p99 s",
    "s",
    "violations",
)
RESULTS = _COLUMNS[2:10]


def data(reports: Iterable[Trial]) -> list[dict[str, Any]]:
    """Give reports as plain data; of the violations, the first few in words."""
    return [
        {
            "seed": report.plan.seed,
            "control": report.control,
            "ok": report.ok,
            "backend": report.backend,
            "signals": report.signals,
            "deliveries": report.deliveries,
            "results": dict(report.results),
            "draws": sorted(report.plan.draws),
            "handed_out": report.handed,
            "absorbed": report.absorbed,
            "kills": report.kills,
            "strikes": dict(report.struck),
            "calls": report.calls,
            "faults": dict(report.faults),
            "seconds": report.seconds,
            "settling_s": report.settling_s,
            "latency_ms": list(report.latency_ms),
            "violations": tally(report.violations),
            "examples": [f"{each.kind}: {each.text}" for each in report.violations[:_SHOWN]],
            "schedule": [vars(strike) for strike in report.plan.strikes],
        }
        for report in reports
    ]


def text(report: Trial) -> str:
    """Give a report for people."""
    lines = [
        f"{name(report)}: {report.deliveries:,} deliveries of {report.signals:,} signals in"
        f" {report.seconds:.0f} s on {report.backend}",
        f"  {report.kills} kills, {report.struck.get('freeze', 0)} freezes,"
        f" {_others(report) or 'no other strikes'};"
        f" {sum(report.faults.values()):,} of {report.calls:,} calls broken",
        f"  {_listed({name: report.results[name] for name in RESULTS})}",
        f"  {report.handed:,} hand-outs, {report.absorbed:,} repeats absorbed, p50"
        f" {report.latency_ms[0] / 1000:.1f} s, p99 {report.latency_ms[1] / 1000:.1f} s",
        f"  {_verdict(report)}",
    ]
    lines += [f"    {each.kind}: {each.text}" for each in report.violations[:_SHOWN]]
    return "\n".join(lines)


def name(report: Trial) -> str:
    """Name a run."""
    return f"seed {report.plan.seed}" if report.control is None else f"control: {report.control}"


def write_docs(path: Path, reports: Sequence[Trial]) -> None:
    """Put the figures between the marks of a document.

    Raises:
        Misused: the document is missing or has no marks.
    """
    try:
        before, _, rest = path.read_text().partition(BEGIN)
    except OSError as error:
        raise Misused(f"{path} cannot be read: {error}; run this from the repository") from error
    _, mark, after = rest.partition(END)
    if not mark:
        raise Misused(f"{path} has no line {BEGIN} followed by one {END}; put them back")
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *map(_row, reports)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    path.write_text(f"{before}{BEGIN}\n{_where(reports)}\n\n{table}\n{END}{after}")


def _where(reports: Sequence[Trial]) -> str:
    real = [report for report in reports if report.control is None]
    deliveries, blows = sum(r.deliveries for r in real), sum(r.blows for r in real)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}, Python"
        f" {platform.python_version()}) at a load average of {os.getloadavg()[2]:.0f}, backend"
        f" {reports[0].backend}. In total {deliveries:,} deliveries and {blows:,} kills and"
        f" freezes,"
        f" {sum(len(r.violations) for r in real)} violations."
    )


def _row(report: Trial) -> tuple[str, ...]:
    p50, p99 = (f"{value / 1000:.1f}" for value in report.latency_ms)
    return (
        name(report),
        f"{report.signals:,}",
        *(f"{report.results[name]:,}" for name in RESULTS),
        f"{report.absorbed:,}",
        f"{report.kills:,}",
        f"{report.struck.get('freeze', 0):,}",
        _others(report),
        f"{report.calls:,}",
        f"{sum(report.faults.values()):,}",
        f"{p50} / {p99}",
        f"{report.seconds:.0f}",
        _listed(tally(report.violations)) or "**0**",
    )


def _others(report: Trial) -> str:
    return _listed({kind: n for kind, n in report.struck.items() if kind not in ("kill", "freeze")})


def _verdict(report: Trial) -> str:
    found = _listed(tally(report.violations))
    if report.control is None:
        return f"VIOLATIONS: {found}" if found else "no violation"
    return f"caught: {found}" if report.ok else f"NOT CAUGHT; found: {found or 'nothing'}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
