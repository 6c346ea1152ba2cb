"""Worker processes that are killed lose nothing; those told to stop leave at once."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.world.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

JOBS = """
import os, pathlib, time
import dramatiq
from sharpwave.workers.sqs import SQSBroker

broker = SQSBroker(queue_prefix=os.environ["JOBS_PREFIX"], visibility_timeout_s=3)
dramatiq.set_broker(broker)
notes = pathlib.Path(os.environ["JOBS_NOTES"])

@dramatiq.actor(queue_name="work")
def job(n, seconds):
    (notes / f"began-{n}-{os.getpid()}").touch()
    time.sleep(seconds)
    (notes / f"ended-{n}-{os.getpid()}").touch()
"""


class Fleet:
    """Dramatiq processes, with two threads each, that note what they do in a folder."""

    def __init__(self, folder: Path, prefix: str, environment: dict[str, str]) -> None:
        self.notes = folder / "notes"
        self.notes.mkdir()
        (folder / "jobs.py").write_text(JOBS)
        self._folder = folder
        self._environment = environment | {"JOBS_PREFIX": prefix, "JOBS_NOTES": str(self.notes)}
        self.masters: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dramatiq", "jobs", "-p", "1", "-t", "2"]
        options = ["--path", str(self._folder), "--worker-shutdown-timeout", "8000"]
        log = (self._folder / "log").open("ab")
        with log:
            master = subprocess.Popen(
                [*command, *options], env=os.environ | self._environment, stdout=log, stderr=log
            )
        self.masters.append(master)
        return master

    def noted(self, kind: str) -> dict[int, list[int]]:
        """Give the process ids that noted `kind`, by job."""
        found: dict[int, list[int]] = {}
        for path in self.notes.glob(f"{kind}-*"):
            _, n, pid = path.name.split("-")
            found.setdefault(int(n), []).append(int(pid))
        return found

    def worker_pid(self) -> int:
        return next(iter(self.noted("began").values()))[0]


@pytest.fixture
def fleet(tmp_path: Path, prefix: str, environment: dict[str, str]) -> Iterator[Any]:
    """Processes on the queues of this test, all gone after it."""
    fleet = Fleet(tmp_path, prefix, environment)
    yield fleet
    pids = {pid for kind in ("began", "ended") for p in fleet.noted(kind).values() for pid in p}
    for pid in pids | {master.pid for master in fleet.masters}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for master in fleet.masters:
        master.wait(10)


@pytest.fixture
def send(client: Any, queue: Callable[[str], tuple[str, str]]) -> Any:
    """Send jobs of a given length to the queue `work`."""
    url, _ = queue("work")

    def to(count: Any, seconds: Any) -> Any:
        for n in range(count):
            body = (
                f'{{"actor_name": "job", "message_id": "{n}", "kwargs": '
                f'{{"n": {n}, "seconds": {seconds}}}}}'
            )
            client.send_message(QueueUrl=url, MessageBody=body)
        return url

    return to


def is_alive(pid: Any) -> Any:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def depth(client: Any, url: Any) -> Any:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return tuple(int(found[name]) for name in names)


def test_what_a_killed_worker_held_runs_elsewhere_after_the_visibility_timeout(
    client: Any, fleet: Fleet, send: Any
) -> None:
    url = send(8, 0.2)
    fleet.start()
    eventually(lambda: fleet.noted("began"), "the worker began")
    os.kill(fleet.worker_pid(), signal.SIGKILL)
    killed = time.monotonic()

    fleet.start()

    eventually(lambda: len(fleet.noted("ended")) == 8, "every job ended")
    assert time.monotonic() - killed < 15
    eventually(lambda: depth(client, url) == (0, 0), "the queue is empty")


def test_a_worker_whose_master_is_killed_drains_and_ends(
    client: Any, fleet: Fleet, send: Any
) -> None:
    url = send(12, 1.5)
    master = fleet.start()
    eventually(lambda: len(fleet.noted("began")) == 2, "both threads are busy")
    worker = fleet.worker_pid()

    master.kill()
    master.wait()

    eventually(lambda: not is_alive(worker), "the worker ended by itself")
    assert len(fleet.noted("ended")) == len(fleet.noted("began"))
    eventually(lambda: depth(client, url) == (12 - len(fleet.noted("ended")), 0), "rest is back")


def test_sigterm_gives_back_what_waits_and_finishes_what_runs(
    client: Any, fleet: Fleet, send: Any
) -> None:
    url = send(12, 2)
    master = fleet.start()
    eventually(lambda: len(fleet.noted("began")) == 2, "both threads are busy")

    master.terminate()

    eventually(lambda: depth(client, url) == (10, 2), "the waiting ones are back at once")
    assert master.wait(15) == 0
    assert sorted(fleet.noted("ended")) == sorted(fleet.noted("began"))
    assert depth(client, url) == (10, 0)
