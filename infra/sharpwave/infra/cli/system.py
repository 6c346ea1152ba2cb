"""`up`, `pump`, `workers ...`, `reconcile`, `verify`, `replay`, `demo`."""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import (
    ARCHIVE,
    QUEUE,
    Arguments,
    Command,
    archive_url,
    deployment,
    option,
)
from sharpwave.infra.cli.extras import need
from sharpwave.infra.cli.output import Answer, emit, table, when
from sharpwave.infra.operate import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sharpwave.infra.local import Backend
    from sharpwave.infra.local.stack import Stack
    from sharpwave.schemas.patterns import PatternDefinition

DEFAULT_DAYS = 120
#: With start, settling and verification the default demo stays below 90 s.
DEFAULT_DEADLINE_S = 55.0
DEADLINE_S_PER_DAY = 2.0
EVERY_DAY = 5031
#: Settings by which commands judge patterns and decisions, as workers do.
JUDGED_BY = (
    "SHARPWAVE_PATTERN_POLICY",
    "SHARPWAVE_OUTCOME_HORIZON",
    "SHARPWAVE_EVENT_AHEAD",
)


@Command(
    "up",
    option("--port", type=int, help="of the endpoint; default: a free one"),
    option("--backend", default="embedded", help="embedded, embedded+fauxqs, moto, ..."),
    option("--agent", action="append", default=[], help="register this agent; repeatable"),
    option("--state", metavar="DIR", help="keep tables and queues here between runs"),
    option("--folder", metavar="DIR", help="for logs and archive; default: .sharpwave"),
    option("--threads", type=int, default=8, help="of each worker process"),
    option("--dax", action="store_true", help="also run a DAX cluster before the tables"),
    option(
        "--router",
        choices=["pump", "lambda"],
        default="pump",
        help="what reads the streams: a pump, or the embedded backend's Lambda",
    ),
)
def up(args: Arguments) -> Answer:
    """Run the whole system here, until Ctrl-C."""
    need("local")
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.local import EmbeddedBackend, open_backend
    from sharpwave.infra.local.stack import (
        Stack,
        StackOptions,
        Upkeep,
        set_aside,
        tell,
        until_signalled,
    )
    from sharpwave.workers.settings import Settings

    # Pump and workers would start in vain again and again.
    Settings.read()
    folder = Path(args.folder or ".sharpwave")
    # Its tables are new and count from nothing; an archive of older ones would not agree.
    if not args.state and args.backend != "external":
        set_aside(folder / "archive")
    options = StackOptions(
        agents=args.agent,
        prefix=args.prefix or os.environ.get("SHARPWAVE_PREFIX", ""),
        threads=args.threads,
        dax=args.dax,
        router=args.router,
        settings={name: value for name, value in os.environ.items() if name[:10] == "SHARPWAVE_"},
        folder=folder,
    )
    if args.backend == "embedded":
        state = Path(args.state).resolve() if args.state else None
        backend: Backend = EmbeddedBackend(port=args.port, state_dir=state)
    elif args.port or args.state:
        raise Misused(f"--port and --state go with the embedded backend, not with {args.backend}")
    else:
        endpoint_url = args.endpoint_url or os.environ.get("AWS_ENDPOINT_URL")
        backend = open_backend(args.backend, endpoint_url=endpoint_url)
    with Stack(backend, options, report=tell) as stack:
        _announce(args, stack)
        # A line that is written over and over is of use on a terminal alone.
        screen = sys.stderr if sys.stderr.isatty() and not args.json else None
        until_signalled(Upkeep(stack, screen=screen).run)
        if not args.json:
            print(f"\ndraining; {end_of_state(args)}", file=sys.stderr, flush=True)
    return Answer()


def end_of_state(args: Arguments) -> str:
    """Say what becomes of tables and queues at the end."""
    if args.backend == "external":
        return "tables and queues stay where they are"
    if args.state:
        return f"tables and queues are kept in {args.state}, streams begin anew"
    keep = "; --state DIR keeps them" if args.backend == "embedded" else ""
    return f"tables and queues are in memory and go with it{keep}"


def environment_of(args: Arguments, stack: "Stack") -> dict[str, str]:
    """Give what another shell has to know, so that its commands and agents reach this system."""
    found = {"AWS_ENDPOINT_URL": stack.backend.endpoint_url}
    if stack.deployment.prefix:
        found["SHARPWAVE_PREFIX"] = stack.deployment.prefix
    if args.folder:
        found["SHARPWAVE_ARCHIVE"] = stack.archive
    return found | {name: os.environ[name] for name in JUDGED_BY if name in os.environ}


