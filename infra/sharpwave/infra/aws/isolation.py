"""Proof that agents are kept apart: every deed of each, attempted by every other.

The policies are those of the templates, with their parameters filled in. What this cannot prove
is that AWS judges as `evaluate` does, and that nothing else is attached to a role.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

from sharpwave.infra.aws.evaluate import Request, Statement, Verdict, decide
from sharpwave.infra.aws.names import Names
from sharpwave.infra.aws.resolve import NotUnderstood, Template, read, resources, shipped
from sharpwave.schemas import keys
from sharpwave.schemas.queues import DLQ_SUFFIX, INBOX_PREFIX, URGENT_SUFFIX, WORK_QUEUE_NAMES
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE, SIGNALS, STATE, TABLES

Source = Callable[[str], Template]
#: The stacks with roles and queues of the deployment's own, and the one of an agent.
OWN_STACKS, AGENT = ("data", "messaging", "compute"), "agent"
#: Agents that a careless pattern would take for one another.
ALIKE = ("a", "a-b", "b", "risk", "risk-manager")
_KIND = "WHALE_ACTIVITY"
#: Where in S3 the agents of the proof keep what is too large for a table.
_LARGE = "large/memory"
_LEADING, _ATTRIBUTES = "dynamodb:LeadingKeys", "dynamodb:Attributes"


class Deed(NamedTuple):
    """Something to do at AWS, told as IAM sees it."""

    what: str
    action: str
    resource: str
    context: Mapping[str, Sequence[str]] = {}


class Attempt(NamedTuple):
    """A deed that one agent attempted on what is another's, or on its own."""

    by: str
    on: str
    deed: Deed
    verdict: Verdict

    @property
    def succeeds(self) -> bool:
        """Say whether AWS would do it."""
        return self.verdict is Verdict.ALLOWED

    def __str__(self) -> str:
        what, verdict = self.deed.what, self.verdict.value
        return f"{self.by} on {self.on}: {what} ({self.deed.action}) is {verdict}"


class Counts(NamedTuple):
    """How many attempts on others' things were denied, and deeds of agents' own allowed."""

    denied: int
    attempts: int
    allowed: int
    own: int


class Proof(NamedTuple):
    """What became of all attempts."""

    own: tuple[Attempt, ...]
    others: tuple[Attempt, ...]

    @property
    def holds(self) -> bool:
        """Say whether each agent can do its own work, and nothing of another's."""
        return not self.wrong

    @property
    def wrong(self) -> list[Attempt]:
        """Give the attempts that did not end as they must."""
        kept_out = [each for each in self.own if not each.succeeds]
        return kept_out + [each for each in self.others if each.succeeds]

    @property
    def counts(self) -> Counts:
        """Count attempts."""
        return Counts(
            sum(not each.succeeds for each in self.others),
            len(self.others),
            sum(each.succeeds for each in self.own),
            len(self.own),
        )

    def by_deed(self) -> dict[str, tuple[int, int]]:
        """Give by deed how many attempts on others' things there were and how many failed."""
        tried = Counter(each.deed.what for each in self.others)
        failed = Counter(each.deed.what for each in self.others if not each.succeeds)
        return {what: (count, failed[what]) for what, count in tried.items()}


