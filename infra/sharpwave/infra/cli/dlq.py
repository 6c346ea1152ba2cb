"""`dlq ls`, `dlq show`, `dlq redrive`, `dlq retry`, `dlq discard`."""

from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import Arguments, Parser, command, family
from sharpwave.infra.cli.output import Answer, plural, table, when
from sharpwave.infra.cli.settings import confirm, deployment

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers
    from sharpwave.infra.connection import Deployment
    from sharpwave.infra.mailbox import Letter
    from sharpwave.infra.operate.dead_letters import Choice
    from sharpwave.infra.operate.parked import Parked

PARKED = "parked"


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    dlq = family(commands, "dlq", "look after dead letters and parked records")
    command(dlq, "ls", _list, "list dead letters by queue and error, and parked records by owner")
    showing = command(dlq, "show", _show, "show dead letters of a queue, or parked records")
    showing.add_argument("queue", metavar="QUEUE", help=f"such as deliver, or {PARKED!r}")
    showing.add_argument("--limit", type=int, default=20)
    redriving = command(dlq, "redrive", _redrive, "send them back where they failed", changes=True)
    _add_choice(redriving)
    redriving.add_argument("--max-per-second", type=float, metavar="N")
    retrying = command(dlq, "retry", _retry, "hand parked records in again", changes=True)
    _add_limits(retrying)
    discarding = command(dlq, "discard", _discard, "delete them for good", destroys=True)
    _add_choice(discarding)
    discarding.add_argument("--all", action="store_true", help="without --id or --error")


def _add_choice(target: Parser) -> None:
    target.add_argument("queue", metavar="QUEUE", help=f"such as deliver, or {PARKED!r}")
    _add_limits(target)


def _add_limits(target: Parser) -> None:
    target.add_argument(
        "--id", action="append", default=[], help="a message or a parked event; may be repeated"
    )
    target.add_argument("--error", metavar="TEXT", help="those whose reason holds this text")
    target.add_argument("--max", type=int, metavar="N", help="at most this many")


def _list(args: Arguments) -> Answer:
    from sharpwave.infra.operate.dead_letters import list_groups
    from sharpwave.infra.operate.parked import list_parked

    place = deployment(args)
    groups = list_groups(place)
    records = list(list_parked(place))
    by_owner: dict[str, int] = {}
    for record in records:
        owner = record.owner or "nobody known"
        by_owner[owner] = by_owner.get(owner, 0) + 1
    rows: list[tuple[Any, ...]] = [
        (group.queue, group.count, when(group.oldest_sent_at), group.error) for group in groups
    ]
    rows += [(PARKED, count, "", f"records of {owner}") for owner, count in by_owner.items()]
    text = table(("QUEUE", "COUNT", "OLDEST", "ERROR"), rows, empty="no dead letters")
    return Answer({"groups": groups, PARKED: by_owner}, text)


def _show(args: Arguments) -> Answer:
    from sharpwave.infra.operate.dead_letters import peek, queue_of

    if args.queue == PARKED:
        return _show_parked(args)
    letters = peek(deployment(args), queue_of(args.queue), limit=args.limit)
    text = "\n\n".join(map(_letter_text, letters)) or f"{args.queue} has no dead letters"
    return Answer([_letter_data(letter) for letter in letters], text)


def _show_parked(args: Arguments) -> Answer:
    from itertools import islice

    from sharpwave.infra.operate.parked import list_parked

    records = list(islice(list_parked(deployment(args)), args.limit))
    text = "\n\n".join(
        f"{record.event_id}  {when(record.parked_at)}  of {record.owner or 'nobody known'}"
        f"{_times(record)}\n"
        f"  {record.table}: {record.record.pk} / {record.record.sk}\n"
        + "\n".join(f"  {fault}" for fault in record.faults)
        for record in records
    )
    return Answer(records, text or "no records are parked")


def _times(record: "Parked") -> str:
    number = len(record.refusals)
    return "" if number == 1 else f", refused {number} times"


