"""A rate limit in the hands of an agent, synchronous or not."""

from sharpwave.producers.drivers import AsyncDriver, AsyncSurface, Surface, async_method, method
from sharpwave.producers.operations import limits
from sharpwave.producers.operations.limits import Limit


class _Shown:
    """What both show of their limit."""

    _subject: Limit

    @property
    def name(self) -> str:
        """Give the limit's key."""
        return self._subject.name

    @property
    def lease(self) -> int:
        """Give by how many tokens all processes together may be above the limit at most."""
        return self._subject.rate.lease


class Limiter(_Shown, Surface[Limit]):
    """Gives out the tokens of one limit; safe to use from several threads."""

    take = method(limits.take)
    wait = method(limits.wait)


class AsyncLimiter(_Shown, AsyncSurface[Limit]):
    """Gives out the tokens of one limit."""

    take = async_method(limits.take)
    wait = async_method(limits.wait)

    def __init__(self, limit: Limit, driver: AsyncDriver) -> None:
        """Hand out a limiter of a driver that is open."""
        super().__init__(limit)
        self._driver = driver
