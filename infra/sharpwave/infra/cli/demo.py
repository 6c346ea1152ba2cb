"""`demo`."""

from pathlib import Path
from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command
from sharpwave.infra.cli.extras import need
from sharpwave.infra.cli.output import Answer

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers

DEFAULT_DAYS = 120
#: With start, settling and verification the default demo stays below 90 s.
DEFAULT_DEADLINE_S = 55.0
DEADLINE_S_PER_DAY = 2.0
EVERY_DAY = 5031


def add(commands: "Subparsers") -> None:
    """Declare the command."""
    demo = command(commands, "demo", _demo, "replay real market history through the whole system")
    demo.add_argument("--days", help=f"the latest market days, or all; default: {DEFAULT_DAYS}")
    demo.add_argument("--deadline", type=float, help="seconds after which no day is begun")
    demo.add_argument("--folder", default=".sharpwave/demo", help="for the picture")


def _demo(args: Arguments) -> Answer:
    need("demo")
    from rich.console import Console

    from sharpwave.infra.demo.report import Show, to_text
    from sharpwave.infra.demo.showcase import run

    days = DEFAULT_DAYS if args.days is None else _days(args.days)
    console = Console(stderr=args.json)
    enough = max(DEFAULT_DEADLINE_S, DEADLINE_S_PER_DAY * (days or EVERY_DAY))
    deadline = args.deadline or (DEFAULT_DEADLINE_S if args.days is None else enough)
    with Show(console) as show:
        report = run(days=days, deadline_s=deadline, folder=Path(args.folder), observe=show)
    if not args.json:
        console.print(to_text(report))
    return Answer(report, ok=report["ok"])


def _days(text: str) -> int | None:
    from sharpwave.infra.errors import Misused

    if text == "all":
        return None
    if not text.isdigit() or int(text) < 1:
        raise Misused(f"--days {text} makes no sense; give a number of market days, or all")
    return int(text)
