"""Where workers run: addresses of their own and no endpoints, or none and endpoints to all."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

_RANGE = "10.74.0.0/16"
_Service = ec2.InterfaceVpcEndpointAwsService
#: What workers and router call, apart from tables and buckets, which need no interface.
_CALLED = {
    "Queues": _Service.SQS,
    "Logs": _Service.CLOUDWATCH_LOGS,
    "Images": _Service.ECR,
    "ImageLayers": _Service.ECR_DOCKER,
}


class Network(Construct):
    """A network of its own, without a gateway that costs by the hour.

    Attributes:
        vpc: the network.
        subnets: where workers run.
        public: whether they need addresses of their own to reach AWS.
        group: the security group of whatever runs here; nothing may call in.
    """

    def __init__(self, scope: Construct, id: str, *, private: bool, zones: int) -> None:
        super().__init__(scope, id)
        kind = ec2.SubnetType.PRIVATE_ISOLATED if private else ec2.SubnetType.PUBLIC
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(_RANGE),
            availability_zones=[
                cdk.Fn.select(zone, cdk.Fn.get_azs(cdk.Aws.REGION)) for zone in range(zones)
            ],
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Tasks",
                    subnet_type=kind,
                    cidr_mask=20,
                    # A task asks for its address itself; where there are none, CDK wants no answer.
                    map_public_ip_on_launch=None if private else False,
                )
            ],
        )
        self.subnets = ec2.SubnetSelection(subnet_type=kind)
        self.public = not private
        self.group = ec2.SecurityGroup(
            self, "Group", vpc=self.vpc, description="Sharpwave: calls out, is never called"
        )
        for name, service in (
            ("Tables", ec2.GatewayVpcEndpointAwsService.DYNAMODB),
            ("Buckets", ec2.GatewayVpcEndpointAwsService.S3),
        ):
            self.vpc.add_gateway_endpoint(name, service=service, subnets=[self.subnets])
        if self.public:
            return
        within = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self.vpc,
            description="Sharpwave: endpoints of AWS, called from within",
            allow_all_outbound=False,
        )
        within.add_ingress_rule(ec2.Peer.ipv4(_RANGE), ec2.Port.tcp(443), "from within")
        for name, service in _CALLED.items():
            self.vpc.add_interface_endpoint(
                name, service=service, subnets=self.subnets, security_groups=[within], open=False
            )
