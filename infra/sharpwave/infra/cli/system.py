"""`up`, `pump`, `workers`, `reconcile`, `verify`, `replay`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command, family
from sharpwave.infra.cli.extras import need
from sharpwave.infra.cli.output import Answer, plural, table, when
from sharpwave.infra.cli.settings import deployment

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Parser, Subparsers
    from sharpwave.infra.local import Backend
    from sharpwave.infra.local.stack import Stack
    from sharpwave.workers.patterns.statistics import Figures


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    _add_up(commands)
    command(commands, "pump", _pump, "carry stream records to the queues, in the foreground")
    workers = family(commands, "workers", "run, list and scale worker processes")
    running = command(workers, "run", _run, "run the workers of one queue, in the foreground")
    running.add_argument("queue", metavar="QUEUE")
    running.add_argument("--processes", type=int, default=1)
    running.add_argument("--threads", type=int, default=8)
    command(workers, "ls", _list, "list worker processes and their last sign of life")
    scaling = command(
        workers, "scale", _scale, "say how many instances `sharpwave up` runs", changes=True
    )
    scaling.add_argument("wishes", metavar="QUEUE=N", nargs="+")
    mending = command(
        commands, "reconcile", _reconcile, "feed tables to the pipeline again", changes=True
    )
    mending.add_argument("tables", metavar="TABLE", nargs="*", help="default: every streamed table")
    checking = command(commands, "verify", _verify, "recount the archive and compare every ledger")
    checking.add_argument("--wait", type=float, help="seconds to wait for quiet; default: 90")
    _add_archive(checking)
    looking = command(commands, "replay", _replay, "count patterns from the archive alone")
    looking.add_argument("--until", metavar="DAY", help="as of this day or UTC time")
    looking.add_argument("--patterns", metavar="FILE", help="count these instead of the known ones")
    _add_archive(looking)


def _add_up(commands: "Subparsers") -> None:
    up = command(commands, "up", _up, "run the whole system here, until Ctrl-C")
    up.add_argument("--port", type=int, help="of the endpoint; default: a free one")
    up.add_argument("--backend", default="embedded", help="embedded, embedded+fauxqs, moto, ...")
    up.add_argument("--agent", action="append", default=[], help="register this agent; repeatable")
    up.add_argument("--state", metavar="DIR", help="keep tables and queues here between runs")
    up.add_argument("--folder", metavar="DIR", help="for logs and archive; default: .sharpwave")
    up.add_argument("--threads", type=int, default=8, help="of each worker process")


def _add_archive(target: "Parser") -> None:
    target.add_argument("--archive", metavar="URL", help="default: SHARPWAVE_ARCHIVE")


def _up(args: Arguments) -> Answer:
    need("local")
    from sharpwave.infra.local.stack import Stack, StackOptions, set_aside
    from sharpwave.infra.local.upkeep import Upkeep, tell, until_signalled
    from sharpwave.workers.settings import Settings

    # Pump and workers would start in vain again and again.
    Settings.read()
    folder = Path(args.folder or ".sharpwave")
    if not args.state and args.backend != "external":
        set_aside(folder / "archive")
    options = StackOptions(
        agents=args.agent,
        prefix=args.prefix or os.environ.get("SHARPWAVE_PREFIX", ""),
        threads=args.threads,
        settings={name: value for name, value in os.environ.items() if name[:10] == "SHARPWAVE_"},
        folder=folder,
    )
    with Stack(_backend(args), options, report=tell) as stack:
        _announce(args, stack)
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


def _backend(args: Arguments) -> "Backend":
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.local import EmbeddedBackend, open_backend

    if args.backend == "embedded":
        state = Path(args.state).resolve() if args.state else None
        return EmbeddedBackend(port=args.port, state_dir=state)
    if args.port or args.state:
        raise Misused(f"--port and --state go with the embedded backend, not with {args.backend}")
    endpoint_url = args.endpoint_url or os.environ.get("AWS_ENDPOINT_URL")
    return open_backend(args.backend, endpoint_url=endpoint_url)


def _announce(args: Arguments, stack: "Stack") -> None:
    from sharpwave.infra.cli.output import emit

    url = stack.backend.endpoint_url
    data = {
        "ready": True,
        "endpoint_url": url,
        "console_url": None,
        "archive": stack.archive,
        "logs": str(stack.folder),
        "pid": os.getpid(),
    }
    text = (
        f"Sharpwave is up. Nothing here is isolated between agents: that is IAM's work, at AWS.\n"
        f"  export AWS_ENDPOINT_URL={url}\n"
        f"  sharpwave agents add my-agent     then send, inbox, trace, doctor\n"
        f"  logs and archive: {stack.folder}\n"
        f"  Ctrl-C drains and stops: {end_of_state(args)}"
    )
    emit(Answer(data, text), as_json=args.json)


def _pump(args: Arguments) -> Answer:
    need("workers")
    from sharpwave.infra.local.pumping import run_pump

    _pass_on(args)
    deployment(args).check()
    return Answer(ok=run_pump() == 0)


def _run(args: Arguments) -> Answer:
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
    os.execv(argv[0], argv)


def _pass_on(args: Arguments) -> None:
    """Let options reach code that reads the environment."""
    if args.endpoint_url:
        os.environ["AWS_ENDPOINT_URL"] = args.endpoint_url
    if args.prefix is not None:
        os.environ["SHARPWAVE_PREFIX"] = args.prefix


def _list(args: Arguments) -> Answer:
    from sharpwave.infra.operate.workforce import list_workers

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


def _scale(args: Arguments) -> Answer:
    from sharpwave.infra.operate.workforce import parse_wishes, want

    wishes = parse_wishes(args.wishes)
    want(deployment(args), wishes, dry_run=args.dry_run)
    said = ", ".join(f"{queue}={number}" for queue, number in wishes.items())
    prefix = "would want" if args.dry_run else "wanted"
    return Answer({"wanted": wishes, "dry_run": args.dry_run}, f"{prefix}: {said}")


def _reconcile(args: Arguments) -> Answer:
    from sharpwave.infra.operate.reconciling import reconcile_tables

    counts = reconcile_tables(deployment(args), args.tables, dry_run=args.dry_run)
    done = "would be fed" if args.dry_run else "fed"
    lines = [f"{name}: {plural(count, 'item')} {done}" for name, count in counts.items()]
    return Answer({"items": counts, "dry_run": args.dry_run}, "\n".join(lines))


def _verify(args: Arguments) -> Answer:
    from sharpwave.infra.operate.verify import WAIT_S, verify

    archive = _archive(args)
    wait_s = WAIT_S if args.wait is None else args.wait
    found = verify(deployment(args), archive, wait_s=wait_s)
    lines = [line for each in found.findings for line in (each.what, f"  {each.remedy}")]
    checked = f"{plural(found.decisions, 'decision')}, {plural(found.ledgers_checked, 'ledger')}"
    lines.append(f"{checked}: " + ("every count agrees" if found.ok else "not verified"))
    data = {
        "ok": found.ok,
        "patterns_checked": found.patterns_checked,
        "ledgers_checked": found.ledgers_checked,
        "decisions": found.decisions,
        "findings": found.findings,
        "disagreements": found.disagreements,
        "archive": archive,
    }
    return Answer(data, "\n".join(lines), ok=found.ok)


def _replay(args: Arguments) -> Answer:
    from sharpwave.infra.operate.pattern_import import read_definitions
    from sharpwave.infra.operate.replay import replay

    definitions = read_definitions(Path(args.patterns)) if args.patterns else None
    found = replay(deployment(args), _archive(args), until=args.until, definitions=definitions)
    rows = [_figures(subject, report) for subject, report in found.items()]
    headers = ("PATTERN", "N", "RATE", "LOW", "HIGH", "CONFIDENCE", "AS OF")
    return Answer(found, table(headers, rows, empty="no patterns; import some, or give --patterns"))


def _figures(subject: str, found: "Figures") -> tuple[object, ...]:
    low, high = found.interval
    rate = "" if found.rate is None else f"{found.rate:.3f}"
    bounds = f"{low:.3f}", f"{high:.3f}"
    return subject, found.n, rate, *bounds, f"{found.confidence:.3f}", found.as_of


def _archive(args: Arguments) -> str:
    from sharpwave.workers.settings import Settings

    return args.archive or Settings.read().archive
