"""How commands are declared: options that all have, and those that changing ones have."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from sharpwave.infra.cli.output import Answer, emit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction["Parser"]

Arguments = argparse.Namespace
Handler = Callable[[Arguments], Answer]


class Parser(argparse.ArgumentParser):
    """Raises misuse as any other error of a command, so that `main` reports both alike."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is.

        Raises:
            Misused: always.
        """
        from sharpwave.infra.errors import Misused

        raise Misused(f"{message}; see `{self.prog} --help`")


def parser() -> tuple[Parser, "Subparsers"]:
    """Make the parser of the whole command, without any subcommand yet."""
    root = Parser(
        prog="sharpwave", description="Shared memory and signalling for fleets of agents."
    )
    root.add_argument("--version", action=_Version, nargs=0, help="say which release this is")
    add_common(root, is_root=True)
    return root, group(root)


def group(parent: Parser) -> "Subparsers":
    """Let a command have subcommands, one of which must be given."""
    return parent.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)


def family(commands: "Subparsers", name: str, summary: str) -> "Subparsers":
    """Declare a command that only has subcommands, such as `agents`."""
    return group(commands.add_parser(name, help=summary, description=summary))


def command(
    commands: "Subparsers",
    name: str,
    handler: Handler,
    summary: str,
    *,
    changes: bool = False,
    destroys: bool = False,
) -> Parser:
    """Declare a command; gives its parser for options of its own.

    Args:
        commands: where it belongs.
        name: how it is called.
        handler: does it.
        summary: one line of help.
        changes: it changes something, so it takes --dry-run.
        destroys: it cannot be undone, so it asks, unless --yes is given.
    """
    made = commands.add_parser(name, help=summary, description=summary)
    made.set_defaults(handler=handler)
    add_common(made, is_root=False)
    if changes or destroys:
        made.add_argument("--dry-run", action="store_true", help="only say what would be done")
    if destroys:
        made.add_argument("--yes", action="store_true", help="do not ask")
    return made


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
