"""The report of a replay: one JSON object, and the same as text for people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sharpwave.infra.demo.deliveries import percentile
from sharpwave.infra.demo.knowledge import Standing
from sharpwave.infra.demo.progress import Outcome


@dataclass(frozen=True, slots=True)
class Verification:
    """What a recount from the archive found.

    Attributes:
        ok: whether every count agrees exactly.
        patterns_checked: ledgers recounted.
        differences: where they differ, in words.
    """

    ok: bool
    patterns_checked: int
    differences: Sequence[str] = ()


def build(outcome: Outcome, verification: Verification, *, picture: str | None) -> dict[str, Any]:
    """Give the report as plain JSON values; times in milliseconds, shares from 0 to 1.

    `ok` is true only if nothing was lost or doubled and nothing disagrees. A replay that ran out
    of time is not at fault: then `days` is less than `planned_days`.
    """
    calls = outcome.agent_calls + outcome.worker_calls
    return {
        "ok": is_ok(outcome, verification),
        "first_day": outcome.first_day,
        "last_day": outcome.last_day,
        "days": outcome.days,
        "planned_days": outcome.planned_days,
        "seconds": round(outcome.seconds, 2),
        "events": outcome.events,
        "records": dict(outcome.records),
        "written": outcome.written,
        "delivered": outcome.delivered,
        "processed": outcome.processed,
        "lost": outcome.lost,
        "doubled": outcome.doubled,
        "unresolved": outcome.unresolved,
        "promoted": outcome.promoted,
        "latency_ms": {
            "p50": _rounded(percentile(outcome.latencies_ms, 0.5), 1),
            "p99": _rounded(percentile(outcome.latencies_ms, 0.99), 1),
        },
        "events_per_s": _rounded(_ratio(outcome.events, outcome.seconds), 1),
        "api_calls": {"agents": outcome.agent_calls, "workers": outcome.worker_calls},
        "api_calls_per_event": _rounded(_ratio(calls, outcome.events), 2),
        "patterns": [_pattern(standing) for standing in outcome.standings],
        "disagreements": list(outcome.disagreements),
        "verify": {
            "ok": verification.ok,
            "patterns_checked": verification.patterns_checked,
            "differences": list(verification.differences),
        },
        "picture": picture,
    }


def is_ok(outcome: Outcome, verification: Verification) -> bool:
    """Say whether nothing was lost or doubled, and all agrees."""
    return (
        verification.ok
        and outcome.days > 0
        and outcome.written == outcome.delivered == outcome.processed
        and not (outcome.lost or outcome.doubled or outcome.disagreements)
    )


def to_json(report: Mapping[str, Any]) -> str:
    """Write a report on one line."""
    return json.dumps(report, allow_nan=False)


def to_text(report: Mapping[str, Any]) -> RenderableType:
    """Lay a report out for a terminal."""
    return Group(_summary(report), _patterns(report["patterns"]), *_verdict(report))


def _summary(report: Mapping[str, Any]) -> Table:
    records, latency = report["records"], report["latency_ms"]
    wrote = ", ".join(f"{count:,} {kind}" for kind, count in records.items())
    calls = report["api_calls"]
    lines = {
        "market days": f"{report['days']:,} ({report['first_day']} to {report['last_day']})",
        "events": f"{report['events']:,} in {report['seconds']:.1f} s"
        f" ({report['events_per_s']}/s): {wrote}",
        "deliveries": f"{report['written']:,} due, {report['delivered']:,} delivered,"
        f" {report['processed']:,} processed",
        "lost / doubled": f"{report['lost']} / {report['doubled']}",
        "write to receive": f"p50 {latency['p50']} ms, p99 {latency['p99']} ms",
        "promoted": f"{report['promoted']:,} memories, kept for good",
        "AWS calls": f"{report['api_calls_per_event']} per event"
        f" ({calls['agents']:,} by agents, {calls['workers']:,} by workers)",
    }
    if "cost" in report:
        lines["list price"] = _price(report["cost"])
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, text in lines.items():
        table.add_row(Text(name, style="bold"), text)
    return table


def _price(cost: Mapping[str, Any]) -> str:
    bills = {"signals": cost["per_million_signals"], "decisions": cost["per_million_decisions"]}
    return ", ".join(f"${bill['usd']:.2f} per million {of}" for of, bill in bills.items() if bill)


def _patterns(patterns: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Patterns, as the market judged them", title_justify="left")
    table.add_column("pattern")
    for name in ("n", "rate", "90 % interval", "base rate", "confidence"):
        table.add_column(name, justify="right")
    for row in sorted(patterns, key=lambda row: -(row["confidence"] or 0)):
        low_high = row["interval"] if row["n"] else None
        table.add_row(
            row["id"].removeprefix("pattern_").replace("_", " "),
            str(row["n"]),
            _share(row["rate"]),
            "-" if low_high is None else f"{_share(low_high[0])} to {_share(low_high[1])}",
            _share(row["base_rate"]),
            _share(row["confidence"] if row["n"] else None),
        )
    return table


def _verdict(report: Mapping[str, Any]) -> list[Text]:
    verify = report["verify"]
    checked = verify["patterns_checked"]
    said = f"verify: {checked} patterns recounted from the archive, " + (
        "every count agrees" if verify["ok"] else "counts differ"
    )
    faults = [*report["disagreements"], *verify["differences"]]
    lines = [Text(said, style="green" if verify["ok"] else "bold red")]
    if report["days"] != report["planned_days"]:
        lines.append(Text(f"time was up after {report['days']} of {report['planned_days']} days"))
    lines += [Text(fault, style="red") for fault in faults]
    return [*lines, *([Text(f"picture: {report['picture']}")] if report["picture"] else [])]


def _pattern(standing: Standing) -> dict[str, Any]:
    interval = standing.interval
    return {
        "id": standing.pattern_id,
        "n": standing.n,
        "successes": standing.successes,
        "rate": _rounded(standing.rate, 4),
        "interval": None if interval is None else [round(bound, 4) for bound in interval],
        "base_rate": _rounded(standing.base_rate, 4),
        "confidence": _rounded(standing.confidence, 4),
    }


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
