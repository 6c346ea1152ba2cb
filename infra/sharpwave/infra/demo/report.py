"""The report of a replay: one JSON object, the same as text for people, and two pictures.

One picture moves while the replay runs, on a terminal; the other is kept as a PNG.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from sharpwave.infra.demo.books import Sample, percentile
from sharpwave.infra.demo.replay import Outcome, Progress


def build(outcome: Outcome, verify: Mapping[str, Any], *, picture: str | None) -> dict[str, Any]:
    """Give the report as plain JSON values; times in milliseconds, shares from 0 to 1.

    `ok` is true only if nothing was lost or doubled and nothing disagrees. A replay that ran out
    of time is not at fault: then `days` is less than `planned_days`. `verify` is what a recount
    from the archive found: `ok`, `patterns_checked`, and its `differences` in words.
    """
    calls = outcome.agent_calls + outcome.worker_calls
    return {
        "ok": is_ok(outcome, verified=verify["ok"]),
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
        "patterns": [
            {
                "id": one.pattern_id,
                "n": one.sample_size,
                "successes": one.successes,
                "rate": _rounded(one.success_rate, 4),
                "interval": one.interval and [_rounded(bound, 4) for bound in one.interval],
                "base_rate": _rounded(one.base_rate, 4),
                "confidence": _rounded(one.confidence, 4),
                "state": one.state,
                "avoid": one.kind == "avoid",
                "evidence": _rounded(one.evidence, 4),
                "evidence_n": one.evidence_n,
            }
            for one in outcome.standings
        ],
        "choices": dict(outcome.choices),
        "acted": [dict(one) for one in outcome.acted],
        "disagreements": list(outcome.disagreements),
        "verify": dict(verify),
        "picture": picture,
    }


def is_ok(outcome: Outcome, *, verified: bool) -> bool:
    """Say whether nothing was lost or doubled, and all agrees."""
    return (
        verified
        and outcome.days > 0
        and outcome.written == outcome.delivered == outcome.processed
        and not (outcome.lost or outcome.doubled or outcome.disagreements)
    )


def to_text(report: Mapping[str, Any]) -> RenderableType:
    """Lay a report out for a terminal."""
    verify = report["verify"]
    said = f"verify: {verify['patterns_checked']} patterns recounted from the archive, " + (
        "every count agrees" if verify["ok"] else "counts differ"
    )
    verdict = [Text(said, style="green" if verify["ok"] else "bold red")]
    if report["days"] != report["planned_days"]:
        text = f"time was up after {report['days']} of {report['planned_days']} days"
        verdict.append(Text(text))
    faults = (*report["disagreements"], *verify["differences"])
    verdict += [Text(fault, style="red") for fault in faults]
    if report["picture"]:
        verdict.append(Text(f"picture: {report['picture']}"))
    table = Table(title="Patterns, as the market judged them", title_justify="left")
    table.add_column("pattern")
    for name in ("n", "rate", "90 % interval", "base rate", "confidence"):
        table.add_column(name, justify="right")
    for row in sorted(report["patterns"], key=lambda row: -(row["confidence"] or 0)):
        # Without outcomes an interval is the prior's, and nothing the market said.
        low_high = row["interval"] if row["n"] else None
        table.add_row(
            _name(row["id"]),
            str(row["n"]),
            _share(row["rate"]),
            "-" if low_high is None else f"{_share(low_high[0])} to {_share(low_high[1])}",
            _share(row["base_rate"]),
            _share(row["confidence"] if row["n"] else None),
        )
    learnt = [Text(said) for said in _learnt(report)]
    return Group(_summary(report), table, *learnt, *verdict)


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
        bills = {of: report["cost"][f"per_million_{of}"] for of in ("signals", "decisions")}
        said = [f"${bill['usd']:.2f} per million {of}" for of, bill in bills.items() if bill]
        untold = report["cost"].get("untold_calls")
        # No bill of AWS: an emulator rates reads and batches as it likes, or not at all.
        lines["list price"] = f"{', '.join(said)}, as the emulator told it" + (
            f" ({untold:,} calls untold)" if untold else ""
        )
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, text in lines.items():
        table.add_row(Text(name, style="bold"), text)
    return table


def _learnt(report: Mapping[str, Any]) -> Iterator[str]:
    """Say what was learnt, what was not, and what it was worth to act on it."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for row in report["patterns"]:
        state = f"{row['state']}, to avoid" if row["avoid"] else row["state"]
        if row["evidence"] is not None:
            state += f", evidence {row['evidence']:.2f} of {row['evidence_n']}"
        found[row["state"] in ("active", "shared")].append(f"{_name(row['id'])} ({state})")
    yield f"learnt: {', '.join(found[True]) or 'nothing; no pattern has earned its confidence'}"
    yield f"not learnt: {', '.join(found[False]) or 'nothing; every pattern has'}"
    for act in report["acted"]:
        yield (
            f"{act['agent']} {act['did']} {act['n']} of its {act['decision_type']}, of which"
            f" {act['successes']} succeeded, of {act['other_n']} others {act['other_successes']};"
            f" what that was worth: {_bounded(act['gain'], act['interval'])}"
        )
    if not report["acted"]:
        yield "nothing was acted on, so that what acting is worth is unknown"
    drawn, other = report["choices"], report["choices"]["other"]
    for source, one in drawn["always"].items():
        yield (
            f"always {source}: {_bounded(one['rate'], one['interval'])} by inverse propensity, from"
            f" {one['n']} of {drawn['n']} draws; as drawn {drawn['successes']} succeeded"
        )
    if other["n"]:
        yield (
            f"memory chose otherwise {other['n']} times and was right"
            f" {_bounded(other['successes'] / other['n'], other['interval'])} of them"
        )


