"""The SQS client: what the broker needs of one, and a good default."""

from __future__ import annotations

from typing import Any, Protocol, cast


class SqsClient(Protocol):
    """The calls the broker makes; boto3's low-level client and `MemorySqs` have them."""

    def get_queue_url(self, *args: Any, **kwargs: Any) -> Any:
        """Find a queue by name."""
        ...

    def get_queue_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Read a queue's settings and counts."""
        ...

    def purge_queue(self, *args: Any, **kwargs: Any) -> Any:
        """Delete every message."""
        ...

    def send_message(self, *args: Any, **kwargs: Any) -> Any:
        """Add one message."""
        ...

    def send_message_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Add up to ten messages."""
        ...

    def receive_message(self, *args: Any, **kwargs: Any) -> Any:
        """Take up to ten messages."""
        ...

    def delete_message_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Delete up to ten messages."""
        ...

    def change_message_visibility_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Hide up to ten messages for a time."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def default_client(*, connections: int) -> SqsClient:
    """Make a boto3 client from AWS's own environment variables.

    One low-level client is shared by all threads; boto3 allows that for clients
    but not for resources. The read timeout outlives the 20 s long poll.

    Args:
        connections: how many calls may be under way at once.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        max_pool_connections=connections,
        connect_timeout=5,
        read_timeout=30,
        tcp_keepalive=True,
        retries={"mode": "standard", "max_attempts": 3},
        parameter_validation=False,
    )
    return cast(SqsClient, boto3.client("sqs", config=config))


def code_of(error: BaseException) -> str:
    """Return AWS's error code, or the class name of any other error."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code") or type(error).__name__)
    return type(error).__name__
