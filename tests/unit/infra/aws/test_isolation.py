"""No agent reaches what is another's, by the policies that the templates give."""

import copy
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpwave.infra.aws import isolation
from sharpwave.infra.aws.evaluate import Verdict
from sharpwave.infra.aws.isolation import ALIKE, Deed, Policies, Source, in_package, prove
from sharpwave.infra.aws.names import OPERATOR, ROUTER, Names
from sharpwave.infra.aws.plan import PROFILES
from sharpwave.infra.aws.resolve import Template
from sharpwave.schemas import keys
from sharpwave.schemas.ids import is_agent_id
from sharpwave.schemas.queues import DLQ_SUFFIX, WORK_QUEUE_NAMES
from sharpwave.schemas.tables import DECISIONS, SIGNALS, STATE, STREAMED, TABLES

by_profile = pytest.mark.parametrize("profile", PROFILES)
AGENTS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True).filter(
    lambda name: not keys.is_shard(name)
)
SK = "2026-11-01T00:00:00.000Z#dec_1"


@by_profile
@pytest.mark.parametrize("prefix", ["", "prod"])
def test_every_agent_does_its_own_work_and_nothing_of_anothers(profile: str, prefix: str) -> None:
    proof = prove(in_package(profile), prefix, ALIKE)

    assert proof.wrong == []
    assert proof.counts.denied == proof.counts.attempts > 1000
    assert proof.counts.allowed == proof.counts.own > 100


@given(st.lists(AGENTS, min_size=2, max_size=2, unique=True))
@settings(max_examples=25)
def test_it_holds_whatever_agents_are_called(agents: list[str]) -> None:
    assert prove(in_package("demo"), "", agents).wrong == []


@given(AGENTS, AGENTS, st.text(max_size=60))
def test_no_key_that_an_agent_may_write_is_read_as_anothers(
    agent: str, other: str, anything: str
) -> None:
    """A pattern's star matches what it likes, so what it matches is read by the key's own rule."""
    policies = _policies("demo", agent)
    patterns = {
        table: [
            pattern
            for statement in policies.role(policies.names.agent_role_arn(agent))
            if statement["Effect"] == "Allow"
            and "dynamodb:PutItem" in statement["Action"]
            and policies.names.table(table) in statement["Resource"]
            for pattern in statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        ]
        for table in STREAMED
    }

    for table, allowed in patterns.items():
        assert allowed
        for pattern in allowed:
            for filled in (anything, f"X#{other}", f"{other}#decision#X", other):
                pk = pattern.replace("*", filled)
                parsed = keys.parse(table, pk, SK)
                assert parsed is None or parsed.owner == agent, pk


@given(AGENTS, AGENTS)
def test_no_role_or_queue_of_one_deployment_is_called_as_anothers(agent: str, other: str) -> None:
    names = Names.of("prod")
    roles = {names.agent_role(agent), names.own_role(agent), names.own_role(ROUTER)}

    assert len(roles) == 3 or agent == ROUTER
    assert max(map(len, (names.agent_role(agent), Names.of("x" * 20).agent_role(agent)))) <= 64
    assert agent == other or names.inbox(agent) != names.inbox(other)
    assert not fnmatchcase(names.inbox(agent), names.inbox(agent) + DLQ_SUFFIX)


@by_profile
def test_an_agent_reads_the_mirrors_of_what_it_sent_and_of_nothing_else(profile: str) -> None:
    """So `Agent.timings` asks for its own apart: one key that is denied refuses the request."""
    policies = _policies(profile, "risk", "hunter")
    role, table = policies.names.agent_role_arn("risk"), policies.names.table(SIGNALS)
    own, others = keys.signal_pk("WHALE", "risk"), keys.signal_pk("WHALE", "hunter")

    def may(*partitions: str) -> bool:
        context = {"dynamodb:LeadingKeys": partitions}
        deed = Deed("", "dynamodb:BatchGetItem", table, context)
        return policies.verdict(role, deed) is Verdict.ALLOWED

    asked = [(own,), (others,), (own, others), (keys.signal_pk("WHALE"),)]
    assert [may(*each) for each in asked] == [True, False, False, False]


@by_profile
def test_workers_make_no_queue_and_read_no_inbox(profile: str) -> None:
    policies = _policies(profile, "risk-manager")
    names, inbox = policies.names, policies.names.inbox("risk-manager")

    for duty in WORK_QUEUE_NAMES:
        role = names.own_role_arn(duty)
        assert _may(policies, role, "sqs:SendMessage", inbox)
        assert _may(policies, role, "sqs:ReceiveMessage", names.queue(duty))
        assert not _may(policies, role, "sqs:ReceiveMessage", inbox)
        assert not _may(policies, role, "sqs:CreateQueue", names.queue("new"))
        assert not _may(policies, role, "sqs:SetQueueAttributes", names.queue(duty))
        for table in TABLES:
            assert not _may(policies, role, "dynamodb:Scan", names.table(table.name))
            assert not _may(policies, role, "dynamodb:DeleteTable", names.table(table.name))
        for other in WORK_QUEUE_NAMES:
            took = _may(policies, role, "sqs:ReceiveMessage", names.queue(other))
            assert took == (other == duty)


