"""Scaling a service of ECS by how many messages wait for each of its tasks.

It stands alone: any service and any queue will do.
"""

from typing import TypeAlias

from aws_cdk import aws_applicationautoscaling as scaling
from constructs import Construct

_Policy = scaling.CfnScalingPolicy
_Stat: TypeAlias = scaling.CfnScalingPolicy.TargetTrackingMetricStatProperty
_Query: TypeAlias = scaling.CfnScalingPolicy.TargetTrackingMetricDataQueryProperty
#: The tasks, or one where there are none, at every minute that has a backlog: `one` has a value
#: then even if no task ever ran.
DIVISOR = {
    "tasks": "FILL(running, 0)",
    "one": "waiting * 0 + 1",
    "divisor": "MAX([tasks, one])",
}


class BacklogScaling(Construct):
    """Keeps the number of messages that wait for each task near a target.

    A service without tasks reports nothing, and nothing can be divided by it: then the whole
    backlog counts as one task's, so the first message starts one. How many tasks run is read off
    the samples of their CPU, of which each running task gives one a minute; that costs nothing.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster_name: str,
        service_name: str,
        queue_name: str,
        messages_per_task: int,
        min_tasks: int,
        max_tasks: int,
        scale_in_after_s: int = 300,
        scale_out_after_s: int = 60,
    ) -> None:
        """Scale a service.

        Args:
            scope: where the construct belongs.
            id: its id there.
            cluster_name: the cluster of the service.
            service_name: the service; make the construct depend on it.
            queue_name: the queue whose visible messages are the backlog.
            messages_per_task: as many as may wait for each task: the latency that is good enough,
                divided by the time one message takes, times messages worked at once.
            min_tasks: the least; may be 0.
            max_tasks: the most.
            scale_in_after_s: pause after tasks were stopped.
            scale_out_after_s: pause after tasks were started.
        """
        super().__init__(scope, id)
        # CDK's own construct would make a role, which ECS has no use for: it has one of its own.
        target = scaling.CfnScalableTarget(
            self,
            "Target",
            service_namespace="ecs",
            resource_id=f"service/{cluster_name}/{service_name}",
            scalable_dimension="ecs:service:DesiredCount",
            min_capacity=min_tasks,
            max_capacity=max_tasks,
        )
        waiting = _metric(
            "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", QueueName=queue_name
        )
        running = _metric(
            "AWS/ECS",
            "CPUUtilization",
            "SampleCount",
            ClusterName=cluster_name,
            ServiceName=service_name,
        )
        _Policy(
            self,
            "Policy",
            policy_name=f"{id}-backlog",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=_Policy.TargetTrackingScalingPolicyConfigurationProperty(
                target_value=messages_per_task,
                scale_in_cooldown=scale_in_after_s,
                scale_out_cooldown=scale_out_after_s,
                customized_metric_specification=_Policy.CustomizedMetricSpecificationProperty(
                    metrics=[
                        _query("waiting", metric=waiting),
                        _query("running", metric=running),
                        *(_query(name, expression=text) for name, text in DIVISOR.items()),
                        _query("per_task", expression="waiting / divisor", returned=True),
                    ]
                ),
            ),
        )


def _metric(namespace: str, name: str, statistic: str, **dimensions: str) -> _Stat:
    return _Stat(
        metric=_Policy.TargetTrackingMetricProperty(
            namespace=namespace,
            metric_name=name,
            dimensions=[
                _Policy.TargetTrackingMetricDimensionProperty(name=key, value=value)
                for key, value in dimensions.items()
            ],
        ),
        stat=statistic,
    )


def _query(
    id: str,
    *,
    metric: _Stat | None = None,
    expression: str | None = None,
    returned: bool = False,
) -> _Query:
    return _Query(id=id, metric_stat=metric, expression=expression, return_data=returned)