def _bounded(value: float | None, bounds: Sequence[float] | None) -> str:
    if value is None or bounds is None:
        return "unknown, too few outcomes"
    return f"{_share(value)} ({_share(bounds[0])} to {_share(bounds[1])})"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _rounded(value: float | Decimal | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


class Show:
    """Shows each `Progress` it is told, between entering and leaving a `with` block.

    Where nobody watches a terminal it prints nothing, so it may be used either way.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Bar(
            TextColumn("{task.description}", justify="left"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("getting ready", total=None)
        # Transient: the report follows, and needs no last look at the bar.
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._visible = console.is_terminal

    def __enter__(self) -> Self:
        if self._visible:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._visible:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show the latest counters."""
        if not self._visible:
            return
        title = f"{progress.phase}  {progress.day or ''}".strip()
        total = progress.total_days or None
        self._bar.update(self._task, description=title, completed=progress.done_days, total=total)
        counters = {
            "due": progress.written,
            "delivered": progress.delivered,
            "processed": progress.processed,
            **progress.records,
            "p50": "-" if progress.p50_ms is None else f"{progress.p50_ms:.0f} ms",
        }
        table = Table(*counters, box=None, pad_edge=False)
        for column in table.columns:
            column.justify = "right"
        table.add_row(*map(str, counters.values()))
        gauges = Table(box=None, pad_edge=False, show_header=False)
        for one in progress.standings:
            if one.confidence is not None:
                filled = round(float(one.confidence) * 20)
                gauge = "█" * filled + "·" * (20 - filled)
                gauges.add_row(
                    _name(one.pattern_id),
                    f"[cyan]{gauge}[/cyan]",
                    f"{one.confidence:.2f}",
                    f"n={one.sample_size}",
                )
        self._live.update(Group(self._bar, table, gauges))


def draw(samples: Sequence[Sample], path: Path) -> Path:
    """Write a PNG of how confidence in each pattern moved; its folder is made if absent.

    Returns:
        The absolute path.
    """
    # Only here: matplotlib takes a second to load. A canvas of its own keeps any display out.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for pattern_id, line in lines(samples).items():
        label = _name(pattern_id)
        axes.plot(*zip(*line, strict=True), label=label, linewidth=1.8, marker=".")
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("confidence: P(beats its base rate by 5 points)")
    axes.set_title("What the market made of each pattern", loc="left")
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.grid(alpha=0.25)
    figure.autofmt_xdate()
    if samples:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)
    return target


def lines(samples: Sequence[Sample]) -> dict[str, list[tuple[date, float]]]:
    """Give each pattern's confidence by day, in order, from its first outcome on.

    Of one day the latest sample holds.
    """
    points: dict[str, dict[date, float]] = defaultdict(dict)
    for day, pattern in samples:
        if pattern.sample_size and pattern.confidence is not None:
            # Before its first outcome the confidence is the prior's.
            points[pattern.pattern_id][date.fromisoformat(day)] = float(pattern.confidence)
    return {name: sorted(days.items()) for name, days in sorted(points.items())}


def _name(pattern_id: str) -> str:
    return pattern_id.removeprefix("pattern_").replace("_", " ")
