"""The app makes the templates that come with the package, and they break no rule unexplained."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import aws_cdk.assertions
import pytest

from sharpwave.infra.aws.isolation import in_folder, prove
from sharpwave.infra.aws.plan import PROFILES, Plan
from sharpwave.infra.aws.stacks import app as made
from sharpwave.infra.aws.stacks.app import SynthesisFailed, asked_for, new_app, synthesise
from sharpwave.infra.aws.stacks.backlog import BacklogScaling

Synthesised = Callable[[str], Path]
SHIPPED = Path(str(files("sharpwave.infra.aws"))) / "templates"
by_profile = pytest.mark.parametrize("profile", PROFILES)
#: Rules of cfn-lint that are broken on purpose.
UNHEEDED = {"W3005": "CDK says again that the function waits for its role, which it names too"}


@by_profile
def test_the_templates_of_the_package_are_current(profile: str, synthesised: Synthesised) -> None:
    fresh = {path.name: path.read_text() for path in synthesised(profile).iterdir()}
    shipped = {path.name: path.read_text() for path in (SHIPPED / profile).iterdir()}

    mend = f"run: sharpwave synth --profile {profile} --out {SHIPPED / profile}"
    assert fresh.keys() == shipped.keys(), mend
    assert [name for name in fresh if fresh[name] != shipped[name]] == [], mend


@by_profile
def test_cfn_lint_finds_nothing_else(profile: str, synthesised: Synthesised) -> None:
    lint = Path(sys.executable).with_name("cfn-lint")
    templates = sorted(map(str, synthesised(profile).iterdir()))

    found = subprocess.run(
        [lint, "--ignore-checks", *UNHEEDED, "--", *templates], capture_output=True, text=True
    )

    assert (found.returncode, found.stdout) == (0, "")


def test_each_reason_not_to_heed_a_rule_is_needed(tmp_path: Path) -> None:
    """Without its reason each rule is named, in one profile or the other."""
    report: dict[str, Any] = {}
    for profile in PROFILES:
        app = new_app(outdir=str(tmp_path / profile))
        made.build(app, Plan.of(profile), reasons={})
        with pytest.raises(RuntimeError, match="ValidationFailed"):
            app.synth()
        text = (tmp_path / profile / "validation-report.json").read_text()
        for plugin in json.loads(text)["pluginReports"]:
            report |= {
                f"{plugin['pluginName']}::{each['ruleName']}": each for each in plugin["violations"]
            }

    given = {rule for rule in made.reasons() if rule.startswith("AwsSolutions::")}
    assert given - report.keys() == set()


def test_a_rule_that_is_broken_without_a_reason_keeps_templates_from_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made, "reasons", dict)

    with pytest.raises(SynthesisFailed, match=r"a rule is broken.*AwsSolutions-S1"):
        synthesise(Plan.of("demo"), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_each_agent_of_the_list_gets_a_stack_and_is_kept_from_the_others(tmp_path: Path) -> None:
    given = {"agents": "risk-manager,market-hunter", "prefix": "prod", "log_days": "30"}

    (tmp_path / "agent-long-gone.json").write_text("{}")

    written = synthesise(Plan.of("demo", given), tmp_path)

    assert not (tmp_path / "agent-long-gone.json").exists()
    agents = [path for path in written if path.name.startswith("agent-")]
    assert [path.name for path in agents] == ["agent-risk-manager.json", "agent-market-hunter.json"]
    for path, agent in zip(agents, ("risk-manager", "market-hunter"), strict=True):
        parameters = json.loads(path.read_text())["Parameters"]
        assert parameters["AgentId"]["Default"] == agent
        assert parameters["Prefix"]["Default"] == "prod"
    assert prove(in_folder(tmp_path), "prod", ("risk-manager", "market-hunter")).holds
    compute = json.loads((tmp_path / "compute.json").read_text())["Resources"].values()
    kept = [each["Properties"] for each in compute if each["Type"] == "AWS::Logs::LogGroup"]
    assert {each["RetentionInDays"] for each in kept} == {30}


def test_a_plan_may_come_as_context_of_cdks_own_command_line() -> None:
    app = cdk.App(context={"profile": "production", "dax_nodes": "0", "agents": "a,b"})

    plan = asked_for(app)

    assert (plan.dax_nodes, plan.agents, plan.own_key) == (0, ("a", "b"), True)


def test_scaling_by_backlog_needs_nothing_else_of_this_project() -> None:
    stack = cdk.Stack(cdk.App(), "Anybodys")

    BacklogScaling(
        stack,
        "Scaling",
        cluster_name="cluster",
        service_name="service",
        queue_name="queue",
        messages_per_task=100,
        min_tasks=0,
        max_tasks=5,
    )

    kinds = [
        each["Type"]
        for each in cdk.assertions.Template.from_stack(stack).to_json()["Resources"].values()
    ]
    assert sorted(kinds) == [
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
    ]
