"""On Kubernetes each work queue has workers of its own, scaled by its backlog, as on ECS."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.aws.kubernetes import UID
from sharpwave.infra.aws.plan import Plan
from sharpwave.infra.cli import main
from sharpwave.schemas.queues import WORK_QUEUE_NAMES

ROOT = Path(__file__).parents[4]
ACCOUNT = "111122223333"
HERE = ["--account", ACCOUNT, "--region", "eu-west-1", "--image", "registry/sharpwave:1"]


def written(path: Path, *more: str) -> dict[str, list[dict[str, Any]]]:
    given = [*HERE, "--archive", "s3://bucket/archive", "--out", str(path / "workers.json")]
    assert main(["kubernetes", *given, *more]) == 0
    found: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads((path / "workers.json").read_text())["items"]:
        found.setdefault(each["kind"], []).append(each)
    return found


def test_every_queue_has_workers_an_account_and_a_scaling(
    tmp_path: Path,
) -> None:
    found = written(tmp_path, "--prefix", "prod", "--profile", "production")
    plan = Plan.of("production")

    for kind in ("Deployment", "ServiceAccount", "ScaledObject"):
        names = [each["metadata"]["name"] for each in found[kind]]
        assert names == [f"prod-{name}" for name in WORK_QUEUE_NAMES]
    for each in found["ScaledObject"]:
        spec, name = each["spec"], each["metadata"]["name"]
        [trigger] = spec["triggers"]
        assert spec["scaleTargetRef"] == {"name": name}
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (
            plan.min_tasks,
            plan.max_tasks,
        )
        assert trigger["metadata"]["queueLength"] == str(plan.backlog_per_task)
        assert trigger["metadata"]["queueURL"].endswith(
            f"eu-west-1.amazonaws.com/111122223333/{name}"
        )
        [authentication] = found["TriggerAuthentication"]
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    roles = [each["metadata"]["annotations"].popitem()[1] for each in found["ServiceAccount"]]
    assert roles[0] == "arn:aws:iam::111122223333:role/sharpwave/own/deliver.own@prod"


def test_pods_let_go_before_they_are_killed_and_run_as_nobody_in_particular(
    tmp_path: Path,
) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()

    for each in written(tmp_path)["Deployment"]:
        assert "replicas" not in each["spec"]
        pod = each["spec"]["template"]["spec"]
        [container] = pod["containers"]
        given = dict(word.split("=") for word in container["args"] if "=" in word)
        stop_ms = int(given["--worker-shutdown-timeout"])
        assert stop_ms < 1000 * pod["terminationGracePeriodSeconds"]
        assert container["args"][-1] == each["metadata"]["name"]
        assert container["securityContext"]["runAsNonRoot"]
    assert re.search(rf"--uid {UID}\b", dockerfile)


def test_what_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--account", "1"], ["--archive", "file:///archive"], ["--prefix", "No"]):
        given = ["--archive", "s3://bucket/archive", *HERE, *wrong]
        assert main(["kubernetes", *given]) == 2
        assert wrong[1] in capsys.readouterr().err
