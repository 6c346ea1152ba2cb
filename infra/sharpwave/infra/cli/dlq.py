"""`dlq ls`, `dlq show`, `dlq redrive`, `dlq retry`, `dlq discard`."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import LIMIT, Arguments, Command, confirm, deployment, flag, option
from sharpwave.infra.cli.output import Answer, table, when
from sharpwave.infra.operate import plural

if TYPE_CHECKING:
    from sharpwave.infra.connection import Deployment
    from sharpwave.infra.operate.feed import Parked

#: Stands where a queue's name does: parked records have none.
PARKED = "parked"


_ANY_QUEUE = option("queue", metavar="QUEUE", help=f"such as deliver, or {PARKED!r}")
_WHICH = (
    option(
        "--id", action="append", default=[], help="a message or a parked event; may be repeated"
    ),
    option("--error", metavar="TEXT", help="those whose reason holds this text"),
    option("--max", type=int, metavar="N", help="at most this many"),
)


@Command("dlq ls")
def dlq_ls(args: Arguments) -> Answer:
    """List dead letters by queue and error, and parked records by owner."""
    from sharpwave.infra.operate.dead_letters import list_groups
    from sharpwave.infra.operate.feed import list_parked

    place = deployment(args)
    groups = list_groups(place)
    by_owner = dict(Counter(record.owner or "nobody known" for record in list_parked(place)))
    rows: list[tuple[Any, ...]] = [
        (group.queue, group.count, when(group.oldest_sent_at), group.error) for group in groups
    ]
    rows += [(PARKED, count, "", f"records of {owner}") for owner, count in by_owner.items()]
    text = table(("QUEUE", "COUNT", "OLDEST", "ERROR"), rows, empty="no dead letters")
    return Answer({"groups": groups, PARKED: by_owner}, text)


@Command("dlq show", _ANY_QUEUE, LIMIT)
def dlq_show(args: Arguments) -> Answer:
    """Show dead letters of a queue, or parked records."""
    from itertools import islice

    from sharpwave.infra.operate.dead_letters import peek, queue_of, reason_of
    from sharpwave.infra.operate.feed import list_parked

    # Records that were refused lie in a table, and have no queue of their own.
    if args.queue == PARKED:
        records = list(islice(list_parked(deployment(args)), args.limit))
        told = []
        for record in records:
            number = len(record.refusals)
            times = "" if number == 1 else f", refused {number} times"
            owner = record.owner or "nobody known"
            head = f"{record.event_id}  {when(record.parked_at)}  of {owner}{times}"
            place = f"  {record.table}: {record.record.pk} / {record.record.sk}"
            told.append("\n".join([head, place, *(f"  {fault}" for fault in record.faults)]))
        return Answer(records, "\n\n".join(told) or "no records are parked")
    messages = peek(deployment(args), queue_of(args.queue), limit=args.limit)
    text = "\n\n".join(
        f"{message.message_id}  sent {when(message.sent_at)}  received {message.receives} times\n"
        f"  {reason_of(message)}\n  {message.body[:500]}"
        for message in messages
    )
    data = [
        {
            "message_id": message.message_id,
            "reason": reason_of(message),
            "sent_at": message.sent_at,
            "receives": message.receives,
            "attributes": message.attributes,
            "body": message.body,
        }
        for message in messages
    ]
    return Answer(data, text or f"{args.queue} has no dead letters")


@Command(
    "dlq redrive",
    _ANY_QUEUE,
    *_WHICH,
    option("--max-per-second", type=float, metavar="N"),
    changes=True,
)
def dlq_redrive(args: Arguments) -> Answer:
    """Send them back where they failed."""
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate.dead_letters import Choice, count, queue_of, redrive

    if args.queue == PARKED:
        raise Misused("parked records have no queue to go back to; use `sharpwave dlq retry`")
    queue, place = queue_of(args.queue), deployment(args)
    if args.max_per_second is not None and args.max_per_second <= 0:
        raise Misused("--max-per-second must be above 0")
    choice = Choice(ids=frozenset(args.id), error=args.error, limit=args.max)
    if args.dry_run:
        return _told(args, queue, count(place, queue, choice), "redriven")
    moved = redrive(place, queue, choice, max_per_second=args.max_per_second)
    return _told(args, queue, moved, "redriven")


@Command("dlq retry", *_WHICH, changes=True)
def dlq_retry(args: Arguments) -> Answer:
    """Hand parked records in again."""
    from sharpwave.infra.operate.feed import retry

    place = deployment(args)
    chosen = _chosen_parked(args, place)
    handed, gone = (len(chosen), 0) if args.dry_run else retry(place, chosen)
    verb = "would be handed in again" if args.dry_run else "handed in again"
    text = f"{plural(handed, 'record')} {verb}" + (f", {gone} no longer exist" if gone else "")
    return Answer({"retried": handed, "gone": gone, "dry_run": args.dry_run}, text)


@Command(
    "dlq discard", _ANY_QUEUE, *_WHICH, flag("--all", "without --id or --error"), destroys=True
)
def dlq_discard(args: Arguments) -> Answer:
    """Delete them for good."""
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate import feed
    from sharpwave.infra.operate.dead_letters import Choice, count, discard, queue_of

    if not (args.id or args.error or args.all or args.max):
        raise Misused("say which: --id, --error, --max or --all")
    place = deployment(args)
    if args.queue == PARKED:
        chosen = _chosen_parked(args, place)
        if chosen:
            confirm(args, f"Forget {plural(len(chosen), 'parked record')}?")
        number = len(chosen) if args.dry_run else feed.discard(place, chosen)
        return _told(args, PARKED, number, "discarded")
    queue = queue_of(args.queue)
    choice = Choice(ids=frozenset(args.id), error=args.error, limit=args.max)
    number = count(place, queue, choice)
    if number and not args.dry_run:
        confirm(args, f"Delete {plural(number, 'dead letter')} of {queue} for good?")
        number = discard(place, queue, choice)
    return _told(args, queue, number, "discarded")


def _chosen_parked(args: Arguments, place: "Deployment") -> "list[Parked]":
    from sharpwave.infra.operate.feed import choose, list_parked

    chosen = choose(place, args.id) if args.id else list(list_parked(place))
    wanted = (args.error or "").lower()
    chosen = [one for one in chosen if any(wanted in str(f).lower() for f in one.faults)]
    return chosen[: args.max]


def _told(args: Arguments, queue: str, number: int, done: str) -> Answer:
    verb = f"would be {done}" if args.dry_run else done
    data = {"queue": queue, done: number, "dry_run": args.dry_run}
    return Answer(data, f"{queue}: {number} {verb}")
