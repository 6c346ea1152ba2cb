"""What of a memory is too large for its table lies in S3; the entry keeps its place and hash."""

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from sharpwave.producers.call import Call, Identity, Operation
from sharpwave.producers.errors import LargeEntryLost, NotConfigured, RecordMissing
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas.numbers import UnstorableValue, from_wire, item_to_wire, to_wire, wire_size
from sharpwave.schemas.records import MAX_ITEM_BYTES

#: What is larger is carried to S3, in bytes; promotion needs some room in the item.
LARGE_FROM = MAX_ITEM_BYTES - 8 * 1024


def carry_off(me: Identity, item: Item) -> Operation[Item]:
    """Give the item as it is, or with its `data` in S3 if it is too large and a place is set."""
    try:
        size = wire_size(item_to_wire(item))
    except UnstorableValue:
        return item  # `checked` says so
    if me.large_entries is None or size <= LARGE_FROM:
        return item
    text = json.dumps(to_wire(item["data"]), separators=(",", ":"), default=_base64)
    body = text.encode()
    digest = sha256(body).hexdigest()
    # Named after its content: written again it is the same, and no other write replaces it.
    url = f"{me.large_entries}/{item['agent_id']}/{item['memory_id']}-{digest}.json"
    params = {**_place(url), "Body": body, "ContentType": "application/json"}
    yield Call("s3", "put_object", params)
    return {**item, "data": {}, "large": {"url": url, "bytes": len(body), "sha256": digest}}


def load(me: Identity, item: Mapping[str, Any]) -> Operation[Any]:
    """Give the `data` of an entry, or copy of one, from wherever it lies.

    Raises:
        LargeEntryLost: the object is gone, is not what was stored, or lies where it cannot.
        NotConfigured: the agent was opened without `large_entries`.
    """
    pointer = item.get("large")
    if pointer is None:
        return item.get("data")
    url, name = pointer["url"], f"{item['memory_id']} of {item['agent_id']}"
    if me.large_entries is None:
        text = f"memory {name} lies at {url}; open the agent with large_entries='s3://...'"
        raise NotConfigured(text)
    # Whoever shares an entry must not choose what its reader's credentials are used on.
    if not url.startswith(f"{me.large_entries}/{item['agent_id']}/"):
        raise LargeEntryLost(
            f"memory {name} points to {url}, outside {me.large_entries}; "
            "its owner and its readers need the same large_entries"
        )
    try:
        reply = yield Call("s3", "get_object", _place(url))
    except RecordMissing as error:
        raise LargeEntryLost(
            f"memory {name}: {url} is gone; restore it, or forget the memory"
        ) from error
    body = reply["Body"]
    if len(body) != pointer["bytes"] or sha256(body).hexdigest() != pointer["sha256"]:
        raise LargeEntryLost(
            f"memory {name}: {url} has {len(body)} bytes and is not what was stored "
            f"({pointer['bytes']} bytes); restore it, or forget the memory"
        )
    return from_wire(json.loads(body))


def discard(me: Identity, pointer: Mapping[str, Any]) -> Operation[None]:
    """Delete the object of a forgotten entry, if this agent knows the place."""
    own = f"{me.large_entries}/{me.agent_id}/"
    if me.large_entries is not None and str(pointer.get("url")).startswith(own):
        yield Call("s3", "delete_object", _place(pointer["url"]))


def _place(url: str) -> dict[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def _base64(value: object) -> str:
    assert isinstance(value, bytes)
    return b64encode(value).decode()
