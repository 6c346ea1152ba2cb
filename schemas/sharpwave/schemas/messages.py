"""What an agent finds in its inbox queue: one JSON object per message, version 1.

Unknown keys are to be ignored and unknown kinds skipped; no key is removed within version 1.
`data` and `context` come from another agent: treat them as untrusted input.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sharpwave.schemas import keys
from sharpwave.schemas.ids import delivery_id, is_record_id, signal_uid
from sharpwave.schemas.numbers import parse_json, plain_json
from sharpwave.schemas.records import SIGNAL_TTL_S

#: Below every SQS limit in use. Larger payloads are kept in the target's own row.
MAX_BODY_BYTES = 240 * 1024
#: Severities, in small letters, whose signals overtake a backlog, unless a deployment says others.
URGENT = frozenset({"high", "critical", "urgent"})

Provenance = Literal["bound", "unverified"]


class RowReference(BaseModel):
    """Where the target's own row is: the place to acknowledge."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    table: str
    PK: str
    SK: str


class SignalMessage(BaseModel):
    """A signal, as its target receives it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: Literal[1]
    kind: Literal["signal"]
    delivery_id: str = Field(description="same at every redelivery: the key for deduplication")
    signal_id: str
    signal_type: str
    source_agent: str
    provenance: Provenance = Field(
        description="bound: the writer's identity is enforced by IAM; unverified: it is a claim"
    )
    target_agent: str
    timestamp: int
    iso_timestamp: str
    event_time: str | None = None
    expires_at: int = Field(description="epoch seconds after which the delivery counts as expired")
    severity: str | None = None
    urgent: bool = Field(
        default=False,
        description="whether another copy of this delivery lies in the agent's urgent queue",
    )
    confidence: Decimal | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    context: dict[str, Any] = Field(default_factory=dict)
    recommended_action: str | None = None
    correlation_id: str | None = None
    in_reply_to: str | None = Field(
        default=None, description="of an answer: the signal_id of what was asked"
    )
    traceparent: str | None = None
    row: RowReference
    omitted: list[str] = Field(
        default_factory=list, description="keys too large for the message: read them from `row`"
    )


class Reasoned(BaseModel):
    """One fault of a refused record."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    where: str
    message: str


class NoticeMessage(BaseModel):
    """Word from the pipeline about a record of the agent's own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: Literal[1]
    kind: Literal["notice"]
    notice_id: str
    target_agent: str
    code: str
    reasons: list[Reasoned]
    record: RowReference | None = None
    timestamp: int


AnyMessage = SignalMessage | NoticeMessage
_ADAPTER: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="kind")])


def parse_message(body: str) -> AnyMessage | None:
    """Read the body of an inbox message; None if its kind or version is newer than this code.

    Raises:
        ValueError: the body is no inbox message at all.
    """
    content = parse_json(body)
    if not isinstance(content, dict) or "kind" not in content:
        raise ValueError("not an inbox message: no JSON object with a `kind`")
    # Before the models look: a newer form is skipped, and must not read as a broken one.
    if content["kind"] not in ("signal", "notice") or content.get("v") != 1:
        return None
    return _ADAPTER.validate_python(content)


_COPIED = (
    "signal_id",
    "signal_type",
    "source_agent",
    "timestamp",
    "iso_timestamp",
    "event_time",
    "severity",
    "confidence",
    "data",
    "context",
    "recommended_action",
    "correlation_id",
    "traceparent",
)


def is_answer(signal: Mapping[str, Any]) -> bool:
    """Say whether a signal answers another, whose sender may be waiting.

    The attribute is not judged: one that holds something else under this name is a signal too.
    """
    return is_record_id(signal.get("in_reply_to"))


def is_urgent(signal: Mapping[str, Any], severities: Collection[str]) -> bool:
    """Say whether a signal overtakes others, by severities in small letters."""
    return str(signal.get("severity", "")).strip().lower() in severities


class SignalBody:
    """The message of one signal for any of its targets; what these share is written once."""

    def __init__(self, signal: Mapping[str, Any], table: str, *, urgent: bool = False) -> None:
        """Write for rows in the table of this physical name."""
        key = keys.Key(signal["PK"], signal["SK"])
        self._uid, self._table = signal_uid(*key), table
        self._row_sk = keys.inbox_sk(keys.time_and_id(key.sk)[0], self._uid)
        self._shared = _shared(signal)
        self._urgent = {"urgent": True} if urgent else {}
        self._text = self._written(self._shared)

    def to(self, target: str) -> tuple[str, tuple[str, ...]]:
        """Write it for one target as ASCII JSON.

        Returns:
            The body and the keys left out of it because it would pass `MAX_BODY_BYTES`.
        """
        row = keys.Key(keys.inbox_pk(target), self._row_sk)
        own = plain_json(_own(row, self._uid, target, self._table))[:-1]
        # ASCII, so that characters are bytes: SQS counts bytes.
        body = f"{own},{self._text}"
        if len(body) <= MAX_BODY_BYTES:
            return body, ()
        # The rest is bounded by the models' limits and fits in any case.
        rest = dict(self._shared)
        omitted = tuple(name for name in ("data", "context") if rest.pop(name, None))
        return f"{own},{self._written(rest, omitted)}", omitted

    def _written(self, shared: Mapping[str, Any], omitted: Collection[str] = ()) -> str:
        return plain_json({**shared, "omitted": [*omitted], **self._urgent})[1:]


def message_of(signal: Mapping[str, Any], target: str, table: str) -> dict[str, Any]:
    """Give the message of one signal for one target; `table` is the physical name of the row's."""
    key = keys.Key(signal["PK"], signal["SK"])
    uid = signal_uid(*key)
    row = keys.inbox_row(target, key, uid)
    return {**_own(row, uid, target, table), **_shared(signal), "omitted": []}


def _own(row: keys.Key, uid: str, target: str, table: str) -> dict[str, Any]:
    """Give what only one target's message of a signal says."""
    return {
        "v": 1,
        "kind": "signal",
        "delivery_id": delivery_id(uid, target),
        "target_agent": target,
        "row": {"table": table, **row.item()},
    }


def _shared(signal: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the messages of a signal say to all of its targets."""
    bound = keys.owner_of(signal["PK"]) == signal["source_agent"]
    return {
        "provenance": "bound" if bound else "unverified",
        "expires_at": expires_at(signal),
        **{name: signal[name] for name in _COPIED if signal.get(name) is not None},
        **({"in_reply_to": signal["in_reply_to"]} if is_answer(signal) else {}),
    }


def expires_at(signal: Mapping[str, Any]) -> int:
    """Give a signal's deadline in epoch seconds: its `ttl`, or a day after its timestamp."""
    return int(signal.get("ttl") or signal["timestamp"] + SIGNAL_TTL_S)
