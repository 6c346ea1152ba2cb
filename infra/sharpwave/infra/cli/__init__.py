"""The command `sharpwave`.

Each module named in `MODULES` holds some commands, each declared above its handler. The order of
both is that of the help.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from sharpwave.infra.cli import extras
from sharpwave.infra.cli.command import Arguments, Command, Parser, parser
from sharpwave.infra.cli.output import emit, emit_error

MODULES = (
    *("deployment", "signals", "dlq", "decisions", "knowledge"),
    *("checks", "system", "cost", "cloud"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if it succeeded, 1 if it failed or found a fault; misuse is 2.
    """
    return obey(whole(), sys.argv[1:] if argv is None else argv)


def whole() -> Parser:
    """Make the parser of all commands."""
    modules = [import_module(f"{__name__}.{name}") for name in MODULES]
    held = (each for module in modules for each in vars(module).values())
    return parser(each for each in held if isinstance(each, Command))


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
