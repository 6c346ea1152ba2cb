"""`memory recall`."""

from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import Arguments, command, family
from sharpwave.infra.cli.output import Answer, table
from sharpwave.infra.cli.settings import deployment

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    memory = family(commands, "memory", "read what agents remember")
    recalling = command(memory, "recall", _recall, "read an agent's memory, newest first")
    recalling.add_argument("agent_id", metavar="AGENT")
    recalling.add_argument(
        "--kind",
        action="append",
        metavar="KIND",
        help="recent, patterns, shared, facts, episodes or strategies; may be repeated",
    )
    recalling.add_argument("--limit", type=int, default=20, help="of each kind")


def _recall(args: Arguments) -> Answer:
    from sharpwave.infra.operate.memory import KINDS, recall

    kinds = tuple(args.kind or KINDS)
    found = recall(deployment(args), args.agent_id, kinds=kinds, limit=args.limit)
    rows = [(kind, item["SK"], _gist(item)) for kind, items in found.items() for item in items]
    empty = f"{args.agent_id} remembers nothing"
    return Answer(found, table(("KIND", "WHAT", "CONTENT"), rows, empty=empty))


def _gist(item: dict[str, Any]) -> str:
    from sharpwave.schemas.numbers import plain_json

    if "description" in item:
        return str(item["description"])[:100]
    hidden = ("PK", "SK", "schema_version", "memory_type", "agent_id")
    shown = item.get("data") or {n: v for n, v in item.items() if n not in hidden}
    return plain_json(shown)[:100]
