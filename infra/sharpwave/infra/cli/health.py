"""`doctor`."""

from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command
from sharpwave.infra.cli.output import Answer
from sharpwave.infra.cli.settings import deployment

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    command(commands, "doctor", _doctor, "find what is wrong, and the command that mends it")


def _doctor(args: Arguments) -> Answer:
    from sharpwave.infra.operate.doctor import examine, is_healthy

    found = examine(deployment(args))
    healthy = is_healthy(found)
    lines = []
    for ailment in found:
        lines.append(f"{ailment.level:5}  {ailment.area}: {ailment.what}")
        lines += [f"       mend: {ailment.mend}"] if ailment.mend else []
    lines.append("nothing is wrong" if healthy else "something is wrong")
    return Answer({"healthy": healthy, "findings": found}, "\n".join(lines), ok=healthy)
