"""Message bodies: plain JSON out, plain or base64 JSON in.

Plain JSON lets any language, a Lambda or a Pipe enqueue work. Bodies in base64
are what `dramatiq_sqs` wrote, so a queue may be taken over while it is full.
"""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import msgspec
from dramatiq import Message

from sharpwave.workers.sqs.claims import ClaimStore
from sharpwave.workers.sqs.errors import ClaimMissing, Poison, Unsendable

_CLAIM = "sharpwave_claim"
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
# JSON cannot carry exception classes, and Dramatiq would pass what it finds to isinstance().
_LOCAL_OPTIONS = ("throws",)


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
        """Return the ASCII body of a message.

        Raises:
            Unsendable: an argument is not JSON, or the body is too large.
        """
        try:
            body = _ENCODER.encode(message.asdict())
        except (TypeError, ValueError) as error:
            raise Unsendable(
                f"{message.actor_name}({message.message_id}) is not JSON: {error}; "
                "pass strings, numbers, booleans, lists and dicts"
            ) from error
        if self._claims is not None and len(body) > self._claim_over_bytes:
            return _ENCODER.encode({_CLAIM: self._claims.put(body)})
        if len(body) > self._max_bytes:
            raise Unsendable(
                f"{message.actor_name}({message.message_id}) has a body of {len(body)} bytes, "
                f"more than {self._max_bytes}; send a reference, or configure a ClaimStore"
            )
        return body

    def decode(self, body: str, *, queue_name: str) -> Message[Any]:
        """Return the message in a body, as one of the queue it arrived on.

        Dramatiq looks the consumer up by the message's queue name, so the name
        in the body, which anyone may have written, is not used.

        Raises:
            Poison: no worker can ever run this body; says why.
            Exception: from the claim store, when it may answer later.
        """
        try:
            text = body if body.lstrip()[:1] == "{" else _unwrap(body)
            if _CLAIM in text[:24]:
                text = self._claimed(text)
            work = _decode_work(text)
        except ClaimMissing as error:
            raise Poison(f"claimed body is gone: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Poison(f"body is not a work message: {error}") from error
        for name in _LOCAL_OPTIONS:
            work.options.pop(name, None)
        return Message(
            queue_name=queue_name,
            actor_name=work.actor_name,
            args=tuple(work.args),
            kwargs=work.kwargs,
            options=work.options,
            message_id=work.message_id,
            message_timestamp=int(work.message_timestamp),
        )

    def _claimed(self, text: str) -> str:
        if self._claims is None:
            raise Poison("body is kept in a ClaimStore, and this worker has none")
        return self._claims.get(_decode_claim(text).sharpwave_claim)


def _unwrap(body: str) -> str:
    try:
        return b64decode(body, validate=True).decode()
    except ValueError as error:
        raise Poison("body is neither JSON nor base64 of JSON") from error
