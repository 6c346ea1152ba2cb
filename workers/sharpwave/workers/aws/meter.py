"""What a process asked of AWS: calls by operation, and what they are billed as.

The meter only looks. DynamoDB says what a call consumed where its caller asked for it
(`ReturnConsumedCapacity`); SQS bills by the payload, which request and reply show; S3 and streams
bill by the call. A call of DynamoDB whose reply says nothing is counted as `untold`, at no units.

An emulator says what it likes: ministack rates single writes as AWS does, each query and each
statement of a batch as one unit or half of it, whatever the size, and batch reads not at all.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

from sharpwave.schemas import keys, queues, tables

log = logging.getLogger(__name__)

#: SQS bills every 64 KB of payload as a request. Source: AWS, "Amazon SQS pricing".
PAYLOAD_BLOCK = 64 * 1024
#: DynamoDB bills a write whose condition fails, and no other error; it does not say how much.
BILLED_ERRORS = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
_DEFAULT = {
    tables.DECISIONS: "decision",
    tables.SIGNALS: "row",
    tables.STATE: "memory",
    tables.MEMORY: "pattern",
}
_REQUEST = "sharpwave_request"
_FIELD = re.compile(r"'((?:[^']|'')+)'\s*:\s*\?")

Request = Mapping[str, Any]


class Charge(NamedTuple):
    """What one call, or one part of it, consumes.

    Attributes:
        what: verb and thing, such as `write:row` or `send:inbox`.
        number: items, messages or records.
        units: write units, read units or billed requests.
        table: the physical table, where there is one.
    """

    what: str
    number: int
    units: float
    table: str = ""


class Meter:
    """Counts the calls of botocore clients, and their capacity; safe to share between threads."""

    def __init__(self, *, prefix: str = "") -> None:
        """Start at nothing; `prefix` goes before the physical names of tables and queues."""
        self.names = Names(prefix)
        self._calls: Counter[str] = Counter()
        self._used: dict[str, list[float]] = {}
        self._lock = Lock()

    def watch(self, client: Any) -> Any:
        """Count a client's calls from now on; gives the client back."""
        self.watch_events(client.meta.events)
        return client

    def watch_events(self, events: Any) -> None:
        """Count the calls of clients yet to be made from a session with this event emitter."""
        events.register("before-parameter-build", self._remember)
        events.register("after-call", self._settle)
        events.register("after-call-error", self._failed)

    def snapshot(self) -> dict[str, int]:
        """Give the calls so far, by operation such as `dynamodb.PutItem`."""
        with self._lock:
            return dict(self._calls)

    @property
    def total(self) -> int:
        """Count every call; a retry inside botocore belongs to its call."""
        with self._lock:
            return self._calls.total()

    def used(self) -> dict[str, tuple[int, float]]:
        """Give counts and units so far, by verb and thing such as `write:row`.

        Units are write units, read units, SQS requests of 64 KB, or calls, as the verb says.
        """
        with self._lock:
            return {what: (int(number), units) for what, (number, units) in self._used.items()}

    def charges(self, operation: str, request: Request, reply: Request) -> Iterator[Charge]:
        """Give what a call consumed, by its reply, shared out among the items it was about.

        DynamoDB tells tables and indexes apart, and not the items of one table: they share alike.
        """
        if not operation.startswith("dynamodb."):
            if "Error" not in reply:
                yield from beside_tables(operation, request, reply, self.names)
            return
        error = reply.get("Error", {}).get("Code")
        if error is not None and error not in BILLED_ERRORS:
            return
        about = list(_about(operation.partition(".")[2], request, reply, self.names))
        if error is not None:
            about = [each._replace(what=each.what.replace("write:", "refused:")) for each in about]
        consumed = reply.get("ConsumedCapacity") or ()
        told: dict[str, float] = {}
        for part in [consumed] if isinstance(consumed, Mapping) else consumed:
            table, units = part["TableName"], float(part["CapacityUnits"])
            indexes = part.get("GlobalSecondaryIndexes", {}).values()
            in_indexes = sum(float(each["CapacityUnits"]) for each in indexes)
            written = next((each.what for each in about if each.table == table), "")
            if in_indexes and not written.startswith("read:"):
                yield Charge(f"index:{written.partition(':')[2]}", len(indexes), in_indexes, table)
                units -= in_indexes
            told[table] = told.get(table, 0.0) + units
        for each in about:
            # What found nothing is billed all the same, to the kind of item that it looked for.
            together = sum(one.number for one in about if one.table == each.table)
            share = each.number / together if together else 1.0
            yield each._replace(units=told.get(each.table, 0.0) * share)
        # An emulator that rates nothing: said apart, or such calls would look free.
        if about and not told:
            yield Charge(f"untold:{about[0].what.partition(':')[2]}", 1, 0)

    def _remember(self, params: Request, model: Any, context: dict[str, Any], **_: Any) -> None:
        # The only event that shows the request as its caller wrote it.
        # A copy, for whoever writes the request may use it up.
        request = dict(params)
        context[_REQUEST] = f"{model.service_model.service_name}.{model.name}", request

    def _settle(self, parsed: Request, context: Request, **_: Any) -> None:
        operation, request = context[_REQUEST]
        found: list[Charge] = []
        try:
            found = list(self.charges(operation, request, parsed))
        except Exception:
            # What a call costs is never a reason to fail it.
            log.exception("call_not_metered", extra={"operation": operation})
        self._add(operation, found)

    def _failed(self, context: Request, **_: Any) -> None:
        self._add(context[_REQUEST][0], [])

    def _add(self, operation: str, found: list[Charge]) -> None:
        with self._lock:
            self._calls[operation] += 1
            for charge in found:
                held = self._used.setdefault(charge.what, [0, 0.0])
                held[0] += charge.number
                held[1] += charge.units


