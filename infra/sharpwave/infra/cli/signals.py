"""`send`, `inbox`, `ack`, `trace`."""

from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import (
    AGENT,
    DATA,
    LIMIT,
    Arguments,
    Command,
    data_of,
    deployment,
    flag,
    option,
    share_of,
)
from sharpwave.infra.cli.output import Answer, plain, table, when

if TYPE_CHECKING:
    from sharpwave.infra.operate.signals import Seen


@Command(
    "send",
    option("source", metavar="SOURCE", help="the sending agent"),
    option("type", metavar="TYPE", help="such as WHALE_ACTIVITY"),
    option("targets", metavar="TARGET", nargs="+", help="agents, '*' or @subscribers"),
    DATA,
    option("--severity"),
    option("--confidence", help="0 to 1"),
    option("--recommended-action"),
    option("--correlation-id"),
    option("--ttl", type=int, default=86_400, metavar="SECONDS"),
    flag("--compatible", "use the key signal#TYPE, which binds no writer"),
    changes=True,
)
def send(args: Arguments) -> Answer:
    """Send a signal in an agent's name."""
    from sharpwave.infra.operate.signals import send

    data, confidence = data_of(args), share_of(args, "confidence")
    record = send(
        deployment(args),
        args.source,
        args.type,
        args.targets,
        strict=not args.compatible,
        dry_run=args.dry_run,
        data=data,
        severity=args.severity,
        confidence=confidence,
        recommended_action=args.recommended_action,
        correlation_id=args.correlation_id,
        ttl_s=args.ttl,
    )
    verb = "would send" if args.dry_run else "sent"
    return Answer(record, f"{verb} {record['signal_id']} to {', '.join(args.targets)}")


@Command(
    "inbox",
    AGENT,
    option("--status", help="only rows with this status, such as PENDING"),
    LIMIT,
    flag("--receive", "take up to 10 messages from the queue for a minute"),
    flag("--payload", "show what the signals say too"),
    flag("--ack", "with --receive: end them as PROCESSED"),
    changes=True,
)
def inbox(args: Arguments) -> Answer:
    """Show an agent's deliveries."""
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate.signals import peek, receive, with_payloads
    from sharpwave.schemas.keys import owner_of

    if args.ack and not args.receive:
        raise Misused("--ack goes with --receive; `sharpwave ack` ends a single delivery")
    place = deployment(args)
    if args.receive and not args.dry_run:
        seen = receive(place, args.agent_id, limit=args.limit, ack=args.ack)
        return _received(seen, payload=args.payload)
    rows = peek(place, args.agent_id, status=args.status, limit=args.limit)
    rows = with_payloads(place, rows) if args.payload else rows
    cells = [
        (
            when(row.get("timestamp")),
            row.get("signal_id"),
            row.get("signal_type"),
            source := row.get("source_agent"),
            "bound" if owner_of(str(row.get("signal_pk", ""))) == source else "unverified",
            row.get("status"),
            row.get("reason") or row.get("decision_id"),
        )
        for row in rows
    ]
    headers = ("TIME", "SIGNAL", "TYPE", "SOURCE", "PROVENANCE", "STATUS", "REASON OR DECISION")
    text = table(headers, cells, empty=f"no deliveries to {args.agent_id}")
    said = [_said(row.get("signal_id"), row["data"]) for row in rows] if args.payload else []
    return Answer(rows, "\n".join([text, *said]))


def _received(seen: "list[Seen]", *, payload: bool) -> Answer:
    data = [
        {
            "message_id": each.lease.message_id,
            "receives": each.lease.receive_count,
            "acknowledged": each.acknowledged,
            "body": each.message or each.lease.body,
        }
        for each in seen
    ]
    rows = [
        (
            each.lease.receive_count,
            each.message.kind if each.message else "unreadable",
            getattr(each.message, "delivery_id", None) or getattr(each.message, "code", ""),
            getattr(each.message, "signal_type", ""),
            getattr(each.message, "source_agent", ""),
            "PROCESSED" if each.acknowledged else "visible again in a minute",
        )
        for each in seen
    ]
    headers = ("RECEIVES", "KIND", "DELIVERY", "TYPE", "SOURCE", "NOW")
    said = []
    for each in seen if payload else ():
        if each.message is None:
            said.append(f"\n{each.lease.message_id}\n  {each.lease.body}")
        elif each.message.kind == "signal":
            said.append(_said(each.message.delivery_id, each.message.data))
        else:
            said.append(_said(each.message.notice_id, each.message.reasons))
    return Answer(data, "\n".join([table(headers, rows, empty="the queue is empty"), *said]))


def _said(name: Any, payload: Any) -> str:
    from sharpwave.schemas.numbers import plain_json

    gone = "the signal is gone, and its payload with it"
    return f"\n{name}\n  {gone if payload is None else plain_json(plain(payload))}"


@Command(
    "ack",
    AGENT,
    option("signal_id", metavar="SIGNAL_ID", help="or a delivery id"),
    flag("--failed", "end it as FAILED"),
    option("--reason"),
    option("--decision-id"),
    changes=True,
)
def ack(args: Arguments) -> Answer:
    """Acknowledge a delivery on its row."""
    from sharpwave.infra.operate.signals import acknowledge

    done = acknowledge(
        deployment(args),
        args.agent_id,
        args.signal_id,
        status="FAILED" if args.failed else "PROCESSED",
        reason=args.reason,
        decision_id=args.decision_id,
        dry_run=args.dry_run,
    )
    verb = "would be" if args.dry_run else "is"
    return Answer(done, f"{args.signal_id} at {args.agent_id} {verb} {done['status']}")


@Command(
    "trace",
    option("signal_id", metavar="SIGNAL_ID"),
    option("--type", help="look in the partitions of this signal type"),
    option("--source", metavar="AGENT", help="with --type: only of this agent"),
    flag("--scan", "read the whole table if need be"),
)
def trace(args: Arguments) -> Answer:
    """Tell the life of a signal."""
    from sharpwave.infra.operate.trace import trace
    from sharpwave.schemas.keys import time_and_id

    lives = trace(
        deployment(args),
        args.signal_id,
        signal_type=args.type,
        source_agent=args.source,
        may_scan=args.scan,
    )
    data = [{**vars(life), "verdict": life.verdict} for life in lives]
    headers = ("TARGET", "STATUS", "MIRROR", "ENDED", "REASON OR DECISION", "INBOX", "DEAD LETTER")
    stories = []
    for life in lives:
        record = life.record or {}
        lines = [
            f"signal    {record.get('signal_id') or time_and_id(life.key.sk)[1]}",
            f"key       {life.key.pk} / {life.key.sk}",
            f"written   {when(record.get('timestamp')) or 'the record is gone; its rows remain'}",
            f"source    {record.get('source_agent', '?')} ({life.provenance})",
            f"expires   {when(life.expires_at)}",
            f"audience  {life.audience}",
            f"found by  {life.found_by}",
            f"verdict   {life.verdict}",
        ]
        rows = [
            (
                target.agent_id,
                target.status,
                target.mirror,
                when(target.processed_at),
                target.reason or target.decision_id,
                target.queue.depth.ready if target.queue and target.queue.depth else "",
                target.in_dead_letters,
            )
            for target in life.targets
        ]
        stories.append("\n".join([*lines, table(headers, rows, empty="no targets")]))
    return Answer(data, "\n\n".join(stories))
