"""The workers: a service of ECS on Fargate for each work queue, scaled by its backlog."""

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from sharpwave.infra.aws import policies
from sharpwave.infra.aws.plan import Plan
from sharpwave.infra.aws.stacks.backlog import BacklogScaling
from sharpwave.infra.aws.stacks.base import SharpwaveStack, camel, fixed
from sharpwave.infra.aws.stacks.network import Network
from sharpwave.schemas.queues import WORK_QUEUES, Queue

CLUSTER = "sharpwave"
ARCHIVE = "archive"
#: How long before AWS kills a task its workers have let go of what they hold.
_MARGIN_S = 5
_ARCHITECTURES = {
    "arm64": ecs.CpuArchitecture.ARM64,
    "x86_64": ecs.CpuArchitecture.X86_64,
}


class Workers(Construct):
    """One service per queue, so that a slow duty never starves another."""

    def __init__(self, scope: SharpwaveStack, id: str, plan: Plan, network: Network) -> None:
        super().__init__(scope, id)
        self._stack, self._plan, self._network = scope, plan, network
        self._image = cdk.CfnParameter(
            scope, "WorkerImage", description="The workers' image, as the tasks pull it"
        ).value_as_string
        self._cluster = ecs.Cluster(
            self,
            "Cluster",
            cluster_name=scope.names.name(CLUSTER),
            vpc=network.vpc,
            container_insights_v2=ecs.ContainerInsights.DISABLED,
        )
        fixed(self._cluster, "Cluster")
        # Of the cluster itself: CDK would associate them beside it, for which no service waits.
        self._cluster.node.default_child.add_property_override(
            "CapacityProviders", ["FARGATE", "FARGATE_SPOT"]
        )
        self._logs = scope.log_group(
            "WorkerLogs", f"/sharpwave/{scope.names.name('sharpwave-workers')}", plan
        )
        self._pulling = scope.own_role(
            "start",
            "ecs-tasks.amazonaws.com",
            policies.starting(scope.names, self._logs.log_group_arn),
        )
        self._bucket = scope.told("archive")
        for queue in WORK_QUEUES:
            self._service(queue)

    def _service(self, queue: Queue) -> None:
        scope, plan, names = self._stack, self._plan, self._stack.names
        archive = f"arn:{names.partition}:s3:::{self._bucket}" if queue.name == ARCHIVE else None
        reach = policies.worker(names, queue.name, archive)
        role = scope.own_role(queue.name, "ecs-tasks.amazonaws.com", reach)
        capacity = "FARGATE_SPOT" if plan.spot else "FARGATE"
        service = ecs.FargateService(
            self,
            camel(queue.name),
            service_name=names.name(queue.name),
            cluster=self._cluster,
            task_definition=self._task(queue.name, role),
            # How many there are is the scaling's affair, and an update must not undo it.
            desired_count=None,
            capacity_provider_strategies=[
                ecs.CapacityProviderStrategy(capacity_provider=capacity, weight=1)
            ],
            assign_public_ip=self._network.public,
            vpc_subnets=self._network.subnets,
            security_groups=[self._network.group],
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
        )
        fixed(service, f"{camel(queue.name)}Service")
        BacklogScaling(
            self,
            f"{camel(queue.name)}Scaling",
            cluster_name=names.name(CLUSTER),
            service_name=names.name(queue.name),
            queue_name=names.name(queue.name),
            messages_per_task=plan.backlog_per_task,
            min_tasks=plan.min_tasks,
            max_tasks=plan.max_tasks,
        ).node.add_dependency(service)

    def _task(self, duty: str, role: iam.IRole) -> ecs.FargateTaskDefinition:
        plan, names = self._plan, self._stack.names
        task = ecs.FargateTaskDefinition(
            self,
            f"{camel(duty)}Task",
            family=names.name(f"sharpwave-{duty}"),
            cpu=plan.task_cpu,
            memory_limit_mib=plan.task_memory_mb,
            task_role=role,
            execution_role=self._pulling,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=_ARCHITECTURES[plan.architecture],
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
        )
        task.add_container(
            "workers",
            image=ecs.ContainerImage.from_registry(self._image),
            command=[
                *("dramatiq", "sharpwave.workers.main:build", "--processes=1"),
                f"--threads={plan.threads}",
                f"--worker-shutdown-timeout={(plan.stop_s - _MARGIN_S) * 1000}",
                *("--queues", duty),
            ],
            environment={
                "AWS_NEW_RETRIES_2026": "true",
                "SHARPWAVE_ARCHIVE": f"s3://{self._bucket}/archive",
                "SHARPWAVE_LOG": "json",
                "SHARPWAVE_METRICS": plan.metrics,
                "SHARPWAVE_PREFIX": self._stack.prefix,
                "SHARPWAVE_THREADS": str(plan.threads),
            },
            logging=ecs.LogDrivers.aws_logs(stream_prefix=duty, log_group=self._logs),
            stop_timeout=cdk.Duration.seconds(plan.stop_s),
        )
        return task
