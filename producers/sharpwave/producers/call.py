"""What every operation knows of its agent, what it asks of its driver, and how it is answered.

Each operation is written once, without I/O: a generator that yields calls and is sent their
replies, or has an `AgentError` thrown in. `drivers` runs it, with boto3 or with aiobotocore.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from sharpwave.producers import errors
from sharpwave.schemas import queues, tables
from sharpwave.schemas.ids import NAME_PREFIX, SYSTEM
from sharpwave.schemas.keys import Key
from sharpwave.schemas.retention import Retention
from sharpwave.schemas.times import Clock, now

log = logging.getLogger("sharpwave.producers")

Service = Literal["dynamodb", "sqs", "s3"]
Reply = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """What every operation knows about the agent that runs it.

    `counters` counts what was dropped or taken from elsewhere: `forged`, `unreadable`, `beyond`,
    `uncounted`, `deduplicated`, `undecodable`, `skipped`, and by a cache `cache_hits` and
    `cache_misses`, or `dax_reads`, `dax_fallbacks` and `dax_opened`. `shelf` keeps what was learnt
    from a place as it was last read, and when: one list for each place asked about. `uses` are
    those of memory entries that are not written yet, and `large_entries` is where in S3 the agent
    keeps what is too large. `awaited` holds the ids of the signals whose answers are waited for
    just now, `limits` keeps the agent's limits.
    """

    agent_id: str
    prefix: str = ""
    strict: bool = True
    agent_version: str | None = None
    clock: Clock = now
    counters: Counter[str] = field(default_factory=Counter)
    shelf: dict[str, tuple[float, list[Any]]] = field(default_factory=dict, repr=False)
    uses: Counter[Key] = field(default_factory=Counter, repr=False)
    large_entries: str | None = None
    awaited: set[str] = field(default_factory=set, repr=False)
    limits: dict[Any, Any] = field(default_factory=dict, repr=False)
    retention: Retention = field(default_factory=lambda: Retention.read(os.environ))

    def __post_init__(self) -> None:
        place = self.large_entries
        if place is not None and re.fullmatch(r"s3://[^/]+(/[^/]+)*", place) is None:
            raise ValueError(f"large_entries {place!r} is no place; write s3://bucket/prefix")
        queues.inbox(self.agent_id)
        if self.agent_id == SYSTEM:
            raise ValueError(f"{SYSTEM!r} names the pipeline itself; choose another agent_id")
        if re.fullmatch(NAME_PREFIX, self.prefix) is None:
            raise ValueError(f"{self.prefix!r} is no prefix; use at most 20 of a-z, 0-9 and '-'")

    def table(self, name: str) -> str:
        """Give the name a table has at AWS."""
        return tables.physical(name, self.prefix)

    @property
    def inbox_name(self) -> str:
        """Give the name the agent's inbox queue has at AWS."""
        return tables.physical(queues.inbox(self.agent_id).name, self.prefix)

    @property
    def urgent_inbox_name(self) -> str:
        """Give the name the agent's queue of urgent copies has at AWS."""
        return tables.physical(queues.urgent_inbox(self.agent_id).name, self.prefix)

    def now(self) -> int:
        """Give the time in whole epoch seconds."""
        return int(self.clock())


_NAMES = ("TableName", "QueueName", "Bucket")


class Call(NamedTuple):
    """One request to a service; `operation` is the client's method.

    `recent` says that it reads only records of the last day and may be answered by a cache.
    """

    service: Service
    operation: str
    params: dict[str, Any]
    recent: bool = False

    @property
    def place(self) -> str:
        """Name the table, queue or bucket, for messages."""
        url = str(self.params.get("QueueUrl", ""))
        name = next(filter(None, map(self.params.get, _NAMES)), None)
        return str(name or url.rpartition("/")[2] or self.service)

    @property
    def target(self) -> str:
        """Name what is asked of which of them, for messages."""
        return f"{self.operation} on {self.place}"


class Pause(NamedTuple):
    """A wait before the next call, in seconds."""

    seconds: float


class Given(NamedTuple):
    """What a function of the caller's gave; on an event loop it may have to be awaited."""

    value: Any


Step = Call | Pause | Given
#: Yields requests, receives replies (or has an `AgentError` thrown in), returns its result.
Operation = Generator[Step, Reply, T]

F = TypeVar("F", bound=Callable[..., Any])


def documented(method: F, operation: Callable[..., Any]) -> F:
    """Give a method the signature of the operation it runs, with the result it returns."""
    shown = signature(operation)
    result = get_args(shown.return_annotation)[-1]
    method.__signature__ = shown.replace(return_annotation=result)  # type: ignore[attr-defined]
    return method


#: What the clients may raise for a call that reached them.
CLIENT_ERRORS = (ClientError, BotoCoreError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)

_THROTTLED = queues.THROTTLES | {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "KMS.ThrottlingException",
    "KmsThrottled",
}
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "KMS.AccessDeniedException",
)
#: Called a fault of the request, and accepted as it is a moment later.
_PASSING = (
    "AWS.SimpleQueueService.QueueDeletedRecently",
    "QueueDeletedRecently",
    "RequestTimeout",
    "TransactionInProgressException",
)
_QUEUE_MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


def translate(error: Exception, call: Call) -> errors.AgentError:
    """Give the error of this package that stands for a client's."""
    if isinstance(error, ClientError):
        translated = _service_error(error, call)
    elif isinstance(error, ConnectionError | HTTPClientError):
        text = f"{call.target}: {error}; check AWS_ENDPOINT_URL and the network"
        translated = errors.Unreachable(text)
    elif isinstance(error, _NO_CREDENTIALS):
        translated = errors.AccessDenied(f"{call.target}: {error}; configure AWS credentials")
    else:
        translated = errors.InvalidRequest(f"{call.target}: {error}")
    # It is thrown into the operation and not raised here, so `from` cannot say it.
    translated.__cause__ = error
    return translated


def _service_error(error: ClientError, call: Call) -> errors.AgentError:
    response: dict[str, Any] = dict(error.response)
    fault = response.get("Error", {})
    code, text = fault.get("Code", ""), f"{call.target}: {fault.get('Message', error)}"
    # The item that was in the way comes along where ALL_OLD was asked for.
    if code == "ConditionalCheckFailedException":
        return errors.ConditionFailed(text, item=response.get("Item"))
    if code == "TransactionCanceledException":
        reasons = [part.get("Code", "None") for part in response.get("CancellationReasons", [])]
        return errors.ConditionFailed(text, reasons=reasons)
    if code in _QUEUE_MISSING:
        return errors.QueueMissing(
            f"{call.place} does not exist; call Agent.register() or run `sharpwave agents add`"
        )
    if code == "ResourceNotFoundException":
        return errors.TableMissing(f"{text}; run `sharpwave provision` or check the prefix")
    if code == "NoSuchKey":
        return errors.RecordMissing(f"{text}; there is no object {call.params['Key']}")
    if code in _DENIED:
        return errors.AccessDenied(f"{text}; check the agent's credentials and policy")
    if code in _THROTTLED:
        return errors.Throttled(f"{text}; write or read less at a time, or try again later")
    # What AWS blames on the request it will blame again; all else may pass.
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if status < 500 and code not in _PASSING:
        return errors.InvalidRequest(f"{code}: {text}")
    return errors.ServiceFailed(f"{code}: {text}; try again later")
