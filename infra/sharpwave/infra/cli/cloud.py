"""Commands about AWS itself: templates, and proof of what their policies allow."""

import json
import re
from pathlib import Path

from sharpwave.infra.cli import extras
from sharpwave.infra.cli.command import Arguments, Command, flag, option, prefix_of
from sharpwave.infra.cli.output import Answer, table


@Command(
    "synth",
    option("--profile", default="demo", help="demo (the default) or production"),
    option("--agent", action="append", default=[], help="with a stack for this agent"),
    option(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a value of the profile, such as log_days=30",
    ),
    option("--out", metavar="DIR", default="build/synth"),
)
def synth(args: Arguments) -> Answer:
    """Write the stacks for AWS as CloudFormation templates, checked by cdk-nag."""
    extras.need("cdk")
    from sharpwave.infra.aws.plan import Plan
    from sharpwave.infra.aws.stacks.app import synthesise
    from sharpwave.infra.errors import Misused

    given: dict[str, object] = {}
    for each in args.set:
        name, mark, value = each.partition("=")
        if not mark or name not in Plan.model_fields:
            raise Misused(f"--set {each!r} is no NAME=VALUE; names: {', '.join(Plan.model_fields)}")
        given[name] = value
    given |= {"prefix": prefix_of(args)} if prefix_of(args) else {}
    given |= {"agents": tuple(args.agent)} if args.agent else {}
    written = synthesise(Plan.of(args.profile, given), Path(args.out))
    data = {"profile": args.profile, "templates": [str(path) for path in written]}
    return Answer(data, "\n".join(data["templates"]))


@Command(
    "package",
    option("--out", metavar="FILE", default="router.zip"),
    option("--arch", choices=["arm64", "x86_64"], default="arm64"),
)
def package(args: Arguments) -> Answer:
    """Write the zip of the router's Lambda function; needs pip and no Docker."""
    extras.need("workers")
    from sharpwave.infra.aws.function import PYTHON, package

    path, content = Path(args.out), package(architecture=args.arch)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    text = f"{path}: {len(content) / 2**20:.1f} MiB, Python {PYTHON} on {args.arch}"
    return Answer({"path": str(path), "bytes": len(content), "architecture": args.arch}, text)


@Command(
    "kubernetes",
    option("--image", required=True, help="the workers' image, as the nodes pull it"),
    option("--account", required=True, metavar="ID", help="the AWS account of the queues"),
    option("--region", required=True, help="where they are"),
    option("--archive", required=True, metavar="URL", help="s3://bucket/prefix"),
    option("--namespace", default="sharpwave"),
    option("--out", metavar="FILE", default="workers.json"),
    option("--profile", default="demo", help="demo (the default) or production"),
)
def kubernetes(args: Arguments) -> Answer:
    """Write the workers as Kubernetes objects, scaled by KEDA, for `kubectl apply -f`."""
    from sharpwave.infra.aws.kubernetes import manifests
    from sharpwave.infra.aws.names import Names
    from sharpwave.infra.aws.plan import Plan
    from sharpwave.infra.connection import check_prefix
    from sharpwave.infra.errors import Misused

    check_prefix(prefix_of(args))
    if not re.fullmatch(r"\d{12}", args.account):
        raise Misused(f"--account {args.account!r} is no account; it has twelve digits")
    if not args.archive.startswith("s3://"):
        raise Misused(f"--archive {args.archive!r} is not in S3, which all pods can reach")
    objects = manifests(
        Plan.of(args.profile),
        Names.of(prefix_of(args), region=args.region, account=args.account),
        image=args.image,
        archive=args.archive,
        namespace=args.namespace,
    )
    whole = {"apiVersion": "v1", "kind": "List", "items": objects}
    path = Path(args.out)
    path.write_text(json.dumps(whole, indent=2) + "\n")
    return Answer({"path": str(path), "objects": len(objects)}, f"{path}: {len(objects)} objects")


@Command(
    "isolation",
    option(
        "--agent",
        action="append",
        default=[],
        help="at least two; default: five whose names begin or end alike",
    ),
    option("--templates", metavar="DIR", help="what `synth` wrote; default: those of the package"),
    flag("--every", "list every kind of attempt"),
)
def isolation(args: Arguments) -> Answer:
    """Judge by the templates' policies whether any agent reaches what is another's."""
    from sharpwave.infra.aws import isolation as proof
    from sharpwave.infra.aws.plan import PROFILES
    from sharpwave.infra.connection import check_prefix
    from sharpwave.infra.errors import Misused
    from sharpwave.infra.operate.agents import check_agent_id

    prefix, agents = prefix_of(args), args.agent or proof.ALIKE
    check_prefix(prefix)
    for agent in agents:
        check_agent_id(agent)
    if len(set(agents)) < 2:
        raise Misused("it takes two agents to keep them apart; name another with --agent")
    sources = (
        {args.templates: proof.in_folder(Path(args.templates))}
        if args.templates
        else {profile: proof.in_package(profile) for profile in PROFILES}
    )
    proofs = {place: proof.prove(source, prefix, agents) for place, source in sources.items()}
    lines: list[str] = []
    for place, found in proofs.items():
        denied, attempts, allowed, own = found.counts
        lines += [
            f"{place}: {denied} of {attempts} attempts on another agent's things denied,"
            f" {allowed} of {own} deeds of agents' own allowed",
            *(f"wrong: {each}" for each in found.wrong),
        ]
        if args.every:
            kinds = [(what, *counts) for what, counts in found.by_deed().items()]
            lines.append(table(("ATTEMPT", "TRIED", "DENIED"), kinds, empty="nothing"))
    data = {
        place: {**found.counts._asdict(), "wrong": [str(each) for each in found.wrong]}
        for place, found in proofs.items()
    }
    return Answer(data, "\n".join(lines), ok=all(found.holds for found in proofs.values()))
