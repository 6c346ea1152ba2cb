"""Policies are judged as IAM judges them, and what is not understood is not guessed."""

from typing import Any

import pytest

from sharpwave.infra.aws.evaluate import Request, Verdict, decide
from sharpwave.infra.aws.resolve import NotUnderstood

ROLE = "arn:aws:iam::111122223333:role/agents/a"
QUEUE = "arn:aws:sqs:us-east-1:111122223333:inbox-a"
TABLE = "arn:aws:dynamodb:us-east-1:111122223333:table/t"


def allow(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(**more: Any) -> dict[str, Any]:
    return {**allow(**more), "Effect": "Deny"}


def put(**context: list[str]) -> Request:
    named = {name.replace("_", ":"): value for name, value in context.items()}
    return Request(ROLE, "dynamodb:PutItem", TABLE, named)


def judged(request: Request, *statements: dict[str, Any]) -> Verdict:
    return decide(request, statements)


def test_what_nobody_allows_is_not_allowed() -> None:
    assert judged(put()) is Verdict.UNANSWERED


def test_a_deny_wins_over_any_allow() -> None:
    assert judged(put(), allow(), deny()) is Verdict.DENIED


def test_actions_are_alike_in_any_case_and_resources_are_not() -> None:
    assert judged(put(), allow("DYNAMODB:putitem")) is Verdict.ALLOWED
    assert judged(put(), allow(resource=TABLE.upper())) is Verdict.UNANSWERED


@pytest.mark.parametrize(
    ("pattern", "verdict"),
    [
        ("dynamodb:*", Verdict.ALLOWED),
        ("dynamodb:Put????", Verdict.ALLOWED),
        ("dynamodb:Put???", Verdict.UNANSWERED),
        ("dynamodb.PutItem", Verdict.UNANSWERED),
    ],
)
def test_stars_and_question_marks_stand_for_text(pattern: str, verdict: Verdict) -> None:
    assert judged(put(), allow(pattern)) is verdict


def test_a_queue_allows_by_itself_and_denies_against_all() -> None:
    request = Request(ROLE, "sqs:SendMessage", QUEUE)

    assert decide(request, [], [{**allow(), "Principal": {"AWS": ROLE}}]) is Verdict.ALLOWED
    assert decide(request, [allow()], [{**deny(), "Principal": "*"}]) is Verdict.DENIED


LEADING = "dynamodb:LeadingKeys"
OWN = {"ForAllValues:StringLike": {LEADING: ["agent:a#*"]}}
GUARDED = {**OWN, "Null": {LEADING: "false"}}


@pytest.mark.parametrize(
    ("condition", "found", "verdict"),
    [
        (OWN, ["agent:a#x"], Verdict.ALLOWED),
        (OWN, ["agent:a#x", "agent:b#x"], Verdict.UNANSWERED),
        # The trap: no value at all.
        (OWN, None, Verdict.ALLOWED),
        (GUARDED, None, Verdict.UNANSWERED),
        (GUARDED, ["agent:a#x"], Verdict.ALLOWED),
        ({"ForAnyValue:StringEquals": {LEADING: ["x"]}}, ["x", "y"], Verdict.ALLOWED),
        ({"ForAnyValue:StringEquals": {LEADING: ["x"]}}, None, Verdict.UNANSWERED),
        ({"ForAnyValue:StringEquals": {LEADING: ["x*"]}}, ["xy"], Verdict.UNANSWERED),
    ],
)
def test_conditions_on_several_values(
    condition: dict[str, Any], found: list[str] | None, verdict: Verdict
) -> None:
    request = put(**({} if found is None else {"dynamodb_LeadingKeys": found}))

    assert judged(request, allow(Condition=condition)) is verdict


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ({"ArnEquals": {"aws:PrincipalArn": ROLE}}, Verdict.ALLOWED),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/agents/*"}}, Verdict.ALLOWED),
        ({"ArnLike": {"aws:PrincipalArn": "arn:*:role/agents/a"}}, Verdict.UNANSWERED),
        ({"ArnNotEquals": {"aws:PrincipalArn": [ROLE, QUEUE]}}, Verdict.UNANSWERED),
        ({"ArnNotEquals": {"aws:PrincipalArn": [QUEUE]}}, Verdict.ALLOWED),
        ({"StringNotEquals": {"aws:Absent": "x"}}, Verdict.ALLOWED),
        ({"StringEquals": {"aws:Absent": "x"}}, Verdict.UNANSWERED),
        ({"Bool": {"aws:SecureTransport": "false"}}, Verdict.UNANSWERED),
    ],
)
def test_conditions_on_one_value(condition: dict[str, Any], verdict: Verdict) -> None:
    assert judged(put(), allow(Condition=condition)) is verdict


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "NotAction": "x", "Action": "*", "Resource": "*"},
        {"Effect": "Perhaps", "Action": "*", "Resource": "*"},
        allow(Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}),
        allow(Condition={"StringEqualsIfExists": {LEADING: "x"}}),
        allow(Condition={"ForAllValues:StringNotEquals": {LEADING: "x"}}),
        allow(Condition={"StringEquals": {LEADING: "agent:a"}}),
    ],
)
def test_what_cannot_be_judged_is_an_error(statement: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood):
        judged(put(dynamodb_LeadingKeys=["agent:a"]), statement)


@pytest.mark.parametrize("principal", [{"Service": "x"}, {"AWS": "arn:aws:iam::1:root"}, "x"])
def test_a_principal_that_cannot_be_judged_is_an_error(principal: Any) -> None:
    with pytest.raises(NotUnderstood):
        decide(put(), [], [{**allow(), "Principal": principal}])
