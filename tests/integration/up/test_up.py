"""`sharpwave up` serves agents from one line to one signal, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Self

import boto3
import pytest

from sharpwave.infra.cli import main
from sharpwave.infra.local import Backend, EmbeddedBackend, stack
from sharpwave.infra.local.processes import Service
from sharpwave.infra.local.stack import Stack
from tests.dax import official_client

if TYPE_CHECKING:
    from tests.integration.up.conftest import Up


def client(service: Any, url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def names(backend: Backend) -> tuple[list[str], list[str]]:
    tables = client("dynamodb", backend.endpoint_url).list_tables()["TableNames"]
    queues = client("sqs", backend.endpoint_url).list_queues().get("QueueUrls", [])
    return sorted(tables), sorted(queues)


def test_one_line_says_that_everything_is_ready(up: Callable[[], Up]) -> None:
    served = up()

    said = json.loads(served.first_line)

    assert said["ready"] is True
    assert said["endpoint_url"] == f"http://127.0.0.1:{served.port}"
    assert said["pid"] == served.process.pid
    assert said["environment"] == {
        "AWS_ENDPOINT_URL": said["endpoint_url"],
        "SHARPWAVE_ARCHIVE": said["archive"],
    }
    tables = client("dynamodb", said["endpoint_url"]).list_tables()["TableNames"]
    assert {"agent_decisions", "agent_signals", "agent_state", "agent_memory_ltm"} <= set(tables)
    assert client("sqs", said["endpoint_url"]).get_queue_url(QueueName="inbox-raw-agent")


def test_a_dax_cluster_runs_beside_it_where_it_is_wished_for(up: Callable[[], Up]) -> None:
    said = json.loads(up().first_line)
    key = {"PK": {"S": "p"}, "SK": {"S": "s"}}

    with official_client(said["dax_endpoint"]) as dax:
        dax.put_item(TableName="agent_state", Item={**key, "type": {"S": "x"}})
        found = dax.get_item(TableName="agent_state", Key=key)["Item"]

    tables = client("dynamodb", said["endpoint_url"])
    wish = {"TableName": "agent_state", "Key": key}
    assert tables.get_item(**wish)["Item"] == found
    tables.delete_item(**wish)


def test_a_second_one_on_the_same_port_says_what_is_in_the_way(up: Callable[[], Up]) -> None:
    served = up()

    second = subprocess.run(
        [*served.command(served.port), "--folder", str(served.folder / "second")],
        env=served.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert second.returncode == 1
    assert second.stdout == ""
    [line] = second.stderr.splitlines()
    error = json.loads(line)
    assert error["kind"] == "PortTaken"
    assert f"port {served.port} on 127.0.0.1 is taken" in error["error"]
    assert served.process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sigterm_drains_it_and_leaves_no_process(up: Callable[[], Up], backend: Backend) -> None:
    served, before = up(), names(backend)
    family = served.descendants()
    assert len(family) > 10, family

    code, said = served.stop()

    assert (code, said) == (0, "")
    deadline = time.monotonic() + 5
    while (left := served.descendants()) and time.monotonic() < deadline:
        Event().wait(0.05)
    assert left == {}
    for service in ("deliver", "status", "promote", "learn", "archive"):
        log = (served.folder / "run" / f"{service}.log").read_text()
        assert "Worker has been shut down" in log
        assert "Traceback" not in log
    assert names(backend) == before


class OnItsBackendAlone(Stack):
    """A system whose services do nothing, as ones without tables would."""

    def provision(self) -> None: ...

    def services(self) -> list[Service]:
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        return [self._service("deliver", sleeper, 1)]

    def missing(self) -> set[str]:
        return set()


def test_a_backend_that_dies_ends_it_with_1_and_says_what_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, services = tmp_path / "run", list[int | None]()

    class Crashing(OnItsBackendAlone):
        def __enter__(self) -> Self:
            super().__enter__()
            services.extend(each.pid for each in self.supervisor.status())
            assert isinstance(self.backend, EmbeddedBackend)
            self.backend.kill()
            return self

    monkeypatch.setattr(stack, "Stack", Crashing)
    monkeypatch.setattr(stack, "until_signalled", lambda work: work(Event()))

    began = time.monotonic()
    code = main(["up", "--folder", str(folder), "--json"])

    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert code == 1
    assert time.monotonic() - began < 15
    assert told["kind"] == "BackendDied"
    assert "what its tables and queues held since it began is gone" in told["error"]
    assert str(folder) in told["error"]
    (service,) = services
    assert service is not None
    with pytest.raises(ProcessLookupError):
        os.kill(service, 0)
