"""What can go wrong with a cluster, on purpose: for tests of who uses it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Literal

Kind = Literal["reset", "error", "slow", "partial"]


@dataclass
class Fault:
    """One thing to go wrong with data requests; those of discovery are left alone."""

    kind: Kind
    times: int  # data requests it befalls
    node: int | None = None  # only those at this node
    code: str = ""  # DynamoDB's name for an error
    seconds: float = 0.0
    released: Event = field(default_factory=Event)


class Faults:
    """Faults to come, each for a number of data requests, in the order in which they were set.

    `hang` keeps requests waiting until `clear`; a cluster that is stopped lets them go as well.

    Attributes:
        struck: how many requests met a fault so far.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._lock = Lock()
        self._planned: list[Fault] = []
        self._sleep = sleep
        self.struck = 0

    def reset(self, times: int = 1, *, node: int | None = None) -> None:
        """Cut the connection, as a crash does, instead of an answer."""
        self._plan(Fault("reset", times, node))

    def fail(self, code: str, times: int = 1, *, node: int | None = None) -> None:
        """Answer with an error, such as `ThrottlingException`."""
        self._plan(Fault("error", times, node, code=code))

    def slow(self, seconds: float, times: int = 1, *, node: int | None = None) -> None:
        """Answer late."""
        self._plan(Fault("slow", times, node, seconds=seconds))

    def hang(self, times: int = 1_000_000, *, node: int | None = None) -> None:
        """Do not answer until `clear`."""
        self._plan(Fault("slow", times, node, seconds=float("inf")))

    def leave_unprocessed(self, times: int = 1, *, node: int | None = None) -> None:
        """Leave the second half of a batch, or its only element, unprocessed."""
        self._plan(Fault("partial", times, node))

    def clear(self) -> None:
        """Forget all faults, and let go of who waits."""
        with self._lock:
            for fault in self._planned:
                fault.released.set()
            self._planned.clear()

    def strike(self, node: int, *, is_batch: bool) -> Fault | None:
        """Give the next fault of a node's request, if there is one."""
        with self._lock:
            for fault in self._planned:
                if fault.node not in (None, node) or (fault.kind == "partial" and not is_batch):
                    continue
                if fault.times > 0:
                    fault.times -= 1
                    self.struck += 1
                    return fault
        return None

    def wait(self, fault: Fault) -> None:
        """Be as slow as a fault says."""
        if fault.seconds == float("inf"):
            fault.released.wait()
        else:
            self._sleep(fault.seconds)

    def _plan(self, fault: Fault) -> None:
        with self._lock:
            self._planned.append(fault)