def _redrive(args: Arguments) -> Answer:
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate import dead_letters

    if args.queue == PARKED:
        raise Misused("parked records have no queue to go back to; use `sharpwave dlq retry`")
    queue, place = dead_letters.queue_of(args.queue), deployment(args)
    if args.max_per_second is not None and args.max_per_second <= 0:
        raise Misused("--max-per-second must be above 0")
    if args.dry_run:
        return _told(args, queue, dead_letters.count(place, queue, _choice(args)), "redriven")
    moved = dead_letters.redrive(place, queue, _choice(args), max_per_second=args.max_per_second)
    return _told(args, queue, moved, "redriven")


def _discard(args: Arguments) -> Answer:
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate import dead_letters

    if not (args.id or args.error or args.all or args.max):
        raise Misused("say which: --id, --error, --max or --all")
    place = deployment(args)
    if args.queue == PARKED:
        return _discard_parked(args)
    queue, choice = dead_letters.queue_of(args.queue), _choice(args)
    if args.dry_run:
        return _told(args, queue, dead_letters.count(place, queue, choice), "discarded")
    number = dead_letters.count(place, queue, choice)
    if number:
        confirm(args, f"Delete {plural(number, 'dead letter')} of {queue} for good?")
    gone = dead_letters.discard(place, queue, choice) if number else 0
    return _told(args, queue, gone, "discarded")


def _discard_parked(args: Arguments) -> Answer:
    from sharpwave.infra.operate.parked import discard

    place = deployment(args)
    chosen = _chosen_parked(args, place)
    if chosen:
        confirm(args, f"Forget {plural(len(chosen), 'parked record')}?")
    number = len(chosen) if args.dry_run else discard(place, chosen)
    return _told(args, PARKED, number, "discarded")


def _retry(args: Arguments) -> Answer:
    from sharpwave.infra.operate.parked import retry
    from sharpwave.infra.operate.parked_feed import RecordFeed

    place = deployment(args)
    chosen = _chosen_parked(args, place)
    handed, gone = (len(chosen), 0) if args.dry_run else retry(place, chosen, RecordFeed(place))
    verb = "would be handed in again" if args.dry_run else "handed in again"
    text = f"{plural(handed, 'record')} {verb}" + (f", {gone} no longer exist" if gone else "")
    return Answer({"retried": handed, "gone": gone, "dry_run": args.dry_run}, text)


def _chosen_parked(args: Arguments, place: "Deployment") -> "list[Parked]":
    from sharpwave.infra.operate.parked import choose, list_parked

    chosen = choose(place, args.id) if args.id else list(list_parked(place))
    wanted = (args.error or "").lower()
    chosen = [one for one in chosen if any(wanted in str(f).lower() for f in one.faults)]
    return chosen[: args.max]


def _choice(args: Arguments) -> "Choice":
    from sharpwave.infra.operate.dead_letters import Choice

    return Choice(ids=frozenset(args.id), error=args.error, limit=args.max)


def _told(args: Arguments, queue: str, number: int, done: str) -> Answer:
    verb = f"would be {done}" if args.dry_run else done
    data = {"queue": queue, done: number, "dry_run": args.dry_run}
    return Answer(data, f"{queue}: {number} {verb}")


def _letter_data(letter: "Letter") -> dict[str, Any]:
    from sharpwave.infra.operate.dead_letters import reason_of

    return {
        "message_id": letter.message_id,
        "reason": reason_of(letter),
        "sent_at": letter.sent_at,
        "receives": letter.receives,
        "attributes": letter.attributes,
        "body": letter.body,
    }


def _letter_text(letter: "Letter") -> str:
    from sharpwave.infra.operate.dead_letters import reason_of

    head = f"{letter.message_id}  sent {when(letter.sent_at)}  received {letter.receives} times"
    return f"{head}\n  {reason_of(letter)}\n  {letter.body[:500]}"
