"""The workers on Kubernetes: a Deployment for each work queue, scaled by KEDA by its backlog.

The same values as for ECS: the profile's threads, bounds and messages per task, a stop that leaves
workers time to let go of what they hold, and the roles that the stacks make.
"""

from typing import Any

from sharpwave.infra.aws.names import Names
from sharpwave.infra.aws.plan import Plan
from sharpwave.schemas.queues import WORK_QUEUES

#: How long before a pod is killed its workers have let go of what they hold.
MARGIN_S = 5
#: The image's own user.
UID = 10001
_COOL_DOWN_S = 300
_LOOK_EVERY_S = 15
_AUTHENTICATION = "sharpwave-queues"


def manifests(plan: Plan, names: Names, *, image: str, archive: str, namespace: str) -> list[Any]:
    """Make the objects.

    Args:
        plan: how much each queue gets.
        names: of the deployment; region and account are real.
        image: the workers' image, as the nodes pull it.
        archive: where the archive is, an `s3://` URL.
        namespace: where they belong; it exists.
    """
    about = {"namespace": namespace, "labels": {"app.kubernetes.io/part-of": "sharpwave"}}
    made: list[Any] = [
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "TriggerAuthentication",
            "metadata": {**about, "name": names.name(_AUTHENTICATION)},
            "spec": {"podIdentity": {"provider": "aws"}},
        }
    ]
    for queue in WORK_QUEUES:
        name = names.name(queue.name)
        role = names.own_role_arn(queue.name)
        made += [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {
                    **about,
                    "name": name,
                    "annotations": {"eks.amazonaws.com/role-arn": role},
                },
            },
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {**about, "name": name},
                # How many there are is the scaling's affair, and applying this must not undo it.
                "spec": _deployment(plan, names, queue.name, image, archive),
            },
            {
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "ScaledObject",
                "metadata": {**about, "name": name},
                "spec": {
                    "scaleTargetRef": {"name": name},
                    "minReplicaCount": plan.min_tasks,
                    "maxReplicaCount": plan.max_tasks,
                    "pollingInterval": _LOOK_EVERY_S,
                    "cooldownPeriod": _COOL_DOWN_S,
                    "triggers": [_trigger(plan, names, name)],
                },
            },
        ]
    return made


def _deployment(plan: Plan, names: Names, duty: str, image: str, archive: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": names.name(duty)}
    variables = {
        "AWS_DEFAULT_REGION": names.region,
        "AWS_NEW_RETRIES_2026": "true",
        "SHARPWAVE_ARCHIVE": archive,
        "SHARPWAVE_LOG": "json",
        "SHARPWAVE_PREFIX": "" if names.scope == "default" else names.scope,
        "SHARPWAVE_THREADS": str(plan.threads),
    }
    container = {
        "name": "workers",
        "image": image,
        "args": [
            *("dramatiq", "sharpwave.workers.main:build", "--processes=1"),
            f"--threads={plan.threads}",
            f"--worker-shutdown-timeout={(plan.stop_s - MARGIN_S) * 1000}",
            *("--queues", duty),
        ],
        "env": [{"name": each, "value": value} for each, value in variables.items()],
        "resources": {
            "requests": {"cpu": f"{plan.task_cpu}m", "memory": f"{plan.task_memory_mb}Mi"},
            "limits": {"memory": f"{plan.task_memory_mb}Mi"},
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "serviceAccountName": names.name(duty),
                "terminationGracePeriodSeconds": plan.stop_s,
                "containers": [container],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            },
        },
    }


def _trigger(plan: Plan, names: Names, queue: str) -> dict[str, Any]:
    return {
        "type": "aws-sqs-queue",
        "authenticationRef": {"name": names.name(_AUTHENTICATION)},
        "metadata": {
            "queueURL": f"https://sqs.{names.region}.amazonaws.com/{names.account}/{queue}",
            "queueLength": str(plan.backlog_per_task),
            # Whoever works on the last messages is not sent home before they are done.
            "scaleOnInFlight": "true",
            "awsRegion": names.region,
        },
    }
