"""Jobs that run at the same time, one step of one of them after another, in a repeatable order."""

from collections.abc import Callable, Sequence
from random import Random
from threading import Semaphore, Thread

Step = Callable[[], None]
Job = Callable[[Step], object]


class _Turn:
    """A job in a thread of its own that only runs when it is its turn."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._go, self._back = Semaphore(0), Semaphore(0)
        self.error: BaseException | None = None
        self.is_over = False
        Thread(target=self._run, daemon=True).start()

    def resume(self) -> None:
        """Let the job run to its next step, or to its end."""
        self._go.release()
        self._back.acquire()

    def _step(self) -> None:
        self._back.release()
        self._go.acquire()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._job(self._step)
        except BaseException as error:
            self.error = error
        self.is_over = True
        self._back.release()


def interleave(jobs: Sequence[Job], chance: Random) -> list[BaseException | None]:
    """Run jobs until all are over; `chance` decides who takes the next step.

    A job is called with a function that it calls before each of its steps.

    Returns:
        What each job raised, or None.
    """
    turns = [_Turn(job) for job in jobs]
    running = list(turns)
    while running:
        turn = chance.choice(running)
        turn.resume()
        if turn.is_over:
            running.remove(turn)
    return [turn.error for turn in turns]
