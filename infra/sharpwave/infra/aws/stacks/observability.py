"""What to look at, and what calls: a dashboard, alarms, and the topic that alarms go to.

Each alarm says in its text what to do, by the runbook of that name.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from constructs import Construct

from sharpwave.infra.aws.names import Names
from sharpwave.infra.aws.plan import Alarm, Plan
from sharpwave.infra.aws.stacks.base import SharpwaveStack, camel
from sharpwave.infra.aws.stacks.router import FUNCTION
from sharpwave.infra.aws.stacks.workers import CLUSTER
from sharpwave.schemas.queues import DLQ_SUFFIX, WORK_QUEUE_NAMES
from sharpwave.schemas.tables import STREAMED, TABLES

#: A stream keeps a record for a day, so an hour of lag is time enough to mend.
_LAG_S = 3600
#: The runbook of each kind, a heading of docs/OPERATIONS.md.
RUNBOOKS: Mapping[Alarm, str] = {
    "age": "a-backlog-grows",
    "dead_letters": "dead-letters",
    "stream_lag": "the-router-lags-or-stopped",
    "stream_stopped": "the-router-lags-or-stopped",
    "stream_lost": "stream-records-set-aside",
    "throttled": "throttled-tables",
}


class Watched(NamedTuple):
    """Something that alarms above a limit.

    Attributes:
        name: names the alarm among all of them.
        says: what is the matter, in words.
        minutes: for how long it must hold.
    """

    kind: Alarm
    name: str
    says: str
    metric: cloudwatch.IMetric
    above: float
    minutes: int = 5


class Observability(SharpwaveStack):
    """It only looks, and can be left out."""

    def __init__(self, scope: Construct, id: str, plan: Plan) -> None:
        super().__init__(scope, id, plan, "Sharpwave: dashboard and alarms")
        mappings = {table: self.told(f"mapping-{table}") for table in STREAMED}
        metrics = Metrics(self.names, mappings)
        topic = sns.Topic(self, "Alarms", master_key=self.key(plan))
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="Encrypted",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"Bool": {"aws:SecureTransport": "false"}},
            )
        )
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="OnlyAlarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
            )
        )
        self._told_by_mail(plan, topic)
        for each in watched(metrics, plan):
            alarm = cloudwatch.Alarm(
                self,
                camel(each.name),
                alarm_name=self.names.name(f"sharpwave-{each.name}"),
                alarm_description=f"{each.says}. See {plan.runbooks}#{RUNBOOKS[each.kind]}",
                metric=each.metric,
                threshold=each.above,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
                evaluation_periods=each.minutes,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
            alarm.add_alarm_action(actions.SnsAction(topic))
            alarm.add_ok_action(actions.SnsAction(topic))
        self._dashboard(metrics)

    def _told_by_mail(self, plan: Plan, topic: sns.Topic) -> None:
        address = cdk.CfnParameter(
            self,
            "AlarmAddress",
            default=plan.alarm_address,
            allowed_pattern=r"^([^@\s]+@[^@\s]+)?$",
            description="Mail address that alarms go to; empty: none",
        ).value_as_string
        wanted = cdk.CfnCondition(
            self,
            "IsMailed",
            expression=cdk.Fn.condition_not(cdk.Fn.condition_equals(address, "")),
        )
        mail = sns.CfnSubscription(
            self, "Mail", topic_arn=topic.topic_arn, protocol="email", endpoint=address
        )
        mail.cfn_options.condition = wanted

    def _dashboard(self, metrics: "Metrics") -> None:
        def graph(title: str, shown: Sequence[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
            return cloudwatch.GraphWidget(title=title, left=list(shown), width=12)

        queues, tables = WORK_QUEUE_NAMES, [table.name for table in TABLES]
        board = cloudwatch.Dashboard(self, "Dashboard", dashboard_name=self.names.name("sharpwave"))
        board.add_widgets(
            graph("Waiting messages", [metrics.waiting(name) for name in queues]),
            graph("Age of the oldest message, s", [metrics.age(name) for name in queues]),
        )
        board.add_widgets(
            graph("Dead letters", [metrics.waiting(name + DLQ_SUFFIX) for name in queues]),
            graph("Running tasks", [metrics.tasks(name) for name in queues]),
        )
        board.add_widgets(
            graph("Lag of the router, ms", [metrics.router("IteratorAge", "Maximum")]),
            graph(
                "Stream records read, and set aside",
                [
                    metrics.mapping(table, event)
                    for table in STREAMED
                    for event in ("PolledEventCount", "OnFailureDestinationDeliveredEventCount")
                ],
            ),
        )
        board.add_widgets(
            graph("Write units", [metrics.written(name) for name in tables]),
            graph("Throttled requests", [metrics.throttled(name) for name in tables]),
        )


class Metrics:
    """What CloudWatch knows of a deployment, by the names of its parts."""

    def __init__(self, names: Names, mappings: Mapping[str, str]) -> None:
        """Take the ids of the event source mappings by table."""
        self._names, self._mappings = names, mappings

    def waiting(self, queue: str) -> cloudwatch.Metric:
        """Messages that anybody could receive."""
        return self._queue(queue, "ApproximateNumberOfMessagesVisible")

    def age(self, queue: str) -> cloudwatch.Metric:
        """Seconds for which the oldest message has been there."""
        return self._queue(queue, "ApproximateAgeOfOldestMessage")

    def tasks(self, queue: str) -> cloudwatch.Metric:
        """Count a queue's tasks: each gives one sample of its CPU a minute."""
        named = {
            "ClusterName": self._names.name(CLUSTER),
            "ServiceName": self._names.name(queue),
        }
        return _metric("AWS/ECS", "CPUUtilization", "SampleCount", named, label=queue)

    def router(self, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """What Lambda says of the router's function."""
        named = {"FunctionName": self._names.name(FUNCTION)}
        return _metric("AWS/Lambda", metric, statistic, named)

    def mapping(self, table: str, metric: str) -> cloudwatch.Metric:
        """What Lambda says of the event source mapping of a table."""
        named = {"EventSourceMappingUUID": self._mappings[table]}
        return _metric("AWS/Lambda", metric, "Sum", named, label=f"{table} {metric}")

    def written(self, table: str) -> cloudwatch.Metric:
        """Write units that a table used."""
        return self._table(table, "ConsumedWriteCapacityUnits")

    def throttled(self, table: str) -> cloudwatch.MathExpression:
        """Count a table's requests that were throttled."""
        return cloudwatch.MathExpression(
            # Their ids are those of the whole graph, so each names its table.
            expression=f"FILL(read_{table}, 0) + FILL(write_{table}, 0)",
            using_metrics={
                f"read_{table}": self._table(table, "ReadThrottleEvents"),
                f"write_{table}": self._table(table, "WriteThrottleEvents"),
            },
            label=table,
            period=cdk.Duration.minutes(1),
        )

    def unread(self, table: str) -> cloudwatch.MathExpression:
        """Give 1 where a table was written and none of its stream's records was read."""
        return cloudwatch.MathExpression(
            expression="IF(written > 0 AND FILL(read, 0) == 0, 1, 0)",
            using_metrics={
                "written": self.written(table),
                "read": self.mapping(table, "PolledEventCount"),
            },
            label=table,
            period=cdk.Duration.minutes(1),
        )

    def _queue(self, queue: str, metric: str) -> cloudwatch.Metric:
        named = {"QueueName": self._names.name(queue)}
        return _metric("AWS/SQS", metric, "Maximum", named, label=queue)

    def _table(self, table: str, metric: str) -> cloudwatch.Metric:
        named = {"TableName": self._names.name(table)}
        return _metric("AWS/DynamoDB", metric, "Sum", named, label=table)


def watched(metrics: Metrics, plan: Plan) -> list[Watched]:
    """Give what alarms, of the kinds that the plan asks for."""
    found = [
        Watched(
            "stream_lag",
            "router-lags",
            "The router is an hour behind a stream, which keeps a record for a day",
            metrics.router("IteratorAge", "Maximum"),
            _LAG_S * 1000,
        )
    ]
    for queue in WORK_QUEUE_NAMES:
        says = f"A message has waited in {queue} for more than {plan.oldest_message_s} s"
        found += [
            Watched("age", f"{queue}-age", says, metrics.age(queue), plan.oldest_message_s),
            Watched(
                "dead_letters",
                f"{queue}-dead-letters",
                f"{queue} has dead letters",
                metrics.waiting(queue + DLQ_SUFFIX),
                0,
                1,
            ),
        ]
    for table in STREAMED:
        name = table.replace("_", "-")
        found += [
            Watched(
                "stream_stopped",
                f"{name}-unread",
                f"{table} is written and its stream is not read: is the mapping disabled?",
                metrics.unread(table),
                0,
                10,
            ),
            Watched(
                "stream_lost",
                f"{name}-set-aside",
                f"Records of {table} could not be routed and were set aside",
                metrics.mapping(table, "OnFailureDestinationDeliveredEventCount"),
                0,
                1,
            ),
        ]
    found += [
        Watched(
            "throttled",
            f"{table.name.replace('_', '-')}-throttled",
            f"Requests to {table.name} are throttled",
            metrics.throttled(table.name),
            0,
        )
        for table in TABLES
    ]
    return [each for each in found if each.kind in plan.alarms]


def _metric(
    namespace: str, name: str, statistic: str, named: Mapping[str, str], label: str | None = None
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        statistic=statistic,
        dimensions_map=dict(named),
        label=label,
        period=cdk.Duration.minutes(1),
    )
