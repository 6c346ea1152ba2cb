"""`send`, `inbox`, `ack`, `trace`."""

import sys
from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import Arguments, command
from sharpwave.infra.cli.output import Answer, plain, table, when
from sharpwave.infra.cli.settings import deployment

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers
    from sharpwave.infra.operate.signals import Arrival
    from sharpwave.infra.operate.trace import Life


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    _add_send(commands)
    reading = command(commands, "inbox", _inbox, "show an agent's deliveries", changes=True)
    reading.add_argument("agent_id", metavar="AGENT")
    reading.add_argument("--status", help="only rows with this status, such as PENDING")
    reading.add_argument("--limit", type=int, default=20)
    reading.add_argument(
        "--receive", action="store_true", help="take up to 10 messages from the queue for a minute"
    )
    reading.add_argument("--payload", action="store_true", help="show what the signals say too")
    reading.add_argument("--ack", action="store_true", help="with --receive: end them as PROCESSED")
    acking = command(commands, "ack", _ack, "acknowledge a delivery on its row", changes=True)
    acking.add_argument("agent_id", metavar="AGENT")
    acking.add_argument("signal_id", metavar="SIGNAL_ID", help="or a delivery id")
    acking.add_argument("--failed", action="store_true", help="end it as FAILED")
    acking.add_argument("--reason")
    acking.add_argument("--decision-id")
    tracing = command(commands, "trace", _trace, "tell the life of a signal")
    tracing.add_argument("signal_id", metavar="SIGNAL_ID")
    tracing.add_argument("--type", help="look in the partitions of this signal type")
    tracing.add_argument("--source", metavar="AGENT", help="with --type: only of this agent")
    tracing.add_argument("--scan", action="store_true", help="read the whole table if need be")


def _add_send(commands: "Subparsers") -> None:
    sending = command(commands, "send", _send, "send a signal in an agent's name", changes=True)
    sending.add_argument("source", metavar="SOURCE", help="the sending agent")
    sending.add_argument("type", metavar="TYPE", help="such as WHALE_ACTIVITY")
    sending.add_argument("targets", metavar="TARGET", nargs="+", help="agents, '*' or @subscribers")
    sending.add_argument("--data", default="{}", help="a JSON object, or - for standard input")
    sending.add_argument("--severity")
    sending.add_argument("--confidence", help="0 to 1")
    sending.add_argument("--recommended-action")
    sending.add_argument("--correlation-id")
    sending.add_argument("--ttl", type=int, default=86_400, metavar="SECONDS")
    sending.add_argument(
        "--compatible", action="store_true", help="use the key signal#TYPE, which binds no writer"
    )


def _send(args: Arguments) -> Answer:
    from sharpwave.infra.operate.signals import Draft, send

    draft = Draft(
        source_agent=args.source,
        signal_type=args.type,
        targets=args.targets,
        data=_object("--data", sys.stdin.read() if args.data == "-" else args.data),
        attributes=_attributes(args),
        ttl_s=args.ttl,
        strict=not args.compatible,
    )
    record = send(deployment(args), draft, dry_run=args.dry_run)
    verb = "would send" if args.dry_run else "sent"
    return Answer(record, f"{verb} {record['signal_id']} to {', '.join(args.targets)}")


def _attributes(args: Arguments) -> dict[str, Any]:
    from decimal import Decimal, InvalidOperation

    from sharpwave.infra.errors import Misused

    values: dict[str, Any] = {
        "severity": args.severity,
        "recommended_action": args.recommended_action,
        "correlation_id": args.correlation_id,
    }
    if args.confidence is not None:
        try:
            values["confidence"] = Decimal(args.confidence)
        except InvalidOperation as error:
            raise Misused(f"--confidence {args.confidence!r} is no number from 0 to 1") from error
    return {name: value for name, value in values.items() if value is not None}


