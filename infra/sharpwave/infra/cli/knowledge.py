"""`patterns ...`, `memory recall`."""

import os
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import (
    AGENT,
    ARCHIVE,
    Arguments,
    Command,
    archive_url,
    deployment,
    option,
)
from sharpwave.infra.cli.extras import need
from sharpwave.infra.cli.output import Answer, table, when

if TYPE_CHECKING:
    from sharpwave.infra.operate.patterns import PatternView


@Command(
    "patterns ls",
    option("--agent", help="only this agent's"),
    option("--domain", help="only of this domain"),
)
def patterns_ls(args: Arguments) -> Answer:
    """List patterns, the most confident first."""
    from sharpwave.infra.operate.patterns import list_patterns

    views = list_patterns(deployment(args), agent_id=args.agent, domain=args.domain)
    rows = [
        (
            view.pattern_id,
            view.owner,
            view.versions[-1].version,
            view.row.get("confidence"),
            view.row.get("success_rate"),
            view.row.get("sample_size", 0),
            view.row.get("description"),
        )
        for view in views
    ]
    headers = ("PATTERN", "OWNER", "VERSION", "CONFIDENCE", "RATE", "N", "DESCRIPTION")
    empty = "no patterns; `sharpwave patterns import FILE` imports some"
    return Answer([_data(view) for view in views], table(headers, rows, empty=empty))


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
    lines += [
        f"  {name:13} {row[name]}"
        for name in ("confidence", "success_rate", "interval", "base_rate", "sample_size")
        if row.get(name) is not None
    ]
    if row.get("shared_with"):
        lines.append(f"  shared with   {', '.join(row['shared_with'])}")
    versions = [
        (version.version, when(version.effective_from), when(version.effective_to) or "now")
        for version in view.versions
    ]
    lines.append(table(("VERSION", "FROM", "TO"), versions, empty=""))
    return Answer(_data(view), "\n".join(lines))


def _data(view: "PatternView") -> dict[str, Any]:
    return {
        "pattern_id": view.pattern_id,
        "owner": view.owner,
        "current": view.row,
        "versions": [version.model_dump(mode="json") for version in view.versions],
    }


@Command("patterns import", option("file", metavar="FILE", type=Path), changes=True)
def patterns_import(args: Arguments) -> Answer:
    """Import definitions from JSON, YAML or the tables of a Markdown file."""
    from sharpwave.infra.operate.definitions import read_definitions
    from sharpwave.infra.operate.patterns import Timing, import_patterns

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

    archive = archive_at(deployment(args), archive_url(args))
    judged = judge_definitions(archive, read_definitions(args.file), Settings.read().policy)
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
    option("--out", type=Path, metavar="DIR", default=Path(), help="default: here"),
    changes=True,
)
def patterns_plot(args: Arguments) -> Answer:
    """Draw how a pattern came to where it stands, and give the numbers beside."""
    need("demo")
    from sharpwave.infra.operate.drawing import draw, names_of
    from sharpwave.infra.operate.pictures import pictures_of
    from sharpwave.workers.settings import Settings

    pictures = pictures_of(deployment(args), args.pattern_id, args.owner, Settings.read().policy)
    if args.dry_run:
        files = [str(args.out / name) for name in names_of(args.pattern_id, pictures)]
    else:
        files = [str(path) for path in draw(pictures, args.out, args.pattern_id)]
    lead = "would write" if args.dry_run else "wrote"
    lines = [f"{lead} {name}" for name in files]
    if not any(each.name == "reliability" for each in pictures):
        lines.append("no decision stated a confidence, so there is no reliability to draw")
    return Answer({"files": files, "dry_run": args.dry_run}, "\n".join(lines))


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


@Command(
    "memory recall",
    AGENT,
    option(
        "--kind",
        action="append",
        metavar="KIND",
        help="recent, patterns, shared, facts, episodes or strategies; may be repeated",
    ),
    option("--limit", type=int, default=20, help="of each kind"),
)
def memory_recall(args: Arguments) -> Answer:
    """Read an agent's memory, newest first."""
    from sharpwave.infra.operate.agents import MEMORY_KINDS, recall
    from sharpwave.schemas.numbers import plain_json

    def gist(item: dict[str, Any]) -> str:
        if "description" in item:
            return str(item["description"])[:100]
        hidden = ("PK", "SK", "schema_version", "memory_type", "agent_id")
        shown = item.get("data") or {n: v for n, v in item.items() if n not in hidden}
        return plain_json(shown)[:100]

    kinds = args.kind or MEMORY_KINDS
    found = recall(deployment(args), args.agent_id, kinds=kinds, limit=args.limit)
    rows = [(kind, item["SK"], gist(item)) for kind, items in found.items() for item in items]
    empty = f"{args.agent_id} remembers nothing"
    return Answer(found, table(("KIND", "WHAT", "CONTENT"), rows, empty=empty))
