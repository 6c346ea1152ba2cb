"""A system whose processes can be stopped in the middle of a request, and killed there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from sharpwave.infra.local import Backend, EmbeddedBackend
from sharpwave.infra.local.processes import Backoff, Service
from sharpwave.infra.local.stack import Stack, StackOptions

if TYPE_CHECKING:
    from tests.integration.conftest import MakeWorld, World

WRITES = frozenset({"BatchExecuteStatement", "PutItem", "UpdateItem", "TransactWriteItems"})
SENDS = frozenset({"SendMessage", "SendMessageBatch"})
DELETES = frozenset({"DeleteMessage", "DeleteMessageBatch"})
PATIENCE_S = 30.0


@dataclass
class Hold:
    """One request to be held: before the backend has seen it, or with its answer kept back."""

    operations: frozenset[str]
    containing: tuple[str, ...]
    applied: bool
    caught: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def catches(self, operation: str, body: str) -> bool:
        return operation in self.operations and all(text in body for text in self.containing)

    def wait(self) -> None:
        """Wait until the request is held."""
        assert self.caught.wait(PATIENCE_S), f"no request came for {self}"

    def release(self) -> None:
        self.released.set()


class Quiet(ThreadingHTTPServer):
    """Does not complain of clients that were killed."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None: ...


class Gate:
    """A way to the backend for one service, on which a request can be held."""

    def __init__(self) -> None:
        self._hold: Hold | None = None
        self._lock = threading.Lock()
        self._servers: list[ThreadingHTTPServer] = []

    def through(self, url: str) -> str:
        """Give the address that leads to `url` through this gate."""
        server = Quiet(("127.0.0.1", 0), _handler(self, url))
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    def hold(self, operations: frozenset[str], *containing: str, applied: bool = True) -> Hold:
        self._hold = Hold(operations, containing, applied)
        return self._hold

    def taken(self, operation: str, body: str) -> Hold | None:
        """Give the hold that catches a request; it catches one."""
        with self._lock:
            if self._hold is None or not self._hold.catches(operation, body):
                return None
            held, self._hold = self._hold, None
            return held

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _handler(gate: Gate, url: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            address = urlsplit(url)
            self.upstream = HTTPConnection(str(address.hostname), address.port or 80, timeout=60)

        def finish(self) -> None:
            self.upstream.close()
            super().finish()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            held = gate.taken(operation, body.decode(errors="replace"))
            if held and not held.applied:
                self.pause(held)
            status, headers, content = self.forward(body)
            if held and held.applied:
                self.pause(held)
            try:
                self.answer(status, headers, content)
            except OSError:
                self.close_connection = True  # who asked was killed

        do_GET = do_PUT = do_POST

        def pause(self, held: Hold) -> None:
            held.caught.set()
            held.released.wait(PATIENCE_S)

        def forward(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            for attempt in range(2):
                try:
                    self.upstream.request(self.command, self.path, body, headers)
                    reply = self.upstream.getresponse()
                    return reply.status, dict(reply.getheaders()), reply.read()
                except (HTTPException, OSError):
                    self.upstream.close()  # it may have closed an idle connection
                    if attempt:
                        return 503, {}, b"{}"
            raise AssertionError

        def answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
            self.send_response_only(status)
            hop = {"transfer-encoding", "content-length", "connection", "keep-alive"}
            for name, value in headers.items():
                if name.lower() not in hop:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None: ...

    return Handler


class Fragile(Stack):
    """A system with a gate before each process."""

    def __init__(self, backend: Backend, options: StackOptions) -> None:
        super().__init__(backend, options)
        self.gates: dict[str, Gate] = {}

    def services(self) -> list[Service]:
        return [self._gated(service) for service in super().services()]

    def _gated(self, service: Service) -> Service:
        gate = self.gates[service.name] = Gate()
        gated = {
            name: gate.through(value)
            for name, value in service.env.items()
            if name.startswith("AWS_ENDPOINT_URL")
        }
        return replace(service, env={**service.env, **gated})

    def kill(self, *services: str) -> None:
        """Kill services with all their processes, as a crash of the machine would."""
        groups = {each.service: each.pid for each in self.supervisor.status()}
        for service in services:
            group = groups[service]
            assert group is not None, f"{service} does not run"
            os.killpg(group, signal.SIGKILL)


@pytest.fixture(scope="module")
def fragile(
    backend: Backend,
    options: StackOptions,
    borrowed: Callable[[], Backend],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fragile]:
    """A whole system; the embedded backend is one of its own, which outlives its restart."""
    folder = tmp_path_factory.mktemp("fragile")
    own: Backend = EmbeddedBackend(state_dir=folder / "state")
    settings = {**options.settings, "SHARPWAVE_VISIBILITY_TIMEOUT_S": "2"}
    quick = Backoff(first_s=0.1, most_s=0.5)
    told = replace(
        options, prefix=f"{options.prefix}-k", settings=settings, folder=folder, backoff=quick
    )
    with Fragile(own if backend.name == "embedded" else borrowed(), told) as running:
        yield running
    for gate in running.gates.values():
        gate.close()


@pytest.fixture
def world(fragile: Fragile, make_world: MakeWorld) -> World:
    """The system whose processes can be killed, with agents of this test's own."""
    return make_world(fragile)


@pytest.fixture(scope="session")
def calls() -> Mapping[str, frozenset[str]]:
    """The operations that write to tables, and those that send to and delete from queues."""
    return {"writes": WRITES, "sends": SENDS, "deletes": DELETES}