def _object(option: str, text: str) -> dict[str, Any]:
    from sharpwave.infra.errors import Misused
    from sharpwave.schemas.numbers import parse_json

    try:
        content = parse_json(text)
    except ValueError as error:
        raise Misused(f"{option} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Misused(f'{option} is no JSON object; write {{"name": 1}}')
    return content


def _inbox(args: Arguments) -> Answer:
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate.signals import peek, receive, with_payloads

    if args.ack and not args.receive:
        raise Misused("--ack goes with --receive; `sharpwave ack` ends a single delivery")
    if args.receive and not args.dry_run:
        place = deployment(args)
        arrivals = receive(place, args.agent_id, limit=args.limit, ack=args.ack)
        return _received(arrivals, payload=args.payload)
    place = deployment(args)
    rows = peek(place, args.agent_id, status=args.status, limit=args.limit)
    rows = with_payloads(place, rows) if args.payload else rows
    cells = [
        (
            when(row.get("timestamp")),
            row.get("signal_id"),
            row.get("signal_type"),
            row.get("source_agent"),
            _provenance(row),
            row.get("status"),
            row.get("reason") or row.get("decision_id"),
        )
        for row in rows
    ]
    headers = ("TIME", "SIGNAL", "TYPE", "SOURCE", "PROVENANCE", "STATUS", "REASON OR DECISION")
    text = table(headers, cells, empty=f"no deliveries to {args.agent_id}")
    said = [_said(row.get("signal_id"), row["data"]) for row in rows] if args.payload else []
    return Answer(rows, "\n".join([text, *said]))


def _said(name: Any, payload: Any) -> str:
    from sharpwave.schemas.numbers import plain_json

    gone = "the signal is gone, and its payload with it"
    return f"\n{name}\n  {gone if payload is None else plain_json(plain(payload))}"


def _provenance(row: dict[str, Any]) -> str:
    from sharpwave.schemas.keys import owner_of

    bound = owner_of(str(row.get("signal_pk", ""))) == row.get("source_agent")
    return "bound" if bound else "unverified"


def _received(arrivals: "list[Arrival]", *, payload: bool) -> Answer:
    data = [
        {
            "message_id": arrival.letter.message_id,
            "receives": arrival.letter.receives,
            "acknowledged": arrival.acknowledged,
            "body": arrival.message or arrival.letter.body,
        }
        for arrival in arrivals
    ]
    rows = [
        (
            arrival.letter.receives,
            arrival.message.kind if arrival.message else "unreadable",
            getattr(arrival.message, "delivery_id", None) or getattr(arrival.message, "code", ""),
            getattr(arrival.message, "signal_type", ""),
            getattr(arrival.message, "source_agent", ""),
            "PROCESSED" if arrival.acknowledged else "visible again in a minute",
        )
        for arrival in arrivals
    ]
    headers = ("RECEIVES", "KIND", "DELIVERY", "TYPE", "SOURCE", "NOW")
    text = table(headers, rows, empty="the queue is empty")
    said = map(_body, arrivals) if payload else ()
    return Answer(data, "\n".join([text, *said]))


def _body(arrival: "Arrival") -> str:
    message = arrival.message
    if message is None:
        return f"\n{arrival.letter.message_id}\n  {arrival.letter.body}"
    told = message.data if message.kind == "signal" else message.reasons
    return _said(message.delivery_id if message.kind == "signal" else message.notice_id, told)


def _ack(args: Arguments) -> Answer:
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


def _trace(args: Arguments) -> Answer:
    from sharpwave.infra.operate.signal_search import Search
    from sharpwave.infra.operate.trace import trace

    search = Search(
        signal_id=args.signal_id,
        signal_type=args.type,
        source_agent=args.source,
        may_scan=args.scan,
    )
    lives = trace(deployment(args), search)
    data = [{**vars(life), "verdict": life.verdict} for life in lives]
    return Answer(data, "\n\n".join(map(_story, lives)))


def _story(life: "Life") -> str:
    record = life.record or {}
    lines = [
        f"signal    {record.get('signal_id') or life.key.sk.partition('#')[2]}",
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
    headers = ("TARGET", "STATUS", "MIRROR", "ENDED", "REASON OR DECISION", "INBOX", "DEAD LETTER")
    return "\n".join([*lines, table(headers, rows, empty="no targets")])
