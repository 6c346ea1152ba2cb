"""What policies say to a request, by the rules of IAM within one account.

An explicit Deny of either policy wins; otherwise an Allow of either is enough. A statement or a
condition that is not understood here is an error: what cannot be judged proves nothing.
Source: AWS, IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements".
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from sharpwave.infra.aws.resolve import NotUnderstood

Statement = Mapping[str, Any]
_ELEMENTS = frozenset({"Sid", "Effect", "Action", "Resource", "Condition", "Principal"})
#: Keys of a request that hold one value; the others may hold several, and want a qualifier.
_SINGLE = frozenset({"aws:PrincipalArn", "aws:SecureTransport"})


class Verdict(Enum):
    """What becomes of a request."""

    ALLOWED = "allowed"
    #: No statement allows it.
    UNANSWERED = "not allowed"
    DENIED = "denied"


class Request(NamedTuple):
    """A call to AWS as IAM sees it.

    Attributes:
        principal: the ARN of the caller's role.
        action: such as `sqs:SendMessage`.
        resource: the ARN it is about, or `*`.
        context: keys of conditions with their values; one that is absent has none.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, Sequence[str]] = {}

    def values(self, key: str) -> Sequence[str] | None:
        """Give the values of a condition's key, or None if the request has none."""
        if key == "aws:PrincipalArn":
            return (self.principal,)
        found = self.context.get(key)
        return ("true",) if found is None and key == "aws:SecureTransport" else found


def decide(
    request: Request, identity: Iterable[Statement], resource: Iterable[Statement] = ()
) -> Verdict:
    """Judge a request by the policies of its caller's role and of what it is about.

    Raises:
        NotUnderstood: a policy holds something that cannot be judged here.
    """
    effects = {
        *(each["Effect"] for each in identity if _speaks(each, request)),
        *(
            each["Effect"]
            for each in resource
            if _is_meant(each["Principal"], request) and _speaks(each, request)
        ),
    }
    if "Deny" in effects:
        return Verdict.DENIED
    return Verdict.ALLOWED if "Allow" in effects else Verdict.UNANSWERED


def _speaks(statement: Statement, request: Request) -> bool:
    """Say whether a statement is about a request."""
    if strange := statement.keys() - _ELEMENTS:
        raise NotUnderstood(f"a statement has {', '.join(sorted(strange))}")
    if statement["Effect"] not in ("Allow", "Deny"):
        raise NotUnderstood(f"a statement has the effect {statement['Effect']!r}")
    action = request.action.lower()
    if not any(_like(each.lower(), action) for each in _list(statement["Action"])):
        return False
    if not any(_like(each, request.resource) for each in _list(statement["Resource"])):
        return False
    return all(
        _holds(operator, key, [str(value) for value in _list(wanted)], request)
        for operator, keys in statement.get("Condition", {}).items()
        for key, wanted in keys.items()
    )


def _is_meant(principal: Any, request: Request) -> bool:
    if principal in ("*", {"AWS": "*"}):
        return True
    if isinstance(principal, Mapping) and principal.keys() == {"AWS"}:
        named = _list(principal["AWS"])
        if all(":role/" in each for each in named):
            return request.principal in named
    raise NotUnderstood(f"the principal {principal!r} is not understood here")


def _holds(operator: str, key: str, wanted: Sequence[str], request: Request) -> bool:
    found = request.values(key)
    if operator == "Null":
        return any((found is None) == (value == "true") for value in wanted)
    qualifier, _, name = operator.rpartition(":")
    is_negated = name.replace("Not", "", 1) in _TESTS and name not in _TESTS
    test = _TESTS.get(name.replace("Not", "", 1) if is_negated else name)
    if test is None or qualifier not in ("", "ForAllValues", "ForAnyValue"):
        raise NotUnderstood(f"the condition {operator!r} is not understood here")
    if is_negated and qualifier:
        raise NotUnderstood(f"{operator!r} is not understood here")

    def matches(value: str) -> bool:
        return any(test(each, value) for each in wanted)

    if qualifier == "ForAllValues":
        return all(map(matches, found or ()))
    if qualifier == "ForAnyValue":
        return any(map(matches, found or ()))
    if found is None:
        return is_negated
    if key not in _SINGLE:
        raise NotUnderstood(f"{operator!r} of {key!r}, which may have several values")
    return matches(found[0]) != is_negated


def _arn_like(pattern: str, value: str) -> bool:
    # Part by part: a star in one does not reach into the next.
    one, other = pattern.split(":", 5), value.split(":", 5)
    return len(one) == len(other) and all(map(_like, one, other))


@lru_cache(maxsize=65_536)
def _pattern(text: str) -> re.Pattern[str]:
    parts = (".*" if each == "*" else "." if each == "?" else re.escape(each) for each in text)
    return re.compile("".join(parts), re.DOTALL)


def _like(pattern: str, value: str) -> bool:
    return _pattern(pattern).fullmatch(value) is not None


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda pattern, value: pattern == value,
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda pattern, value: pattern.lower() == value.lower(),
}
