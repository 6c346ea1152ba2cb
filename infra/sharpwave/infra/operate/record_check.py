"""Whether the pipeline would admit a record, and if not, why."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpwave.infra.errors import Misused
from sharpwave.schemas.faults import Fault, kind_of, too_large, unknown_key, unstorable
from sharpwave.schemas.numbers import (
    UnstorableValue,
    item_from_wire,
    item_to_wire,
    parse_json,
    wire_size,
)
from sharpwave.schemas.tables import STREAMED
from sharpwave.schemas.times import AS_A_RULE, EventAhead
from sharpwave.workers.router import admission
from sharpwave.workers.router.image import Image


def read_record(text: str) -> dict[str, Any]:
    """Read a record from JSON, either plain or in DynamoDB's typed form.

    Raises:
        Misused: it is no JSON object.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise Misused(f"the record is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Misused("the record is no JSON object; write one record, not a list")
    if isinstance(content.get("PK"), dict):
        try:
            return item_from_wire(content)
        except (UnstorableValue, AttributeError, ValueError) as error:
            raise Misused(f"the record's typed form cannot be read: {error}") from error
    return content


def faults_of(
    table: str,
    item: Mapping[str, Any],
    *,
    now: float | None = None,
    event_ahead: EventAhead = AS_A_RULE,
) -> list[Fault]:
    """List what the pipeline would find wrong with a record that is stored at `now`.

    `event_ahead` is the deployment's setting.

    Raises:
        Misused: `table` is not one that agents write records to.
    """
    if table not in STREAMED:
        raise Misused(f"{table!r} takes no records; there are {', '.join(STREAMED)}")
    missing = [name for name in ("PK", "SK") if not isinstance(item.get(name), str)]
    if missing:
        return [Fault("missing", missing[0], "missing; every record has it, as a string")]
    kind = kind_of(table, item["PK"], item["SK"])
    if kind is None:
        return [unknown_key(table)]
    if kind == "inbox_row":
        return [Fault("row", "PK", "inbox rows are written by workers; agents only update them")]
    try:
        wire = item_to_wire(item)
    except UnstorableValue as error:
        return [unstorable(error)]
    # The pipeline never sees what DynamoDB itself refuses, so only this looks at its limit.
    if (large := too_large(kind, wire_size(wire))) is not None:
        return [large]
    stored_at = time.time() if now is None else now
    image = Image(wire)
    return admission.faults_of(kind, image, stored_at=stored_at, event_ahead=event_ahead)


def read_text(path: str, stdin: Any) -> str:
    """Read a file, or standard input for `-`.

    Raises:
        Misused: the file cannot be read.
    """
    if path == "-":
        return str(stdin.read())
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{path} cannot be read: {error}") from error
