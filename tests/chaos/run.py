"""One run: start, load and strike, come to rest, judge."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.infra.local import Backend, open_backend
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.patterns import import_patterns
from sharpwave.infra.operate.verify import WAIT_S, verify
from sharpwave.schemas import keys, queues
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.tables import PIPELINE, SIGNALS, STREAMED
from tests.chaos import checker, memory_checker, roster, snapshot
from tests.chaos.checker import Violation
from tests.chaos.controls import Control
from tests.chaos.history import Event, History, book_of, read
from tests.chaos.load import TIMING, Load
from tests.chaos.plan import NEAR_S, Plan, agent_clocks
from tests.chaos.proxy import Proxies
from tests.chaos.snapshot import Snapshot
from tests.chaos.stack import PROMOTE_AFTER_S, TICK_S, StackUnderTest
from tests.chaos.strikes import Strikes

#: What comes to rest later than this does not come to rest.
REST_WITHIN_S = 600.0
_CONTROL_REST_WITHIN_S = 60.0
#: A broken system need not be given time to mend what it lost.
_CONTROL_VERIFY_WAIT_S = 3.0

#: What the checker must find in the work of each control; one kind is enough.
EXPECTED: Mapping[Control, frozenset[checker.Kind]] = {
    "ack-first": frozenset({"delivery lost", "miscounted", "memory lost"}),
    "no-marks": frozenset({"miscounted", "effect doubled"}),
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a run did and found.

    Attributes:
        plan: what was to be done.
        control: which broken system was run; None for the real one.
        backend: where.
        struck: strikes carried out, by kind; `kill` without those that agents did to themselves.
        suicides: agents that killed themselves in the middle of a delivery.
        signals: signals in the table at the end.
        deliveries: deliveries due, one per signal and target.
        handed: hand-outs to handlers, repetitions included.
        absorbed: repetitions that the inbox client dropped.
        calls: calls of pipeline and workers through the proxies.
        faults: calls that were broken, by kind of fault.
        seconds: from the first signal to rest; `settling_s` of them after the last signal.
        results: the deliveries in the terms of Jepsen; see `checker.results`.
        latency_ms: p50 and p99 from a signal's writing to its first hand-out.
        violations: everything that the checker found.
    """

    plan: Plan
    control: Control | None
    backend: str
    struck: Mapping[str, int]
    suicides: int
    signals: int
    deliveries: int
    handed: int
    absorbed: int
    calls: int
    faults: Mapping[str, int]
    seconds: float
    settling_s: float
    results: Mapping[str, int]
    latency_ms: tuple[int, int]
    violations: Sequence[Violation] = field(default_factory=tuple)

    @property
    def kills(self) -> int:
        """Count every process that was killed with SIGKILL."""
        struck = self.struck
        killed = sum(struck.get(kind, 0) for kind in ("kill", "rewind", "gap"))
        return killed + self.suicides

    @property
    def blows(self) -> int:
        """Count every process that was killed or frozen."""
        return self.kills + self.struck.get("freeze", 0)

    @property
    def ok(self) -> bool:
        """Say whether the real system kept every promise, or the broken one was caught."""
        if self.control is None:
            return not self.violations
        return any(each.kind in EXPECTED[self.control] for each in self.violations)


