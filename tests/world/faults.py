"""What goes wrong at the calls of ports: a process dies, or a call is not answered."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sharpwave.workers.work.ports import Fate, InboxMessage, TryAgain, Write

#: As many calls a transaction counts for: there are few, and between them all hangs together.
_TRANSACTION = 10


class Crash(BaseException):
    """The process died; nothing of it is left but what its calls had done by then."""


@dataclass(slots=True)
class Faults:
    """A plan of faults for one process; the calls of its ports are numbered from 1.

    Attributes:
        crash_at: the call at which the process dies; 0 for none.
        after: whether it dies once that call has had its effect, or before.
        crash_rate: share of calls at which it dies, by chance; of transactions more.
        refusal_rate: share of calls that raise TryAgain, half of them after their effect.
        chance: the source of chance.
        step: called before each call; lets others run in between.
        calls: what was called so far.
        weight: as how many calls the one that `step` comes before counts where chance decides.
    """

    crash_at: int = 0
    after: bool = False
    crash_rate: float = 0.0
    refusal_rate: float = 0.0
    chance: Random = field(default_factory=lambda: Random(0))
    step: Callable[[], None] | None = None
    calls: list[str] = field(default_factory=list)
    weight: int = field(default=1, init=False)

    @contextmanager
    def at(self, call: str) -> Iterator[None]:
        """Run one call, with whatever goes wrong around it."""
        self.weight = weight = _TRANSACTION if call.endswith(".transact") else 1
        if self.step is not None:
            self.step()
        self.calls.append(call)
        before, after = self._planned(call, weight)
        if before is not None:
            raise before
        yield
        if after is not None:
            raise after

    def _planned(self, call: str, weight: int) -> tuple[BaseException | None, BaseException | None]:
        fault: BaseException | None = None
        after = self.after
        if len(self.calls) == self.crash_at:
            fault = Crash(f"call {self.crash_at}, {call}")
        elif self.crash_rate and self.chance.random() < weight * self.crash_rate:
            fault, after = Crash(call), self.chance.random() < 0.5
        elif self.refusal_rate and self.chance.random() < weight * self.refusal_rate:
            fault, after = TryAgain(f"{call} was not answered"), self.chance.random() < 0.5
        return (None, fault) if after else (fault, None)


class Watched:
    """A port whose every call passes its process's faults."""

    def __init__(self, port: Any, faults: Faults) -> None:
        """Stand for `port`."""
        self._port, self._faults = port, faults

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)

        def watched(*args: Any, **named: Any) -> Any:
            if args and args[0] == []:
                return call(*args, **named)  # to ask for nothing is no call
            with self._faults.at(f"{type(self._port).__name__}.{name}"):
                return call(*args, **named)

        return watched


class WatchedBatches:
    """A port that takes batches; a process can die between any two of their parts."""

    def __init__(self, port: Any, faults: Faults) -> None:
        """Stand for `port`."""
        self._port, self._faults = port, faults

    def apply(self, writes: Sequence[Write]) -> list[bool]:
        """Apply writes one by one."""
        self._port.check_distinct(writes)
        return [self._part("apply", write) for write in writes]

    def send(self, parts: Sequence[Any]) -> None:
        """Send messages one by one."""
        for part in parts:
            self._part("send", part)

    def _part(self, name: str, part: Any) -> Any:
        with self._faults.at(f"{type(self._port).__name__}.{name}"):
            done = getattr(self._port, name)([part])
        return done[0] if done else None


class WatchedInboxes(WatchedBatches):
    """Inboxes whose every message passes its process's faults; none is another's affair."""

    def send(self, parts: Sequence[InboxMessage]) -> list[Fate]:  # type: ignore[override]
        """Send messages one by one; one that is not answered may have arrived."""
        return [self._fate(part) for part in parts]

    def _fate(self, part: InboxMessage) -> Fate:
        try:
            fate: Fate = self._part("send", part)
        except TryAgain:
            return Fate.FAILED
        return fate
