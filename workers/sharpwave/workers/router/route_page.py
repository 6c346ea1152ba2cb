"""Routing that survives a record on which the router fails."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sharpwave.workers.work.incoming import Route, StreamRecord
from sharpwave.workers.work.outgoing import WorkMessage


@dataclass(slots=True)
class Routed:
    """What became of a page.

    Attributes:
        messages: for the queues, in the order of the records.
        failed: the records the router failed on, alone, each with its error.
    """

    messages: list[WorkMessage] = field(default_factory=list)
    failed: list[tuple[StreamRecord, Exception]] = field(default_factory=list)


def route_page(route: Route, table: str, records: Sequence[StreamRecord]) -> Routed:
    """Route a page, bisecting it down to the single records that make the router fail.

    One bad record in a page of n costs about 2 log2(n) more calls of `route`.
    """
    routed = Routed()
    # A stack: the first half is taken next, so what is left stays in the order of the stream.
    waiting = [records] if records else []
    while waiting:
        part = waiting.pop()
        try:
            routed.messages += route(table, part)
        except Exception as error:
            half = len(part) // 2
            if half:
                waiting += [part[half:], part[:half]]
            else:
                routed.failed.append((part[0], error))
    return routed