def run(
    plan: Plan,
    *,
    control: Control | None,
    folder: Path,
    tell: Callable[[str], None] = lambda _: None,
    backend: Backend | None = None,
) -> Trial:
    """Carry out one run; history, end state and logs stay in `folder`.

    Raises:
        BackendUnavailable: the backend or the fault proxy cannot run here.
        StackNotReady: the system did not come up.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        chosen = stack.enter_context(backend or choose_backend())
        proxies = stack.enter_context(Proxies(chosen, seed=plan.seed, folder=folder))
        system = StackUnderTest(
            chosen,
            proxies.environment,
            folder=folder,
            plan=plan,
            control=control,
        )
        # Where queues have an endpoint of their own, botocore takes it from the environment only.
        stack.enter_context(_environment(chosen.environment))
        stack.enter_context(system)
        return _Run(plan, control, system, proxies, tell).carry_out()


def choose_backend() -> Backend:
    """Give the fast queues where Node.js is, else the embedded backend alone."""
    has_node = shutil.which("node") and shutil.which("npm")
    return open_backend("embedded+fauxqs" if has_node else "embedded")


def judge(events: Sequence[Event], end: Snapshot) -> list[Violation]:
    """Check a history and an end state."""
    told = book_of(events)
    return [
        *checker.check_writes(events, end),
        *checker.check_signals(told, events, end),
        *checker.check_refusals(told, end),
        *memory_checker.check_counts(told, end),
        *memory_checker.check_memory(end),
    ]


class _Run:
    def __init__(
        self,
        plan: Plan,
        control: Control | None,
        system: StackUnderTest,
        proxies: Proxies,
        tell: Callable[[str], None],
    ) -> None:
        self._plan, self._control = plan, control
        self._system, self._proxies, self._tell = system, proxies, tell
        self._deployment = system.deployment
        self._latest = 0.0

    def carry_out(self) -> Trial:
        self._import_patterns()
        began = time.monotonic()
        strikes = self._load()
        loaded = time.monotonic()
        held = self._settle()
        ended = time.monotonic()
        return self._report(strikes, held, ended - began, ended - loaded)

    def _import_patterns(self) -> None:
        made = import_patterns(self._deployment, roster.patterns(), timing=TIMING)
        since = max(each.effective_from for each in made)
        threading.Event().wait(max(0.0, since - time.time()))

    def _load(self) -> Strikes:
        ended = threading.Event()
        with History(self._system.history, "load") as history:
            load = Load(self._deployment, history, self._plan)
            strikes = Strikes(
                self._plan, self._system, self._proxies, history, progress=lambda: load.progress
            )
            striker = _Striker(strikes, ended)
            striker.start()
            reporter = threading.Thread(target=self._keep_telling, args=(load, ended), daemon=True)
            reporter.start()
            try:
                load.run()
            finally:
                ended.set()
                striker.join()
        striker.check()
        # What receivers decide in answer to the last signals lies ahead by no more than this.
        self._latest = max(load.latest, time.time() + self._ahead_s)
        return strikes

    def _keep_telling(self, load: Load, ended: threading.Event) -> None:
        while not ended.wait(5.0):
            self._tell(f"load {load.progress:.0%}")

    @property
    def _ahead_s(self) -> float:
        offsets = agent_clocks(self._plan).values()
        return max(each for each in offsets if each <= NEAR_S)

    def _settle(self) -> dict[str, int]:
        swept_s = PROMOTE_AFTER_S + 2 * TICK_S
        still_s = max(1.5 * self._plan.scale.visibility_s, swept_s)
        within_s = _CONTROL_REST_WITHIN_S if self._control else REST_WITHIN_S
        quiet = Quiet(self._deployment, still_s=still_s, agents=self._system.agents)
        # Records from the future become due by themselves, which no queue shows before.
        return quiet.wait(within_s, self._tell, not_before=self._latest + swept_s)

    def _report(
        self, strikes: Strikes, held: Mapping[str, int], seconds: float, settling_s: float
    ) -> Trial:
        wait_s = _CONTROL_VERIFY_WAIT_S if self._control else WAIT_S
        verified = verify(self._deployment, self._system.archive, wait_s=wait_s)
        end = snapshot.take(self._deployment, verified, agents=self._system.agents)
        end.save(self._system.folder / "end.json")
        events = read(self._system.history)
        restless = [Violation("not at rest", f"{name}: {count}") for name, count in held.items()]
        due = checker.deliveries(book_of(events), end)
        violations = [*restless, *judge(events, end)]
        return Trial(
            plan=self._plan,
            control=self._control,
            backend=self._system.backend.name,
            struck=dict(sorted(strikes.done.items())),
            suicides=sum(event.what == "dying" for event in events),
            signals=sum(1 for _ in end.kind(SIGNALS, "signal")),
            deliveries=len(due),
            handed=sum(event.what == "handed" for event in events),
            absorbed=sum(e.details["count"] for e in events if e.what == "dropped"),
            calls=self._proxies.calls(),
            faults=self._proxies.faults(),
            seconds=round(seconds, 1),
            settling_s=round(settling_s, 1),
            results=checker.results(book_of(events), due, violations),
            latency_ms=_latencies(due),
            violations=violations,
        )


class _Striker(threading.Thread):
    """Runs the strikes, and keeps what they raised."""

    def __init__(self, strikes: Strikes, ended: threading.Event) -> None:
        super().__init__(name="strikes", daemon=True)
        self._strikes, self._ended = strikes, ended
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._strikes.run(self._ended)
        except BaseException as error:
            self._error = error

    def check(self) -> None:
        """Raise what the strikes raised: a run without them proves nothing."""
        if self._error is not None:
            raise self._error


def _latencies(due: Sequence[checker.Delivery]) -> tuple[int, int]:
    """Give p50 and p99 from a signal's writing to its first hand-out, in milliseconds."""
    waits = sorted(
        1000 * (min(event.at for event in each.handed) - each.signal.began)
        for each in due
        if each.handed
    )
    if not waits:
        return 0, 0
    return round(waits[len(waits) // 2]), round(waits[int(len(waits) * 0.99)])


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


#: Queues that ticks keep sending to: they are empty in between only.
_TICKED = frozenset({"status", "promote", "learn"})
_LOOK_EVERY_S, _TELL_EVERY_S, _LOOK_AT_INBOXES_EVERY_S = 0.1, 5.0, 2.0

Held = dict[str, int]


class Quiet:
    """Tells when queues and streams have been still for longer than anything can hide.

    Args:
        deployment: the backend, not through the fault proxy.
        still_s: how long nothing may have been under way, in seconds.
        agents: whose inbox queues count. They may be hundreds, so they are looked at only while
            everything else is still.
    """

    def __init__(self, deployment: Deployment, *, still_s: float, agents: Iterable[str]) -> None:
        self._work = [Mailbox(deployment, name) for name in WORK_QUEUE_NAMES]
        self._inboxes = [Mailbox(deployment, queues.inbox(name).name) for name in agents]
        self._items = Items(deployment)
        self._still_s = still_s

    def wait(
        self, within_s: float, tell: Callable[[str], None], *, not_before: float = 0.0
    ) -> Held:
        """Wait until all is still; gives what was not within `within_s` seconds, by name.

        Not before an epoch second at which something may still become due by itself.
        """
        deadline = max(time.time(), not_before) + within_s
        since, positions = time.time(), self._positions()
        emptied: set[str] = set()
        told = looked = 0.0
        full: Held = {}
        while True:
            held = _depths(self._work)
            now, moved = time.time(), self._positions()
            if not held.keys() - _TICKED and now - looked > _LOOK_AT_INBOXES_EVERY_S:
                looked, full = now, _depths(self._inboxes)
            held |= full
            if moved != positions or held.keys() - _TICKED:
                since, positions, emptied = now, moved, set()
            emptied |= _TICKED - held.keys()
            if now - since >= self._still_s and emptied == _TICKED and now >= not_before:
                return {}
            if now - told > _TELL_EVERY_S:
                told = now
                tell(f"settling, under way: {_listed(held) or 'nothing'}")
            if now > deadline:
                return held or dict.fromkeys(sorted(_TICKED - emptied) or ["streams"], 1)
            threading.Event().wait(_LOOK_EVERY_S)

    def _positions(self) -> list[tuple[str, str]]:
        return [
            (f"{table} {row['SK']}", str(row["position"]))
            for table in STREAMED
            for row in self._items.query(PIPELINE, keys.checkpoint_pk(table))
        ]


def _depths(boxes: Iterable[Mailbox]) -> Held:
    """Give the queues that hold messages, those delayed or in somebody's hands too."""
    return {box.name: count for box in boxes if (count := box.depth().total)}


def _listed(held: Mapping[str, int]) -> str:
    shown = [f"{count} {name}" for name, count in list(held.items())[:8]]
    return ", ".join(shown + ([f"and {len(held) - 8} more"] if len(held) > 8 else []))
