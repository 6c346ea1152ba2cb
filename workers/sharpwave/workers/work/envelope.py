"""How stream records travel to the workers: entries packed into Dramatiq messages as JSON text.

A body up to 64 KB is billed as one SQS request, so messages are filled to just below that. A
single larger entry carries its image compressed.
"""

import json
import re
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec import json as fast_json

from sharpwave.schemas.numbers import Wire
from sharpwave.workers.work.outgoing import WorkMessage

#: Fill of one message in bytes, below the 64 KB that SQS bills as one request.
MAX_FILL_BYTES = 60_000

#: Characters of an entry that hold its event id, or else the start of its key.
_HEAD = 128
_encoder = fast_json.Encoder()
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")


class Entry(Struct, frozen=True, gc=False):
    """One piece of work for an actor, and the stream record it came from.

    Attributes:
        text: a JSON object, but for its end.
        sequence_number: of the record, "" if it came from none.
        end: of the object: entries that differ in it share the text of one image, of which
            hundreds wait for a page to be routed.
    """

    text: str
    sequence_number: str
    end: str = ""


class Duty(NamedTuple):
    """Which actor of which queue handles entries, and how many fit one message."""

    queue: str
    actor: str
    limit: int


def ascii_json(value: Any) -> str:
    r"""Write a value as ASCII JSON, bytes as base64; SQS refuses characters such as \uffff."""
    text = _encoder.encode(value).decode()
    return text if text.isascii() else _escaped(text)


def open_json(value: Any, room: bytearray) -> str:
    """Write an object as `ascii_json` does, without its last brace, in room that is used again."""
    _encoder.encode_into(value, room)
    room.pop()
    text = room.decode()
    return text if text.isascii() else _escaped(text)


def _escaped(text: str) -> str:
    return _NON_ASCII.sub(lambda found: json.dumps(found.group())[1:-1], text)


def with_image(fields: dict[str, Any]) -> str:
    """Write fields, one of which is an `image`, as JSON; a large image is compressed."""
    text = ascii_json(fields)
    if len(text) > MAX_FILL_BYTES:
        image = fields.pop("image")
        text = ascii_json({**fields, "zimage": b64encode(packed(image)).decode()})
    return text


def image_of(entry: Mapping[str, Any]) -> dict[str, Wire]:
    """Read the typed image out of an entry; binary stays base64 text."""
    if "zimage" in entry:
        return unpacked(b64decode(entry["zimage"]))
    return dict(entry["image"])


def packed(image: Any) -> bytes:
    """Write a typed image compressed, so that no nesting or notation makes it too large."""
    return zlib.compress(ascii_json(image).encode())


def unpacked(content: bytes) -> dict[str, Wire]:
    """Read what `packed` wrote; binary stays base64 text."""
    image: dict[str, Wire] = fast_json.decode(zlib.decompress(content))
    return image


def pack(duty: Duty, entries: Sequence[Entry], *, moment_ms: int) -> Iterator[WorkMessage]:
    """Pack entries into as few messages as the duty's limit and the fill allow, in order."""
    limit, most, filled = duty.limit, MAX_FILL_BYTES + 1, 0
    part: list[Entry] = []
    for entry in entries:
        size = len(entry.text) + len(entry.end) + 1
        filled += size
        # An entry that is larger travels alone.
        if (filled > most or len(part) == limit) and part:
            yield _packed(duty, part, moment_ms)
            part, filled = [], size
        part.append(entry)
    if part:
        yield _packed(duty, part, moment_ms)


def singles(duty: Duty, entries: Iterable[Mapping[str, Any]]) -> list[WorkMessage]:
    """Give each entry of a group a message of its own."""
    alone = [Entry(ascii_json(entry), "") for entry in entries]
    return list(pack(duty._replace(limit=1), alone, moment_ms=time.time_ns() // 1_000_000))


def message(duty: Duty, entries: Sequence[Entry], *, moment_ms: int) -> str:
    """Write one Dramatiq message; its id is derived from its content.

    Of entries made from stream records, their numbers and the head of the first are enough.
    """
    return _packed(duty, entries, moment_ms).body


def _packed(duty: Duty, entries: Sequence[Entry], moment_ms: int) -> WorkMessage:
    queue, actor = duty.queue, duty.actor
    numbers = tuple([each.sequence_number for each in entries if each.sequence_number])
    head = entries[0].text
    if len(head) < _HEAD:
        head = ",".join([each.text + each.end for each in entries])
    names: Sequence[str] = numbers
    if len(numbers) < len(entries):
        # What came from no record is told from all others by its text.
        names = [each.sequence_number or each.text + each.end for each in entries]
    seed = f"{actor}{head[:_HEAD]}{','.join(names)}".encode()
    message_id = blake2b(seed, digest_size=16).hexdigest()
    # All is joined at once, so that an image is copied once.
    parts = [f'{{"queue_name":"{queue}","actor_name":"{actor}","args":[],"kwargs":{{"entries":[']
    for each in entries:
        parts += (each.text, each.end, ",")
    parts[-1] = f']}},"options":{{}},"message_id":"{message_id}","message_timestamp":{moment_ms}}}'
    return WorkMessage(queue, "".join(parts), numbers)
