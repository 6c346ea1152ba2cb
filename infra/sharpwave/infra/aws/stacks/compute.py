"""What runs: the network, the router in Lambda, a service of workers per queue, schedules."""

from constructs import Construct

from sharpwave.infra.aws.plan import Plan
from sharpwave.infra.aws.stacks.base import SharpwaveStack
from sharpwave.infra.aws.stacks.cache import Cache
from sharpwave.infra.aws.stacks.network import Network
from sharpwave.infra.aws.stacks.router import RouterFunction
from sharpwave.infra.aws.stacks.schedules import Schedules
from sharpwave.infra.aws.stacks.workers import Workers


class Compute(SharpwaveStack):
    """Everything that can be made anew without losing a record."""

    def __init__(self, scope: Construct, id: str, plan: Plan) -> None:
        super().__init__(scope, id, plan, "Sharpwave: router, workers and schedules")
        network = Network(self, "Network", private=plan.private_network, zones=plan.zones)
        RouterFunction(self, "Router", plan, network)
        Workers(self, "Workers", plan, network)
        Schedules(self, "Schedules", every_minutes=plan.tick_minutes)
        if plan.dax_nodes:
            Cache(self, "Cache", plan, network)
