"""`provision`, `destroy`, `agents ...`, `queues`, `pause`, `resume`."""

from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import (
    AGENT,
    QUEUE,
    Arguments,
    Command,
    confirm,
    deployment,
    flag,
    option,
)
from sharpwave.infra.cli.output import Answer, table, when

if TYPE_CHECKING:
    from sharpwave.infra.provision.structure import Provisioned


@Command("provision", changes=True)
def provision(args: Arguments) -> Answer:
    """Make and mend tables and work queues."""
    from sharpwave.infra.provision.structure import provision

    return _made(args, provision(deployment(args), dry_run=args.dry_run))


def _made(args: Arguments, done: "Provisioned") -> Answer:
    would = "would " if args.dry_run else ""
    lines = [f"{would}{step.action} {step.kind} {step.name}: {step.what}" for step in done.steps]
    for difference in done.differences:
        label = "wrong" if difference.breaks else "differs"
        lines.append(f"{label}: {difference.kind} {difference.name}: {difference.what}")
    if not done.steps:
        lines.append("nothing to do")
    data = {
        "steps": [step.view() for step in done.steps],
        "differences": done.differences,
        "dry_run": args.dry_run,
    }
    return Answer(data, "\n".join(lines), done.works)


@Command("destroy", destroys=True)
def destroy(args: Arguments) -> Answer:
    """Delete what was provisioned."""
    from sharpwave.infra.provision.structure import destroy

    place = deployment(args)
    # Looked at first: who is asked sees what would go, and nothing is asked where nothing is.
    planned = destroy(place, dry_run=True)
    if planned.steps:
        number = len(planned.steps)
        confirm(args, f"Delete {number} tables and queues with all they hold at {place.place}?")
    done = planned if args.dry_run or not planned.steps else destroy(place)
    verb = "would delete" if args.dry_run else "deleted"
    lines = [f"{verb} {step.kind} {step.name}, {step.what}" for step in done.steps]
    lines += [f"kept {kept.kind} {kept.name}: {kept.why}" for kept in done.kept]
    data = {"deleted": [step.view() for step in done.steps], "kept": done.kept}
    return Answer({**data, "dry_run": args.dry_run}, "\n".join(lines) or "nothing to do")


@Command(
    "agents add",
    AGENT,
    option("--subscribe", action="append", metavar="TYPE", help="may be repeated"),
    option(
        "--capability",
        action="append",
        metavar="NAME",
        help="what others may ask of it; may be repeated",
    ),
    option(
        "--filter",
        action="append",
        metavar="TYPE:CONDITIONS",
        help='subscribe to TYPE, but only to such as fulfil them: "WHALE: data.count >= 5 and'
        ' severity = high"; all of TYPE without conditions; may be repeated',
    ),
    option("--accept-from", action="append", metavar="AGENT", help="may be repeated"),
    option("--signals-per-minute", type=int, metavar="N", help="its quota"),
    flag(
        "--strict",
        "with a role of its own at AWS, and its queues closed to all others; needs rights on IAM",
    ),
    either=[
        # Of three values: who says neither leaves what is registered.
        option("--may-broadcast", action="store_true", default=None, help="may send to everyone"),
        option("--no-broadcast", action="store_false", dest="may_broadcast", default=None),
    ],
    changes=True,
)
def agents_add(args: Arguments) -> Answer:
    """Register an agent, make its queues."""
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate.agents import Wishes, add_agent

    filters: dict[str, str] = {}
    for given in args.filter or ():
        signal_type, colon, words = given.partition(":")
        if not colon:
            raise Misused(f'--filter {given!r} names no type; write "WHALE: data.count >= 5"')
        filters[signal_type.strip()] = words.strip()
    wishes = Wishes(
        subscriptions=args.subscribe,
        capabilities=args.capability,
        filters=filters or None,
        may_broadcast=args.may_broadcast,
        accepts_from=args.accept_from,
        signals_per_minute=args.signals_per_minute,
    )
    place, more = deployment(args), {"strict": args.strict, "dry_run": args.dry_run}
    return _made(args, add_agent(place, args.agent_id, wishes, **more))


