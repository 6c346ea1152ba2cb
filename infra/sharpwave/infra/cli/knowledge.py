"""`patterns ...`, `memory ...`, `analytics`, `metrics`."""

import os
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import (
    AGENT,
    ARCHIVE,
    DATA,
    Arguments,
    Command,
    archive_url,
    data_of,
    deployment,
    flag,
    large_entries,
    option,
    share_of,
)
from sharpwave.infra.cli.extras import need
from sharpwave.infra.cli.output import Answer, plain, table, when

if TYPE_CHECKING:
    from sharpwave.infra.operate.lives import Moved
    from sharpwave.infra.operate.patterns import PatternView


#: The figures of a pattern that people are shown, if it has them.
_SHOWN = (
    *("confidence", "success_rate", "interval", "base_rate", "sample_size", "units"),
    *("unresolved", "overdue", "quality_sd", "propensity"),
)
#: Days that differ from the archive and are named to people.
_NAMED = 20


@Command(
    "patterns ls",
    option("--agent", help="only this agent's"),
    option("--domain", help="only of this domain"),
    flag("--all", "those that are dormant or retired too"),
)
def patterns_ls(args: Arguments) -> Answer:
    """List patterns, the most confident first; not those that are dormant or retired."""
    from sharpwave.infra.operate.patterns import list_patterns

    views = list_patterns(deployment(args), agent_id=args.agent, domain=args.domain)
    shown = [
        view for view in views if args.all or view.row.get("state") not in ("dormant", "retired")
    ]
    rows = [
        (
            view.pattern_id,
            view.owner,
            view.versions[-1].version,
            view.row.get("state", "candidate"),
            view.row.get("confidence"),
            view.row.get("success_rate"),
            view.row.get("sample_size", 0),
            view.row.get("description"),
        )
        for view in shown
    ]
    headers = ("PATTERN", "OWNER", "VERSION", "STATE", "CONFIDENCE", "RATE", "N", "DESCRIPTION")
    empty = "no patterns; `sharpwave patterns import FILE` imports some"
    hidden = len(views) - len(shown)
    text = table(headers, rows, empty="" if hidden else empty)
    if hidden:
        text = f"{text}\n{hidden} hidden, dormant or retired; --all shows them".lstrip("\n")
    return Answer([_data(view) for view in views], text)


@Command(
    "patterns report",
    option("--agent", help="only this agent's"),
    option("--domain", help="only of this domain"),
    option("--alpha", type=float, default=0.1, help="share of false ones; default: 0.1"),
)
def patterns_report(args: Arguments) -> Answer:
    """Say which patterns stand out now, however many were tried; it promotes none."""
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate.report import report

    if not 0 < args.alpha < 1:
        raise Misused(f"--alpha {args.alpha:g} is no share; give one between 0 and 1, such as 0.1")
    found = report(deployment(args), alpha=args.alpha, agent_id=args.agent, domain=args.domain)
    rows = [
        (
            view.pattern_id,
            each.owner,
            view.row.get("kind", "promote"),
            view.row.get("state", "candidate"),
            view.row.get("evidence"),
            view.row.get("evidence_n", 0),
            view.row.get("success_rate"),
            view.row.get("base_frozen"),
        )
        for each in found
        for view in each.reported
    ]
    headers = ("PATTERN", "OWNER", "KIND", "STATE", "EVIDENCE", "UNITS", "RATE", "BASE")
    lines = [table(headers, rows, empty="")] if rows else []
    lines += [
        f"{len(each.reported)} of {each.tried} patterns of {each.owner} stand out; "
        f"of those listed at most {args.alpha:.0%} are expected to be nothing"
        for each in found
    ]
    data = [
        {
            "owner": each.owner,
            "tried": each.tried,
            "reported": [_data(view) for view in each.reported],
        }
        for each in found
    ]
    text = "\n".join(lines) or "no patterns; `sharpwave patterns import FILE` imports some"
    return Answer({"alpha": args.alpha, "owners": data}, text)


