"""How stream records travel to the workers: entries packed into Dramatiq messages as JSON text.

A body up to 64 KB is billed as one SQS request, so messages are filled to just below that. A
single larger entry carries its image compressed.
"""

import json
import re
import time
import zlib
from base64 import b64decode, b64encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec import json as fast_json

from sharpwave.schemas.numbers import Wire
from sharpwave.workers.work.outgoing import WorkMessage

#: Fill of one message in bytes, below the 64 KB that SQS bills as one request.
MAX_FILL_BYTES = 60_000

#: Characters of an entry that hold its event id, or else the start of its key.
_HEAD = 128
_encode = fast_json.Encoder().encode
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")


class Entry(Struct, frozen=True, gc=False):
    """One piece of work for an actor, and the stream record it came from.

    Attributes:
        text: a JSON object.
        sequence_number: of the record, "" if it came from none.
        more: JSON pairs that are added to the object when it is written: several entries share
            the text of one image, and hundreds wait for a page to be routed.
    """

    text: str
    sequence_number: str
    more: str = ""


class Duty(NamedTuple):
    """Which actor of which queue handles entries, and how many fit one message."""

    queue: str
    actor: str
    limit: int


def ascii_json(value: Any) -> str:
    r"""Write a value as ASCII JSON, bytes as base64; SQS refuses characters such as \uffff."""
    text = _encode(value).decode()
    if text.isascii():
        return text
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
    texts, numbers = _written(entries)
    ends = [*accumulate([len(text) + 1 for text in texts])]
    start = filled = 0
    while start < len(ends):
        most = min(start + duty.limit, len(ends))
        fitting = bisect_right(ends, filled + MAX_FILL_BYTES + 1, start, most)
        # An entry that is larger travels alone.
        end = max(fitting, start + 1)
        part = numbers[start:end]
        body = _message(duty, texts[start:end], part, moment_ms)
        yield WorkMessage(duty.queue, body, tuple(filter(None, part)))
        start, filled = end, ends[end - 1]


def singles(duty: Duty, entries: Iterable[Mapping[str, Any]]) -> list[WorkMessage]:
    """Give each entry of a group a message of its own."""
    alone = [Entry(ascii_json(entry), "") for entry in entries]
    return list(pack(duty._replace(limit=1), alone, moment_ms=time.time_ns() // 1_000_000))


def message(duty: Duty, entries: Sequence[Entry], *, moment_ms: int) -> str:
    """Write one Dramatiq message; its id is derived from its content.

    Of entries made from stream records, their numbers and the head of the first are enough.
    """
    return _message(duty, *_written(entries), moment_ms)


def _written(entries: Sequence[Entry]) -> tuple[list[str], list[str]]:
    """Give the JSON of entries, and the numbers of the records that they came from."""
    texts = [f"{each.text[:-1]},{each.more}}}" if each.more else each.text for each in entries]
    return texts, [each.sequence_number for each in entries]


def _message(duty: Duty, texts: list[str], numbers: list[str], moment_ms: int) -> str:
    # What came from no record is told from all others by its text.
    names = [number or text for number, text in zip(numbers, texts, strict=True)]
    head = texts[0] if len(texts[0]) >= _HEAD else ",".join(texts)
    seed = f"{duty.actor}{head[:_HEAD]}{','.join(names)}".encode()
    message_id = blake2b(seed, digest_size=16).hexdigest()
    # Put around the first and the last, so that all of the message is copied once.
    texts[0] = (
        f'{{"queue_name":"{duty.queue}","actor_name":"{duty.actor}","args":[],'
        f'"kwargs":{{"entries":[{texts[0]}'
    )
    texts[-1] += f']}},"options":{{}},"message_id":"{message_id}","message_timestamp":{moment_ms}}}'
    return ",".join(texts)
