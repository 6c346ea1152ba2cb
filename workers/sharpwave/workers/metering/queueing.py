"""Billed requests of SQS and S3."""

from collections.abc import Iterator, Mapping
from typing import Any

from sharpwave.workers.metering.names import Charge, Names
from sharpwave.workers.metering.sizes import payload_units

Request = Mapping[str, Any]


def send(request: Request, _: Request, names: Names) -> Iterator[Charge]:
    """Charge a SendMessage."""
    yield Charge(f"send:{names.queue(request['QueueUrl'])}", 1, payload_units(_payload(request)))


def send_batch(request: Request, _: Request, names: Names) -> Iterator[Charge]:
    """Charge a SendMessageBatch, whose payloads add up before rounding."""
    entries = request["Entries"]
    units = payload_units(sum(map(_payload, entries)))
    yield Charge(f"send:{names.queue(request['QueueUrl'])}", len(entries), units)


def receive(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge a ReceiveMessage; one that brought nothing is a poll."""
    messages = reply.get("Messages", ())
    queue = names.queue(request["QueueUrl"])
    if messages:
        units = payload_units(sum(len(message["Body"].encode()) for message in messages))
        yield Charge(f"receive:{queue}", len(messages), units)
    else:
        yield Charge(f"poll:{queue}", 0, 1)


def delete(request: Request, _: Request, names: Names) -> Iterator[Charge]:
    """Charge a DeleteMessage or a DeleteMessageBatch."""
    count = len(request.get("Entries", (None,)))
    yield Charge(f"delete:{names.queue(request['QueueUrl'])}", count, 1)


def hide(request: Request, _: Request, names: Names) -> Iterator[Charge]:
    """Charge a change of visibility."""
    count = len(request.get("Entries", (None,)))
    yield Charge(f"hide:{names.queue(request['QueueUrl'])}", count, 1)


def put_object(*_: object) -> Iterator[Charge]:
    """Charge a request of S3's dearer class: PUT and LIST."""
    yield Charge("put:archive", 1, 1)


def get_object(*_: object) -> Iterator[Charge]:
    """Charge a GET of S3."""
    yield Charge("get:archive", 1, 1)


def _payload(message: Request) -> int:
    size = len(message["MessageBody"].encode())
    for name, attribute in (message.get("MessageAttributes") or {}).items():
        value = attribute.get("StringValue", "").encode() or attribute.get("BinaryValue", b"")
        size += len(name.encode()) + len(attribute.get("DataType", "")) + len(value)
    return size