@Command(
    "patterns show",
    option("pattern_id", metavar="PATTERN"),
    option("--owner", help="an agent or shared#<domain>, if names repeat"),
)
def patterns_show(args: Arguments) -> Answer:
    """Show a pattern with its versions."""
    from sharpwave.infra.operate.patterns import show_pattern

    view = show_pattern(deployment(args), args.pattern_id, args.owner)
    row = view.row
    lines = [f"{view.pattern_id} of {view.owner}: {row.get('description', '')}"]
    lines += [f"  {name:13} {_figure(row[name])}" for name in _SHOWN if row.get(name) is not None]
    state = str(row.get("state", "candidate"))
    since = f" since {when(row['state_since'])}" if row.get("state_since") else ""
    standing = [("state", state + since)]
    if row.get("kind") == "avoid":
        standing.append(("kind", "to avoid: it claims less success than the rest"))
    if row.get("base_frozen") is None:
        said = "none yet: too few outcomes of other decisions to freeze a base rate"
    else:
        said = f"{float(row['evidence']):.1f}"
        if state == "candidate":
            said += f" of the {float(row['evidence_needed']):.1f} it needs"
        base = float(row.get("base_asked") or row["base_frozen"])
        said += f", by {row['evidence_n']} units against a base of {base:.3f}"
    standing.append(("evidence", said))
    uplift = row.get("uplift")
    if isinstance(uplift, Mapping):
        low, high = (float(bound) for bound in uplift["interval"])
        said = f"{float(uplift['difference']):+.3f} where it was applied"
        standing.append(("uplift", f"{said}, between {low:+.3f} and {high:+.3f}"))
    elif uplift is not None:
        count = int(row.get("not_applied", 0))
        noun = "decision" if count == 1 else "decisions"
        standing.append(("uplift", f"unknown: {count} {noun} matched without being applied"))
    if row.get("promised") is not None:
        standing.append(("promised", f"{float(row['promised']):.3f}"))
    lines += [f"  {name:13} {said}" for name, said in standing]
    if row.get("shared_with"):
        lines.append(f"  shared with   {', '.join(row['shared_with'])}")
    versions = [
        (
            version.version,
            when(version.effective_from),
            when(version.effective_to) or "now",
            version.origin,
            version.reason or "",
        )
        for version in view.versions
    ]
    lines.append(table(("VERSION", "FROM", "TO", "ORIGIN", "REASON"), versions, empty=""))
    return Answer(_data(view), "\n".join(lines))


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_figure(part)}" for name, part in value.items())
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def _data(view: "PatternView") -> dict[str, Any]:
    return {
        "pattern_id": view.pattern_id,
        "owner": view.owner,
        "current": view.row,
        "versions": [version.model_dump(mode="json") for version in view.versions],
    }


_OWNER = option("--owner", help="an agent or shared#<domain>, if names repeat")
_PATTERN = option("pattern_id", metavar="PATTERN")
_WITH = option("--with", dest="reader", metavar="AGENT", required=True)
_REASON = option("--reason", default="by hand", help="why, for its history")


@Command("patterns history", _PATTERN, _OWNER)
def patterns_history(args: Arguments) -> Answer:
    """Tell what became of a pattern, when and why."""
    from sharpwave.infra.operate.lives import history

    lived = history(deployment(args), args.pattern_id, args.owner)
    rows = [
        (when(one.item["at"]), one.version, one.item["from"], one.item["to"], one.item["reason"])
        for one in lived
    ]
    empty = f"{args.pattern_id} has been a candidate ever since"
    text = table(("WHEN", "VERSION", "FROM", "TO", "WHY"), rows, empty=empty)
    return Answer([{"version": one.version, **one.item} for one in lived], text)


@Command("patterns share", _PATTERN, _WITH, _OWNER, changes=True)
def patterns_share(args: Arguments) -> Answer:
    """Let another agent read a pattern."""
    return _share(args, revoke=False)


@Command("patterns unshare", _PATTERN, _WITH, _OWNER, changes=True)
def patterns_unshare(args: Arguments) -> Answer:
    """Revoke that another agent may read a pattern."""
    return _share(args, revoke=True)


def _share(args: Arguments, *, revoke: bool) -> Answer:
    from sharpwave.infra.operate.lives import share

    done = share(
        deployment(args),
        args.pattern_id,
        args.reader,
        owner=args.owner,
        revoke=revoke,
        dry_run=args.dry_run,
    )
    readers = ", ".join(done.shared_with) or "nobody"
    said = "is read by" if done.changed else "is still read by"
    text = f"{done.pattern_id} of {done.owner} {said} {readers}"
    return Answer({"granted": done, "dry_run": args.dry_run}, text)