def _announce(args: Arguments, stack: "Stack") -> None:
    url = stack.backend.endpoint_url
    environment = environment_of(args, stack)
    exports = "".join(
        f"  export {name}={shlex.quote(value)}\n" for name, value in environment.items()
    )
    data = {
        "ready": True,
        "endpoint_url": url,
        "dax_endpoint": stack.dax_endpoint,
        "console_url": None,
        "archive": stack.archive,
        "environment": environment,
        "logs": str(stack.folder),
        "pid": os.getpid(),
    }
    dax = f"  DAX cluster: {stack.dax_endpoint}\n" if stack.dax_endpoint else ""
    text = (
        f"Sharpwave is up. Nothing here is isolated between agents: that is IAM's work, at AWS.\n"
        f"{exports}"
        f"  sharpwave agents add my-agent     then send, inbox, trace, doctor\n"
        f"{dax}"
        f"  logs and archive: {stack.folder}\n"
        f"  Ctrl-C drains and stops: {end_of_state(args)}"
    )
    emit(Answer(data, text), as_json=args.json)


@Command(
    "pump",
    option(
        "--only-ticks", action="store_true", help="periodic work alone; Lambda reads the streams"
    ),
)
def pump(args: Arguments) -> Answer:
    """Carry stream records to the queues, in the foreground."""
    need("workers")
    from sharpwave.infra.local.stack import run_pump

    _pass_on(args)
    deployment(args).check()
    return Answer(ok=run_pump(streams=not args.only_ticks) == 0)


@Command(
    "workers run",
    QUEUE,
    option("--processes", type=int, default=1),
    option("--threads", type=int, default=8),
)
def workers_run(args: Arguments) -> Answer:
    """Run the workers of one queue, in the foreground."""
    need("workers")
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.local.stack import worker_argv
    from sharpwave.schemas.queues import WORK_QUEUE_NAMES
    from sharpwave.workers.settings import Settings

    if args.queue not in WORK_QUEUE_NAMES:
        raise Misused(f"{args.queue!r} is no work queue; there are: {', '.join(WORK_QUEUE_NAMES)}")
    _pass_on(args)
    deployment(args).check()
    os.environ["SHARPWAVE_THREADS"] = str(args.threads)
    Settings.read()
    argv = worker_argv(args.queue, processes=args.processes, threads=args.threads)
    # In place of this process: what supervises it signals Dramatiq's master itself.
    os.execv(argv[0], argv)


def _pass_on(args: Arguments) -> None:
    """Let options reach code that reads the environment."""
    if args.endpoint_url:
        os.environ["AWS_ENDPOINT_URL"] = args.endpoint_url
    if args.prefix is not None:
        os.environ["SHARPWAVE_PREFIX"] = args.prefix


@Command("workers ls")
def workers_ls(args: Arguments) -> Answer:
    """List worker processes and their last sign of life."""
    from sharpwave.infra.operate.queues import list_workers

    views = list_workers(deployment(args))
    rows = [
        (
            view.name,
            ",".join(view.queues),
            view.threads,
            when(view.started_at),
            f"{view.silent_s} s ago",
            "draining" if view.draining else ("alive" if view.alive else "silent"),
        )
        for view in views
    ]
    headers = ("WORKER", "QUEUES", "THREADS", "SINCE", "SEEN", "STATE")
    return Answer(views, table(headers, rows, empty="no worker has been seen within the hour"))


@Command(
    "workers scale",
    option("wishes", metavar="QUEUE=N", nargs="+", help="or QUEUE=N..M to follow the backlog"),
    option(
        "--per-instance",
        type=int,
        metavar="MESSAGES",
        help="that may wait for each instance of N..M; default: 200",
    ),
    changes=True,
)
def workers_scale(args: Arguments) -> Answer:
    """Say how many instances `sharpwave up` runs."""
    from sharpwave.infra.operate.queues import PER_INSTANCE, parse_wishes, want

    asked = args.per_instance
    wishes = parse_wishes(args.wishes, PER_INSTANCE if asked is None else asked)
    want(deployment(args), wishes, dry_run=args.dry_run)
    said = ", ".join(f"{queue}={wish}" for queue, wish in wishes.items())
    prefix = "would want" if args.dry_run else "wanted"
    data = {queue: wish._asdict() for queue, wish in wishes.items()}
    return Answer({"wanted": data, "dry_run": args.dry_run}, f"{prefix}: {said}")


