"""Work of several messages done at once: threads wait together, and one of them does it for all."""

from collections.abc import Callable, Sequence
from threading import Condition
from typing import Generic, TypeVar

from sharpwave.workers.ports import TryAgain, Unfinished

T = TypeVar("T")


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
        with self._changed:
            batch = self._batch
            batch.pieces += pieces
            batch.size += sum(map(self._size, pieces))
            batch.waiting += 1
            first = batch.waiting == 1
            if batch.size >= self._max_size or batch.waiting >= self._threads:
                self._close(batch)
            elif first:
                self._linger(batch)
        error = batch.finish(self._handle, leads=first)
        if error is None:
            return
        is_shared = isinstance(error, TryAgain) and not isinstance(error, Unfinished)
        if batch.waiting == 1 or is_shared:
            raise error
        self._handle(list(pieces))

    def _linger(self, batch: "_Batch[T]") -> None:
        try:
            self._changed.wait_for(lambda: batch.closed, self._linger_s)
        except BaseException:
            batch.stop()
            raise
        finally:
            self._close(batch)

    def _close(self, batch: "_Batch[T]") -> None:
        if not batch.closed:
            batch.closed = True
            self._batch = _Batch()
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
            self._lead(handle)
        with self._handled:
            self._handled.wait_for(lambda: self._done)
        return self._error

    def _lead(self, handle: Callable[[list[T]], object]) -> None:
        try:
            handle(self.pieces)
        except Exception as error:
            self._error = error
        except BaseException:
            self.stop()
            raise
        self._finish()

    def stop(self) -> None:
        """Send everybody away because the thread that leads is being stopped."""
        self._error = TryAgain("the thread that worked for several messages was stopped")
        self._finish()

    def _finish(self) -> None:
        with self._handled:
            self._done = True
            self._handled.notify_all()
