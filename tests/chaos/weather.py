"""The rules by which the fault proxy breaks calls."""

from collections.abc import Mapping, Sequence
from typing import Any

Rule = Mapping[str, Any]

#: The request is carried out, and its answer is cut off after the first byte.
_LOST_REPLY = {"response": {"abort_bytes": 1}}
_RESET = {"reset": True}
_SLOW = {"latency": {"min": 50, "max": 400}}

_WRITES = ("PutItem", "UpdateItem", "BatchExecuteStatement")
_READS = ("Query", "BatchGetItem", "GetItem")
_SENDS = ("SendMessage", "SendMessageBatch")
_SETTLES = ("DeleteMessageBatch", "ChangeMessageVisibilityBatch")


def rules(intensity: float) -> list[Rule]:
    """Give the faults of a front; the first rule that fires decides over a call."""

    def some(service: str, share: float, effect: Rule, *operations: str) -> list[Rule]:
        fault = {"service": service, "probability": min(1.0, share * intensity), **effect}
        return [{**fault, "operation": name} for name in operations] or [fault]

    return [
        *some("dynamodb", 0.04, _LOST_REPLY, *_WRITES),
        *some("dynamodb", 0.03, _error("ProvisionedThroughputExceededException", 400)),
        *some("dynamodb", 0.02, _error("InternalServerError", 500)),
        *some("dynamodb", 0.01, _RESET),
        *some("sqs", 0.06, _LOST_REPLY, *_SENDS),
        *some("sqs", 0.02, _LOST_REPLY, "ReceiveMessage"),
        *some("sqs", 0.03, _LOST_REPLY, *_SETTLES),
        *some("sqs", 0.05, _error("ServiceUnavailable", 503), *_SETTLES),
        *some("sqs", 0.03, _error("RequestThrottled", 400)),
        *some("sqs", 0.01, _RESET),
        *some("dynamodbstreams", 0.03, _LOST_REPLY, "GetRecords"),
        *some("dynamodbstreams", 0.02, _error("LimitExceededException", 400)),
        *some("dynamodbstreams", 0.005, _error("ExpiredIteratorException", 400), "GetRecords"),
        *some("dynamodb", 0.05, _SLOW, *_WRITES, *_READS),
        *some("sqs", 0.05, _SLOW, *_SENDS, *_SETTLES),
    ]


def outage(service: str) -> list[Rule]:
    """Give the rules that make nearly every call to one service fail."""
    return [
        {"service": service, "probability": 0.5, **_error("InternalServerError", 500)},
        {"service": service, "probability": 0.9, **_RESET},
    ]


def refusal(queue: str, seconds: float, *, is_missing: bool) -> list[Rule]:
    """Give the rules by which one queue takes nothing for a while, or is said not to exist."""
    why = _error("QueueDoesNotExist", 400) if is_missing else _error("AccessDenied", 403)
    return [{"service": "sqs", "resource": queue, "ttl_s": seconds, **why}]


def trim() -> list[Rule]:
    """Give the rule that tells a reader once that its stream no longer holds its position."""
    lost = _error("TrimmedDataAccessException", 400)
    return [{"service": "dynamodbstreams", "operation": "GetRecords", "times": 1, **lost}]


def fired(stats: Mapping[str, Any]) -> dict[str, int]:
    """Sum what a proxy's statistics say it broke, by kind of fault."""
    counts: dict[str, int] = {}
    for entry in stats["by_rule"]:
        kind = _kind(str(entry["describe"]))
        counts[kind] = counts.get(kind, 0) + int(entry["fired"])
    return counts


def total(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Add up counts."""
    counts: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items()))


def _error(code: str, status: int) -> dict[str, Any]:
    return {"error": {"code": code, "status": status}}


def _kind(text: str) -> str:
    """Name a fault as the proxy describes it, such as `latency:231ms` or `error:SlowDown`."""
    for prefix, name in (("latency", "late reply"), ("response", "lost reply"), ("reset", "reset")):
        if text.startswith(prefix):
            return name
    return text.removeprefix("error:")