class Names:
    """Logical names of what requests name by physical ones."""

    def __init__(self, prefix: str = "") -> None:
        """Expect names that begin with `prefix`."""
        self._start = f"{prefix}-" if prefix else ""
        self._tables = {tables.physical(table.name, prefix): table for table in tables.TABLES}

    def indexes(self, physical: str) -> tuple[tables.Index, ...]:
        """Give a table's indexes; none for a table that is not ours."""
        table = self._tables.get(physical)
        return tuple(table.indexes) if table else ()

    def item(self, image: Request) -> str:
        """Name the kind of item that an image or a typed key stands for."""
        pk, sk = image.get("PK"), image.get("SK")
        if pk is None or sk is None:
            return keys.OTHER
        return keys.family(pk.get("S", ""), sk.get("S", ""))

    def inserted(self, record: Any) -> str:
        """Name the kind of item that a stream record says has come; "" for any other change."""
        if isinstance(record, dict):  # as botocore reads it
            is_new = record.get("eventName") == "INSERT"
            return self.item(record["dynamodb"]["Keys"]) if is_new else ""
        key = record.change.keys
        return keys.family(key.PK.S, key.SK.S) if record.event_name == "INSERT" else ""

    def partition(self, request: Request) -> str:
        """Name the kind of items that a Query or a Scan reads."""
        for value in request.get("ExpressionAttributeValues", {}).values():
            name = keys.family(value.get("S", ""), "")
            if name not in (keys.OTHER, "state"):
                return name
        table = self._tables.get(request.get("TableName", ""))
        return _DEFAULT.get(table.name, keys.OTHER) if table else keys.OTHER

    def queue(self, url: str) -> str:
        """Name a queue; all inboxes are one, and so are all dead-letter queues."""
        name = url.rpartition("/")[2].removeprefix(self._start)
        if name.endswith(queues.DLQ_SUFFIX):
            return "dlq"
        if name.startswith("inbox-"):
            return "inbox"
        return name if name in queues.WORK_QUEUE_NAMES else keys.OTHER


