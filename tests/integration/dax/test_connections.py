"""Who may connect, by which transport, and what becomes of nodes and requests that fail."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amazondax.DaxError import DaxClientError  # type: ignore[import-untyped]
from botocore.exceptions import ClientError

from sharpwave.infra.local.dax import DaxServer, make_certificate, server_context
from tests.dax import official_client
from tests.world.waiting import eventually

WHICH = {"PK": {"S": "p"}, "SK": {"N": "1"}}
PREAMBLE = bytes.fromhex("674a3779 6e653547 00 f6 a1 69 557365724167656e74 61 78 00")


def code_of(call: Callable[[], Any]) -> Any:
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"]


def test_who_signs_with_a_known_key_is_let_in(
    start: Callable[..., DaxServer], connect: Any, table: str
) -> None:
    client = connect(start(secrets={"test": "test"}))

    assert client.get_item(TableName=table, Key=WHICH) == {}


@pytest.mark.parametrize(
    ("secrets", "now"),
    [({"test": "another"}, 0.0), ({"other": "test"}, 0.0), ({"test": "test"}, 3600.0)],
    ids=["wrong secret", "unknown key", "old signature"],
)
def test_who_does_not_is_refused(
    start: Callable[..., DaxServer], secrets: dict[str, str], now: float
) -> None:
    cluster = start(secrets=secrets, now=lambda: time.time() + now)

    with pytest.raises(ClientError) as caught:
        official_client(cluster.endpoint)

    assert caught.value.auth_error  # type: ignore[attr-defined]


def test_who_does_not_sign_at_all_is_asked_to(start: Callable[..., DaxServer]) -> None:
    cluster = start(secrets={"test": "test"})

    with _raw(cluster) as connection:
        connection.sendall(PREAMBLE + bytes.fromhex("01 1a1b2bcf02"))
        answer = connection.recv(4096)

    # Four codes: authentication is required.
    assert answer.startswith(bytes.fromhex("84 04 17 181f 1821"))


def test_tls_holds_for_who_trusts_the_certificate(
    start: Callable[..., DaxServer],
    connect: Any,
    table: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = make_certificate(tmp_path)
    cluster = start(tls=server_context(certificate))
    with pytest.raises(DaxClientError):
        official_client(cluster.endpoint)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    client = connect(cluster)

    assert cluster.endpoint.startswith("daxs://")
    assert client.get_item(TableName=table, Key=WHICH) == {}
    assert make_certificate(tmp_path) == certificate


def test_every_node_is_discovered_and_work_goes_on_when_one_is_lost(
    start: Callable[..., DaxServer], connect: Any, table: str
) -> None:
    cluster = start(ports=(0, 0, 0))
    client = connect(cluster, endpoints=cluster.endpoints)

    def works() -> bool:
        try:
            client.put_item(TableName=table, Item=WHICH)
            wish = {"TableName": table, "Key": WHICH}
            return all(client.get_item(**wish)["Item"] == WHICH for _ in range(10))
        except (ClientError, OSError):
            return False

    assert works()
    cluster.stop_node(0)

    # The client asks for the roster every 4 s; the lost node was the one that leads.
    eventually(works, "the client leaves the lost node alone")


def test_a_node_that_is_lost_in_the_middle_of_a_read_cuts_it(
    cluster: DaxServer, client: Any, table: str
) -> None:
    client.get_item(TableName=table, Key=WHICH)
    cluster.faults.hang()
    failed: list[BaseException] = []

    def read() -> None:
        try:
            client.get_item(TableName=table, Key=WHICH)
        except (ClientError, OSError) as error:
            failed.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    eventually(lambda: cluster.faults.struck == 1, "the read hangs")
    cluster.stop_node(0, is_noticed=False)
    reading.join(10)

    assert len(failed) == 1


def test_a_reset_reaches_the_client_as_one(cluster: DaxServer, client: Any, table: str) -> None:
    client.get_item(TableName=table, Key=WHICH)
    cluster.faults.reset()

    with pytest.raises(ConnectionResetError):
        client.get_item(TableName=table, Key=WHICH)

    assert client.get_item(TableName=table, Key=WHICH) == {}


def test_errors_come_as_often_as_they_were_wished_for(
    cluster: DaxServer, client: Any, table: str
) -> None:
    cluster.faults.fail("ThrottlingException", times=2)

    def read() -> Any:
        return client.get_item(TableName=table, Key=WHICH)

    assert [code_of(read), code_of(read)] == ["ThrottlingException"] * 2
    assert read() == {}


def test_a_slow_answer_is_an_answer(cluster: DaxServer, client: Any, table: str) -> None:
    cluster.faults.slow(0.01)

    assert client.get_item(TableName=table, Key=WHICH) == {}


def test_a_node_that_came_back_answers_at_the_same_port(
    cluster: DaxServer, connect: Any, table: str
) -> None:
    before = cluster.endpoint
    cluster.stop_node(0)
    with pytest.raises(DaxClientError):
        official_client(before)

    cluster.start_node(0)

    assert cluster.endpoint == before
    assert connect(cluster).get_item(TableName=table, Key=WHICH) == {}


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        PREAMBLE + b"\x01\x19\x03\xe7",
        PREAMBLE + bytes.fromhex("01 1a0fb0cc6a") + b"\x01\x02\xf6",
        PREAMBLE + b"\x81" * 500,
        PREAMBLE + b"\x5b" + struct.pack(">Q", 1 << 60),
    ],
    ids=["http", "unknown method", "nonsense", "too deep", "too long"],
)
def test_noise_closes_its_connection_and_no_other(
    cluster: DaxServer, client: Any, table: str, noise: bytes
) -> None:
    with _raw(cluster) as connection:
        connection.sendall(noise)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass

    assert client.get_item(TableName=table, Key=WHICH) == {}


def test_many_threads_share_a_client(cluster: DaxServer, client: Any, table: str) -> None:
    def work(number: int) -> None:
        for _ in range(20):
            which = {**WHICH, "SK": {"N": str(number)}}
            client.put_item(TableName=table, Item=which)
            assert client.get_item(TableName=table, Key=which)["Item"] == which
        done.append(number)

    done: list[int] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(done) == list(range(8))


def _raw(cluster: DaxServer) -> socket.socket:
    host, port = cluster.endpoint.rpartition("/")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=10)
