"""How commands are declared, and what they share: common options, the deployment, a question."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from sharpwave.infra.cli.output import Answer, emit

if TYPE_CHECKING:
    from sharpwave.infra.connection import Deployment

    Subparsers = argparse._SubParsersAction["Parser"]

Arguments = argparse.Namespace
#: Imports what it needs when it runs, so that help and completion stay quick.
Handler = Callable[[Arguments], Answer]

#: What commands of two words have in common.
FAMILIES = {
    "archive": "the archive, as others read it",
    "agents": "register agents and their inbox queues",
    "dlq": "look after dead letters and parked records",
    "decisions": "read what agents decided, and what is still awaited of it",
    "patterns": "import patterns and read what they are worth",
    "memory": "write, read and share what agents remember",
    "schema": "JSON Schemas of records and messages",
    "workers": "run, list and scale worker processes",
}


class Option(NamedTuple):
    """One argument of a command, as argparse takes it."""

    names: tuple[str, ...]
    settings: dict[str, Any]


def option(*names: str, **settings: Any) -> Option:
    """Declare an argument; the parameters are those of argparse."""
    return Option(names, settings)


def flag(name: str, help: str = "") -> Option:
    """Declare an option that is given or not."""
    return option(name, action="store_true", help=help or None)


AGENT, QUEUE = option("agent_id", metavar="AGENT"), option("queue", metavar="QUEUE")
DATA = option("--data", default="{}", help="a JSON object, or - for standard input")
LIMIT = option("--limit", type=int, default=20)
ARCHIVE = option("--archive", metavar="URL", help="default: SHARPWAVE_ARCHIVE")


class Command:
    """One command, declared as the decorator of its handler, whose docstring is its line of help.

    Args:
        name: how it is called; `agents rm` is one of the family `agents`.
        options: its own arguments.
        either: options of which at most one may be given.
        changes: it changes something, so it takes --dry-run.
        destroys: it cannot be undone, so it asks, unless --yes is given; it takes --dry-run too.
    """

    def __init__(
        self,
        name: str,
        *options: Option,
        either: Sequence[Option] = (),
        changes: bool = False,
        destroys: bool = False,
    ) -> None:
        self.family, _, self.name = name.rpartition(" ")
        self.options, self.either = options, either
        self.is_rehearsed, self.is_asked = changes or destroys, destroys

    def __call__(self, handler: Handler) -> Self:
        """Take the handler; its module then holds the command under the handler's name."""
        said = (handler.__doc__ or "").removesuffix(".")
        self.handler, self.summary = handler, said[:1].lower() + said[1:]
        return self


class Parser(argparse.ArgumentParser):
    """Raises misuse as any other error of a command, so that `main` reports both alike."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is.

        Raises:
            Misused: always.
        """
        from sharpwave.infra.errors import Misused

        raise Misused(f"{message}; see `{self.prog} --help`")


def parser(commands: Iterable[Command]) -> Parser:
    """Make the parser of the whole command line."""
    root = Parser(
        prog="sharpwave", description="Shared memory and signalling for fleets of agents."
    )
    root.add_argument("--version", action=_Version, nargs=0, help="say which release this is")
    add_common(root, is_root=True)
    families: dict[str, Subparsers] = {"": _group(root)}
    for command in commands:
        if command.family not in families:
            said = FAMILIES[command.family]
            parent = families[""].add_parser(command.family, help=said, description=said)
            families[command.family] = _group(parent)
        said = command.summary
        made = families[command.family].add_parser(command.name, help=said, description=said)
        made.set_defaults(handler=command.handler)
        add_common(made, is_root=False)
        if command.is_rehearsed:
            made.add_argument("--dry-run", action="store_true", help="only say what would be done")
        if command.is_asked:
            made.add_argument("--yes", action="store_true", help="do not ask")
        for names, settings in command.options:
            made.add_argument(*names, **settings)
        exclusive = made.add_mutually_exclusive_group() if command.either else made
        for names, settings in command.either:
            exclusive.add_argument(*names, **settings)
    return root


def _group(parent: Parser) -> "Subparsers":
    return parent.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)


class _Version(argparse.Action):
    """Asks the installed package for its version only when somebody wants to know."""

    def __call__(self, _: Any, namespace: Arguments, *__: Any) -> NoReturn:
        from importlib.metadata import version

        number = version("sharpwave")
        emit(Answer({"version": number}, f"sharpwave {number}"), as_json=namespace.json)
        raise SystemExit(0)


def add_common(target: Parser, *, is_root: bool) -> None:
    """Declare the options that all commands have."""

    # Every command takes these before and after its name; only the root has defaults, because a
    # subcommand's default would undo what was given before its name.
    def default(value: Any) -> Any:
        return value if is_root else argparse.SUPPRESS

    options = target.add_argument_group("everywhere")
    options.add_argument(
        "--json", action="store_true", default=default(False), help="answer in one line of JSON"
    )
    options.add_argument(
        "--endpoint-url", default=default(None), help="default: AWS_ENDPOINT_URL, else AWS itself"
    )
    options.add_argument(
        "--prefix", default=default(None), help="of all names; default: SHARPWAVE_PREFIX"
    )


def prefix_of(args: Arguments) -> str:
    """Give the prefix that the options, or else the environment, name."""
    return os.environ.get("SHARPWAVE_PREFIX", "") if args.prefix is None else args.prefix


def deployment(args: Arguments) -> "Deployment":
    """Reach the deployment that the options and the environment name."""
    from sharpwave.infra.connection import connect

    return connect(os.environ, endpoint_url=args.endpoint_url, prefix=prefix_of(args))


def data_of(args: Arguments) -> dict[str, Any]:
    """Read `--data`.

    Raises:
        Misused: it is no JSON object.
    """
    from sharpwave.infra.errors import Misused
    from sharpwave.schemas.numbers import parse_json

    try:
        data = parse_json(sys.stdin.read() if args.data == "-" else args.data)
    except ValueError as error:
        raise Misused(f"--data is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise Misused('--data is no JSON object; write {"name": 1}')
    return data


def share_of(args: Arguments, name: str) -> Any:
    """Read an option that is a number from 0 to 1, if it is given.

    Raises:
        Misused: it is no number.
    """
    from decimal import Decimal, InvalidOperation

    from sharpwave.infra.errors import Misused

    text = getattr(args, name)
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation as error:
        raise Misused(f"--{name} {text!r} is no number from 0 to 1") from error


def archive_url(args: Arguments) -> str:
    """Name the archive that the options or the workers' settings name."""
    from sharpwave.workers.settings import Settings

    return args.archive or Settings.read().archive


def large_entries(args: Arguments) -> str | None:
    """Name where in S3 agents keep what no table takes, if an option or the environment does."""
    return args.large_entries or os.environ.get("SHARPWAVE_LARGE_ENTRIES") or None


def confirm(args: Arguments, question: str) -> None:
    """Ask before something that cannot be undone; --yes and --dry-run answer.

    Raises:
        Misused: nobody is there to ask.
        NotConfirmed: the answer is no.
    """
    from sharpwave.infra.errors import Misused, NotConfirmed

    if args.yes or args.dry_run:
        return
    # Not taken for a yes: a script has to say that it means it.
    if not sys.stdin.isatty():
        raise Misused(f"{question} needs --yes where nobody can be asked")
    # Not among the answer, which another program may read.
    print(f"{question} Type yes to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise NotConfirmed("nothing was changed")
