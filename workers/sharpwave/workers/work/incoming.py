"""Stream records as they come: what decides their way is read, their images stay bytes.

Most images are never built: the router looks into one for the few attributes that decide, and
copies its bytes into a message. As dicts a page would be megabytes of small objects, and making
them would take longer than all that is done with them.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType, field
from msgspec import json as fast_json

from sharpwave.workers.work.outgoing import WorkMessage

#: Who DynamoDB says it is when its own time to live removes an item.
_SERVICE = "dynamodb.amazonaws.com"

# None can be part of a cycle, so the garbage collector need not track them.


class Text(Struct, gc=False):
    """A typed text."""

    S: str


class _Keys(Struct, gc=False):
    PK: Text
    SK: Text


class _Change(Struct, rename="pascal", gc=False):
    keys: _Keys
    sequence_number: str = ""
    stored_at: float = field(name="ApproximateCreationDateTime", default=0.0)
    old: Raw | UnsetType = field(name="OldImage", default=UNSET)
    new: Raw | UnsetType = field(name="NewImage", default=UNSET)


class Streamed(Struct, rename="camel", gc=False):
    """A stream record with unread images.

    Attributes:
        event_id: DynamoDB's name for it.
        change: its key, sequence number, epoch seconds at which it was stored, 0 if it does not
            say, and its images as typed JSON, or parsed where the record came parsed.
        event_name: INSERT, MODIFY or REMOVE.
        user_identity: who made the change, where that is DynamoDB itself.
    """

    event_id: str = field(name="eventID")
    change: _Change = field(name="dynamodb")
    event_name: str = ""
    user_identity: dict[str, Any] | None = None

    @property
    def is_by_ttl(self) -> bool:
        """Whether it was time that removed the item."""
        identity = self.user_identity
        is_removed = self.change.new is UNSET
        return is_removed and identity is not None and _SERVICE in identity.values()


StreamRecord = Mapping[str, Any] | Streamed
"""A DynamoDB stream record: read from bytes, or as boto3 or Lambda shapes it."""

Route = Callable[[str, Sequence[StreamRecord]], list[WorkMessage]]
"""Turns records of one logical table, in stream order, into messages; pure, so safe to repeat."""


class _Page(Struct):
    records: list[Streamed] = field(name="Records")
    next_iterator: str | None = field(name="NextShardIterator", default=None)


_page = fast_json.Decoder(_Page).decode


def page_of(body: bytes) -> dict[str, Any]:
    """Read the body of a reply of GetRecords, as boto3 would name its parts.

    Raises:
        ValueError: it is not JSON of the form that DynamoDB gives it.
    """
    if not body.isascii():
        body.decode()  # what is passed over unread is not held to be UTF-8
    page = _page(body)
    after = {} if page.next_iterator is None else {"NextShardIterator": page.next_iterator}
    return {"Records": page.records, **after}


def streamed(record: StreamRecord) -> Streamed:
    """Give a record as boto3 (bytes, datetime) or Lambda (base64, float) shapes it so."""
    if isinstance(record, Streamed):
        return record
    change = record["dynamodb"]
    pk, sk = change["Keys"]["PK"]["S"], change["Keys"]["SK"]["S"]
    moment = change.get("ApproximateCreationDateTime", 0.0)
    old, new = change.get("OldImage"), change.get("NewImage")
    return Streamed(
        record["eventID"],
        _Change(
            _Keys(Text(pk), Text(sk)),
            change.get("SequenceNumber", ""),
            moment.timestamp() if isinstance(moment, datetime) else float(moment),
            # As they are: the router writes as JSON only what it reads or sends.
            UNSET if old is None else old,
            UNSET if new is None else new,
        ),
        record.get("eventName", ""),
        record.get("userIdentity"),
    )
