"""The command `sharpwave`.

Each family of commands is a module of this package, named in `FAMILIES`, with a function
`add(commands)` that declares its commands. Handlers import what they need when they run, so that
help and completion stay quick.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from sharpwave.infra.cli import extras
from sharpwave.infra.cli.command import Arguments, Parser, parser
from sharpwave.infra.cli.output import emit, emit_error

FAMILIES = (
    "provisioning",
    "agents",
    "queues",
    "signals",
    "dlq",
    "patterns",
    "memory",
    "health",
    "schema",
    "system",
    "demo",
    "cost",
    "synth",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if it succeeded, 1 if it failed or found a fault; misuse is 2.
    """
    root, commands = parser()
    for family in FAMILIES:
        import_module(f"{__name__}.{family}").add(commands)
    return obey(root, sys.argv[1:] if argv is None else argv)


def obey(parser: Parser, words: Sequence[str]) -> int:
    """Do what a command line says, by a parser that sets its handler."""
    try:
        args = parser.parse_args(words)
    except Exception as error:
        # What did not parse cannot say how it wants its answer; the words themselves can.
        return _failed(error, as_json="--json" in words)
    return run(args)


def run(args: Arguments) -> int:
    """Call a command's handler and print its answer, or its error in one line."""
    try:
        answer = args.handler(args)
        emit(answer, as_json=args.json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has gone; Python must not complain at its exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        return _failed(extras.explained(error), as_json=args.json)
    except Exception as error:
        return _failed(error, as_json=args.json)
    return 0 if answer.ok else 1


def _failed(error: BaseException, *, as_json: bool) -> int:
    if os.environ.get("SHARPWAVE_DEBUG") == "1":
        traceback.print_exception(error)
    emit_error(error, as_json=as_json)
    return int(getattr(error, "exit_code", 1))
