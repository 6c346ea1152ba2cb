"""What an operation asks its driver to do, so that each operation is written once, without I/O."""

from collections.abc import Callable, Generator
from inspect import signature
from typing import Any, Literal, NamedTuple, TypeVar, get_args

Service = Literal["dynamodb", "sqs"]
Reply = dict[str, Any]
T = TypeVar("T")


class Call(NamedTuple):
    """One request to a service; `operation` is the client's method.

    `recent` says that it reads only records of the last day and may be answered by a cache.
    """

    service: Service
    operation: str
    params: dict[str, Any]
    recent: bool = False

    @property
    def place(self) -> str:
        """Name the table or queue, for messages."""
        url = str(self.params.get("QueueUrl", ""))
        name = self.params.get("TableName") or self.params.get("QueueName")
        return str(name or url.rpartition("/")[2] or self.service)

    @property
    def target(self) -> str:
        """Name what is asked of which table or queue, for messages."""
        return f"{self.operation} on {self.place}"


class Pause(NamedTuple):
    """A wait before the next call, in seconds."""

    seconds: float


#: Yields requests, receives replies (or has an `AgentError` thrown in), returns its result.
Operation = Generator[Call | Pause, Reply, T]

F = TypeVar("F", bound=Callable[..., Any])


def documented(method: F, operation: Callable[..., Any]) -> F:
    """Give a method the signature of the operation it runs, with the result it returns."""
    shown = signature(operation)
    result = get_args(shown.return_annotation)[-1]
    method.__signature__ = shown.replace(return_annotation=result)  # type: ignore[attr-defined]
    return method