def beside_tables(
    operation: str, request: Request, reply: Request, names: Names
) -> Iterator[Charge]:
    """Give what a call of SQS, S3 or a stream is billed as."""
    match operation.partition(".")[2]:
        case "SendMessage" | "SendMessageBatch":
            entries = request.get("Entries", (request,))
            # The payloads of one call add up before rounding.
            units = _requests(sum(map(_payload, entries)))
            yield Charge(f"send:{names.queue(request['QueueUrl'])}", len(entries), units)
        case "ReceiveMessage" if messages := reply.get("Messages", ()):
            units = _requests(sum(len(message["Body"].encode()) for message in messages))
            yield Charge(f"receive:{names.queue(request['QueueUrl'])}", len(messages), units)
        case "ReceiveMessage":
            yield Charge(f"poll:{names.queue(request['QueueUrl'])}", 0, 1)
        case "DeleteMessage" | "DeleteMessageBatch":
            count = len(request.get("Entries", (None,)))
            yield Charge(f"delete:{names.queue(request['QueueUrl'])}", count, 1)
        case "ChangeMessageVisibility" | "ChangeMessageVisibilityBatch":
            count = len(request.get("Entries", (None,)))
            yield Charge(f"hide:{names.queue(request['QueueUrl'])}", count, 1)
        case "PutObject" | "ListObjectsV2":  # both in S3's dearer class
            yield Charge("put:archive", 1, 1)
        case "GetObject":
            yield Charge("get:archive", 1, 1)
        case "GetRecords":
            records = reply.get("Records", ())
            yield Charge("stream:records", len(records), 1)
            for thing, count in Counter(filter(None, map(names.inserted, records))).items():
                yield Charge(f"new:{thing}", count, 0)


def statement_key(text: str, parameters: Any) -> tuple[str, Request]:
    """Give the table of a PartiQL statement, and the typed key among its parameters."""
    table, pk, sk = _places(text)
    return table, {"PK": parameters[pk], "SK": parameters[sk]} if pk >= 0 else {}


@lru_cache(maxsize=512)
def _places(text: str) -> tuple[str, int, int]:
    """Find in a statement its table, and which of its parameters are PK and SK; -1 if none."""
    table = text.split('"')[1] if '"' in text else ""
    if text.startswith("INSERT"):
        fields = _FIELD.findall(text)
        if "PK" in fields and "SK" in fields:
            return table, fields.index("PK"), fields.index("SK")
        return table, -1, -1
    head, _, tests = text.partition(" WHERE ")
    if tests.startswith("PK = ? AND SK = ?"):
        return table, head.count("= ?"), head.count("= ?") + 1
    return table, -1, -1


def _about(name: str, request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Give what a call read or wrote, by kind of item and table, at no units yet."""
    table = request.get("TableName", "")
    match name:
        case "PutItem" | "UpdateItem" | "DeleteItem":
            key = request.get("Key") or request["Item"]
            yield Charge(f"write:{names.item(key)}", 1, 0, table)
        case "GetItem":
            yield Charge(f"read:{names.item(request['Key'])}", 1, 0, table)
        case "Query" | "Scan":
            yield Charge(f"read:{names.partition(request)}", len(reply.get("Items", ())), 0, table)
        case "BatchGetItem":
            for each, asked in request["RequestItems"].items():
                left = (reply.get("UnprocessedKeys") or {}).get(each, {}).get("Keys", ())
                if count := len(asked["Keys"]) - len(left):
                    yield Charge(f"read:{names.item(asked['Keys'][0])}", count, 0, each)
        case "BatchWriteItem":
            for each, writes in request["RequestItems"].items():
                for one in writes:
                    key = (
                        one["PutRequest"]["Item"]
                        if "PutRequest" in one
                        else one["DeleteRequest"]["Key"]
                    )
                    yield Charge(f"write:{names.item(key)}", 1, 0, each)
        case "TransactWriteItems":
            for part in request["TransactItems"]:
                ((_, one),) = part.items()
                key = one.get("Key") or one["Item"]
                yield Charge(f"write:{names.item(key)}", 1, 0, one["TableName"])
        case "BatchExecuteStatement":
            answers = reply.get("Responses", ())
            found: dict[tuple[str, str, str], int] = {}
            for one, answer in zip(request["Statements"], answers, strict=False):
                text = one["Statement"]
                each, key = statement_key(text, one.get("Parameters", ()))
                reads = "read" if text.startswith("SELECT") else "write"
                same = "refused" if "Error" in answer else reads, names.item(key), each
                found[same] = found.get(same, 0) + 1
            for (verb, thing, each), number in found.items():
                yield Charge(f"{verb}:{thing}", number, 0, each)


def _payload(message: Request) -> int:
    size = len(message["MessageBody"].encode())
    for name, attribute in (message.get("MessageAttributes") or {}).items():
        value = attribute.get("StringValue", "").encode() or attribute.get("BinaryValue", b"")
        size += len(name.encode()) + len(attribute.get("DataType", "")) + len(value)
    return size


def _requests(size: int) -> int:
    return max(1, -(-size // PAYLOAD_BLOCK))
