"""Services are kept running, stopped in order, and never outlive their supervisor."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sharpwave.infra.local import reaper
from sharpwave.infra.local.processes import (
    Backoff,
    Child,
    ProcessEvent,
    Service,
    ServiceUnknown,
    Supervisor,
)
from tests.world.waiting import eventually

ENV = {"PATH": os.environ["PATH"]}
QUICK = Backoff(first_s=0.01, most_s=0.02)

OBEDIENT = "echo up; exec sleep 300"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"
"""It and its children ignore the wish to stop."""

FAMILY = """
import os, signal, sys
def note(): print(os.getpid(), flush=True)
note()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note()
    if os.fork() == 0:
        os.setsid()
        note()
    signal.pause()
signal.pause()
"""
"""A process, a child that ignores SIGTERM, and a grandchild in a session of its own."""

OWNER = """
import os, signal, sys
from pathlib import Path
from sharpwave.infra.local.processes import Service, Supervisor
argv = [sys.executable, "-c", sys.argv[2]]
service = Service(name="family", argv=argv, env=dict(os.environ), log=Path(sys.argv[1]), grace_s=5)
with Supervisor([service]):
    signal.pause()
"""


def exists(pid: int) -> bool:
    stat = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(stat.stdout.strip()) and not stat.stdout.startswith("Z")


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "service.log"


@pytest.fixture
def changes() -> list[ProcessEvent]:
    return []


@pytest.fixture
def service(log: Path) -> Callable[..., Service]:
    def build(script: str, *, name: str = "worker", **options: object) -> Service:
        settings = {"name": name, "argv": ["sh", "-c", script], "env": ENV, "log": log}
        return Service(**{**settings, **options})  # type: ignore[arg-type]

    return build


@pytest.fixture
def family(log: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(log), FAMILY])
    eventually(lambda: len(lines(log)) == 3, "the family is complete")
    yield owner, [int(line) for line in lines(log)]
    owner.kill()
    owner.wait()


def test_a_killed_supervisor_leaves_no_descendant(
    family: tuple[subprocess.Popen[bytes], list[int]],
) -> None:
    owner, pids = family

    owner.send_signal(signal.SIGKILL)

    eventually(lambda: not any(map(exists, pids)), "all three are gone")


def test_a_supervisor_that_is_told_to_end_at_once_leaves_no_descendant(
    family: tuple[subprocess.Popen[bytes], list[int]],
) -> None:
    owner, pids = family

    owner.send_signal(signal.SIGTERM)  # which Python takes as the end, without clean-up

    eventually(lambda: not any(map(exists, pids)), "all three are gone")


def test_descendants_of_a_command_that_ended_do_not_stay(log: Path) -> None:
    child = Child([sys.executable, "-c", FAMILY], env=ENV, log=log)
    eventually(lambda: len(lines(log)) == 3, "the family is complete")
    pids = [int(line) for line in lines(log)]

    os.kill(pids[0], signal.SIGKILL)
    code = child.wait(15)

    assert code == -signal.SIGKILL
    assert not any(map(exists, pids))


def test_descendants_of_a_killed_reaper_in_its_group_do_not_stay(log: Path) -> None:
    child = Child(["sh", "-c", STUBBORN], env=ENV, log=log)
    eventually(lambda: lines(log) == ["up"], "it runs")

    os.kill(child.pid, signal.SIGKILL)
    child.wait(15)

    eventually(lambda: not group_exists(child.pid), "its group is gone")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_command_dies_with_its_reaper_where_nobody_is_left_to_act(
    family: tuple[subprocess.Popen[bytes], list[int]],
) -> None:
    owner, pids = family
    owner.send_signal(signal.SIGSTOP)

    os.kill(os.getpgid(pids[0]), signal.SIGKILL)

    eventually(lambda: not exists(pids[0]), "the command is gone")
    for pid in pids[1:]:
        os.kill(pid, signal.SIGKILL)


def test_a_kill_takes_every_descendant_with_it(log: Path) -> None:
    child = Child([sys.executable, "-c", FAMILY], env=ENV, log=log)
    eventually(lambda: len(lines(log)) == 3, "the family is complete")
    pids = [int(line) for line in lines(log)]

    child.kill()

    assert not any(map(exists, pids))


def test_the_exit_code_is_the_commands_own(log: Path) -> None:
    assert Child(["sh", "-c", "exit 7"], env=ENV, log=log).wait(15) == 7


def test_a_command_that_cannot_be_run_says_so_in_the_log(log: Path) -> None:
    code = Child(["no-such-program"], env=ENV, log=log).wait(15)

    assert code == 127
    assert lines(log) == ["cannot run no-such-program: No such file or directory"]


def test_a_command_is_told_to_stop_once_however_often_and_by_whom(log: Path) -> None:
    count = "trap 'echo told >&2' TERM; echo up >&2; while :; do sleep 0.05; done"
    argv = [sys.executable, "-I", "-S", reaper.__file__, "0.5", "sh", "-c", count]
    log.parent.mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=output, env=ENV)
    eventually(lambda: lines(log) == ["up"], "it runs")

    process.terminate()
    eventually(lambda: "told" in lines(log), "it was told")
    process.terminate()
    process.communicate(timeout=15)  # lets go of the lifeline, as a dead supervisor would

    # The shell tells of its sleep if that is killed a moment before itself.
    assert [line for line in lines(log) if line != "Killed"] == ["up", "told"]


def test_a_service_that_dies_is_started_again_and_it_is_said(
    service: Callable[..., Service], log: Path, changes: list[ProcessEvent]
) -> None:
    with Supervisor([service("echo up; exit 3")], report=changes.append, backoff=QUICK):
        eventually(lambda: len(lines(log)) >= 3, "three lives")

    deaths = [change for change in changes if change.what == "died"]
    assert [(d.service, d.instance, d.exit_code) for d in deaths[:2]] == [("worker", 1, 3)] * 2
    assert [d.restart_in_s for d in deaths[:2]] == [0.01, 0.02]


def test_a_service_killed_from_outside_is_started_again(
    service: Callable[..., Service], changes: list[ProcessEvent]
) -> None:
    with Supervisor([service(OBEDIENT)], report=changes.append, backoff=QUICK) as supervisor:
        first = supervisor.status()[0].pid
        assert first is not None

        os.killpg(first, signal.SIGKILL)
        eventually(lambda: supervisor.status()[0].pid not in (first, None), "a new life")

        assert supervisor.status()[0].restarts == 1
        assert supervisor.status()[0].exit_code == -signal.SIGKILL


def test_stopping_does_not_wait_for_a_backoff(service: Callable[..., Service]) -> None:
    slow = Backoff(first_s=600, most_s=600)
    supervisor = Supervisor([service("exit 1")], backoff=slow)
    supervisor.start()
    eventually(lambda: supervisor.status()[0].exit_code == 1, "it died")

    supervisor.stop()

    assert supervisor.status() == []


def test_higher_stages_stop_before_lower_ones(
    service: Callable[..., Service], changes: list[ProcessEvent]
) -> None:
    services = [
        service(OBEDIENT, name="pump", stage=1),
        service(OBEDIENT, name="database"),
        service(OBEDIENT, name="worker", stage=1),
    ]

    with Supervisor(services, report=changes.append):
        pass

    started = [change.service for change in changes if change.what == "started"]
    stopped = [change.service for change in changes if change.what == "stopped"]
    assert started == ["database", "pump", "worker"]
    assert stopped[-1] == "database"
    assert sorted(stopped) == ["database", "pump", "worker"]


def test_a_service_that_ignores_the_wish_to_stop_is_killed_with_its_children(
    service: Callable[..., Service], log: Path, changes: list[ProcessEvent]
) -> None:
    supervisor = Supervisor([service(STUBBORN, grace_s=0.1)], report=changes.append)
    supervisor.start()
    eventually(lambda: lines(log) == ["up"], "it runs")
    group = supervisor.status()[0].pid
    assert group is not None

    supervisor.stop()

    assert changes[-1].what == "stopped"
    assert changes[-1].exit_code == -signal.SIGKILL
    assert not group_exists(group)


def test_a_service_scales_up_and_down(service: Callable[..., Service]) -> None:
    with Supervisor([service(OBEDIENT, instances=2)]) as supervisor:
        before = {each.instance: each.pid for each in supervisor.status()}
        supervisor.scale("worker", 3)
        three = [each.instance for each in supervisor.status()]
        supervisor.scale("worker", 1)
        after = {each.instance: each.pid for each in supervisor.status()}

    assert (sorted(before), three, sorted(after)) == ([1, 2], [1, 2, 3], [1])
    assert after[1] == before[1]


def test_an_unknown_service_is_answered_with_the_known_ones(
    service: Callable[..., Service],
) -> None:
    with pytest.raises(ServiceUnknown, match=r"'wroker'.*there are: worker"):
        Supervisor([service(OBEDIENT)]).scale("wroker", 2)


def test_a_start_that_fails_leaves_nothing_running(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    blocked = service(OBEDIENT, name="blocked", log=tmp_path / "file" / "x.log", stage=1)
    supervisor = Supervisor([service(OBEDIENT), blocked])

    with pytest.raises(OSError, match="file"):
        supervisor.start()

    assert supervisor.status() == []


def test_killing_waits_for_nobody_and_restarts_nothing(
    service: Callable[..., Service], log: Path, changes: list[ProcessEvent]
) -> None:
    services = [service(STUBBORN, name=name, grace_s=60) for name in ("one", "two")]
    supervisor = Supervisor(services, report=changes.append, backoff=QUICK)
    supervisor.start()
    eventually(lambda: lines(log) == ["up", "up"], "both run")
    groups = [each.pid for each in supervisor.status() if each.pid]

    supervisor.kill()

    assert supervisor.status() == []
    assert not any(map(group_exists, groups))
    assert sorted(change.what for change in changes) == ["started", "started", "stopped", "stopped"]
    supervisor.stop()
