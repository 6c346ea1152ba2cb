"""An agent's own rate limits: a token bucket in its state, which its processes share.

A process draws tokens ahead, a lease, and gives them out without asking. A lease holds as many as
were wanted lately, at most a tenth of the bucket, and lapses after as long as the limit takes to
give that tenth: so what all processes together take in any span of time is never above the limit
by more than one lease, however many they are and whenever they die.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from sharpwave.producers.call import Call, Identity, Operation, Pause
from sharpwave.producers.errors import AlreadyExists, ConditionFailed, RateLimited, Throttled
from sharpwave.schemas import ids, keys, tables
from sharpwave.schemas.numbers import item_from_wire, item_to_wire
from sharpwave.schemas.times import DAY_S
from sharpwave.schemas.tokens import Bucket, Rate, Watched

_ATTEMPTS, _PAUSE_S, _SPREAD = 20, 0.01, 6


class Taken(NamedTuple):
    """Tokens that were taken, and how many this process may take without asking anybody."""

    n: int
    left: int


class _Draw(NamedTuple):
    """A write that draws tokens: what it leaves, and what it was based on."""

    tokens: int
    left: Bucket
    rev: int | None
    by: str
    watch_ms: int


@dataclass(eq=False)
class Limit:
    """One limit as one process knows it; safe for threads."""

    me: Identity
    name: str
    rate: Rate
    watch: Callable[[], float] = time.monotonic
    _watched: Watched = field(init=False)
    _lock: Lock = field(default_factory=Lock)
    _rev: int | None = None
    _held: int = 0
    _lapses_ms: int = 0
    _drawn: int = 0
    _wanted: int = 1
    #: Draws in a row that met another process's.
    lost: int = 0

    def __post_init__(self) -> None:
        self.key = keys.limit(self.me.agent_id, self.name)
        if keys.parse(tables.STATE, *self.key) is None:
            form = ids.IN_WORDS[ids.RECORD_ID]
            raise ValueError(f"{self.name!r} cannot name a limit; use {form}")
        self._watched = Watched(self.rate)

    def next(self, n: int) -> "Taken | _Draw | float":
        """Take tokens that are held, or say what to draw, or in how many seconds to ask again."""
        with self._lock:
            watch_ms = self._watch_ms()
            if watch_ms >= self._lapses_ms and self._held:
                # Less was wanted than was drawn.
                self._wanted, self._held = max(1, self._drawn - self._held), 0
            if n <= self._held:
                self._held -= n
                return Taken(n, self._held)
            if not self._watched.is_known():
                # Perhaps it is the first; if not, the answer tells.
                self._watched.see(None, now_ms=self._now_ms(), watch_ms=watch_ms)
            level = self._watched.standing(watch_ms)
            lacking = n - self._held
            tokens = min(level.tokens_milli // 1000, max(lacking, self._wanted))
            # Of a bucket that is nearly empty, so few would be a write for each of them.
            least = max(lacking, min(self._wanted, self.rate.per_minute // 60))
            if tokens < least:
                if not self._watched.is_set_back:
                    return self.rate.wait_ms(least * 1000 - level.tokens_milli) / 1000
                tokens = 0
            left = level._replace(tokens_milli=level.tokens_milli - tokens * 1000)
            return _Draw(tokens, left, self._rev, ids.ulid(), watch_ms)

    def drew(self, draw: _Draw, n: int) -> Taken | None:
        """Take note of a draw that was stored; gives tokens unless others of the process did."""
        with self._lock:
            if draw.rev == self._rev:
                # Else another thread met what was stored since.
                self._watched.drawn(draw.left, draw.watch_ms)
                self._rev = (draw.rev or 0) + 1
            # From before the draw on; what another thread drew meanwhile lapses no later for it.
            lapses_ms = draw.watch_ms + self.rate.wait_ms(self.rate.lease * 1000)
            self._lapses_ms = min(self._lapses_ms, lapses_ms) if self._held else lapses_ms
            self.lost = 0
            self._drawn, self._held = self._held + draw.tokens, self._held + draw.tokens
            self._wanted = max(1, min(2 * draw.tokens, self.rate.lease))
            if n > self._held:
                return None
            self._held -= n
            return Taken(n, self._held)

    def met(self, item: dict[str, Any]) -> None:
        """Take note of what a draw met instead."""
        with self._lock:
            try:
                stored = Bucket(int(item["tokens_milli"]), int(item["at_ms"])) if item else None
                rev = int(item["rev"]) if item else None
            except (KeyError, TypeError, ValueError) as error:
                pk, sk = self.key
                raise AlreadyExists(
                    f"{pk} / {sk} holds no token bucket; delete it, or name the limit otherwise"
                ) from error
            self._rev = rev
            self.lost += 1
            self._watched.see(stored, now_ms=self._now_ms(), watch_ms=self._watch_ms())

    def change(self, draw: _Draw) -> dict[str, Any]:
        """Give the request that stores a draw, on just the bucket that it is based on."""
        full_s = self.rate.wait_ms(self.rate.burst * 1000) // 1000
        values = {
            **draw.left._asdict(),
            "rev": (draw.rev or 0) + 1,
            "by": draw.by,
            # Where it is full again nothing is lost with it.
            "ttl": self.me.now() + full_s + DAY_S,
        }
        given: dict[str, Any] = {f":{name}": value for name, value in values.items()}
        condition = "attribute_not_exists(PK)"
        if draw.rev is not None:
            condition, given[":was"] = "#rev = :was", draw.rev
        return {
            "TableName": self.me.table(tables.STATE),
            "Key": self.key.wire(),
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {f"#{name}": name for name in values},
            "ExpressionAttributeValues": item_to_wire(given),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _watch_ms(self) -> int:
        return int(self.watch() * 1000)

    def _now_ms(self) -> int:
        return int(self.me.clock() * 1000)


def take(limit: Limit, /, n: int = 1) -> Operation[Taken]:
    """Take `n` tokens now, or none.

    Most calls ask nobody: tokens are drawn ahead, and what cannot be there yet is refused at once.

    Raises:
        RateLimited: there are not so many; `retry_after_s` says when there may be.
        Throttled: the other processes kept drawing at the same time.
        ValueError: `n` is not 1 to the limit's burst.
    """
    if not 1 <= n <= limit.rate.burst:
        raise ValueError(f"n is {n}; {limit.name} holds 1 to {limit.rate.burst} tokens at once")
    for attempt in range(_ATTEMPTS):
        found = limit.next(n)
        if isinstance(found, Taken):
            return found
        if isinstance(found, float):
            raise RateLimited(
                f"{n} of the limit {limit.name} of {limit.me.agent_id} are not to be had for "
                f"{found:.3f} s; ask again then, or call wait()",
                retry_after_s=found,
            )
        try:
            yield Call("dynamodb", "update_item", limit.change(found))
        except ConditionFailed as met:
            item = item_from_wire(met.item)
            # It may be our own write, retried after its answer was lost.
            if item.get("by") != found.by:
                limit.met(item)
                yield Pause(random.uniform(0, _PAUSE_S * 2 ** min(attempt, _SPREAD)))
                continue
        taken = limit.drew(found, n)
        if taken is not None:
            return taken
    raise Throttled(f"the limit {limit.name} kept changing; ask again later")


def wait(limit: Limit, /, n: int = 1, *, timeout_s: float | None = None) -> Operation[Taken]:
    """Take `n` tokens as soon as they are there.

    Args:
        n: how many.
        timeout_s: raise rather than wait longer than this; for as long as it takes unless given.

    Raises:
        RateLimited: they do not come within `timeout_s`.
        Throttled: the other processes kept drawing at the same time.
        ValueError: `n` is not 1 to the limit's burst.
    """
    until = None if timeout_s is None else limit.watch() + timeout_s
    while True:
        try:
            return (yield from take(limit, n))
        except RateLimited as limited:
            # The more wait with us the more it is spread, or all would write for each token.
            spread = random.uniform(1, 2 ** min(limit.lost, _SPREAD))
            pause_s = limited.retry_after_s * spread + 0.001
            if until is not None:
                left_s = until - limit.watch()
                if limited.retry_after_s > left_s:
                    raise
                pause_s = min(pause_s, left_s)
        yield Pause(pause_s)