@Command("patterns shared", AGENT)
def patterns_shared(args: Arguments) -> Answer:
    """List the patterns that an agent was granted."""
    from sharpwave.infra.operate.lives import shared_to

    copies = shared_to(deployment(args), args.agent_id)
    rows = [
        (
            copy["pattern_id"],
            copy["owner"],
            copy["version"],
            copy.get("state", "candidate"),
            copy.get("confidence"),
            copy.get("description"),
        )
        for copy in copies
    ]
    headers = ("PATTERN", "OWNER", "VERSION", "STATE", "CONFIDENCE", "DESCRIPTION")
    empty = f"nobody shares a pattern with {args.agent_id}"
    return Answer(copies, table(headers, rows, empty=empty))


@Command("patterns retire", _PATTERN, _OWNER, _REASON, changes=True)
def patterns_retire(args: Arguments) -> Answer:
    """Put a pattern aside; `patterns revive` takes it back."""
    from sharpwave.infra.operate.lives import retire

    done = retire(
        deployment(args), args.pattern_id, args.reason, owner=args.owner, dry_run=args.dry_run
    )
    return _moved(args, done)


@Command("patterns revive", _PATTERN, _OWNER, _REASON, changes=True)
def patterns_revive(args: Arguments) -> Answer:
    """Take back that a pattern was retired by hand."""
    from sharpwave.infra.operate.lives import revive

    done = revive(
        deployment(args), args.pattern_id, args.reason, owner=args.owner, dry_run=args.dry_run
    )
    return _moved(args, done)


def _moved(args: Arguments, done: "Moved") -> Answer:
    text = f"{done.pattern_id}@{done.version} of {done.owner}: {done.before} -> {done.after}"
    return Answer({"moved": done, "dry_run": args.dry_run}, text)


@Command("patterns import", option("file", metavar="FILE", type=Path), changes=True)
def patterns_import(args: Arguments) -> Answer:
    """Import definitions from JSON, YAML or the tables of a Markdown file."""
    from sharpwave.infra.operate.definitions import read_definitions
    from sharpwave.infra.operate.patterns import Timing, import_patterns

    # As workers have them: a version takes effect once all of them must have heard of it.
    timing = Timing(
        clock_skew_s=_number("SHARPWAVE_CLOCK_SKEW_S", 5),
        cache_s=_number("SHARPWAVE_PATTERN_CACHE_S", 5),
    )
    definitions = read_definitions(args.file)
    done = import_patterns(deployment(args), definitions, timing=timing, dry_run=args.dry_run)
    rows = [
        (one.pattern_id, one.owner, one.version, one.change, when(one.effective_from))
        for one in done
    ]
    headers = ("PATTERN", "OWNER", "VERSION", "CHANGE", "COUNTS FROM")
    text = table(headers, rows, empty="the file holds no definition")
    return Answer({"patterns": done, "dry_run": args.dry_run}, text)


@Command("patterns check", option("file", metavar="FILE", type=Path), ARCHIVE)
def patterns_check(args: Arguments) -> Answer:
    """Judge definitions by the archive before they are imported."""
    from sharpwave.infra.operate.definitions import read_definitions
    from sharpwave.infra.operate.judge import judge_definitions
    from sharpwave.infra.operate.verify import archive_at
    from sharpwave.workers.settings import Settings

    url = archive_url(args)
    judged = judge_definitions(
        archive_at(deployment(args), url),
        read_definitions(args.file),
        Settings.read().policy,
        where=f"at {url}",
    )
    rows = [
        (
            one.pattern_id,
            one.matched,
            "" if one.support is None else f"{one.support:.1%}",
            one.sample_size,
            "" if one.success_rate is None else f"{one.success_rate:.3f}",
            f"{one.base_rate:.3f}",
            one.units,
            f"{one.evidence:.2f}",
            f"{one.asked:.2f}",
        )
        for one in judged
    ]
    headers = (
        *("PATTERN", "MATCHES", "SUPPORT", "N", "RATE", "BASE", "UNITS"),
        *("WOULD-BE EVIDENCE", "ASKED"),
    )
    lines = [table(headers, rows, empty="the file holds no definition")]
    lines += [f"{one.pattern_id}: {warning}" for one in judged for warning in one.warnings]
    lines += [
        f"{one.pattern_id}: a promotion would also take {'; '.join(one.lacks)}"
        for one in judged
        if one.lacks and not one.warnings
    ]
    is_sound = not any(one.warnings for one in judged)
    return Answer({"ok": is_sound, "patterns": judged}, "\n".join(lines), ok=is_sound)


