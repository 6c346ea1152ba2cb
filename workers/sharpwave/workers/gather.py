"""Work of several messages done at once: threads wait together, and one of them does it for all."""

from collections.abc import Callable, Sequence
from threading import Condition
from typing import Generic, TypeVar

from sharpwave.workers.work.ports import Location, TryAgain, Unfinished, Write, Writes

T = TypeVar("T")

_PATIENCE_S = 1.0
#: So many writes fill a call, and wait for no others.
_ENOUGH = 20


class Gatherer(Generic[T]):
    """Gathers pieces of work from many threads and handles them in one call.

    A batch is handled when enough came together, when the linger time is over, or when every
    thread that could add more is already waiting. Each caller returns once its own pieces were
    handled, so a message is acknowledged only after its effect.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], object],
        *,
        linger_s: float,
        threads: int,
        size: Callable[[T], int] = lambda _: 1,
        max_size: int = 1_000,
    ) -> None:
        """Handle batches by `handle`; `threads` is how many callers can wait at once."""
        self._handle, self._size = handle, size
        self._linger_s, self._threads, self._max_size = linger_s, threads, max_size
        self._changed = Condition()
        self._batch: _Batch[T] = _Batch()

    def add(self, pieces: Sequence[T]) -> None:
        """Add pieces of work and wait until they were handled.

        When a batch fails, each caller tries its own pieces alone: one bad piece must not fail
        the messages that happened to wait with it.

        Raises:
            TryAgain: the world did not answer; for every caller of the batch.
            Exception: what `handle` raised for these pieces alone.
        """
        size = sum(map(self._size, pieces))
        batch, first = self._batch, False
        try:
            with self._changed:
                batch = self._batch
                first = batch.waiting == 0
                batch.pieces += pieces
                batch.size += size
                batch.waiting += 1
                if batch.size >= self._max_size or batch.waiting >= self._threads:
                    self._close(batch)
                elif first:
                    self._changed.wait_for(lambda: batch.closed, self._linger_s)
                    self._close(batch)
            error = batch.finish(self._handle, leads=first)
        except BaseException:
            # Dramatiq stops a thread at whatever line it is; if it leads, nobody else will.
            if first:
                with self._changed:
                    self._close(batch)
                batch.stop()
            raise
        if error is None:
            return
        is_shared = isinstance(error, TryAgain) and not isinstance(error, Unfinished)
        if batch.waiting == 1 or is_shared:
            raise error
        self._handle(list(pieces))

    def _close(self, batch: "_Batch[T]") -> None:
        # A thread stopped between these lines must leave them to be done again.
        if self._batch is batch:
            self._batch = _Batch()
        batch.closed = True
        self._changed.notify_all()


class _Batch(Generic[T]):
    """Pieces of work, and the outcome that their callers wait for."""

    def __init__(self) -> None:
        self.pieces: list[T] = []
        self.size = self.waiting = 0
        self.closed = self._done = False
        self._error: Exception | None = None
        self._handled = Condition()

    def finish(self, handle: Callable[[list[T]], object], *, leads: bool) -> Exception | None:
        """Handle the batch, or wait until its leader did; gives what went wrong."""
        if leads:
            try:
                handle(self.pieces)
            except Exception as error:
                self._error = error
            self._finish()
        with self._handled:
            while not self._done:
                # In pieces, because a thread that sleeps in a lock cannot be stopped.
                self._handled.wait(_PATIENCE_S)
        return self._error

    def stop(self) -> None:
        """Send everybody away because the thread that leads is being stopped."""
        self._error = TryAgain("the thread that worked for several messages was stopped")
        self._finish()

    def _finish(self) -> None:
        with self._handled:
            self._done = True
            self._handled.notify_all()


class SharedWrites:
    """`Writes` of several threads in one call, some moments later."""

    def __init__(self, writes: Writes, *, linger_s: float, threads: int) -> None:
        """Write through `writes`; `threads` is how many callers can wait at once."""
        self._writes = writes
        self._asked = Gatherer(
            self._apply_all,
            linger_s=linger_s,
            threads=threads,
            size=lambda asked: len(asked.writes),
            max_size=_ENOUGH,
        )

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Apply writes to distinct items; say of each whether its condition held."""
        if not writes:
            return []  # nothing is no reason to wait for others
        asked = _Asked(writes)
        self._asked.add([asked])
        return asked.verdicts

    def _apply_all(self, asked: Sequence["_Asked"]) -> None:
        while asked:
            together: list[_Asked] = []
            later: list[_Asked] = []
            places: set[Location] = set()
            for each in asked:
                mine = {write.location for write in each.writes}
                # A call takes no two writes of one item.
                (later if places & mine else together).append(each)
                places |= mine
            verdicts = iter(self._writes.apply([w for each in together for w in each.writes]))
            for each in together:
                each.verdicts = [next(verdicts) for _ in each.writes]
            asked = later


class _Asked:
    """What one thread wants written, and what became of it."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self.writes, self.verdicts = writes, list[bool]()
