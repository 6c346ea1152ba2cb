"""The cluster as a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.local import Backend
from sharpwave.infra.local.backend import free_port
from sharpwave.infra.local.dax.__main__ import main
from tests.dax import official_client

WHICH = {"PK": {"S": "p"}, "SK": {"N": "1"}}


@contextmanager
def running(backend: Backend, *options: str) -> Iterator[str]:
    """Run it; gives its address."""
    command = [sys.executable, "-m", "sharpwave.infra.local.dax"]
    argv = [*command, "--endpoint", backend.endpoint_url, *options]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        yield output.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_it_says_where_it_listens_and_ends_when_told(backend: Backend, table: str) -> None:
    options = ("--port", "0", "--nodes", "2")

    with running(backend, *options) as endpoint, official_client(endpoint) as client:
        client.put_item(TableName=table, Item=WHICH)
        assert client.get_item(TableName=table, Key=WHICH)["Item"] == WHICH


def test_it_speaks_tls_to_whom_it_knows(
    backend: Backend, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "dax.pem"))
    options = ("--port", "0", "--tls", str(tmp_path), "--secret", "test=test")

    with running(backend, *options) as endpoint, official_client(endpoint) as client:
        assert endpoint.startswith("daxs://127.0.0.1:")
        assert client.get_item(TableName=table, Key=WHICH) == {}


def test_a_port_that_is_taken_is_named(backend: Backend, capsys: Any) -> None:
    port = free_port()
    with running(backend, "--port", str(port)):
        code = main(["--endpoint", backend.endpoint_url, "--port", str(port)])

    assert code == 1
    assert f"no cluster at {port}: " in capsys.readouterr().err


def test_files_that_are_no_certificate_are_refused(backend: Backend, capsys: Any) -> None:
    files = ["--certificate", "/no/such.pem", "/no/such-key.pem"]

    assert main(["--endpoint", backend.endpoint_url, "--port", "0", *files]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--nodes", "0"], ["--secret", "nonsense"]])
def test_options_that_make_no_sense_are_refused(wrong: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(wrong)

    assert "KEY=SECRET" in capsys.readouterr().err
