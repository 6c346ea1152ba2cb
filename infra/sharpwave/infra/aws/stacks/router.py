"""The router in Lambda: one function, and an event source mapping for each streamed table."""

import json

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_s3 as s3
from constructs import Construct

from sharpwave.infra.aws import policies
from sharpwave.infra.aws.function import FILTERS, HANDLER
from sharpwave.infra.aws.names import ROUTER
from sharpwave.infra.aws.plan import Plan
from sharpwave.infra.aws.stacks.base import SharpwaveStack, camel, fixed, private_bucket
from sharpwave.infra.aws.stacks.network import Network
from sharpwave.schemas.tables import STREAMED

FUNCTION = "sharpwave-router"
TIMEOUT_S = 60


class RouterFunction(Construct):
    """Each table is read by itself, so that a table in trouble holds up no other.

    What cannot be routed within its retries is set aside in a bucket, records and all.
    """

    def __init__(self, scope: SharpwaveStack, id: str, plan: Plan, network: Network) -> None:
        super().__init__(scope, id)
        names = scope.names
        failures = private_bucket(self, "Failures", scope.key(plan))
        scope.tell("failures", failures.bucket_name, "Bucket of stream records set aside")
        name = names.name(FUNCTION)
        group = scope.log_group("RouterLogs", f"/sharpwave/{name}", plan)
        reach = [
            *policies.router(names, failures.bucket_arn),
            *policies.logs(group.log_group_arn),
            *([] if network.public else policies.in_network()),
        ]
        role = scope.own_role(ROUTER, "lambda.amazonaws.com", reach)
        bucket = cdk.CfnParameter(
            scope, "RouterCodeBucket", description="Bucket with the function's zip"
        )
        key = cdk.CfnParameter(scope, "RouterCodeKey", description="The zip's key in that bucket")
        function = lambda_.Function(
            self,
            "Function",
            function_name=name,
            description="Sharpwave: stream records to work messages",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=_ARCHITECTURES[plan.architecture],
            code=lambda_.Code.from_cfn_parameters(bucket_name_param=bucket, object_key_param=key),
            handler=HANDLER,
            memory_size=plan.router_memory_mb,
            timeout=cdk.Duration.seconds(TIMEOUT_S),
            role=role,
            log_group=group,
            logging_format=lambda_.LoggingFormat.JSON,
            environment={"SHARPWAVE_PREFIX": scope.prefix, "AWS_NEW_RETRIES_2026": "true"},
            vpc=None if network.public else network.vpc,
            vpc_subnets=None if network.public else network.subnets,
            security_groups=None if network.public else [network.group],
        )
        fixed(function, "RouterFunction")
        for table in STREAMED:
            self._mapping(scope, plan, table, function, failures)

    def _mapping(
        self,
        scope: SharpwaveStack,
        plan: Plan,
        table: str,
        function: lambda_.Function,
        failures: s3.Bucket,
    ) -> None:
        mapping = lambda_.EventSourceMapping(
            self,
            camel(table),
            target=function,
            event_source_arn=scope.told(f"stream-{table}"),
            # The newest position would pass over what is written while the mapping is made.
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=plan.batch_size,
            max_batching_window=cdk.Duration.seconds(plan.batch_window_s),
            parallelization_factor=plan.shard_concurrency,
            bisect_batch_on_error=True,
            report_batch_item_failures=True,
            retry_attempts=plan.retries,
            max_record_age=cdk.Duration.seconds(plan.record_age_s),
            on_failure=sources.S3OnFailureDestination(failures),
            support_s3_on_failure_destination=True,
            filters=[{"pattern": json.dumps(each)} for each in FILTERS.get(table, [])] or None,
            metrics_config=lambda_.MetricsConfig(metrics=[lambda_.MetricType.EVENT_COUNT]),
        )
        fixed(mapping, f"{camel(table)}Mapping")
        scope.tell(
            f"mapping-{table}", mapping.event_source_mapping_id, f"Event source mapping of {table}"
        )


_ARCHITECTURES = {
    "arm64": lambda_.Architecture.ARM_64,
    "x86_64": lambda_.Architecture.X86_64,
}
