"""Builds of the workers for a run: broken on purpose, or with a wrong clock.

The checker must notice the broken ones; a clock that is a little wrong must not matter.

`python -m dramatiq tests.chaos.controls:build_ack_first` and the like; nothing outside
this package refers to them. They patch modules rather than use an option that nobody should have.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import dramatiq

from sharpwave.schemas import tables, times
from sharpwave.workers import main
from sharpwave.workers.aws.tables import TableLedger
from sharpwave.workers.sqs import broker
from sharpwave.workers.sqs.receiving import SqsConsumer
from sharpwave.workers.work.ports import Location, Slot

Control = Literal["ack-first", "no-marks"]


#: The variable that says by how many seconds a clock is ahead.
OFF_BY = "SHARPWAVE_CHAOS_CLOCK_OFF_BY_S"
#: Seconds from the acknowledgement to the work: without them a kill seldom falls in between.
_HOLD_S = 1.0


class Hasty(SqsConsumer):
    """Deletes messages as soon as it has them: what their worker did not finish is lost."""

    def _receive(self, most: int, wait_s: int) -> Sequence[Mapping[str, Any]]:
        """Receive messages, delete them and hold them for a moment."""
        messages = super()._receive(most, wait_s)
        handles = [message["ReceiptHandle"] for message in messages]
        entries = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(handles)]
        if entries:
            channel = self._channel
            channel.client.delete_message_batch(QueueUrl=channel.queue.url, Entries=entries)
            time.sleep(_HOLD_S)
        return messages


class Repeats(TableLedger):
    """Keeps a list where the real ledger keeps a set: exact until a decision comes twice."""

    def add(
        self, location: Location, elements: Sequence[bytes], *, below: int, is_open: bool
    ) -> tuple[bool, Slot]:
        """Append elements and give all of the list; repetitions pass for other decisions."""
        reply = self._client.update_item(
            TableName=tables.physical(location.table, self._prefix),
            Key=location.key.wire(),
            UpdateExpression="SET e = list_append(if_not_exists(e, :none), :elements) ADD v :one",
            ExpressionAttributeValues={
                ":one": {"N": "1"},
                ":none": {"L": []},
                ":elements": {"L": [{"B": element} for element in elements]},
            },
            ReturnValues="ALL_NEW",
        )
        item = reply["Attributes"]
        held = frozenset(_disguised(bytes(each["B"]) for each in item["e"]["L"]))
        # Its slots never split: what repeats would pass for decisions of another slot.
        return True, Slot(held, int(item["v"]["N"]), is_closed=True)


def build_ack_first() -> dramatiq.Broker:
    """Put a worker process together that acknowledges before the effect."""
    setattr(broker, "SqsConsumer", Hasty)  # noqa: B010
    return main.build()


def build_no_marks() -> dramatiq.Broker:
    """Put a worker process together that does not remember which decisions it has counted."""
    setattr(main, "TableLedger", Repeats)  # noqa: B010
    return main.build()


def build_off_clock() -> dramatiq.Broker:
    """Put a worker process together whose clock is wrong by as much as its environment says."""
    offset_s = float(os.environ[OFF_BY])
    setattr(main, "now", lambda: times.now() + offset_s)  # noqa: B010
    return main.build()


OFF_CLOCK = f"{__name__}:{build_off_clock.__name__}"
BUILDS: Mapping[Control, str] = {
    "ack-first": f"{__name__}:{build_ack_first.__name__}",
    "no-marks": f"{__name__}:{build_no_marks.__name__}",
}


def _disguised(elements: Iterable[bytes]) -> Iterator[bytes]:
    seen: Counter[bytes] = Counter()
    for element in elements:
        yield bytes([element[0] ^ (seen[element] & 255), *element[1:]])
        seen[element] += 1
