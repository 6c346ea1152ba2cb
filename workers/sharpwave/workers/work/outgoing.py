"""What the router hands to whoever feeds the work queues."""

from dataclasses import dataclass

#: Longest delay of a message. Source: AWS, "Amazon SQS message quotas".
MAX_DELAY_S = 900


@dataclass(frozen=True, slots=True)
class WorkMessage:
    """One message for a work queue.

    Attributes:
        queue: logical queue name: deliver, status, promote, learn or archive.
        body: the complete SQS body, ASCII JSON.
        sequence_numbers: the stream records it came from; empty for a message
            that no record caused, such as a tick.
        delay_s: seconds for which nobody receives it, at most `MAX_DELAY_S`.
    """

    queue: str
    body: str
    sequence_numbers: tuple[str, ...]
    delay_s: int = 0


#: How the event ids begin of records that no stream told of, but a scan of their table.
FED_AGAIN = "reconcile-"
