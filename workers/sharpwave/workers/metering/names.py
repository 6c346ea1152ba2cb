"""What physical tables, keys and queues stand for."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.schemas import keys, queues, tables

_DEFAULT = {
    tables.DECISIONS: "decision",
    tables.SIGNALS: "row",
    tables.STATE: "memory",
    tables.MEMORY: "pattern",
}
_INBOX = "inbox-"


class Charge(NamedTuple):
    """What one call, or one part of it, consumes.

    Attributes:
        what: verb and thing, such as `write:row` or `send:inbox`.
        number: items, messages or records.
        units: write units, read units or billed requests.
        guessed: the item that was changed was not seen, so that `units` are the least it can be;
            None where nothing had to be seen.
    """

    what: str
    number: int
    units: float
    guessed: bool | None = None


class Names:
    """Logical names of what requests name by physical ones."""

    def __init__(self, prefix: str = "") -> None:
        """Expect names that begin with `prefix`."""
        self._start = f"{prefix}-" if prefix else ""
        self._tables = {tables.physical(table.name, prefix): table for table in tables.TABLES}

    def indexes(self, physical: str) -> Sequence[tables.Index]:
        """Give a table's indexes; none for a table that is not ours."""
        table = self._tables.get(physical)
        return table.indexes if table else ()

    def item(self, image: Mapping[str, Any]) -> str:
        """Name the kind of item that an image or a typed key stands for."""
        pk, sk = image.get("PK"), image.get("SK")
        if pk is None or sk is None:
            return keys.OTHER
        return keys.family(pk.get("S", ""), sk.get("S", ""))

    def partition(self, request: Mapping[str, Any]) -> str:
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
        if name.startswith(_INBOX):
            return "inbox"
        return name if name in queues.WORK_QUEUE_NAMES else keys.OTHER
