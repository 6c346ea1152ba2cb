"""`doctor`, `schema ...`: what is wrong with a deployment, or with a record."""

import sys
from pathlib import Path

from sharpwave.infra.cli.command import Arguments, Command, deployment, option
from sharpwave.infra.cli.output import Answer


@Command("doctor")
def doctor(args: Arguments) -> Answer:
    """Find what is wrong, and the command that mends it."""
    from sharpwave.infra.operate.doctor import examine, is_healthy

    found = examine(deployment(args))
    healthy = is_healthy(found)
    lines = []
    for ailment in found:
        lines.append(f"{ailment.level:5}  {ailment.area}: {ailment.what}")
        lines += [f"       mend: {ailment.mend}"] if ailment.mend else []
    lines.append("nothing is wrong" if healthy else "something is wrong")
    return Answer({"healthy": healthy, "findings": found}, "\n".join(lines), ok=healthy)


@Command(
    "schema export",
    option("--out", type=Path, metavar="DIR", help="write them as files there"),
    changes=True,
)
def schema_export(args: Arguments) -> Answer:
    """Give all JSON Schemas."""
    import json

    from sharpwave.infra.errors import OperationFailed
    from sharpwave.schemas import export

    if args.out is None:
        documents = {name: export.schema(name) for name in export.NAMES}
        return Answer(documents, json.dumps(documents, indent=2))
    try:
        files = (export.stale if args.dry_run else export.write)(args.out)
    except OSError as error:
        raise OperationFailed(f"{args.out} cannot be written: {error}") from error
    lead = "would write" if args.dry_run else "wrote"
    text = "\n".join(f"{lead} {args.out / name}" for name in files)
    return Answer({"written": files, "dry_run": args.dry_run}, text or "nothing to do")


@Command(
    "schema check",
    option("table", metavar="TABLE", help="such as agent_decisions"),
    option("file", metavar="FILE", help="plain or DynamoDB JSON; - for stdin"),
)
def schema_check(args: Arguments) -> Answer:
    """Say whether the pipeline would take a record."""
    from sharpwave.infra.operate.record_check import faults_of, read_record, read_text
    from sharpwave.workers.settings import Settings

    record = read_record(read_text(args.file, sys.stdin))
    # By the workers' setting: how far ahead an event may lie is theirs to say.
    faults = faults_of(args.table, record, event_ahead=Settings.read().event_ahead)
    text = "\n".join(f"{fault.code}: {fault}" for fault in faults)
    text = text or f"{args.table} takes this record"
    return Answer({"ok": not faults, "faults": faults}, text, ok=not faults)
