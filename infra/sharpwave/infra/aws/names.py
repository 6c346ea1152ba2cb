"""Names and ARNs of a deployment. They are what its stacks, processes and policies share.

A name may hold parameters of a template that nobody has filled in yet, so no code here looks into
one.
"""

from typing import NamedTuple

from sharpwave.schemas.queues import DLQ_SUFFIX, INBOX_PREFIX, URGENT_SUFFIX
from sharpwave.schemas.tables import STREAMED

#: Roles of agents and of the deployment's own processes lie apart, so that neither can take the
#: name of the other, nor one deployment that of another's: an id holds neither "." nor "@".
AGENT_PATH, OWN_PATH = "/sharpwave/agents/", "/sharpwave/own/"
ROUTER, SCHEDULER, OPERATOR, CACHE = "router", "scheduler", "operator", "cache"


class Names(NamedTuple):
    """How things are called.

    Attributes:
        before: stands before each name: `prod-`, or nothing.
        scope: names the deployment: the prefix, or `default`.
    """

    before: str
    scope: str
    partition: str = "aws"
    region: str = "us-east-1"
    account: str = "111122223333"

    @classmethod
    def of(cls, prefix: str, **place: str) -> "Names":
        """Name things of the deployment with that prefix."""
        return cls(f"{prefix}-" if prefix else "", prefix or "default", **place)

    def name(self, logical: str) -> str:
        """Give the name of a table, queue, cluster or function."""
        return self.before + logical

    def table(self, logical: str) -> str:
        """Give a table's ARN."""
        return self.arn("dynamodb", f"table/{self.name(logical)}")

    def streams(self) -> list[str]:
        """Give patterns of the ARNs of all streams; each ends with when it was made."""
        return [f"{self.table(table)}/stream/*" for table in STREAMED]

    def queue(self, logical: str) -> str:
        """Give a queue's ARN."""
        return self.arn("sqs", self.name(logical))

    def dlq(self, logical: str) -> str:
        """Give the ARN of a queue's dead-letter queue."""
        return self.queue(logical + DLQ_SUFFIX)

    def inbox(self, agent_id: str) -> str:
        """Give the ARN of an agent's inbox; `*` is for all of them, and for all beside them."""
        return self.queue(INBOX_PREFIX + agent_id)

    def urgent_inbox(self, agent_id: str) -> str:
        """Give the ARN of an agent's queue of urgent copies."""
        return self.inbox(agent_id + URGENT_SUFFIX)

    def agent_role(self, agent_id: str) -> str:
        """Give the name of an agent's role, at most 61 of the 64 characters that IAM takes."""
        return f"{agent_id}@{self.scope}"

    def own_role(self, duty: str) -> str:
        """Give the name of a role of the deployment itself."""
        return f"{duty}.own@{self.scope}"

    def agent_role_arn(self, agent_id: str) -> str:
        """Give the ARN of an agent's role."""
        return self.role(AGENT_PATH + self.agent_role(agent_id))

    def own_role_arn(self, duty: str) -> str:
        """Give the ARN of a role of the deployment itself."""
        return self.role(OWN_PATH + self.own_role(duty))

    def root(self) -> str:
        """Give the account as a principal."""
        return f"arn:{self.partition}:iam::{self.account}:root"

    def exported(self, what: str) -> str:
        """Give the name under which one stack tells the others something that only AWS knows."""
        return f"{self.before}sharpwave-{what}"

    def role(self, path: str) -> str:
        """Give the ARN of a role by its path and name."""
        return f"arn:{self.partition}:iam::{self.account}:role{path}"

    def arn(self, service: str, resource: str) -> str:
        """Give the ARN of something of this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"
