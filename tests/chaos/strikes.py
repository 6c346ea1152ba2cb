"""Carries the strikes of a plan out, each at its moment of the load."""

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Item, Items
from sharpwave.infra.local.mappings import FUNCTION
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.feed import reconcile_tables
from sharpwave.infra.provision.structure import carry_out, queue_findings
from sharpwave.schemas import keys, queues
from sharpwave.schemas.tables import PIPELINE, STREAMED
from tests.chaos import proxy
from tests.chaos.history import History
from tests.chaos.plan import Plan, Strike
from tests.chaos.proxy import Proxies
from tests.chaos.stack import StackUnderTest

_LOOK_EVERY_S = 0.05
_AT_ONCE = 6
#: A victim between two lives is waited for this long.
_WAIT_FOR_LIFE_S = 10.0
#: How many looks back a rewound pump begins again; one look a second.
_REWIND = 6
_BOOTS_S = 10


class Process(NamedTuple):
    """A process: its ids, and the whole seconds since it was started."""

    pid: int
    parent: int
    group: int
    age_s: int


class Strikes:
    """Watches the load and strikes; `done` counts what was done, by kind.

    Args:
        plan: what to do and when.
        system: the victim.
        proxies: the weather's makers.
        history: where what costs messages is noted.
        progress: the share of the load that is written.
    """

    def __init__(
        self,
        plan: Plan,
        system: StackUnderTest,
        proxies: Proxies,
        history: History,
        *,
        progress: Callable[[], float],
    ) -> None:
        self._plan, self._system, self._proxies = plan, system, proxies
        self._history, self._progress = history, progress
        self._items = Items(system.deployment)
        self._rng = random.Random(f"aim {plan.seed}")
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._intensity = 1.0
        self._positions: list[list[Item]] = []
        self.done: Counter[str] = Counter()

    def run(self, ended: threading.Event) -> None:
        """Strike until the plan is carried out or the load has ended; then mend everything."""
        due = list(self._plan.strikes)
        fronts = list(self._plan.fronts)
        under_way: list[Future[None]] = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            looks = 0
            while not ended.wait(_LOOK_EVERY_S):
                progress = self._progress()
                while fronts and fronts[0].at <= progress:
                    self._turn(fronts.pop(0).intensity)
                while due and due[0].at <= progress:
                    under_way.append(pool.submit(self._strike, due.pop(0)))
                is_time = looks % round(1 / _LOOK_EVERY_S) == 0
                if is_time and (found := checkpoints(self._items)):
                    self._positions = [*self._positions, found][-_REWIND:]
                looks += 1
            self._over.set()
        self._proxies.obey([])
        for strike in under_way:
            strike.result()

    def _strike(self, strike: Strike) -> None:
        if self._over.is_set():
            return
        if getattr(self, f"_{strike.kind}")(strike):
            with self._lock:
                self.done[strike.kind] += 1

    def _kill(self, strike: Strike) -> bool:
        if self._has_function and strike.service == "pump":
            return _send(self._functions(), signal.SIGKILL)
        group = self._alive(strike.service)
        if group is None:
            return False
        # Dramatiq's master notices the death of a booting worker only after 30 s, in which there is
        # nothing left to break.
        if strike.whole or age_s(group) < _BOOTS_S:
            return _send([-group], signal.SIGKILL)
        return _send(innermost(group), signal.SIGKILL)

    def _freeze(self, strike: Strike) -> bool:
        if self._has_function and strike.service == "pump":
            victims = self._functions()
        else:
            group = self._alive(strike.service)
            if group is None:
                return False
            victims = innermost(group)
        frozen = _send(victims, signal.SIGSTOP)
        self._over.wait(strike.seconds)
        _send(victims, signal.SIGCONT)
        return frozen

    def _outage(self, strike: Strike) -> bool:
        self._proxies.obey(proxy.outage(strike.service))
        self._over.wait(strike.seconds)
        self._turn(self._intensity)
        return True

    def _rewind(self, strike: Strike) -> bool:
        """Make the pump begin again from where it was a few seconds ago."""
        group = None if self._has_function else self._alive("pump")
        if group is None or not self._positions:
            return False
        _send([-group], signal.SIGKILL)
        for position in self._positions[0]:
            self._items.put(PIPELINE, position)
        return True

    def _twin(self, strike: Strike) -> bool:
        """Run a second pump for a while: every record comes twice, out of order.

        Of mappings there is one for each table: they are switched off and on instead.
        """
        if self._has_function:
            self._switch(on=False)
            self._over.wait(strike.seconds)
            return self._switch(on=True)
        supervisor = self._system.supervisor
        supervisor.scale("pump", 2)
        self._over.wait(strike.seconds)
        supervisor.scale("pump", 1)
        return True

    def _reconcile(self, strike: Strike) -> bool:
        reconcile_tables(self._system.deployment)
        return True

    def _trim(self, strike: Strike) -> bool:
        if self._has_function:
            return False
        self._proxies.add(proxy.trim())
        return True

    def _refuse(self, strike: Strike) -> bool:
        """Let one inbox queue take nothing, or seem not to be there."""
        queue = self._system.deployment.name(queues.inbox(strike.service).name)
        is_missing = self._rng.random() < 0.5
        self._proxies.add(proxy.refusal(queue, strike.seconds, is_missing=is_missing))
        return True

    def _cut(self, strike: Strike) -> bool:
        """Delete an inbox queue with what is in it, and make it again."""
        deployment, queue = self._system.deployment, queues.inbox(strike.service)
        Mailbox(deployment, queue.name).drop()
        self._history.note(strike.service, "cut")
        self._over.wait(strike.seconds)
        carry_out(list(queue_findings(deployment, queue)), dry_run=False)
        return True

    def _gap(self, strike: Strike) -> bool:
        """Lose what the streams hold from some moment on, and heal it as an operator would.

        A pump that died is put forward to the newest record. It must have come past what agents
        wrote over before, and that be refused, or nobody could say what was admitted.
        """
        deployment = self._system.deployment
        status, began = Mailbox(deployment, "status"), time.time()
        if self._has_function or not self._comes_past(newest(deployment)):
            return False
        _soon(lambda: not status.depth().total)
        group = self._alive("pump")
        if group is None or not _send([-group], signal.SIGKILL):
            return False
        self._over.wait(strike.seconds)
        for row in newest(deployment):
            self._items.put(PIPELINE, row)
        self._history.note("operator", "gap", began=began)
        reconcile_tables(deployment)
        return True

    def _comes_past(self, positions: Sequence[Item]) -> bool:
        """Wait until the pump's positions are not before these, though the load may end."""

        def is_past() -> bool:
            now = {(row["PK"], row["SK"]): row["position"] for row in checkpoints(self._items)}
            return all(_is_past(now.get((at["PK"], at["SK"])), at["position"]) for at in positions)

        return _soon(is_past)

    @property
    def _has_function(self) -> bool:
        return self._plan.router == "lambda"

    def _functions(self) -> list[int]:
        """Give the processes in which the backend runs the router's function."""
        told = f"AWS_LAMBDA_FUNCTION_NAME={self._system.deployment.name(FUNCTION)}".encode()
        found = []
        for each in processes():
            # Gone by now, or somebody else's.
            with suppress(OSError):
                variables = Path(f"/proc/{each.pid}/environ").read_bytes().split(b"\0")
                found += [each.pid] if told in variables else []
        return found

    def _switch(self, *, on: bool) -> bool:
        deployment = self._system.deployment
        client: Any = deployment.session.client(
            "lambda", endpoint_url=deployment.endpoint("lambda")
        )
        for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
            client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=on)
        return True

    def _turn(self, intensity: float) -> None:
        self._intensity = intensity
        self._proxies.obey(proxy.rules(intensity))

    def _alive(self, service: str) -> int | None:
        """Give the process group of a service, once it has one."""
        for _ in range(round(_WAIT_FOR_LIFE_S / _LOOK_EVERY_S)):
            for status in self._system.supervisor.status():
                if status.service == service and status.pid and innermost(status.pid):
                    return status.pid
            if self._over.wait(_LOOK_EVERY_S):
                break
        return None


