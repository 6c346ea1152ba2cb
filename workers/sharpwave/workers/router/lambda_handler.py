"""Hosts the router in Lambda, behind a DynamoDB stream event source mapping.

The mapping must have ReportBatchItemFailures. Lambda then moves behind every
record before the one reported and invokes again from there on, so records
after it may be sent twice; that is why only the first failing one is reported.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

from sharpwave.workers.router.route_page import route_page
from sharpwave.workers.work.incoming import Route, StreamRecord, streamed
from sharpwave.workers.work.outgoing import WorkMessage

log = logging.getLogger(__name__)

Handler = Callable[[Mapping[str, Any], object], dict[str, list[dict[str, str]]]]
OnUnroutable = Callable[[str, StreamRecord, Exception], None]


class TriesToSend(Protocol):
    """Hands messages on, a bounded number of times."""

    def try_send(
        self, messages: Sequence[WorkMessage], *, attempts: int | None
    ) -> list[WorkMessage]:
        """Give what was not accepted; a message refused for good is parked and not among it."""
        ...


def make_handler(
    route: Route,
    sender: TriesToSend,
    table_of_arn: Callable[[str], str],
    *,
    on_unroutable: OnUnroutable | None = None,
    attempts: int = 3,
) -> Handler:
    """Build a Lambda handler for DynamoDB stream events.

    Args:
        route: turns records into messages.
        sender: hands messages to the queues.
        table_of_arn: logical table name of an `eventSourceARN`; what it raises
            fails the invocation, because the mapping is misconfigured.
        on_unroutable: parks a record the router fails on. Without it, or when
            it raises, the record is reported as failing and the mapping's
            bisecting and on-failure destination deal with it.
        attempts: tries per message before its record is reported.

    Returns:
        A handler that reports the first record, in stream order, of which a
        message was not accepted.
    """

    def handle(event: Mapping[str, Any], context: object = None) -> dict[str, list[dict[str, str]]]:
        records: list[Mapping[str, Any]] = event["Records"]
        failing: set[str] = set()
        for arn, group in groupby(records, key=lambda record: str(record["eventSourceARN"])):
            table, page = table_of_arn(arn), list(group)
            routed = route_page(route, table, page)
            unparked = _park(routed.failed, table, on_unroutable)
            unaccepted = sender.try_send(routed.messages, attempts=attempts)
            failing |= unparked
            # A message of unknown origin puts the page's first record in doubt, and so all of it.
            first = (_sequence_number(page[0]),)
            failing |= {n for message in unaccepted for n in message.sequence_numbers or first}
        if not failing:
            return {"batchItemFailures": []}
        # As the stream orders them: sequence numbers have no fixed length to compare as text.
        numbers = [_sequence_number(record) for record in records]
        lowest = next((number for number in numbers if number in failing), numbers[0])
        log.warning("batch_failed_from", extra={"sequence_number": lowest, "failing": len(failing)})
        return {"batchItemFailures": [{"itemIdentifier": lowest}]}

    return handle


def _park(
    failed: Iterable[tuple[StreamRecord, Exception]], table: str, park: OnUnroutable | None
) -> set[str]:
    """Sequence numbers of the records that could not be parked."""
    unparked: set[str] = set()
    for record, error in failed:
        number = _sequence_number(record)
        fields = {"table": table, "sequence_number": number, "error": repr(error)}
        try:
            if park is None:
                unparked.add(number)
            else:
                park(table, record, error)
        except Exception:
            log.exception("record_not_parked", extra=fields)
            unparked.add(number)
        log.error("record_unroutable", extra=fields)
    return unparked


def _sequence_number(record: StreamRecord) -> str:
    return streamed(record).change.sequence_number