@Command(
    "patterns plot",
    option("pattern_id", metavar="PATTERN"),
    option("--owner", help="an agent or shared#<domain>, if names repeat"),
    option("--version", type=int, metavar="N", help="default: the current one"),
    option("--out", type=Path, metavar="DIR", default=Path(), help="default: here"),
    changes=True,
)
def patterns_plot(args: Arguments) -> Answer:
    """Draw how a pattern came to where it stands, and give the numbers beside."""
    need("demo")
    from sharpwave.infra.operate.drawing import draw, names_of
    from sharpwave.infra.operate.pictures import pictures_of
    from sharpwave.workers.settings import Settings

    pictures = pictures_of(
        deployment(args), args.pattern_id, args.owner, Settings.read().policy, number=args.version
    )
    stem = args.pattern_id if args.version is None else f"{args.pattern_id}@{args.version}"
    if args.dry_run:
        files = [str(args.out / name) for name in names_of(stem, pictures)]
    else:
        files = [str(path) for path in draw(pictures, args.out, stem)]
    lead = "would write" if args.dry_run else "wrote"
    lines = [f"{lead} {name}" for name in files]
    if not any(each.name == "reliability" for each in pictures):
        lines.append("no decision stated a confidence, so there is no reliability to draw")
    return Answer({"files": files, "dry_run": args.dry_run}, "\n".join(lines))


@Command(
    "patterns propose",
    ARCHIVE,
    option("--agent", required=True, metavar="AGENT", help="whose decisions"),
    option("--type", required=True, metavar="TYPE", dest="decision_type", help="of which type"),
    option("--limit", type=int, default=10, help="most proposals"),
    option("--out", type=Path, metavar="FILE", help="write the definitions there, as JSON"),
    changes=True,
)
def patterns_propose(args: Arguments) -> Answer:
    """Search the archive for what tells an agent's successes from its failures."""
    from sharpwave.infra.cli.extras import need
    from sharpwave.infra.errors import OperationFailed
    from sharpwave.infra.operate.propose import propose
    from sharpwave.infra.operate.verify import archive_at
    from sharpwave.schemas.numbers import plain_json

    # Before the archive is read, which may take minutes.
    need("propose")
    archive = archive_at(deployment(args), archive_url(args))
    found = propose(archive, args.agent, args.decision_type, most=args.limit)
    definitions = [one.definition.model_dump(mode="json", exclude_defaults=True) for one in found]
    if args.out and not args.dry_run:
        try:
            args.out.write_text(plain_json(definitions) + "\n")
        except OSError as error:
            raise OperationFailed(f"{args.out} cannot be written: {error}") from error
    rows = [
        (
            one.definition.pattern_id,
            one.definition.kind,
            one.sample_size,
            f"{one.successes / one.sample_size:.3f}",
            f"{one.gain:+.3f}",
            one.definition.conditions.describe() if one.definition.conditions else "",
        )
        for one in found
    ]
    headers = ("PATTERN", "KIND", "N", "RATE", "GAIN", "CONDITIONS")
    text = table(headers, rows, empty="nothing tells successes from failures")
    return Answer({"proposals": found, "definitions": definitions, "dry_run": args.dry_run}, text)


def _number(name: str, default: float) -> float:
    # Not by the workers' settings: an operator without their extra imports patterns too.
    from sharpwave.infra.errors import Misused

    text = os.environ.get(name)
    try:
        found = default if text is None else float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < inf:
        raise Misused(f"{name}: {text!r} is no number of seconds, 0 or more; mend or unset it")
    return found


_LARGE = option(
    "--large-entries",
    metavar="URL",
    help="where agents keep what no table takes: s3://bucket/prefix; default:"
    " SHARPWAVE_LARGE_ENTRIES",
)