def checkpoints(items: Items) -> list[Item]:
    """Read where the pump stands in every shard."""
    return [row for name in STREAMED for row in items.query(PIPELINE, keys.checkpoint_pk(name))]


def newest(deployment: Deployment) -> list[Item]:
    """Give checkpoints that stand at the newest record of each shard which the pump has begun."""
    client: Any = deployment.session.client(
        "dynamodbstreams", endpoint_url=deployment.endpoint("dynamodbstreams")
    )
    found = []
    for row in checkpoints(Items(deployment)):
        if not row["position"].isdigit():
            continue  # nothing was read there yet, or all was
        position = row["position"]
        iterator = client.get_shard_iterator(
            StreamArn=row["stream_arn"],
            ShardId=row["shard_id"],
            ShardIteratorType="AFTER_SEQUENCE_NUMBER",
            SequenceNumber=position,
        )["ShardIterator"]
        while iterator:
            page = client.get_records(ShardIterator=iterator, Limit=1000)
            if not page["Records"]:
                break
            position = page["Records"][-1]["dynamodb"]["SequenceNumber"]
            iterator = page.get("NextShardIterator")
        found.append({**row, "position": position})
    return found


def innermost(group: int) -> list[int]:
    """Give the processes of a group that have no child, without its leader."""
    members = {each.pid: each.parent for each in processes() if each.group == group}
    parents = set(members.values())
    return [pid for pid in members if pid not in parents and pid != group]


def age_s(group: int) -> int:
    """Give the seconds since a group's leader was started, 0 if it is gone."""
    return next((each.age_s for each in processes() if each.pid == group), 0)


def processes() -> Iterator[Process]:
    """List every process of this machine."""
    command = ["ps", "-A", "-o", "pid=,ppid=,pgid=,etimes="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        yield Process(*map(int, line.split()))


def _soon(holds: Callable[[], bool]) -> bool:
    """Wait until something holds; says whether it came to do so."""
    for _ in range(round(_WAIT_FOR_LIFE_S / _LOOK_EVERY_S)):
        if holds():
            return True
        time.sleep(_LOOK_EVERY_S)
    return False


def _is_past(position: str | None, other: str) -> bool:
    return position is not None and position.isdigit() and int(position) >= int(other)


def _send(pids: list[int], number: signal.Signals) -> bool:
    hit = False
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            hit = True
    return hit
