"""Message bodies: plain JSON out, plain or base64 JSON in, unless an encoder is set.

Plain JSON lets any language, a Lambda or a Pipe enqueue work. Bodies in base64
are what `dramatiq_sqs` wrote, so a queue may be taken over while it is full.

An encoder set with `dramatiq.set_encoder` writes the bodies in its place, in
base64 as `dramatiq_sqs` does, for it may be pickle; what others put into the queue
as plain JSON is still read.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec
from dramatiq import JSONEncoder, Message, get_encoder

from sharpwave.workers.sqs.errors import ClaimMissing, Poison, Unsendable, name_of

_CLAIM = "sharpwave_claim"
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class ClaimStore(Protocol):
    """Where bodies too large for SQS wait, for example an S3 bucket with a lifecycle rule.

    Nothing deletes a body: a message may be delivered again at any time within
    its retention, so let the store expire bodies after retention plus the
    dead-letter queue's retention.
    """

    def put(self, body: str) -> str:
        """Keep a body and return its reference, at most 1,024 characters."""

    def get(self, reference: str) -> str:
        """Return a body.

        Raises:
            ClaimMissing: there is none; any other error is taken as passing.
        """


class _Work(msgspec.Struct):
    actor_name: str
    message_id: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    message_timestamp: int | float = 0


class _Claim(msgspec.Struct):
    sharpwave_claim: str


_decode_work = msgspec.json.Decoder(_Work).decode
_decode_claim = msgspec.json.Decoder(_Claim).decode


class Bodies:
    """Encodes and decodes message bodies.

    Args:
        max_bytes: largest body SQS takes (1 MiB at AWS, 256 KiB on older emulators).
        claims: store for larger bodies; without one they are refused.
        claim_over_bytes: bodies above this size are claimed when there is a store.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 1_048_576,
        claims: ClaimStore | None = None,
        claim_over_bytes: int = 262_144,
    ) -> None:
        self._max_bytes = max_bytes
        self._claims = claims
        self._claim_over_bytes = min(claim_over_bytes, max_bytes)

    def encode(self, message: Message[Any]) -> str:
        """Return the body of a message: ASCII, so that its length is its size in bytes.

        Raises:
            Unsendable: an argument cannot be encoded, which is named, or the body is too large.
        """
        fields, encoder = message.asdict(), get_encoder()
        if type(encoder) is JSONEncoder:
            try:
                body = _ENCODER.encode(fields)
            except (TypeError, ValueError, RecursionError) as error:
                raise Unsendable(
                    f"{name_of(message)} is not JSON: {_trouble(fields) or error}; "
                    "pass strings, numbers, booleans, lists and dicts"
                ) from error
            # Half of a surrogate pair has an escape, which nobody who reads JSON need accept.
            if "\\ud" in body and (trouble := _trouble(fields)):
                raise Unsendable(f"{name_of(message)} is not JSON: {trouble}")
        else:
            try:
                body = b64encode(encoder.encode(fields)).decode()
            except Exception as error:
                kind = type(encoder).__name__
                raise Unsendable(
                    f"{name_of(message)} cannot be encoded by {kind}: {error}"
                ) from error
        if self._claims is not None and len(body) > self._claim_over_bytes:
            return _ENCODER.encode({_CLAIM: self._claims.put(body)})
        if len(body) > self._max_bytes:
            raise Unsendable(
                f"{name_of(message)} has a body of {len(body)} bytes, "
                f"more than {self._max_bytes}; send a reference, or configure a ClaimStore"
            )
        return body

    def decode(self, body: str, *, queue_name: str) -> Message[Any]:
        """Return the message in a body, as one of the queue it arrived on.

        Raises:
            Poison: no worker can ever run this body; says why.
            Exception: from the claim store, when it may answer later.
        """
        try:
            if _CLAIM in body[:24]:
                if self._claims is None:
                    raise Poison("body is kept in a ClaimStore, and this worker has none")
                body = self._claims.get(_decode_claim(body).sharpwave_claim)
            work = _read(body)
        except ClaimMissing as error:
            raise Poison(f"claimed body is gone: {error}") from error
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Poison(f"body is not a work message: {error}") from error
        if "throws" in work.options:
            # Dramatiq gives what it finds to isinstance(), which raises for what JSON can carry.
            throws = work.options["throws"]
            kinds = throws if isinstance(throws, tuple) else (throws,)
            if not all(
                isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
            ):
                del work.options["throws"]
        return Message(
            # Dramatiq looks the consumer up by this, and anyone may have written the body's own.
            queue_name=queue_name,
            actor_name=work.actor_name,
            args=tuple(work.args),
            kwargs=work.kwargs,
            options=work.options,
            message_id=work.message_id,
            message_timestamp=int(work.message_timestamp),
        )


def _read(body: str) -> _Work:
    """Read a body by what it looks like and by the encoder that is set.

    Raises:
        Poison: it is neither JSON nor base64.
        msgspec.MsgspecError: it is no work message.
    """
    is_json = body.lstrip()[:1] == "{"
    try:
        data = body.encode() if is_json else b64decode(body, validate=True)
    except ValueError as error:
        raise Poison("body is neither JSON nor base64 of JSON") from error
    encoder = get_encoder()
    if type(encoder) is not JSONEncoder:
        try:
            return msgspec.convert(encoder.decode(data), _Work)
        except Exception as error:
            if data.lstrip()[:1] != b"{":
                name = type(encoder).__name__
                raise Poison(f"body is not a work message of {name}: {error}") from error
            # Written by somebody who does not know the encoder: a Lambda, or a sender from before.
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Poison("body is neither JSON nor base64 of JSON") from error
    try:
        return _decode_work(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        # NaN and halves of surrogate pairs, which Dramatiq's encoder writes: no JSON to others.
        try:
            return msgspec.convert(json.loads(text), _Work)
        except json.JSONDecodeError:
            raise error from None


def _trouble(fields: Mapping[str, Any]) -> str:
    """Name the first value of a message that JSON cannot carry; empty if there is none."""
    try:
        return next(_troubles(fields, ""), "")
    except RecursionError:
        return "it is nested without end"


def _troubles(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            yield f"{path} holds half of a surrogate pair: {value!a}"
    elif isinstance(value, Mapping):
        for name, each in value.items():
            inner = f"{path}[{name!a}]" if path else str(name)
            if name is not None and not isinstance(name, str | int | float):
                yield f"{path} has a key of type {type(name).__name__}"
            yield from _troubles(name if isinstance(name, str | float) else "", f"key {inner}")
            yield from _troubles(each, inner)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _troubles(each, f"{path}[{number}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{path} is {value}"
    elif value is not None and not isinstance(value, int):
        yield f"{path} is of type {type(value).__name__}"
