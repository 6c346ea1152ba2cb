"""`schema export`, `schema check`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command, family
from sharpwave.infra.cli.output import Answer

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    schema = family(commands, "schema", "JSON Schemas of records and messages")
    exporting = command(schema, "export", _export, "give all JSON Schemas", changes=True)
    exporting.add_argument("--out", type=Path, metavar="DIR", help="write them as files there")
    checking = command(schema, "check", _check, "say whether the pipeline would take a record")
    checking.add_argument("table", metavar="TABLE", help="such as agent_decisions")
    checking.add_argument("file", metavar="FILE", help="plain or DynamoDB JSON; - for stdin")


def _export(args: Arguments) -> Answer:
    import json

    from sharpwave.schemas import export

    if args.out is None:
        documents = {name: export.schema(name) for name in export.NAMES}
        return Answer(documents, json.dumps(documents, indent=2))
    files = export.stale(args.out) if args.dry_run else _written(args.out)
    lead = "would write" if args.dry_run else "wrote"
    lines = [f"{lead} {args.out / name}" for name in files]
    data = {"written": files, "dry_run": args.dry_run}
    return Answer(data, "\n".join(lines) or "nothing to do")


def _written(folder: Path) -> list[str]:
    from sharpwave.infra.errors import OperationFailed
    from sharpwave.schemas import export

    try:
        return export.write(folder)
    except OSError as error:
        raise OperationFailed(f"{folder} cannot be written: {error}") from error


def _check(args: Arguments) -> Answer:
    from sharpwave.infra.operate.record_check import faults_of, read_record, read_text
    from sharpwave.workers.settings import Settings

    record = read_record(read_text(args.file, sys.stdin))
    faults = faults_of(args.table, record, event_ahead=Settings.read().event_ahead)
    lines = [f"{fault.code}: {fault}" for fault in faults]
    text = "\n".join(lines) or f"{args.table} takes this record"
    return Answer({"ok": not faults, "faults": faults}, text, ok=not faults)
