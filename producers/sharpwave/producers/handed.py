"""What a delivery shows of its signal, the same on both surfaces."""

from collections.abc import Mapping
from typing import Any

from sharpwave.producers.operations.receiving import Handling
from sharpwave.schemas.messages import SignalMessage


class Handed:
    """A signal handed to an agent. `data` and `context` come from others: untrusted input."""

    _subject: Handling

    def __repr__(self) -> str:
        state = self._subject.settled or "open"
        return f"<{self.signal_type} {self.delivery_id} from {self.source_agent}, {state}>"

    @property
    def message(self) -> SignalMessage:
        """Give the whole message."""
        return self._subject.message

    @property
    def delivery_id(self) -> str:
        """Give what is the same at every redelivery: make other effects idempotent by it."""
        return self.message.delivery_id

    @property
    def signal_id(self) -> str:
        """Give the sender's id of the signal."""
        return self.message.signal_id

    @property
    def signal_type(self) -> str:
        """Give the signal's type."""
        return self.message.signal_type

    @property
    def source_agent(self) -> str:
        """Name the sender; see `provenance` for how sure that is."""
        return self.message.source_agent

    @property
    def provenance(self) -> str:
        """Say "bound" if IAM enforced the sender's identity, else "unverified"."""
        return self.message.provenance

    @property
    def data(self) -> Mapping[str, Any]:
        """Give what the signal says; numbers with a fraction are Decimal."""
        return self.message.data

    @property
    def context(self) -> Mapping[str, Any]:
        """Give the circumstances of the signal."""
        return self.message.context

    @property
    def receive_count(self) -> int:
        """Say how often the queue has handed this message out; 1 is the first time."""
        return self._subject.received.receive_count

    @property
    def is_expired(self) -> bool:
        """Say whether the deadline has passed; a late acknowledgement still counts."""
        return self._subject.me.now() >= self.message.expires_at

    @property
    def is_settled(self) -> bool:
        """Say whether it was acknowledged, failed or given back."""
        return self._subject.settled is not None
