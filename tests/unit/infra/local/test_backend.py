"""A local server is up when it answers, and says clearly why when it does not."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from sharpwave.infra.local.backend import (
    HOST,
    BackendDown,
    LocalServer,
    PortTaken,
    answers,
    free_port,
)

ECHO = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
print(json.dumps(dict(os.environ)), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Scripted(LocalServer):
    name = "scripted"
    health_path = "/health"
    script: ClassVar[str] = ECHO

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-c", self.script, str(port)]


class Crashing(Scripted):
    script = "import sys; sys.exit('the settings make no sense')"


class Deaf(Scripted):
    script = "import threading; print('thinking', flush=True); threading.Event().wait(60)"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_started_server_answers_at_its_endpoint_and_a_stopped_one_does_not() -> None:
    with Scripted() as server:
        port = int(server.endpoint_url.rpartition(":")[2])
        while_running = answers(port, "/health")

    assert while_running
    assert not answers(port, "/health")
    assert not server.alive()


def test_the_port_asked_for_is_the_port_used() -> None:
    port = free_port()

    with Scripted(port=port) as server:
        assert server.endpoint_url == f"http://127.0.0.1:{port}"


def test_a_restart_keeps_the_address() -> None:
    with Scripted() as server:
        before, group = server.endpoint_url, server.pid

        server.restart()

        assert server.endpoint_url == before
        assert server.pid != group


def test_a_taken_port_is_named(taken_port: int) -> None:
    with pytest.raises(PortTaken, match=f"port {taken_port} "):
        Scripted(port=taken_port).start()


def test_a_server_that_dies_while_starting_shows_the_end_of_its_log() -> None:
    with pytest.raises(BackendDown, match=r"exit code 1.*\n?the settings make no sense"):
        Crashing().start()


def test_a_server_that_never_answers_is_given_up_and_leaves_no_process() -> None:
    server = Deaf(ready_within_s=0.3)

    with pytest.raises(BackendDown, match=r"did not answer /health in 0.3 s(?s:.*)thinking"):
        server.start()

    assert not server.alive()


def test_a_death_is_noticed() -> None:
    with Scripted() as server:
        server.kill()

        assert not server.alive()


def test_a_dead_server_can_be_started_again_at_its_address() -> None:
    with Scripted() as server:
        before = server.endpoint_url
        server.kill()

        server.start()

        assert server.alive()
        assert server.endpoint_url == before


def test_the_caller_keeps_its_aws_settings_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-pass-on")
    monkeypatch.setenv("AWS_PROFILE", "production")
    log = tmp_path / "server.log"

    with Scripted(log=log):
        seen = log.read_text()

    assert "AWS_" not in seen
    assert "do-not-pass-on" not in seen
    assert f'"HOME": "{os.environ["HOME"]}"' not in seen


def test_the_address_of_one_that_was_never_started_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="was not started"):
        _ = Scripted().endpoint_url
