"""`synth`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command
from sharpwave.infra.cli.output import Answer

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers


def add(commands: "Subparsers") -> None:
    """Declare the command."""
    made = command(
        commands, "synth", _synth, "write tables and queues as a CloudFormation template"
    )
    made.add_argument("--out", metavar="FILE", default="build/sharpwave.template.json")
    made.add_argument("--agent", action="append", default=[], help="with this agent's inbox")


def _synth(args: Arguments) -> Answer:
    import json

    from sharpwave.infra.connection import check_prefix
    from sharpwave.infra.provision.template import template

    prefix = os.environ.get("SHARPWAVE_PREFIX", "") if args.prefix is None else args.prefix
    check_prefix(prefix)
    made = template(prefix=prefix, agents=tuple(args.agent))
    path = Path(args.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=2) + "\n")
    count = len(made["Resources"])
    return Answer({"template": str(path), "resources": count}, f"{path}: {count} resources")
