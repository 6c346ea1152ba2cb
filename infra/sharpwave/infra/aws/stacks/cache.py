"""A DAX cluster for readers that may read everything: it tells no agent from another."""

from aws_cdk import aws_dax as dax
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from sharpwave.infra.aws import policies
from sharpwave.infra.aws.names import CACHE
from sharpwave.infra.aws.plan import Plan
from sharpwave.infra.aws.stacks.base import SharpwaveStack
from sharpwave.infra.aws.stacks.network import Network
from sharpwave.schemas.times import DAY_S

#: Queries are asked for what is new; items of the last day change seldom.
_QUERY_MS, _PORT = 5000, 9111


class Cache(Construct):
    """Nobody is given access: it is for a role of yours, in a network that reaches this one."""

    def __init__(self, scope: SharpwaveStack, id: str, plan: Plan, network: Network) -> None:
        super().__init__(scope, id)
        role = scope.own_role(CACHE, "dax.amazonaws.com", policies.cache(scope.names))
        group = ec2.SecurityGroup(
            self,
            "Group",
            vpc=network.vpc,
            description="Sharpwave: DAX, called by what runs in the network",
            allow_all_outbound=False,
        )
        group.add_ingress_rule(network.group, ec2.Port.tcp(_PORT), "what runs here")
        subnets = dax.CfnSubnetGroup(
            self,
            "Subnets",
            subnet_ids=network.vpc.select_subnets(
                subnet_type=network.subnets.subnet_type
            ).subnet_ids,
        )
        parameters = dax.CfnParameterGroup(
            self,
            "Parameters",
            description="Sharpwave: items for a day, queries for seconds",
            parameter_name_values={
                "record-ttl-millis": str(DAY_S * 1000),
                "query-ttl-millis": str(_QUERY_MS),
            },
        )
        cluster = dax.CfnCluster(
            self,
            "Cluster",
            iam_role_arn=role.role_arn,
            node_type=plan.dax_node_type,
            replication_factor=plan.dax_nodes,
            subnet_group_name=subnets.ref,
            parameter_group_name=parameters.ref,
            security_group_ids=[group.security_group_id],
            cluster_endpoint_encryption_type="TLS",
            sse_specification=dax.CfnCluster.SSESpecificationProperty(sse_enabled=True),
        )
        scope.tell(
            "dax", cluster.attr_cluster_discovery_endpoint_url, "Endpoint for `dax_endpoint`"
        )
