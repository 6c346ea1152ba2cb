"""`agents add`, `agents ls`, `agents rm`."""

from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command, family
from sharpwave.infra.cli.output import Answer, table, when
from sharpwave.infra.cli.provisioning import told
from sharpwave.infra.cli.settings import confirm, deployment

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    agents = family(commands, "agents", "register agents and their inbox queues")
    adding = command(agents, "add", _add, "register an agent, make its inbox queue", changes=True)
    adding.add_argument("agent_id", metavar="AGENT")
    adding.add_argument("--subscribe", action="append", metavar="TYPE", help="may be repeated")
    adding.add_argument("--accept-from", action="append", metavar="AGENT", help="may be repeated")
    adding.add_argument("--signals-per-minute", type=int, metavar="N", help="its quota")
    broadcast = adding.add_mutually_exclusive_group()
    broadcast.add_argument(
        "--may-broadcast", action="store_true", default=None, help="may send to everyone"
    )
    broadcast.add_argument(
        "--no-broadcast", action="store_false", dest="may_broadcast", default=None
    )
    command(agents, "ls", _list, "list agents and their inboxes")
    removing = command(agents, "rm", _remove, "withdraw an agent's registration", destroys=True)
    removing.add_argument("agent_id", metavar="AGENT")
    removing.add_argument("--purge", action="store_true", help="delete a queue that is not empty")
    removing.add_argument(
        "--data",
        action="store_true",
        help="delete all items of its own, its signals too, in all five tables, which are read"
        " whole; what rows, memories and audiences of others hold of it stays, so do its counts"
        " that patterns of a domain are held against, and so does the archive",
    )


def _add(args: Arguments) -> Answer:
    from sharpwave.infra.operate.agents import Wishes, add_agent

    wishes = Wishes(
        subscriptions=args.subscribe,
        may_broadcast=args.may_broadcast,
        accepts_from=args.accept_from,
        signals_per_minute=args.signals_per_minute,
    )
    place = deployment(args)
    return told(add_agent(place, args.agent_id, wishes, dry_run=args.dry_run), dry_run=args.dry_run)


def _list(args: Arguments) -> Answer:
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
            agent.registration.get("may_broadcast", False),
            when(agent.registration.get("registered_at")),
        )
        for agent in agents
    ]
    headers = ("AGENT", "REGISTERED", "READY", "IN FLIGHT", "DEAD", "SUBSCRIBES", "BROADCASTS")
    empty = "no agent is registered; `sharpwave agents add AGENT` registers one"
    return Answer(agents, table((*headers, "SINCE"), rows, empty=empty))


def _remove(args: Arguments) -> Answer:
    from sharpwave.infra.operate.agents import remove_agent

    place = deployment(args)
    wanted = {"purge": args.purge, "data": args.data}
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
