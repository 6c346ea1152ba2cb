"""The environment and the operator: the only place of the command that asks either."""

import os
import sys
from math import inf
from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments

if TYPE_CHECKING:
    from sharpwave.infra.connection import Deployment


def deployment(args: Arguments) -> "Deployment":
    """Reach the deployment that the options and the environment name."""
    from sharpwave.infra.connection import connect

    prefix = os.environ.get("SHARPWAVE_PREFIX", "") if args.prefix is None else args.prefix
    return connect(os.environ, endpoint_url=args.endpoint_url, prefix=prefix)


def number(name: str, default: float) -> float:
    """Read a number of seconds from the environment; `Settings` needs more than is installed here.

    Raises:
        Misused: the variable holds something else.
    """
    from sharpwave.infra.errors import Misused

    text = os.environ.get(name)
    try:
        found = default if text is None else float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < inf:
        raise Misused(f"{name}: {text!r} is no number of seconds, 0 or more; mend or unset it")
    return found


def confirm(args: Arguments, question: str) -> None:
    """Ask before something that cannot be undone; --yes and --dry-run answer.

    Raises:
        Misused: nobody is there to ask.
        NotConfirmed: the answer is no.
    """
    from sharpwave.infra.errors import Misused, NotConfirmed

    if args.yes or args.dry_run:
        return
    if not sys.stdin.isatty():
        raise Misused(f"{question} needs --yes where nobody can be asked")
    print(f"{question} Type yes to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise NotConfirmed("nothing was changed")
