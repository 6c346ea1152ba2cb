"""Bodies too large for SQS, kept in a store and claimed by reference."""

from __future__ import annotations

from typing import Protocol


class ClaimStore(Protocol):
    """Where large bodies wait, for example an S3 bucket with a lifecycle rule.

    Nothing deletes a body: a message may be delivered again at any time within
    its retention, so let the store expire bodies after retention plus the
    dead-letter queue's retention.
    """

    def put(self, body: str) -> str:
        """Keep a body and return its reference, at most 1,024 characters."""
        ...

    def get(self, reference: str) -> str:
        """Return a body.

        Raises:
            ClaimMissing: there is none; any other error is taken as passing.
        """
        ...
