"""`bench`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command
from sharpwave.infra.cli.extras import need
from sharpwave.infra.cli.output import Answer, plain
from sharpwave.schemas.numbers import plain_json

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers

DOCUMENT = Path("docs/BENCHMARKS.md")


def add(commands: "Subparsers") -> None:
    """Declare the command."""
    bench = command(commands, "bench", _bench, "measure it all, beside what else does the job")
    bench.add_argument(
        "--only",
        default="",
        metavar="PARTS",
        help="of: router, broker, e2e, pipeline, scaling, promotion; separated by commas",
    )
    bench.add_argument("--quick", action="store_true", help="smaller, less sure: ten minutes")
    bench.add_argument("--output", metavar="FILE", help="write the JSON here as well")
    bench.add_argument("--write-docs", action="store_true", help=f"put the tables into {DOCUMENT}")


def _bench(args: Arguments) -> Answer:
    need("local")
    from sharpwave.infra.bench.rendering import to_markdown, write_into
    from sharpwave.infra.bench.running import Wishes, run

    only = [part for part in args.only.split(",") if part]
    report = run(Wishes(only, args.quick), lambda text: print(text, file=sys.stderr, flush=True))
    if args.output:
        Path(args.output).write_text(plain_json(plain(report)) + "\n")
    if args.write_docs:
        write_into(DOCUMENT, report)
    return Answer(report, to_markdown(report), ok=report.ok)
