"""The benchmarks as a command: `python -m tests.bench`, which is `make bench`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from sharpwave.infra.cli import obey
from sharpwave.infra.cli.command import Arguments, Parser, add_common
from sharpwave.infra.cli.extras import need
from sharpwave.infra.cli.output import Answer, plain
from sharpwave.schemas.numbers import plain_json

DOCUMENT = Path("docs/BENCHMARKS.md")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what a command line asks for, and give the exit code."""
    bench = Parser(
        prog="python -m tests.bench", description="Measure it all, beside what else does the job."
    )
    add_common(bench, is_root=True)
    bench.set_defaults(handler=_bench)
    bench.add_argument(
        "--only",
        default="",
        metavar="PARTS",
        help="of: router, function, broker, e2e, pipeline, delivery, scaling, load-step, "
        "promotion, memory, cache, limits, statistics, bases, lives, discovery; "
        "separated by commas",
    )
    bench.add_argument("--quick", action="store_true", help="smaller, less sure: ten minutes")
    bench.add_argument("--output", metavar="FILE", help="write the JSON here as well")
    bench.add_argument("--write-docs", action="store_true", help=f"put the tables into {DOCUMENT}")
    return obey(bench, sys.argv[1:] if argv is None else argv)


def _bench(args: Arguments) -> Answer:
    need("local")
    from tests.bench.rendering import to_markdown, write_into
    from tests.bench.running import Wishes, run

    only = [part for part in args.only.split(",") if part]
    report = run(Wishes(only, args.quick), lambda text: print(text, file=sys.stderr, flush=True))
    if args.output:
        Path(args.output).write_text(plain_json(plain(report)) + "\n")
    if args.write_docs:
        write_into(DOCUMENT, report)
    return Answer(report, to_markdown(report), ok=report.ok)


if __name__ == "__main__":
    sys.exit(main())
