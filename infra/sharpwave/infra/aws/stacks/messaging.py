"""The work queues with their dead letters, and an agent's own inbox, policies and role."""

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from sharpwave.infra.aws import policies
from sharpwave.infra.aws.plan import Plan
from sharpwave.infra.aws.stacks.base import SharpwaveStack, camel, fixed
from sharpwave.schemas.ids import AGENT_ID, IN_WORDS
from sharpwave.schemas.queues import (
    DLQ_ATTRIBUTES,
    DLQ_SUFFIX,
    INBOX_PREFIX,
    URGENT_SUFFIX,
    WORK_QUEUES,
    Queue,
    of_agent,
)
from sharpwave.workers.work import ticks

TICKED = frozenset(each.tick.queue for each in ticks.ALL)


class Messaging(SharpwaveStack):
    """The work queues: who sends to one and who takes from it is said by the queue itself."""

    def __init__(self, scope: Construct, id: str, plan: Plan) -> None:
        super().__init__(scope, id, plan, "Sharpwave: work queues and their dead letters")
        key = self.key(plan)
        for queue in WORK_QUEUES:
            made = QueueWithDeadLetters(self, camel(queue.name), queue, queue.name, key)
            ticked = queue.name in TICKED
            made.guard(
                policies.work_queue(self.names, queue.name, ticked=ticked),
                policies.work_dead_letters(self.names, queue.name),
            )


class AgentStack(SharpwaveStack):
    """One agent: its queues, dead letters and role. Its id is a parameter, so one template is all.

    Registering it is another step, `sharpwave agents add`.
    """

    def __init__(self, scope: Construct, id: str, plan: Plan, agent_id: str | None = None) -> None:
        super().__init__(scope, id, plan, "Sharpwave: an agent's inbox and role")
        given = cdk.CfnParameter(
            self,
            "AgentId",
            default=agent_id,
            # Digits alone would be a shard in the key of a signal.
            allowed_pattern=f"^(?![0-9]+$){AGENT_ID.removeprefix('^')}",
            constraint_description=f"{IN_WORDS[AGENT_ID]}, and not digits alone",
            description="The agent's id",
        ).value_as_string
        large = cdk.CfnParameter(
            self,
            "LargeEntries",
            default=policies.NOWHERE,
            allowed_pattern=f"^({policies.NOWHERE}|[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9](/[^/*?]+)*)$",
            constraint_description="bucket/prefix, without s3://, or NONE",
            description="Where in S3 agents keep memory that no table takes",
        ).value_as_string
        # What the definition says of any agent's queues; only the name holds the id.
        usual, urgent = of_agent("x")
        key = self.key(plan)
        made = QueueWithDeadLetters(self, "Inbox", usual, INBOX_PREFIX + given, key)
        hurried = INBOX_PREFIX + given + URGENT_SUFFIX
        beside = QueueWithDeadLetters(self, "Urgent", urgent, hurried, key)
        for one, suffix in ((made, ""), (beside, URGENT_SUFFIX)):
            one.guard(
                policies.inbox_queue(self.names, given, suffix),
                policies.inbox_dead_letters(self.names, given, suffix),
            )
        role = self.held_role(
            "Role",
            name=self.names.agent_role(given),
            of_agent=True,
            statements=policies.agent(self.names, given, large),
        )
        cdk.CfnOutput(self, "RoleArn", value=role.role_arn, description="The agent's role")
        cdk.CfnOutput(self, "InboxUrl", value=made.queue.queue_url)


class QueueWithDeadLetters(Construct):
    """A queue as the definition has it, with the queue of what was received too often."""

    def __init__(
        self, scope: SharpwaveStack, id: str, defined: Queue, name: str, key: kms.IKey | None
    ) -> None:
        super().__init__(scope, id)
        encryption = sqs.QueueEncryption.KMS if key else sqs.QueueEncryption.SQS_MANAGED
        reuse = cdk.Duration.hours(1) if key else None
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=scope.names.name(name + DLQ_SUFFIX),
            retention_period=cdk.Duration.seconds(int(DLQ_ATTRIBUTES["MessageRetentionPeriod"])),
            encryption=encryption,
            encryption_master_key=key,
            data_key_reuse=reuse,
        )
        attributes = defined.attributes("")
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=scope.names.name(name),
            visibility_timeout=cdk.Duration.seconds(defined.visibility_timeout_s),
            retention_period=cdk.Duration.seconds(defined.retention_s),
            receive_message_wait_time=cdk.Duration.seconds(
                int(attributes["ReceiveMessageWaitTimeSeconds"])
            ),
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=defined.max_receive_count
            ),
            encryption=encryption,
            encryption_master_key=key,
            data_key_reuse=reuse,
        )
        fixed(self.queue, id)
        fixed(self.dead_letters, f"{id}Dlq")

    def guard(
        self, queue: list[policies.Statement], dead_letters: list[policies.Statement]
    ) -> None:
        """Attach the policies of both queues."""
        for one, statements in ((self.queue, queue), (self.dead_letters, dead_letters)):
            sqs.CfnQueuePolicy(
                one,
                "Policy",
                queues=[one.queue_url],
                policy_document=policies.document(statements),
            )