@Command(
    "reconcile",
    option("tables", metavar="TABLE", nargs="*", help="default: every streamed table"),
    option(
        "--from",
        dest="source",
        metavar="URL",
        help="what Lambda discarded instead of tables: s3://bucket/prefix or file:///folder",
    ),
    changes=True,
)
def reconcile(args: Arguments) -> Answer:
    """Feed tables, or batches that Lambda gave up on, to the pipeline again."""
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate.discarded import feed_discarded
    from sharpwave.infra.operate.feed import reconcile_tables

    done = "would be fed" if args.dry_run else "fed"
    if args.source is None:
        counts = reconcile_tables(deployment(args), args.tables, dry_run=args.dry_run)
        lines = [f"{name}: {plural(count, 'item')} {done}" for name, count in counts.items()]
        return Answer({"items": counts, "dry_run": args.dry_run}, "\n".join(lines))
    if args.tables:
        raise Misused("the batches under --from say themselves which table they are of; name none")
    found = feed_discarded(deployment(args), args.source, dry_run=args.dry_run)
    lines = [
        *(f"{name}: {plural(count, 'record')} {done}" for name, count in found.records.items()),
        *(f"not read: {name}: {why}" for name, why in found.unread.items()),
        *(f"not routed: {name}: {why}" for name, why in found.unroutable.items()),
        f"batches read: {found.batches}; they stay under {args.source} until you delete them",
    ]
    data = {**found._asdict(), "dry_run": args.dry_run}
    return Answer(data, "\n".join(lines), not (found.unread or found.unroutable))


@Command(
    "verify", option("--wait", type=float, help="seconds to wait for quiet; default: 90"), ARCHIVE
)
def verify(args: Arguments) -> Answer:
    """Recount the archive and compare every ledger."""
    from sharpwave.infra.operate.verify import WAIT_S, verify
    from sharpwave.workers import emf
    from sharpwave.workers.settings import Settings

    archive = archive_url(args)
    wait_s = WAIT_S if args.wait is None else args.wait
    found = verify(at := deployment(args), archive, wait_s=wait_s)
    if Settings.read().metrics == "emf" and found.miscounts is not None:
        # Where logs go to CloudWatch both outputs do, and the answer has the other for itself.
        named, told = {"Deployment": at.prefix or "default"}, {emf.MISCOUNTS: found.miscounts}
        print(emf.line(time.time(), named, {emf.MISCOUNTS: "Count"}, told), file=sys.stderr)
    lines = [line for each in found.findings for line in (each.what, f"  {each.remedy}")]
    checked = f"{plural(found.decisions, 'decision')}, {plural(found.ledgers_checked, 'ledger')}"
    lines.append(f"{checked}: " + ("every count agrees" if found.ok else "not verified"))
    archived, stored = found.archived_digest, found.stored_digest
    lines.append(f"digest of the counts: {stored}")
    if archived != stored:
        lines[-1] += f"; of the archive's: {archived}"
    data = {
        "ok": found.ok,
        "patterns_checked": found.patterns_checked,
        "ledgers_checked": found.ledgers_checked,
        "decisions": found.decisions,
        "digest": stored,
        "archived_digest": archived,
        "findings": found.findings,
        "disagreements": found.disagreements,
        "archive": archive,
    }
    return Answer(data, "\n".join(lines), ok=found.ok)


@Command(
    "archive export",
    option("--out", metavar="DIR", required=True, help="for the files"),
    option("--until", metavar="DAY", help="as of this day or UTC time"),
    ARCHIVE,
)
def archive_export(args: Arguments) -> Answer:
    """Write each decision's latest state for DynamoDB's own bulk load."""
    from sharpwave.infra.operate.bulk import export
    from sharpwave.infra.operate.verify import archive_at

    url = archive_url(args)
    done = export(archive_at(deployment(args), url), url, Path(args.out), until=args.until)
    text = f"{plural(done.items, 'item')} in {plural(len(done.files), 'file')} under {args.out}"
    return Answer(done._asdict(), text)


@Command(
    "archive views",
    option("--for", dest="engine", choices=["duckdb", "athena"], default="duckdb"),
    ARCHIVE,
)
def archive_views(args: Arguments) -> Answer:
    """Print the SQL that lets DuckDB or Athena read the archive."""
    from sharpwave.infra.operate.bulk import views

    text = views(args.engine, archive_url(args))
    return Answer({"engine": args.engine, "sql": text}, text)