@Command(
    "memory recall",
    AGENT,
    _LARGE,
    option(
        "--kind",
        action="append",
        metavar="KIND",
        help="recent, patterns, shared, facts, episodes, strategies or granted; may be repeated",
    ),
    option("--limit", type=int, default=20, help="of each kind"),
)
def memory_recall(args: Arguments) -> Answer:
    """Read an agent's memory, newest first."""
    from sharpwave.infra.operate.agents import MEMORY_KINDS, recall
    from sharpwave.infra.operate.memories import whole
    from sharpwave.schemas.numbers import plain_json

    def gist(item: dict[str, Any]) -> str:
        if "description" in item:
            return str(item["description"])[:100]
        if "lost" in item:
            return str(item["lost"])
        hidden = ("PK", "SK", "schema_version", "memory_type", "agent_id")
        shown = item.get("data") or {n: v for n, v in item.items() if n not in hidden}
        return plain_json(shown)[:100]

    kinds = args.kind or MEMORY_KINDS
    found = recall(deployment(args), args.agent_id, kinds=kinds, limit=args.limit)
    if place := large_entries(args):
        found = whole(deployment(args), args.agent_id, found, place)
    rows = [(kind, item["SK"], gist(item)) for kind, items in found.items() for item in items]
    empty = f"{args.agent_id} remembers nothing"
    return Answer(found, table(("KIND", "WHAT", "CONTENT"), rows, empty=empty))


_TYPE = option("type", metavar="TYPE", help="such as NOTE, FACT or STRATEGY")
_WHAT = option("what", metavar="WHAT", help="the entry, as `memory recall` shows it")


@Command(
    "memory remember",
    AGENT,
    _TYPE,
    DATA,
    option("--importance", help="0 to 1"),
    option("--domain", help="what it is about"),
    option("--event-time", help="a UTC time or a day"),
    _LARGE,
    changes=True,
)
def memory_remember(args: Arguments) -> Answer:
    """Write a memory entry in an agent's name."""
    from sharpwave.infra.operate.memories import remember

    kept = remember(
        deployment(args),
        args.agent_id,
        args.type,
        dry_run=args.dry_run,
        large_entries=large_entries(args),
        data=data_of(args),
        importance=share_of(args, "importance"),
        domain=args.domain,
        event_time=args.event_time,
    )
    verb = "would remember" if args.dry_run else "remembered"
    return Answer(kept, f"{verb} {kept['SK']}")


@Command("memory forget", AGENT, _TYPE, _WHAT, _LARGE, changes=True)
def memory_forget(args: Arguments) -> Answer:
    """Forget an entry, what became of it, and all copies."""
    from sharpwave.infra.operate.memories import forget

    forget(
        deployment(args),
        args.agent_id,
        args.type,
        args.what,
        dry_run=args.dry_run,
        large_entries=large_entries(args),
    )
    verb = "would forget" if args.dry_run else "forgot"
    return Answer({"forgotten": args.what}, f"{verb} {args.what}")


@Command(
    "memory share",
    AGENT,
    _TYPE,
    _WHAT,
    option("--with", dest="agents", action="append", default=[], metavar="AGENT", help="a reader"),
    option("--domain", action="append", default=[], help="all who read this domain"),
    flag("--revoke", "take it from those, or from all"),
    changes=True,
)
def memory_share(args: Arguments) -> Answer:
    """Share an entry with agents or a domain, or revoke that."""
    from sharpwave.infra.operate.memories import share

    shared = share(
        deployment(args),
        args.agent_id,
        args.type,
        args.what,
        agents=args.agents,
        domains=args.domain,
        revoke=args.revoke,
        dry_run=args.dry_run,
    )
    verb = "would change" if shared is None else "changed"
    return Answer(shared or {}, f"{verb} who reads {args.what}")


@Command("memory grants", AGENT)
def memory_grants(args: Arguments) -> Answer:
    """List what an agent shares, and with whom."""
    from sharpwave.infra.operate.memories import grants

    found = grants(deployment(args), args.agent_id)
    rows = [
        (
            each["memory_type"],
            each["SK"],
            ", ".join(sorted(each.get("shared_with") or ())),
            ", ".join(sorted(each.get("shared_domains") or ())),
        )
        for each in found
    ]
    empty = f"{args.agent_id} shares no memory"
    return Answer(found, table(("TYPE", "WHAT", "AGENTS", "DOMAINS"), rows, empty=empty))


