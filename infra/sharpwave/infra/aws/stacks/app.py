"""The app: all stacks of a plan, checked by rules that are kept or answered with a reason."""

import json
import tempfile
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import cdk_nag
from constructs import Construct

from sharpwave.infra.aws.plan import DEFAULT_PROFILE, Plan
from sharpwave.infra.aws.stacks.base import SharpwaveStack
from sharpwave.infra.aws.stacks.compute import Compute
from sharpwave.infra.aws.stacks.data import Data
from sharpwave.infra.aws.stacks.messaging import AgentStack, Messaging
from sharpwave.infra.aws.stacks.observability import Observability
from sharpwave.infra.errors import OperationFailed
from sharpwave.schemas.tables import TABLES

#: The order in which the stacks need each other.
STACKS: Mapping[str, Callable[[Construct, str, Plan], SharpwaveStack]] = {
    "data": Data,
    "messaging": Messaging,
    "compute": Compute,
    "observability": Observability,
}
AGENT = "agent"
_WIDTH = 120


class SynthesisFailed(OperationFailed):
    """No templates were made."""


def build(app: cdk.App, plan: Plan, *, reasons: Mapping[str, str]) -> None:
    """Put all stacks of a plan into an app, and the rules they must keep but for a reason."""
    made = [stack(app, name_of(plan, name), plan) for name, stack in STACKS.items()]
    for later, earlier in pairwise(made):
        later.add_stack_dependency(earlier)
    for agent in plan.agents or (None,):
        AgentStack(app, name_of(plan, AGENT, agent), plan, agent).add_stack_dependency(made[0])
    checks = cdk.Validations.of(app)
    checks.add_plugins(cdk_nag.AwsSolutionsChecks(app))
    for rule, reason in reasons.items():
        checks.acknowledge(cdk.Acknowledgment(id=rule, reason=reason))


def asked_for(app: cdk.App) -> Plan:
    """Read the plan from an app's context: `profile`, and any field of a plan.

    Raises:
        PlanRefused: a value cannot be.
    """
    given = {name: app.node.try_get_context(name) for name in Plan.model_fields}
    profile = app.node.try_get_context("profile") or DEFAULT_PROFILE
    return Plan.of(profile, {name: value for name, value in given.items() if value is not None})


def synthesise(plan: Plan, folder: Path) -> list[Path]:
    """Write a plan's templates as `<stack>.json`, an agent's as `agent-<id>.json`; gives them.

    Agents' templates of an earlier run are removed from the folder.

    Raises:
        SynthesisFailed: CDK refuses it, or a rule of cdk-nag is broken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    with tempfile.TemporaryDirectory() as scratch:
        app = new_app(outdir=scratch)
        try:
            build(app, plan, reasons=reasons())
            app.synth()
        except RuntimeError as error:
            raise SynthesisFailed(_said(str(error))) from error
        for path in folder.glob(f"{AGENT}*.json"):
            path.unlink()
        stacks = [*((name, None) for name in STACKS), *((AGENT, each) for each in plan.agents)]
        for name, agent in stacks if plan.agents else [*stacks, (AGENT, None)]:
            made = Path(scratch, f"{name_of(plan, name, agent)}.template.json")
            path = folder / ("-".join(filter(None, (name, agent))) + ".json")
            path.write_text(laid_out(json.loads(made.read_text())) + "\n")
            written.append(path)
    return written


def _said(text: str) -> str:
    """Give the first rule that is broken and where, and how many times any is."""
    # CDK runs in Node.js, from where errors come as text.
    lines = [line.strip() for line in text.splitlines()]
    errors = [at for at, line in enumerate(lines) if line.startswith("ERROR ")]
    if not errors:
        return lines[0]
    first = "; ".join(lines[errors[0] : errors[0] + 3])
    return f"{len(errors)} times a rule is broken without a reason in `reasons`: {first}"


def laid_out(value: Any, depth: int = 0) -> str:
    """Write JSON for people: what fits a line is not spread over many, as most functions would."""
    short = json.dumps(value)
    if len(short) + depth <= _WIDTH or not isinstance(value, dict | list):
        return short
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, list):
        return "[" + ",".join(inner + laid_out(each, depth + 1) for each in value) + outer + "]"
    named = (f"{json.dumps(key)}: {laid_out(each, depth + 1)}" for key, each in value.items())
    return "{" + ",".join(inner + each for each in named) + outer + "}"


def new_app(outdir: str | None = None) -> cdk.App:
    """Make an empty app; without a folder it writes where CDK's command line says."""
    return cdk.App(analytics_reporting=False, outdir=outdir)


def name_of(plan: Plan, stack: str, agent: str | None = None) -> str:
    """Name a stack of a plan's deployment."""
    return "-".join(part for part in (plan.prefix, "sharpwave", stack, agent) if part)


def reasons() -> Mapping[str, str]:
    """Give the rules that this deployment breaks on purpose, each with why."""
    name = '{"Fn::If":["IsPrefixed",{"Fn::Sub":"${Prefix}-"},""]}'
    here, nag = "<AWS::Region>:<AWS::AccountId>", "AwsSolutions::AwsSolutions-"
    anything = {
        "*": "these actions know no resources: names of queues, a registry's token, interfaces",
        f"arn:<AWS::Partition>:sqs:{here}:{name}inbox-*": "agents come and go, and each of the"
        " pipeline's processes may have something to tell any of them; it can send and not receive",
        f"arn:<AWS::Partition>:ecr:{here}:repository/*": "the image is a parameter, and the role"
        " that pulls it can do nothing else",
        f"arn:<AWS::Partition>:s3:::{name}sharpwave-archive/*": "the parts of one archive",
        "arn:<AWS::Partition>:s3:::<LargeEntries>/<AgentId>/*": "what one agent keeps in its name",
        "<Archive.Arn>/*": "the parts of one archive, to be read",
        "<Failures.Arn>/*": "Lambda names the objects itself",
    }
    for table in TABLES:
        arn = f"arn:<AWS::Partition>:dynamodb:{here}:table/{name}{table.name}"
        anything[f"{arn}/index/*"] = "the indexes of one table"
        if table.streamed:
            anything[f"{arn}/stream/*"] = "a stream's name ends with when it was switched on"
    return {
        **{f"{nag}IAM5[Resource::{what}]": reason for what, reason in anything.items()},
        f"{nag}ECS2": "names and numbers that every template shows; no secret is among them",
        f"{nag}ECS4": "it costs by the metric; what scales and alarms uses metrics that are free",
        f"{nag}L1": "the function's zip holds libraries that are built for this Python",
        f"{nag}S1": "only roles of this deployment reach it; CloudTrail's data events tell who did",
        f"{nag}VPC7": "nothing in the network can be called, and all it calls is AWS",
        # The check fills in the prefix as empty and takes the branch for one that is not.
        "CloudFormation-Validate::F3033": "the tag is `default` where the prefix is empty",
    }