@Command("agents ls")
def agents_ls(args: Arguments) -> Answer:
    """List agents and their inboxes."""
    from sharpwave.infra.operate.agents import list_agents

    agents = list_agents(deployment(args))
    rows = [
        (
            agent.agent_id,
            "yes" if agent.registered else "removed" if agent.removed else "not registered",
            agent.inbox.ready if agent.inbox else "no queue",
            agent.inbox.in_flight if agent.inbox else "",
            agent.dlq.total if agent.dlq else "",
            ",".join(agent.registration.get("subscriptions", ())),
            ",".join(agent.registration.get("capabilities", ())),
            agent.registration.get("may_broadcast", False),
            when(agent.registration.get("registered_at")),
            when(agent.last_seen),
        )
        for agent in agents
    ]
    headers = ("AGENT", "REGISTERED", "READY", "IN FLIGHT", "DEAD", "SUBSCRIBES", "CAN")
    empty = "no agent is registered; `sharpwave agents add AGENT` registers one"
    return Answer(agents, table((*headers, "BROADCASTS", "SINCE", "SEEN"), rows, empty=empty))


@Command(
    "agents calibration",
    AGENT,
    option("--type", metavar="TYPE", help="only decisions of this type"),
)
def agents_calibration(args: Arguments) -> Answer:
    """Say how well an agent's stated confidences come true; reads a whole table."""
    from sharpwave.infra.operate.calibration import agent_calibration

    judged = agent_calibration(deployment(args), args.agent_id, args.type)
    rows, bins = [], []
    for one in judged:
        found = one.calibration
        figures = (found.n, f"{found.brier:.4f}", f"{found.ece:.4f}") if found else (0, "", "")
        rows.append((one.decision_type, one.outcomes, *figures))
        bins += [
            (
                one.decision_type,
                f"{each.low:.1f}",
                each.n,
                f"{each.stated:.3f}",
                f"{each.came_true:.3f}",
            )
            for each in (found.bins if found else ())
        ]
    lines = [table(("TYPE", "OUTCOMES", "STATED", "BRIER", "ECE"), rows, empty="")]
    none = "no decision with an outcome stated a confidence in reasoning.confidence or confidence"
    lines.append(table(("TYPE", "FROM", "N", "SAID", "CAME TRUE"), bins, empty=none))
    return Answer(judged, "\n\n".join(lines))


@Command(
    "agents rm",
    AGENT,
    flag("--purge", "delete a queue that is not empty"),
    flag("--strict", "delete its role at AWS too; needs rights on IAM"),
    flag(
        "--data",
        "delete all items of its own, its signals too, in all five tables, which are"
        " read whole; what rows, memories and audiences of others hold of it stays, so do"
        " its counts that patterns of a domain are held against, and so does the archive",
    ),
    destroys=True,
)
def agents_rm(args: Arguments) -> Answer:
    """Withdraw an agent's registration."""
    from sharpwave.infra.operate.agents import remove_agent

    place = deployment(args)
    wanted = {"purge": args.purge, "data": args.data, "strict": args.strict}
    # Its registration can be made anew; what the two options delete cannot.
    planned = remove_agent(place, args.agent_id, **wanted, dry_run=True)
    if planned.steps and (args.purge or args.data):
        what = ["its queue with all it holds"] if args.purge else []
        what += [f"{sum(planned.deleted.values())} items of its own"] if args.data else []
        confirm(args, f"Remove {args.agent_id}, {' and '.join(what)}?")
    done = planned if args.dry_run else remove_agent(place, args.agent_id, **wanted)
    lead = "would " if args.dry_run else "done: "
    lines = [lead + step for step in done.steps]
    lines += [f"kept: {done.kept_queue}"] if done.kept_queue else []
    return Answer({**vars(done), "dry_run": args.dry_run}, "\n".join(lines) or "nothing to do")


@Command("queues")
def queues(args: Arguments) -> Answer:
    """Show how full every queue is."""
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


@Command("pause", QUEUE, option("--reason", help="shown by `doctor`"), changes=True)
def pause(args: Arguments) -> Answer:
    """Stop workers from taking work."""
    from sharpwave.infra.operate.queues import pause

    place = deployment(args)
    changed = pause(place, args.queue, reason=args.reason, dry_run=args.dry_run)
    return _flagged(args, changed, "paused", "was paused already")


@Command("resume", QUEUE, changes=True)
def resume(args: Arguments) -> Answer:
    """Let workers take work again."""
    from sharpwave.infra.operate.queues import resume

    changed = resume(deployment(args), args.queue, dry_run=args.dry_run)
    return _flagged(args, changed, "resumed", "was not paused")


def _flagged(args: Arguments, changed: bool, done: str, otherwise: str) -> Answer:
    text = otherwise if not changed else f"would be {done}" if args.dry_run else done
    data = {"queue": args.queue, "changed": changed, "dry_run": args.dry_run}
    return Answer(data, f"{args.queue} {text}")