class Policies:
    """The policies of a deployment: those of its roles, and those of its queues.

    Attributes:
        names: names of the deployment, in an account of examples.
    """

    def __init__(self, source: Source, prefix: str, agents: Sequence[str]) -> None:
        """Fill in the templates.

        Raises:
            NotUnderstood: a template says something that is not known here.
        """
        self.names, self._prefix = Names.of(prefix), prefix
        self._roles: dict[str, list[Statement]] = {}
        self._queues: dict[str, list[Statement]] = {}
        for stack in OWN_STACKS:
            self._add(source(stack))
        template = source(AGENT)
        for agent in agents:
            self._add(template, AgentId=agent)

    def verdict(self, principal: str, deed: Deed) -> Verdict:
        """Judge what a role attempts."""
        request = Request(principal, deed.action, deed.resource, deed.context)
        return decide(request, self.role(principal), self._queues.get(deed.resource, ()))

    def role(self, arn: str) -> list[Statement]:
        """Give what a role is allowed.

        Raises:
            NotUnderstood: no template makes such a role.
        """
        if arn not in self._roles:
            raise NotUnderstood(f"no template makes the role {arn}")
        return self._roles[arn]

    def against(self, statements: Sequence[Statement], principal: str, deed: Deed) -> Verdict:
        """Judge what a role attempts that is not of this deployment, by what it is allowed."""
        request = Request(principal, deed.action, deed.resource, deed.context)
        return decide(request, statements, self._queues.get(deed.resource, ()))

    def _add(self, template: Template, **parameters: str) -> None:
        given = {"Prefix": self._prefix, **parameters}
        for name in ("RouterCodeBucket", "RouterCodeKey", "WorkerImage", "LargeEntries"):
            if name in template["Parameters"]:
                given[name] = _LARGE if name == "LargeEntries" else "any"
        made = resources(template, self.names, **given)
        for body in made.values():
            properties = body["Properties"]
            if body["Type"] == "AWS::IAM::Role":
                arn = self.names.role(f"{properties['Path']}{properties['RoleName']}")
                self._roles[arn] = [
                    statement
                    for policy in properties.get("Policies", [])
                    for statement in policy["PolicyDocument"]["Statement"]
                ]
            elif body["Type"] == "AWS::SQS::QueuePolicy":
                for queue in properties["Queues"]:
                    named = made[queue.strip("<>")]["Properties"]["QueueName"]
                    statements = properties["PolicyDocument"]["Statement"]
                    self._queues[self.names.arn("sqs", named)] = statements
            elif body["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
                raise NotUnderstood("policies beside a role's own are not understood here")


def in_package(profile: str) -> Source:
    """Take the templates that come with the package."""
    return partial(shipped, profile)


def in_folder(folder: Path) -> Source:
    """Take the templates that `sharpwave synth` wrote; of agents' any, for they are alike."""

    def found(stack: str) -> Template:
        others = sorted(folder.glob(f"{AGENT}-*.json")) if stack == AGENT else []
        return read((others or [folder / f"{stack}.json"])[0])

    return found


def prove(source: Source, prefix: str, agents: Sequence[str]) -> Proof:
    """Let each agent attempt its own deeds, and those of every other.

    Raises:
        NotUnderstood: a template or a policy cannot be judged.
    """
    policies = Policies(source, prefix, agents)
    names = policies.names

    def attempt(by: str, on: str, deed: Deed) -> Attempt:
        return Attempt(by, on, deed, policies.verdict(names.agent_role_arn(by), deed))

    own = [
        attempt(agent, agent, deed)
        for agent in agents
        for deed in (*deeds(names, agent), *common(names))
    ]
    others = [
        attempt(by, on, deed)
        for by, on in permutations(agents, 2)
        for deed in (*deeds(names, on), *mischief(names, by, on))
    ]
    return Proof(tuple(own), tuple(others))


def deeds(names: Names, agent: str) -> list[Deed]:
    """Give what an agent does in its work with what is its own."""
    decisions, by_agent = names.table(DECISIONS), f"{names.table(DECISIONS)}/index/by_agent"
    decision, row = [keys.decision_pk(agent, _KIND)], [keys.inbox_pk(agent)]
    signal, state = [keys.signal_pk(_KIND, agent)], [keys.state_pk(agent)]
    memory = [keys.memory_pk(agent, "NOTE")]
    signals, states, learned = names.table(SIGNALS), names.table(STATE), names.table(MEMORY)
    inbox, urgent = names.inbox(agent), names.urgent_inbox(agent)
    set_by_agent = ["PK", "SK", "status", "processed_at", "decision_id"]
    return [
        _item("put a decision", "PutItem", decisions, decision, ["PK", "SK", "outcome"]),
        _item("add an outcome", "UpdateItem", decisions, decision, ["PK", "SK", "outcome"]),
        _item("read a decision", "GetItem", decisions, decision),
        _item("list decisions", "Query", decisions, decision),
        _item("list decisions by time", "Query", by_agent, [agent]),
        _item("send a signal", "PutItem", signals, signal, ["PK", "SK", "source_agent"]),
        _item("send many signals", "BatchWriteItem", signals, signal, ["PK", "SK"]),
        _item("look at a signal sent", "GetItem", signals, signal),
        _item("list rows of the inbox", "Query", signals, row),
        _item("read a row of the inbox", "GetItem", signals, row),
        _item("acknowledge a row", "UpdateItem", signals, row, set_by_agent),
        _item("register", "UpdateItem", states, state, ["PK", "SK", "subscriptions"]),
        _item("save state", "PutItem", states, state, ["PK", "SK", "state"]),
        _item("read state", "GetItem", states, state),
        _item("read how its sources did", "Query", states, [keys.metrics_pk(agent)]),
        _item("remember", "PutItem", states, memory, ["PK", "SK", "data"]),
        Deed("remember much", "s3:PutObject", _object(names, agent)),
        Deed("recall much", "s3:GetObject", _object(names, agent)),
        Deed("forget much", "s3:DeleteObject", _object(names, agent)),
        _item("recall the last day", "Query", states, memory),
        _item("recall patterns", "Query", learned, [keys.pattern_pk(agent)]),
        _item("recall facts", "Query", learned, [keys.fact_pk(agent)]),
        _item("recall episodes", "GetItem", learned, [keys.episode_pk(agent)]),
        _item("recall what was shared", "Query", learned, [keys.shared_with_pk(agent)]),
        _item("recall shared memories", "Query", learned, [keys.granted_pk(agent)]),
        _item("forget", "PutItem", states, memory, ["PK", "SK", "forgotten_at"]),
        _item("share", "UpdateItem", states, memory, ["PK", "SK", "shared_with"]),
        _item("leave a sign of life", "UpdateItem", learned, [keys.seen_pk(agent)], ["last_seen"]),
        Deed("find the inbox", "sqs:GetQueueUrl", inbox),
        Deed("receive", "sqs:ReceiveMessage", inbox),
        Deed("delete a message", "sqs:DeleteMessage", inbox),
        Deed("keep a message hidden", "sqs:ChangeMessageVisibility", inbox),
        Deed("find the urgent queue", "sqs:GetQueueUrl", urgent),
        Deed("receive what is urgent", "sqs:ReceiveMessage", urgent),
        Deed("delete an urgent copy", "sqs:DeleteMessage", urgent),
        Deed("keep an urgent copy hidden", "sqs:ChangeMessageVisibility", urgent),
    ]


def common(names: Names) -> list[Deed]:
    """Give what every agent may read of all."""
    learned = names.table(MEMORY)
    return [
        _item("read shared patterns", "Query", learned, [keys.shared_pattern_pk("crypto")]),
        _item("read memories of a domain", "Query", learned, [keys.granted_domain_pk("crypto")]),
        _item("read who decides", "Query", learned, [keys.writers_pk(_KIND)]),
        _item("find agents", "Query", learned, [keys.REGISTRY_PK]),
        _item("see who is alive", "BatchGetItem", learned, [*map(keys.seen_pk, ("a", "b"))]),
    ]


def mischief(names: Names, agent: str, other: str) -> Iterator[Deed]:
    """Give what an agent might try against another beside the other's own deeds."""
    signals, inbox = names.table(SIGNALS), names.inbox(other)
    own, row = keys.signal_pk(_KIND, agent), [keys.inbox_pk(other)]
    yield _item(
        "forge a signal among its own",
        "BatchWriteItem",
        signals,
        [own, keys.signal_pk(_KIND, other)],
    )
    yield _item("forge a row", "PutItem", signals, row, ["PK", "SK", "signal_id"])
    yield _item("sign for nobody", "PutItem", signals, [keys.signal_pk(_KIND)], ["PK", "SK"])
    yield _item("put a row among its own", "PutItem", signals, [keys.inbox_pk(agent)], ["PK"])
    yield _item(
        "change a row's sender",
        "UpdateItem",
        signals,
        [keys.inbox_pk(agent)],
        ["PK", "SK", "source_agent"],
    )
    yield _item(
        "set a status in the mirror", "PutItem", signals, [own], ["PK", "SK", "processing_status"]
    )
    yield _item("pass for a mirror", "PutItem", signals, [own], ["PK", "SK", "status_v"])
    yield _item("take back a signal", "DeleteItem", signals, [own])
    yield _item(
        "promote by itself",
        "PutItem",
        names.table(DECISIONS),
        [keys.decision_pk(agent, _KIND)],
        ["PK", "SK", "promoted_at"],
    )
    yield _item(
        "praise its own sources", "PutItem", names.table(STATE), [keys.metrics_pk(agent)], ["PK"]
    )
    yield Deed("list large entries", "s3:ListBucket", _object(names, "").partition("/")[0])
    yield Deed("put beside large entries", "s3:PutObject", _object(names, "")[:-1])
    yield _item("teach all", "PutItem", names.table(MEMORY), [keys.shared_pattern_pk("crypto")])
    yield _item("list itself", "UpdateItem", names.table(MEMORY), [keys.REGISTRY_PK])
    yield _item(
        "count for itself",
        "UpdateItem",
        names.table(PIPELINE),
        [keys.ledger_pk(keys.base_subject(other, _KIND))],
    )
    for table in TABLES:
        arn = names.table(table.name)
        yield Deed(f"scan {table.name}", "dynamodb:Scan", arn)
        yield Deed(f"query {table.name} for no key", "dynamodb:Query", arn)
        yield Deed(f"PartiQL on {table.name}", "dynamodb:PartiQLSelect", arn)
        yield Deed(f"read the stream of {table.name}", "dynamodb:GetRecords", f"{arn}/stream/x")
        for index in table.indexes:
            asked = {_LEADING: [other]}
            at = f"{arn}/index/{index.name}"
            yield Deed(f"query {index.name} for another", "dynamodb:Query", at, asked)
    yield Deed("send to the inbox", "sqs:SendMessage", inbox)
    yield Deed("purge the inbox", "sqs:PurgeQueue", inbox)
    yield Deed("send to the urgent queue", "sqs:SendMessage", names.urgent_inbox(other))
    yield Deed("purge the urgent queue", "sqs:PurgeQueue", names.urgent_inbox(other))
    yield Deed("open the inbox", "sqs:SetQueueAttributes", inbox)
    yield Deed("add itself to the inbox", "sqs:AddPermission", inbox)
    yield Deed("delete the inbox", "sqs:DeleteQueue", inbox)
    dead = names.queue(INBOX_PREFIX + other + DLQ_SUFFIX)
    yield Deed("receive dead letters", "sqs:ReceiveMessage", dead)
    yield Deed("send a dead letter", "sqs:SendMessage", dead)
    hurried = names.dlq(INBOX_PREFIX + other + URGENT_SUFFIX)
    yield Deed("receive urgent dead letters", "sqs:ReceiveMessage", hurried)
    for queue in WORK_QUEUE_NAMES:
        yield Deed(f"send to {queue}", "sqs:SendMessage", names.queue(queue))
        yield Deed(f"receive from {queue}", "sqs:ReceiveMessage", names.queue(queue))
    yield Deed("make a queue", "sqs:CreateQueue", names.inbox(f"{other}-2"))
    yield Deed("take the role", "sts:AssumeRole", names.agent_role_arn(other))
    yield Deed("tag itself", "iam:TagRole", names.agent_role_arn(agent))
    yield Deed("read through a cache", "dax:GetItem", names.arn("dax", "cache/any"))


def _object(names: Names, agent: str) -> str:
    return f"arn:{names.partition}:s3:::{_LARGE}/{agent}/mem_1.json"


def _item(
    what: str,
    action: str,
    table: str,
    leading: Sequence[str],
    attributes: Sequence[str] = (),
) -> Deed:
    context: dict[str, Any] = {_LEADING: leading}
    return Deed(
        what,
        f"dynamodb:{action}",
        table,
        context | ({_ATTRIBUTES: attributes} if attributes else {}),
    )
