"""`provision` and `destroy`."""

from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import Arguments, command
from sharpwave.infra.cli.output import Answer
from sharpwave.infra.cli.settings import confirm, deployment

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers
    from sharpwave.infra.provision.deployment import Provisioned


def add(commands: "Subparsers") -> None:
    """Declare the commands."""
    command(commands, "provision", _provision, "make and mend tables and work queues", changes=True)
    command(commands, "destroy", _destroy, "delete what was provisioned", destroys=True)


def _provision(args: Arguments) -> Answer:
    from sharpwave.infra.provision.deployment import provision

    return told(provision(deployment(args), dry_run=args.dry_run), dry_run=args.dry_run)


def _destroy(args: Arguments) -> Answer:
    from sharpwave.infra.provision.deployment import destroy

    place = deployment(args)
    planned = destroy(place, dry_run=True)
    if planned.steps:
        number = len(planned.steps)
        confirm(args, f"Delete {number} tables and queues with all they hold at {place.place}?")
    done = planned if args.dry_run or not planned.steps else destroy(place)
    lines = [f"{_verb('delete', args)} {s.kind} {s.name}, {s.what}" for s in done.steps]
    lines += [f"kept {kept.kind} {kept.name}: {kept.why}" for kept in done.kept]
    data = {"deleted": [step.view() for step in done.steps], "kept": done.kept}
    return Answer({**data, "dry_run": args.dry_run}, "\n".join(lines) or "nothing to do")


def told(done: "Provisioned", *, dry_run: bool) -> Answer:
    """Tell what provisioning did."""
    lines = [
        f"{'would ' if dry_run else ''}{step.action} {step.kind} {step.name}: {step.what}"
        for step in done.steps
    ]
    for difference in done.differences:
        label = "wrong" if difference.breaks else "differs"
        lines.append(f"{label}: {difference.kind} {difference.name}: {difference.what}")
    data = {
        "steps": [step.view() for step in done.steps],
        "differences": done.differences,
        "dry_run": dry_run,
    }
    if not done.steps:
        lines.append("nothing to do")
    return Answer(data, "\n".join(lines), done.works)


def _verb(verb: str, args: Arguments) -> str:
    return f"would {verb}" if args.dry_run else f"{verb}d"
