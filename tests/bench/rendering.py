"""A report for people: tables of text or of Markdown, and the part of the document it fills."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sharpwave.infra.errors import Misused
from tests.bench import lives
from tests.bench.results import Report, Row, cases

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
TITLES = {
    "router": "Router",
    "function": "The router as a Lambda function",
    "broker-memory": "Broker, without HTTP",
    "broker-http": "Broker, over HTTP",
    "e2e": "From a signal's write to its target's receive",
    "pipeline": "Pipeline, from a backlog",
    "delivery": "Delivery, where the backend is not the limit",
    "scaling": "More worker processes, injected latencies",
    "scaling-calls": "API calls as load grows",
    "scaling-idle": "Processor time while idle",
    "load-step": "Workers that follow their backlog, at a load a hundred times as high",
    "promotion": "Promotion to long-term memory",
    "memory": "Recall, and state that is kept",
    "cache": "Recent reads from a cache",
    "limits": "A limit that an agent's processes share",
    "statistics": "Promoting a pattern, asked after every outcome",
    "statistics-many": "Promoting among 300 candidates, 30 of them real, at one moment",
    "statistics-online": "Promoting among 300 candidates as they come, for good",
    "statistics-drift": "Noticing that a rate of 0.72 has changed, 8 outcomes a day",
    "bases": "Promoting while the rate of the rest drifts, a year",
    "statistics-agreement": "Agreement of figures, in decimal digits",
    "lives": f"Doubting a pattern that promised {lives.PROMISE}, base {lives.BASE}",
    "lives-censored": "Outcomes that never come or come late, looked at for 60 days",
    "discovery": "Finding patterns in a market history, one decision a day",
}
_UNITS = {"_ms": " ms", "_mb": " MB", "_per_s": "/s", "_s": " s", "_percent": " %"}


def to_markdown(report: Report) -> str:
    """Write a report as Markdown."""
    parts = dict.fromkeys(row.part for row in report.rows)
    blocks = [_machine(report), _budgets(report)]
    blocks += [f"### {TITLES.get(part, part)}\n\n{_table(report.rows, part)}" for part in parts]
    if report.failures:
        broken = "\n".join(f"- {each.part}: {each.error}" for each in report.failures)
        blocks.append(f"### Broken off\n\n{broken}")
    return "\n\n".join(blocks) + "\n"


def write_into(document: Path, report: Report) -> None:
    """Put a report between the marks of a document.

    Raises:
        Misused: the document or its marks are not there.
    """
    text = document.read_text() if document.exists() else ""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise Misused(f"{document} lacks the lines {BEGIN} and {END}; put them in once each")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    document.write_text(f"{head}{BEGIN}\n\n{to_markdown(report)}\n{END}{tail}")


def _machine(report: Report) -> str:
    about = report.machine
    noise = "" if about["was_quiet"] else ", so other work disturbed these figures"
    return (
        f"{about['date']}, {about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, "
        f"{about['system']}, Python {about['python']}, botocore {about['botocore']}, dramatiq "
        f"{about['dramatiq']}; load average {about['load']} at the start{noise}; "
        f"{'quick' if report.quick else 'full'} run, {report.took_s:.0f} s."
    )


def _budgets(report: Report) -> str:
    rows = [
        [
            verdict.budget,
            f"{'at most' if verdict.better == 'lower' else 'at least'} {verdict.limit:,g}",
            _number(verdict.measured),
            verdict.text,
            _number(verdict.at_pace),
        ]
        for verdict in report.verdicts
    ]
    headers = ["budget", "limit", "measured", "verdict", "at the pace of the limit's machine"]
    return "### Budgets\n\n" + _markdown(headers, rows)


def _table(rows: Sequence[Row], part: str) -> str:
    mine = [row for row in rows if row.part == part]
    names = list(dict.fromkeys(name for row in mine for name in row.figures))
    failing = any(row.lost or row.doubled for row in mine)
    headers = ["case", "contestant", *map(_heading, names), *(["lost", "doubled"] * failing)]
    if any(row.note for row in mine):
        headers.append("note")
    return _markdown(headers, _lines(mine, part, names, headers))


def _lines(
    mine: Sequence[Row], part: str, names: Sequence[str], headers: Sequence[str]
) -> Iterator[list[str]]:
    for case, group in cases(mine, part):
        for number, row in enumerate(group):
            cells = [case if number == 0 else "", row.who]
            cells += [_number(row.figures.get(name)) for name in names]
            cells += [str(row.lost), str(row.doubled)] if "lost" in headers else []
            yield cells + ([row.note] if "note" in headers else [])


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]] | Iterator[list[str]]) -> str:
    cells = [list(headers), *([" ".join(cell.split()) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def _heading(name: str) -> str:
    unit = next((unit for unit in _UNITS if name.endswith(unit)), "")
    return name.removesuffix(unit).replace("_", " ") + _UNITS.get(unit, "")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
