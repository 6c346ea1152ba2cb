"""Runs operations with boto3 clients."""

import time
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from sharpwave.producers.call import Call, Operation, Pause, Reply, documented
from sharpwave.producers.dax import DaxRoute
from sharpwave.producers.translate import CLIENT_ERRORS, translate

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


class Driver:
    """Performs the calls of an operation, one after the other."""

    def __init__(self, clients: Mapping[str, Any], dax: DaxRoute | None = None) -> None:
        """Use `clients`, by service name, and `dax` for recent reads."""
        self._clients, self._dax = clients, dax

    def run(self, operation: Operation[T]) -> T:
        """Run an operation to its result."""
        resume = partial(next, operation)
        while True:
            try:
                step = resume()
            except StopIteration as done:
                result: T = done.value
                return result
            resume = self._answer(operation, step)

    def close(self) -> None:
        """Close the clients' connections."""
        for client in self._clients.values():
            client.close()
        if self._dax is not None:
            self._dax.close()

    def _answer(self, operation: Operation[T], step: Call | Pause) -> partial[Call | Pause]:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return partial(operation.send, {})
        try:
            return partial(operation.send, self._perform(step))
        except CLIENT_ERRORS as error:
            return partial(operation.throw, translate(error, step))

    def _perform(self, call: Call) -> Reply:
        if self._dax is not None and self._dax.accepts(call):
            answer = self._dax.read(call)
            if answer is not None:
                return answer
        reply: Reply = getattr(self._clients[call.service], call.operation)(**call.params)
        return reply


class Surface(Generic[S]):
    """What users call: methods made of operations on one subject."""

    def __init__(self, subject: S, driver: Driver) -> None:
        """Run operations on `subject` with `driver`."""
        self._subject, self._driver = subject, driver


def method(
    operation: Callable[Concatenate[S, P], Operation[T]],
) -> Callable[Concatenate[Surface[S], P], T]:
    """Make a method that runs an operation on its surface's subject."""

    @wraps(operation)
    def run(surface: Surface[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return surface._driver.run(operation(surface._subject, *args, **kwargs))

    return documented(run, operation)
