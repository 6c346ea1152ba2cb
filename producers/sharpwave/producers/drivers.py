"""Run operations with the clients of boto3 or of aiobotocore, and make methods of them."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial, wraps
from inspect import isawaitable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from sharpwave.producers.cache import ReadCache, Uncached
from sharpwave.producers.call import (
    CLIENT_ERRORS,
    Given,
    Operation,
    Pause,
    documented,
    translate,
)
from sharpwave.producers.presence import Presence

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


class Driver:
    """Performs the calls of an operation, one after the other."""

    def __init__(
        self,
        clients: Mapping[str, Any],
        cache: ReadCache | None = None,
        presence: Presence | None = None,
    ) -> None:
        """Use `clients`, by service name, and `cache` for recent reads; sign by `presence`."""
        self._clients, self._cache = clients, cache or Uncached()
        self._presence = presence

    def run(self, operation: Operation[T]) -> T:
        """Run an operation to its result."""
        # An error of a call is thrown in where the operation made it, so that it can answer.
        resume = partial(next, operation)
        while True:
            try:
                step = resume()
            except StopIteration as done:
                self._sign()
                result: T = done.value
                return result
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                resume = partial(operation.send, {})
                continue
            if isinstance(step, Given):
                resume = partial(operation.send, step.value)
                continue
            try:
                # Before the call: what is written meanwhile must not be hidden by what it read.
                began = self._cache.moment
                reply = self._cache.read(step) if self._cache.accepts(step) else None
                if reply is None:
                    reply = getattr(self._clients[step.service], step.operation)(**step.params)
                    if step.operation == "get_object":
                        reply["Body"] = reply["Body"].read()
                    self._cache.learn(step, reply, began)
                resume = partial(operation.send, reply)
            except CLIENT_ERRORS as error:
                resume = partial(operation.throw, translate(error, step))

    def _sign(self) -> None:
        # After what was asked for, which says by itself if nothing can be reached.
        if self._presence is None or (sign := self._presence.due()) is None:
            return
        try:
            self._clients[sign.service].update_item(**sign.params)
        except CLIENT_ERRORS:
            self._presence.refused()

    def close(self) -> None:
        """Close the clients' connections."""
        for client in self._clients.values():
            client.close()
        self._cache.close()


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


class AsyncDriver:
    """Performs the calls of an operation, one after the other."""

    def __init__(
        self,
        clients: Mapping[str, Any],
        cache: ReadCache | None = None,
        presence: Presence | None = None,
    ) -> None:
        """Use `clients`, by service name, and `cache` for recent reads; sign by `presence`."""
        self._clients, self._cache = clients, cache or Uncached()
        self._presence = presence

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation to its result."""
        resume = partial(next, operation)
        while True:
            try:
                step = resume()
            except StopIteration as done:
                await self._sign()
                result: T = done.value
                return result
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                resume = partial(operation.send, {})
                continue
            if isinstance(step, Given):
                value = await step.value if isawaitable(step.value) else step.value
                resume = partial(operation.send, value)
                continue
            try:
                began, reply = self._cache.moment, None
                if self._cache.accepts(step):
                    read = self._cache.read
                    # The DAX client knows no event loop.
                    in_thread = self._cache.waits
                    reply = await asyncio.to_thread(read, step) if in_thread else read(step)
                if reply is None:
                    call = getattr(self._clients[step.service], step.operation)
                    reply = await call(**step.params)
                    if step.operation == "get_object":
                        reply["Body"] = await reply["Body"].read()
                    self._cache.learn(step, reply, began)
                resume = partial(operation.send, reply)
            except CLIENT_ERRORS as error:
                resume = partial(operation.throw, translate(error, step))

    async def _sign(self) -> None:
        if self._presence is None or (sign := self._presence.due()) is None:
            return
        try:
            await self._clients[sign.service].update_item(**sign.params)
        except CLIENT_ERRORS:
            self._presence.refused()


class AsyncSurface(Generic[S]):
    """What users await: methods made of operations on one subject."""

    def __init__(self, subject: S) -> None:
        """Run operations on `subject`, once there is a driver."""
        self._subject = subject
        self._driver: AsyncDriver | None = None

    def _driven(self) -> AsyncDriver:
        if self._driver is None:
            raise RuntimeError("not open yet; use it inside `async with AsyncAgent(...) as agent:`")
        return self._driver


def async_method(
    operation: Callable[Concatenate[S, P], Operation[T]],
) -> Callable[Concatenate[AsyncSurface[S], P], Coroutine[Any, Any, T]]:
    """Make a method that runs an operation on its surface's subject."""

    @wraps(operation)
    async def run(surface: AsyncSurface[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await surface._driven().run(operation(surface._subject, *args, **kwargs))

    return documented(run, operation)
