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
from sharpwave.schemas.tables import STREAMED, TABLES, Table
from sharpwave.workers.emf import MISCOUNTS, NAMESPACE

#: A stream keeps a record for a day, so an hour of lag is time enough to mend.
_LAG_S = 3600
#: How DynamoDB counts, after `Read` or `Write`, what a single partition refused.
_KEY_RANGE = "KeyRangeThroughputThrottleEvents"
#: The runbook of each kind, a heading of docs/OPERATIONS.md.
RUNBOOKS: Mapping[Alarm, str] = {
    "age": "a-backlog-grows",
    "dead_letters": "dead-letters",
    "stream_lag": "the-router-lags-or-stopped",
    "stream_stopped": "the-router-lags-or-stopped",
    "stream_lost": "stream-records-set-aside",
    "throttled": "throttled-tables",
    "throttled_keys": "throttled-keys",
    "miscounts": "counts-disagree",
}
#: What is made where few alarms are wanted: a stream forgets, all else waits for days.
_FEW: tuple[Alarm, ...] = ("stream_lag",)


class Watched(NamedTuple):
    """Something that alarms above a limit.

    Attributes:
        name: names the alarm among all of them.
        says: what is the matter, in words.
        minutes: for how long it must hold.
        is_standing: it holds until it is told otherwise, however long nothing is told.
    """

    kind: Alarm
    name: str
    says: str
    metric: cloudwatch.IMetric
    above: float
    minutes: int = 5
    is_standing: bool = False


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
        few, all_of_them = self._wanted(plan)
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
                treat_missing_data=(
                    cloudwatch.TreatMissingData.IGNORE
                    if each.is_standing
                    else cloudwatch.TreatMissingData.NOT_BREACHING
                ),
            )
            alarm.add_alarm_action(actions.SnsAction(topic))
            alarm.add_ok_action(actions.SnsAction(topic))
            _only_if(few if each.kind in _FEW else all_of_them, alarm)
        self._dashboard(metrics, plan)

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

    def _wanted(self, plan: Plan) -> tuple[cdk.CfnCondition, cdk.CfnCondition]:
        """Let who deploys say how many alarms there are, for each is paid for beyond ten."""
        watch = cdk.CfnParameter(
            self,
            "Watch",
            default=plan.watch,
            allowed_values=["all", "few", "none"],
            description="Alarms: all of the plan; few: that the router lags; or none",
        ).value_as_string
        none, every = (cdk.Fn.condition_equals(watch, value) for value in ("none", "all"))
        return (
            cdk.CfnCondition(self, "IsWatched", expression=cdk.Fn.condition_not(none)),
            cdk.CfnCondition(self, "IsWatchedClosely", expression=every),
        )

    def _dashboard(self, metrics: "Metrics", plan: Plan) -> None:
        def graph(title: str, shown: Sequence[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
            return cloudwatch.GraphWidget(title=title, left=list(shown), width=12)

        queues, tables = WORK_QUEUE_NAMES, [table.name for table in TABLES]
        board = cloudwatch.Dashboard(self, "Dashboard", dashboard_name=self.names.name("sharpwave"))
        shown = cdk.CfnParameter(
            self,
            "ShowDashboard",
            default="yes" if plan.dashboard else "no",
            allowed_values=["yes", "no"],
            description="Whether there is a dashboard",
        ).value_as_string
        wanted = cdk.Fn.condition_equals(shown, "yes")
        _only_if(cdk.CfnCondition(self, "IsShown", expression=wanted), board)
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
        board.add_widgets(
            graph("Throttled by a key", [metrics.throttled_keys(table) for table in TABLES]),
            graph("What a recount found", [metrics.miscounts()]),
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

    def throttled_keys(self, table: Table) -> cloudwatch.MathExpression:
        """Count what one partition of a table or of an index refused, which a hot key is."""
        found: dict[str, cloudwatch.IMetric] = {
            f"{way.lower()}_key_{table.name}": self._table(table.name, way + _KEY_RANGE)
            for way in ("Read", "Write")
        }
        # An index that takes no more holds up its table.
        for index in table.indexes:
            named = {
                "TableName": self._names.name(table.name),
                "GlobalSecondaryIndexName": index.name,
            }
            metric = _metric("AWS/DynamoDB", "Write" + _KEY_RANGE, "Sum", named)
            found[f"write_key_{table.name}_{index.name}"] = metric
        return cloudwatch.MathExpression(
            expression=" + ".join(f"FILL({each}, 0)" for each in found),
            using_metrics=found,
            label=table.name,
            period=cdk.Duration.minutes(1),
        )

    def miscounts(self) -> cloudwatch.Metric:
        """Give what the last `verify` that told CloudWatch found."""
        named = {"Deployment": self._names.scope}
        return _metric(NAMESPACE, MISCOUNTS, "Maximum", named)

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
    found += [
        Watched(
            "throttled_keys",
            f"{table.name.replace('_', '-')}-hot-key",
            f"One key of {table.name} is written or read more than its partition takes",
            metrics.throttled_keys(table),
            0,
        )
        for table in TABLES
    ]
    found.append(
        Watched(
            "miscounts",
            "miscounts",
            "A recount of the archive disagrees with what is counted",
            metrics.miscounts(),
            0,
            1,
            is_standing=True,
        )
    )
    return [each for each in found if each.kind in plan.alarms]


def _only_if(wanted: cdk.CfnCondition, made: Construct) -> None:
    resource = made.node.default_child
    assert isinstance(resource, cdk.CfnResource)
    resource.cfn_options.condition = wanted


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