@Command(
    "analytics",
    option("--agent", metavar="AGENT", help="only this agent's"),
    option("--type", metavar="TYPE", dest="type_name", help="only of this decision or signal type"),
    option("--since", metavar="DAY", default="", help="from this day, such as 2026-11-22"),
    option("--until", metavar="DAY", default="~", help="up to this day"),
    flag("--whole", "one row for all days instead of one for each"),
    flag("--recount", "read the archive too: time to outcomes, and whether counts agree"),
    ARCHIVE,
    flag("--deliveries", "read the mirrors too: time until signals reached their queue"),
    option("--out", type=Path, metavar="FILE", help="write the rows there: .csv or .parquet"),
    option("--charts", type=Path, metavar="DIR", help="draw them there, numbers as CSV beside"),
    option("--region", default="us-east-1", help="whose prices; default: us-east-1"),
    changes=True,
)
def analytics(args: Arguments) -> Answer:
    """Say how agents do by day: volumes, success, quality, times, and what an event costs."""
    from sharpwave.infra.cost.bill import load_prices
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate.analytics import Wanted, analyse
    from sharpwave.infra.operate.analytics_files import COLUMNS, charts_of, written
    from sharpwave.infra.operate.drawing import draw, names_of
    from sharpwave.infra.operate.event_costs import event_costs

    if args.charts:
        need("demo")
        if args.whole:
            raise Misused("charts are drawn by day; leave out --whole or --charts")
    prices = load_prices(args.region)
    wanted = Wanted(
        agent_id=args.agent, type_name=args.type_name, since=args.since, until=args.until
    )
    write = written(args.out) if args.out else None
    url = archive_url(args) if args.recount else None
    found = analyse(
        deployment(args),
        wanted,
        archive_url=url,
        whole=args.whole,
        deliveries=args.deliveries,
    )
    if write and not args.dry_run:
        write(found.rows)
    files: list[str] = []
    if args.charts:
        charts = charts_of(found.rows)
        files = [str(args.charts / name) for name in names_of("analytics", charts)]
        if not args.dry_run:
            files = [str(path) for path in draw(charts, args.charts, "analytics")]
    costs = event_costs(deployment(args), prices)
    headers = tuple(name.upper() for name in COLUMNS)
    rows = [[getattr(row, name) for name in COLUMNS] for row in found.rows]
    lines = [table(headers, rows, empty="nothing is counted of what was asked for")]
    lines += [
        f"{one.agent_id} {one.type_name} {one.name} {one.day}: ledger and archive differ; "
        "`sharpwave verify` says why"
        for one in found.differing[:_NAMED]
    ]
    if more := found.differing[_NAMED:]:
        lines.append(f"and {len(more)} more days differ; --json names them all")
    lines += [f"{part} of the archive cannot be read: {why}" for part, why in found.damages]
    lines += [f"{'would write' if args.dry_run else 'wrote'} {name}" for name in files]
    lines += [
        f"a {one.event} costs {one.usd * 1e6:.2f} millionths of a dollar at list prices, by "
        + (f"the counters of {one.events:,}" if one.events else "the model of `sharpwave cost`")
        for one in costs
    ]
    times = [
        {**plain(subject), "buckets": sketch.pairs()} for subject, sketch in found.times.items()
    ]
    data = {"ok": found.ok, "rows": found.rows, "differing": found.differing}
    data |= {"damages": found.damages, "costs": costs, "prices": prices.dated, "files": files}
    data |= {"times": times, "dry_run": args.dry_run}
    return Answer(data, "\n".join(lines), ok=found.ok)


@Command(
    "metrics",
    AGENT,
    option("--type", metavar="TYPE", dest="decision_type", help="only of this decision type"),
)
def metrics(args: Arguments) -> Answer:
    """Say how an agent's sources did, and in which bucket of contexts, as the agent reads it."""
    from sharpwave.infra.operate.signals import StandIn
    from sharpwave.producers.operations.analytics import metrics as read

    agent = StandIn(deployment(args), args.agent_id)
    found = agent.run(read(agent.me, args.decision_type))
    rows = [
        (
            *(one.decision_type, kind, name, did.calls, did.outcomes, did.successes),
            *(did.rate, did.quality),
        )
        for one in found
        for kind, part in (("source", one.sources), ("bucket", one.buckets))
        for name, did in part.items()
    ]
    headers = ("TYPE", "KIND", "NAME", "CALLS", "OUTCOMES", "SUCCESSES", "RATE", "QUALITY")
    empty = f"no decision of {args.agent_id} that names its sources is summed up yet"
    return Answer(found, table(headers, rows, empty=empty))