@by_profile
def test_only_the_archives_workers_write_the_archive(profile: str) -> None:
    policies = _policies(profile)
    part = "arn:aws:s3:::<sharpwave-archive>/archive/day=2026-11-01/part-1.jsonl.gz"

    may = [
        duty
        for duty in (*WORK_QUEUE_NAMES, ROUTER)
        if _may(policies, policies.names.own_role_arn(duty), "s3:PutObject", part)
    ]

    assert may == ["archive"]


@by_profile
def test_an_operator_redrives_and_an_agent_never(profile: str) -> None:
    policies = _policies(profile, "risk-manager")
    names = policies.names
    dead = names.dlq("inbox-risk-manager")

    assert _may(policies, names.own_role_arn(OPERATOR), "sqs:ReceiveMessage", dead)
    assert not _may(policies, names.agent_role_arn("risk-manager"), "sqs:ReceiveMessage", dead)


@by_profile
def test_queues_are_closed_even_to_who_may_do_everything(profile: str) -> None:
    policies = _policies(profile, "risk-manager")
    everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    names, stranger = policies.names, "arn:aws:iam::111122223333:role/admin"

    for queue in ("inbox-risk-manager", *WORK_QUEUE_NAMES):
        for arn in (names.queue(queue), names.dlq(queue)):
            for action in ("ReceiveMessage", "DeleteMessage", "SendMessage", "PurgeQueue"):
                deed = Deed("", f"sqs:{action}", arn)
                assert policies.against(everything, stranger, deed) is Verdict.DENIED
            # Or nobody could ever mend it.
            mend = Deed("", "sqs:SetQueueAttributes", arn)
            assert policies.against(everything, stranger, mend) is Verdict.ALLOWED
            open_talk = Deed("", "sqs:GetQueueUrl", arn, {"aws:SecureTransport": ["false"]})
            assert policies.against(everything, stranger, open_talk) is Verdict.DENIED


Weakening = Callable[[list[dict[str, Any]]], None]


def _without_null(statements: list[dict[str, Any]]) -> None:
    for each in statements:
        each.get("Condition", {}).pop("Null", None)


def _without(sid: str) -> Weakening:
    def weaken(statements: list[dict[str, Any]]) -> None:
        statements[:] = [each for each in statements if each["Sid"] != sid]

    return weaken


def _also(action: str) -> Weakening:
    def weaken(statements: list[dict[str, Any]]) -> None:
        statements.append({"Sid": "More", "Effect": "Allow", "Action": action, "Resource": "*"})

    return weaken


def _any_key(statements: list[dict[str, Any]]) -> None:
    for each in statements:
        for values in each.get("Condition", {}).values():
            if "dynamodb:LeadingKeys" in values and isinstance(
                values["dynamodb:LeadingKeys"], list
            ):
                values["dynamodb:LeadingKeys"].append("signal#*")


def _all_attributes(statements: list[dict[str, Any]]) -> None:
    for each in statements:
        if each["Sid"] == "Acknowledge":
            del each["Condition"]["ForAllValues:StringEquals"]


def _large_of_all(statements: list[dict[str, Any]]) -> None:
    for each in statements:
        if each["Sid"] == "OwnLargeEntries":
            # Without the slash behind the id.
            each["Resource"]["Fn::Join"][1][-1] = "*"


@pytest.mark.parametrize(
    ("weaken", "noticed"),
    [
        (_large_of_all, "recall much"),
        (_without("OwnLargeEntries"), "remember much"),
        (_without("OwnMetrics"), "read how its sources did"),
        (_without_null, "for no key"),
        (_without("WorkersAttributes"), "set a status in the mirror"),
        (_any_key, "forge a signal among its own"),
        (_all_attributes, "change a row's sender"),
        (_also("sqs:AddPermission"), "add itself to the inbox"),
        (_also("iam:*"), "tag itself"),
        (_without("OwnInbox"), "receive"),
        (_without("OwnState"), "save state"),
    ],
)
def test_a_policy_that_is_weaker_or_too_strict_is_noticed(weaken: Weakening, noticed: str) -> None:
    proof = prove(_changed("demo", weaken), "", ("risk", "risk-manager"))

    assert [each for each in proof.wrong if noticed in each.deed.what]


def _changed(profile: str, weaken: Weakening) -> Source:
    """Give a profile's templates, the policy of agents' roles changed."""

    def source(stack: str) -> Template:
        template = copy.deepcopy(in_package(profile)(stack))
        if stack == isolation.AGENT:
            role = template["Resources"]["Role"]
            weaken(role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"])
        return template

    return source


def _policies(profile: str, *agents: str) -> Policies:
    return Policies(in_package(profile), "", agents)


def _may(policies: Policies, role: str, action: str, resource: str) -> bool:
    return policies.verdict(role, Deed("", action, resource)) is Verdict.ALLOWED


def test_ids_are_what_the_strategy_makes() -> None:
    assert all(map(is_agent_id, ALIKE))
    assert {DECISIONS, SIGNALS, STATE} == set(STREAMED)
