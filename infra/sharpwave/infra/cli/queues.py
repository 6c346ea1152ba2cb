"""`queues`, `pause`, `resume`."""

from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command
from sharpwave.infra.cli.output import Answer, table
from sharpwave.infra.cli.settings import deployment

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    command(commands, "queues", _queues, "show how full every queue is")
    pausing = command(commands, "pause", _pause, "stop workers from taking work", changes=True)
    pausing.add_argument("queue", metavar="QUEUE")
    pausing.add_argument("--reason", help="shown by `doctor`")
    resuming = command(commands, "resume", _resume, "let workers take work again", changes=True)
    resuming.add_argument("queue", metavar="QUEUE")


def _queues(args: Arguments) -> Answer:
    from sharpwave.infra.operate.queues import faulty, list_queues

    views = list_queues(deployment(args))
    rows = [
        (
            view.name,
            view.depth.ready if view.depth else "missing",
            view.depth.in_flight if view.depth else "",
            view.depth.delayed if view.depth else "",
            view.dlq.total if view.dlq else "missing",
            view.redrives,
            view.paused,
        )
        for view in views
    ]
    headers = ("QUEUE", "READY", "IN FLIGHT", "DELAYED", "DEAD", "REDRIVES", "PAUSED")
    return Answer(views, table(headers, rows, empty="no queues"), ok=not list(faulty(views)))


def _pause(args: Arguments) -> Answer:
    from sharpwave.infra.operate.queues import pause

    place = deployment(args)
    changed = pause(place, args.queue, reason=args.reason, dry_run=args.dry_run)
    return _told(args, changed, "paused", "was paused already")


def _resume(args: Arguments) -> Answer:
    from sharpwave.infra.operate.queues import resume

    changed = resume(deployment(args), args.queue, dry_run=args.dry_run)
    return _told(args, changed, "resumed", "was not paused")


def _told(args: Arguments, changed: bool, done: str, otherwise: str) -> Answer:
    text = otherwise if not changed else f"would be {done}" if args.dry_run else done
    data = {"queue": args.queue, "changed": changed, "dry_run": args.dry_run}
    return Answer(data, f"{args.queue} {text}")
