"""`demo`."""

from pathlib import Path
from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command
from sharpwave.infra.cli.output import Answer

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers

DEFAULT_DAYS = 500
DEFAULT_DEADLINE_S = 75.0


def add(commands: "Subparsers") -> None:
    """Declare the command."""
    demo = command(commands, "demo", _demo, "replay real market history through the whole system")
    demo.add_argument(
        "--days", default=str(DEFAULT_DAYS), help=f"market days, or all; default: {DEFAULT_DAYS}"
    )
    demo.add_argument("--deadline", type=float, help="seconds after which no day is begun")
    demo.add_argument("--folder", default=".sharpwave/demo", help="for the picture")


def _demo(args: Arguments) -> Answer:
    from rich.console import Console

    from sharpwave.infra.demo.report import to_text
    from sharpwave.infra.demo.show import Show
    from sharpwave.infra.demo.showcase import Wishes, run

    days = _days(args.days)
    console = Console(stderr=args.json)
    deadline = args.deadline or (DEFAULT_DEADLINE_S if days else 3600.0)
    wishes = Wishes(days=days, deadline_s=deadline, folder=Path(args.folder))
    with Show(console) as show:
        report = run(wishes, show)
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