@Command(
    "replay",
    option("--until", metavar="DAY", help="as of this day or UTC time"),
    option("--patterns", metavar="FILE", help="count these instead of the known ones"),
    ARCHIVE,
    either=(
        option("--into", metavar="PREFIX", help="write what the tables held into fresh ones"),
        option("--policy", metavar="FILE", help="what would these rules have done"),
    ),
    changes=True,
)
def replay(args: Arguments) -> Answer:
    """Count patterns from the archive alone."""
    from sharpwave.infra.operate.definitions import read_definitions
    from sharpwave.infra.operate.replay import replay

    definitions = read_definitions(Path(args.patterns)) if args.patterns else None
    if args.into is not None:
        # The workers' code does it, so only this takes their extra.
        from sharpwave.infra.connection import connect
        from sharpwave.infra.operate.travel import travel

        done = travel(
            deployment(args),
            archive_url(args),
            into=connect(os.environ, endpoint_url=args.endpoint_url, prefix=args.into),
            until=args.until,
            definitions=definitions,
            dry_run=args.dry_run,
        )
        counted = f"{plural(done.states, 'state')} of decisions, {plural(done.versions, 'version')}"
        lines = [f"would count {counted}"]
        if not args.dry_run:
            lines = [
                f"counted {counted}, {plural(done.ledgers, 'ledger')}",
                f"digest of the counts: {done.digest}",
                f"look at it: sharpwave --prefix {done.prefix} patterns ls",
            ]
        return Answer({**vars(done), "dry_run": args.dry_run}, "\n".join(lines))
    if args.policy is not None:
        return _compare(args, definitions)
    found = replay(deployment(args), archive_url(args), until=args.until, definitions=definitions)
    rows = [
        (
            subject,
            report.n,
            "" if report.rate is None else f"{report.rate:.3f}",
            *(f"{bound:.3f}" for bound in report.interval),
            f"{report.confidence:.3f}",
            report.as_of,
        )
        for subject, report in found.items()
    ]
    headers = ("PATTERN", "N", "RATE", "LOW", "HIGH", "CONFIDENCE", "AS OF")
    return Answer(found, table(headers, rows, empty="no patterns; import some, or give --patterns"))


def _compare(args: Arguments, definitions: "Sequence[PatternDefinition] | None") -> Answer:
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate.replay import replay_rules
    from sharpwave.workers.patterns.policy import BadPolicy, Policy
    from sharpwave.workers.settings import Settings

    try:
        policies = [Settings.read().policy, Policy.read(Path(args.policy))]
    except BadPolicy as error:
        raise Misused(str(error)) from error
    found = replay_rules(
        deployment(args), archive_url(args), policies, until=args.until, definitions=definitions
    )
    whats = ("promoted", "degraded", "retired")
    data = {
        subject: [
            {
                "state": told[subject].turns[-1].state if told[subject].turns else "candidate",
                **{what: told[subject].first(what) for what in whats},
                "turns": told[subject].turns,
            }
            for told in found
        ]
        for subject in sorted(found[0])
    }
    rows = [
        (subject, rules, one["state"], *(one[what] for what in whats))
        for subject, both in data.items()
        for rules, one in zip(("present", "file"), both, strict=True)
    ]
    headers = ("PATTERN", "RULES", "STATE", "PROMOTED", "DEGRADED", "RETIRED")
    named = {
        subject: dict(zip(("present", "file"), both, strict=True)) for subject, both in data.items()
    }
    empty = "no patterns; import some, or give --patterns"
    return Answer({"policies": policies, "patterns": named}, table(headers, rows, empty=empty))


@Command(
    "demo",
    option("--days", help=f"the latest market days, or all; default: {DEFAULT_DAYS}"),
    option("--deadline", type=float, help="seconds after which no day is begun"),
    option("--folder", default=".sharpwave/demo", help="for the picture"),
)
def demo(args: Arguments) -> Answer:
    """Replay real market history through the whole system."""
    need("demo")
    from rich.console import Console

    from sharpwave.infra.demo.report import Show, to_text
    from sharpwave.infra.demo.showcase import run
    from sharpwave.infra.errors import Misused

    days: int | None = DEFAULT_DAYS
    if args.days is not None:
        if args.days != "all" and not (args.days.isdigit() and int(args.days) >= 1):
            text = f"--days {args.days} makes no sense; give a number of market days, or all"
            raise Misused(text)
        days = None if args.days == "all" else int(args.days)
    console = Console(stderr=args.json)
    enough = max(DEFAULT_DEADLINE_S, DEADLINE_S_PER_DAY * (days or EVERY_DAY))
    deadline = args.deadline or (DEFAULT_DEADLINE_S if args.days is None else enough)
    with Show(console) as show:
        report = run(days=days, deadline_s=deadline, folder=Path(args.folder), observe=show)
    if not args.json:
        console.print(to_text(report))
    return Answer(report, ok=report["ok"])
