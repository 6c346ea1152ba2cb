"""How fast this machine is just now: what a call costs boto3 when nothing is sent."""

import time
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from tests.bench.results import Row, summed

#: CPU microseconds of such a call on the machine whose rates became budgets.
BUDGETED_US = 274.0
CASE, WHO = "pace", "boto3, nothing sent"
_TRIES, _CALLS = 6, 100
_ITEM = {"PK": {"S": "p" * 40}, "SK": {"S": "s" * 40}, "data": {"S": "d" * 600}}


class Pace:
    """Takes the time of puts of 700 bytes, unvalidated, answered before they leave the client.

    A machine's clock drifts, so samples are taken in turn with what they are to judge.
    """

    def __init__(self) -> None:
        """Make the client."""
        config = Config(parameter_validation=False)
        session = boto3.session.Session("none", "none", region_name="us-east-1")
        self._client: Any = session.client("dynamodb", config=config)
        events: Any = self._client.meta.events
        events.register("before-send", _answer)
        self._found: list[dict[str, Any]] = []

    def sample(self) -> None:
        """Measure once, in about a quarter of a second: the best of several tries."""
        self._found.append({"us_per_call": min(self._try() for _ in range(_TRIES))})

    def _try(self) -> float:
        began = time.process_time()
        for _ in range(_CALLS):
            self._client.put_item(TableName="none", Item=_ITEM)
        return (time.process_time() - began) / _CALLS * 1e6

    def row(self, part: str) -> Row:
        """Sum the samples up, as a contestant of its own."""
        return summed(part, CASE, WHO, self._found)


def _answer(request: Any, **_: Any) -> AWSResponse:
    return AWSResponse(request.url, 200, HTTPHeaders(), _Body())


class _Body:
    def stream(self) -> Iterator[bytes]:
        yield b"{}"
