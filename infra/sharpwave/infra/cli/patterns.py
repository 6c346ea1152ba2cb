"""`patterns ls`, `patterns show`, `patterns import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import Arguments, command, family
from sharpwave.infra.cli.output import Answer, table, when
from sharpwave.infra.cli.settings import deployment, number

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers
    from sharpwave.infra.operate.patterns import PatternView


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    patterns = family(commands, "patterns", "import patterns and read what they are worth")
    listing = command(patterns, "ls", _list, "list patterns, the most confident first")
    listing.add_argument("--agent", help="only this agent's")
    listing.add_argument("--domain", help="only of this domain")
    showing = command(patterns, "show", _show, "show a pattern with its versions")
    showing.add_argument("pattern_id", metavar="PATTERN")
    showing.add_argument("--owner", help="an agent or shared#<domain>, if names repeat")
    importing = command(patterns, "import", _import, "import definitions from JSON", changes=True)
    importing.add_argument("file", metavar="FILE", type=Path)


def _list(args: Arguments) -> Answer:
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


def _show(args: Arguments) -> Answer:
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
    return Answer(
        _data(view), "\n".join([*lines, table(("VERSION", "FROM", "TO"), versions, empty="")])
    )


def _import(args: Arguments) -> Answer:
    from sharpwave.infra.operate.pattern_import import Timing, import_patterns, read_definitions

    timing = Timing(
        clock_skew_s=number("SHARPWAVE_CLOCK_SKEW_S", 5),
        cache_s=number("SHARPWAVE_PATTERN_CACHE_S", 5),
    )
    definitions = read_definitions(args.file)
    done = import_patterns(deployment(args), definitions, timing=timing, dry_run=args.dry_run)
    rows = [
        (one.pattern_id, one.owner, one.version, one.change, when(one.effective_from))
        for one in done
    ]
    headers = ("PATTERN", "OWNER", "VERSION", "CHANGE", "COUNTS FROM")
    return Answer(
        {"patterns": done, "dry_run": args.dry_run},
        table(headers, rows, empty="the file holds no definition"),
    )


def _data(view: "PatternView") -> dict[str, Any]:
    return {
        "pattern_id": view.pattern_id,
        "owner": view.owner,
        "current": view.row,
        "versions": [version.model_dump(mode="json") for version in view.versions],
    }
