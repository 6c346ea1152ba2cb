"""The embedded backends run real emulators, each apart from our own packages."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from sharpwave.infra.local import (
    Backend,
    EmbeddedBackend,
    EnvironmentUnavailable,
    open_backend,
)
from sharpwave.infra.local.backend import answers
from sharpwave.infra.local.environment import COMPLETE, cache_home, ensure, ensure_data
from tests.world.waiting import eventually

pytestmark = pytest.mark.longest

HEALTH = EmbeddedBackend.health_path
NEEDS_NODE = pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js with npm")
#: To install it takes most of a minute of a core, and only who tests on it needs it.
NEEDS_MOTO = pytest.mark.skipif(
    not any(cache_home().glob(f"environments/moto-*/{COMPLETE}")),
    reason="needs moto; SHARPWAVE_TEST_BACKEND=moto installs it",
)
FAST = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5)

OWNER = """
import signal
from sharpwave.infra.local import EmbeddedBackend
with EmbeddedBackend() as backend:
    print(backend.endpoint_url, flush=True)
    signal.pause()
"""
ENSURE = """
import sys
from pathlib import Path
from sharpwave.infra.local.environment import ensure
print(ensure("tiny", Path(sys.argv[1]), home=Path(sys.argv[2])))
"""


def client(service: Any, backend: Backend) -> Any:
    variables = backend.environment
    url = variables.get(f"AWS_ENDPOINT_URL_{service.upper()}", variables["AWS_ENDPOINT_URL"])
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        config=FAST,
    )


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def gone(url: str) -> bool:
    return not answers(port_of(url), HEALTH)


def put_one(backend: Backend) -> None:
    key = {"AttributeName": "PK", "KeyType": "HASH"}
    client("dynamodb", backend).create_table(
        TableName="notes",
        KeySchema=[key],
        AttributeDefinitions=[{"AttributeName": "PK", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client("dynamodb", backend).put_item(TableName="notes", Item={"PK": {"S": "one"}})


def notes(backend: Backend) -> list[Any]:
    items: list[Any] = client("dynamodb", backend).scan(TableName="notes")["Items"]
    return items


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBackend]:
    with EmbeddedBackend() as backend:
        yield backend


@pytest.fixture
def tiny_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of one package that does nothing, installable without a network."""
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    meta = "tiny-1.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "ANSWER = 42\n")
        archive.writestr(f"{meta}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        archive.writestr(f"{meta}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{meta}/entry_points.txt", "[console_scripts]\ntiny = tiny:print\n")
        archive.writestr(f"{meta}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    lock = tmp_path / "tiny.lock"
    lock.write_text(f"tiny==1 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return lock


@pytest.mark.parametrize(
    "name",
    [
        "embedded",
        pytest.param("moto", marks=NEEDS_MOTO),
        pytest.param("embedded+fauxqs", marks=NEEDS_NODE),
    ],
)
def test_a_backend_stores_items_and_carries_messages(name: str) -> None:
    with open_backend(name) as backend:
        put_one(backend)
        sqs = client("sqs", backend)
        queue = sqs.create_queue(QueueName="inbox-a")["QueueUrl"]
        sqs.send_message(QueueUrl=queue, MessageBody="hello")

        received = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2)["Messages"]

        assert [message["Body"] for message in received] == ["hello"]
        assert notes(backend) == [{"PK": {"S": "one"}}]


def test_two_run_side_by_side(embedded: EmbeddedBackend) -> None:
    with EmbeddedBackend() as other:
        put_one(other)

        assert client("dynamodb", embedded).list_tables()["TableNames"] == []


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_it_listens_on_the_loopback_interface_only(embedded: EmbeddedBackend) -> None:
    port = f"{port_of(embedded.endpoint_url):04X}"
    tables = [Path("/proc/net/tcp").read_text(), Path("/proc/net/tcp6").read_text()]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]

    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]

    assert listening == [f"0100007F:{port}"]


def test_a_killed_owner_leaves_no_backend(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}  # what it cannot tidy away any more
    argv = [sys.executable, "-c", OWNER]
    owner = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        url = owner.stdout.readline().strip()
    assert not gone(url)

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    eventually(lambda: gone(url), "the backend is gone")


def test_a_restart_forgets_everything_at_the_same_address() -> None:
    with EmbeddedBackend() as backend:
        put_one(backend)
        before = backend.endpoint_url

        backend.restart()

        assert backend.endpoint_url == before
        assert client("dynamodb", backend).list_tables()["TableNames"] == []


def test_with_a_state_folder_a_clean_restart_forgets_nothing(tmp_path: Path) -> None:
    with EmbeddedBackend(state_dir=tmp_path / "state") as backend:
        put_one(backend)
        client("s3", backend).create_bucket(Bucket="archive")
        client("s3", backend).put_object(Bucket="archive", Key="day", Body=b"rows")

        backend.restart()

        kept = client("s3", backend).get_object(Bucket="archive", Key="day")["Body"].read()
        assert notes(backend) == [{"PK": {"S": "one"}}]
        assert kept == b"rows"


def test_the_callers_profile_does_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    with EmbeddedBackend() as backend:
        monkeypatch.undo()

        assert client("dynamodb", backend).list_tables()["TableNames"] == []


def test_two_first_uses_at_once_end_with_one_whole_environment(
    tiny_lock: Path, tmp_path: Path
) -> None:
    argv = [sys.executable, "-c", ENSURE, str(tiny_lock), str(tmp_path / "home")]
    users = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    outputs = [user.communicate(timeout=100)[0].strip() for user in users]

    assert [user.returncode for user in users] == [0, 0]
    assert outputs[0] == outputs[1]
    ask = [f"{outputs[0]}/python", "-c", "import tiny; print(tiny.ANSWER)"]
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "42\n"


def test_a_changed_package_is_refused_and_its_data_never_seen(
    tiny_lock: Path, tmp_path: Path
) -> None:
    with (tmp_path / "tiny-1-py3-none-any.whl").open("ab") as wheel:
        wheel.write(b"tampered")

    with pytest.raises(EnvironmentUnavailable, match="HASH"):
        ensure_data("tiny", tiny_lock, home=tmp_path / "home")

    assert not list((tmp_path / "home").rglob(".complete"))


def test_what_pip_cannot_fetch_is_named_with_what_to_do(tiny_lock: Path, tmp_path: Path) -> None:
    tiny_lock.write_text(tiny_lock.read_text().replace("tiny==1", "absent==1"))

    with pytest.raises(EnvironmentUnavailable) as raised:
        ensure("tiny", tiny_lock, home=tmp_path / "home")

    message = str(raised.value)
    assert "absent==1" in message
    assert "pip install" in message
    assert "check the network" in message


def test_our_own_packages_are_not_the_emulators() -> None:
    python = ensure("ministack") / "python"

    asked = subprocess.run(
        [python, "-c", "import sharpwave"], capture_output=True, env={"PATH": os.environ["PATH"]}
    )

    assert asked.returncode != 0
