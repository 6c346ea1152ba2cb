"""The backends by name: ministack, moto and fauxqs as child processes, pairs, any endpoint."""

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from sharpwave.infra.local.backend import HOST, REGION, Backend, BackendUnavailable, LocalServer
from sharpwave.infra.local.environment import ensure, ensure_node, node_command
from sharpwave.infra.local.localstack import LocalStackBackend, NativeLocalStackBackend
from sharpwave.schemas.endpoints import is_local

CONNECT_S = 3.0


class EmbeddedBackend(LocalServer):
    """ministack: most of AWS in one process, ready in a fraction of a second.

    It runs Lambda code in its own interpreter, so it listens on the loopback interface only.

    Args:
        port: where to listen; without it, a free one.
        state_dir: where tables, queues and objects outlive a clean stop; stream records never do,
            and a kill saves nothing. Without it nothing is kept.
        log: its outputs are appended here.
        ready_within_s: how long it may take to answer.
    """

    name = "embedded"
    health_path = "/_ministack/health"
    grace_s = 10.0  # it saves its state only while stopping

    def __init__(
        self,
        *,
        port: int | None = None,
        state_dir: Path | None = None,
        log: Path | None = None,
        ready_within_s: float = 30.0,
    ) -> None:
        super().__init__(port=port, log=log, ready_within_s=ready_within_s)
        self._state_dir = state_dir

    def stop(self) -> None:
        """Stop it; without a folder for its state, at once, for it has nothing to save."""
        if self._state_dir is None:
            self.kill()
        super().stop()

    def command(self, port: int) -> list[str]:
        """The ministack of its pinned environment."""
        return [str(ensure("ministack") / "ministack")]

    def variables(self, port: int) -> Mapping[str, str]:
        """What it shall do, and where it may write."""
        state = self._state_dir or Path(str(self._scratch)) / "state"
        kept = "1" if self._state_dir else "0"
        return {
            "BIND_HOST": HOST,
            "GATEWAY_PORT": str(port),
            "MINISTACK_REGION": REGION,
            "LOG_LEVEL": "WARNING",
            "AUTH": "false",
            "PERSIST_STATE": kept,
            "STATE_DIR": str(state),
            "S3_PERSIST": kept,
            "S3_DATA_DIR": str(state / "s3"),
        }


class MotoBackend(LocalServer):
    """moto: an independent second opinion, slower and with known deviations."""

    name = "moto"
    health_path = "/moto-api/"

    def command(self, port: int) -> list[str]:
        """The moto_server of its pinned environment."""
        return [str(ensure("moto") / "moto_server"), "-H", HOST, "-p", str(port)]


class FauxqsBackend(LocalServer):
    """fauxqs: SQS alone, at a speed that does not fall with the depth of a queue."""

    name = "fauxqs"
    health_path = "/health"

    def command(self, port: int) -> list[str]:
        """The launcher in its pinned folder, run by node."""
        return [node_command("fauxqs"), str(ensure_node("fauxqs") / "server.mjs"), str(port)]


class ExternalBackend(Backend):
    """Uses an endpoint that runs already; neither starts nor stops it.

    Args:
        endpoint_url: such as `http://127.0.0.1:4566`. On this machine and in containers beside it
            the usual test credentials are handed out; elsewhere the caller's own hold.
    """

    name = "external"
    endpoint_url = ""

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        address = urlsplit(endpoint_url)
        if not address.hostname:
            raise BackendUnavailable(
                self.name, f"{endpoint_url!r} is no address; write it as http://HOST:PORT"
            )
        self._host = address.hostname
        self._port = address.port or (443 if address.scheme == "https" else 80)

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own variables for a process that shall use it; see `Backend`."""
        # Elsewhere the caller's own credentials hold, which must not reach an emulator.
        if is_local(self.endpoint_url):
            return super().environment
        return {"AWS_ENDPOINT_URL": self.endpoint_url}

    def alive(self) -> bool:
        """Say whether somebody accepts connections there."""
        try:
            self._connect()
        except OSError:
            return False
        return True

    def start(self) -> Self:
        """Check that it answers.

        Raises:
            BackendUnavailable: nobody accepts connections there.
        """
        try:
            self._connect()
        except OSError as error:
            raise BackendUnavailable(
                self.name,
                f"nothing answers at {self.endpoint_url} ({error}); start it, or set "
                "AWS_ENDPOINT_URL to where it runs",
            ) from error
        return self

    def stop(self) -> None:
        """Leave it running: whoever started it stops it."""

    def restart(self) -> None:
        """Refuse.

        Raises:
            BackendUnavailable: always; only who runs it can restart it.
        """
        raise BackendUnavailable(self.name, "it cannot be restarted from here")

    def _connect(self) -> None:
        socket.create_connection((self._host, self._port), timeout=CONNECT_S).close()


class PairedBackend(Backend):
    """Sends SQS to `queues` and the rest to `tables`, by AWS's own per-service variable.

    A client must take its address from `environment`; services inside `tables`, such as a
    scheduler, do not reach the queues.
    """

    def __init__(self, tables: Backend, queues: Backend) -> None:
        self.tables, self.queues = tables, queues
        self.name = f"{tables.name}+{queues.name}"

    @property
    def endpoint_url(self) -> str:
        """Where everything but SQS answers."""
        return self.tables.endpoint_url

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own variables for a process that shall use it; see `Backend`."""
        return {**self.tables.environment, "AWS_ENDPOINT_URL_SQS": self.queues.endpoint_url}

    def alive(self) -> bool:
        """Say whether both run."""
        return self.tables.alive() and self.queues.alive()

    def start(self) -> Self:
        """Start both; if the second does not start, neither runs."""
        self.tables.start()
        try:
            self.queues.start()
        except BaseException:
            self.tables.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop both."""
        try:
            self.queues.stop()
        finally:
            self.tables.stop()

    def restart(self) -> None:
        """Restart both at the same addresses."""
        self.tables.restart()
        self.queues.restart()


BACKENDS: Final[Mapping[str, Callable[[], Backend]]] = {
    "embedded": EmbeddedBackend,
    "moto": MotoBackend,
    "localstack": LocalStackBackend,
    "localstack-native": NativeLocalStackBackend,
    "embedded+fauxqs": lambda: PairedBackend(EmbeddedBackend(), FauxqsBackend()),
    "moto+fauxqs": lambda: PairedBackend(MotoBackend(), FauxqsBackend()),
}


def open_backend(name: str, *, endpoint_url: str | None = None) -> Backend:
    """Give the backend of that name, not yet started.

    Args:
        name: `embedded`, `moto`, `localstack` (in Docker), `localstack-native` (without),
            `external`, or `embedded+fauxqs` and `moto+fauxqs`, which keep their queues in fauxqs.
        endpoint_url: where `external` answers; the others choose their own.

    Raises:
        BackendUnavailable: there is no backend of that name, or `external` lacks its address.
    """
    if name == "external":
        if not endpoint_url:
            raise BackendUnavailable(name, "it has no address; set AWS_ENDPOINT_URL")
        return ExternalBackend(endpoint_url)
    if name not in BACKENDS:
        known = ", ".join(sorted([*BACKENDS, "external"]))
        raise BackendUnavailable(name, f"there is no such backend; choose one of: {known}")
    return BACKENDS[name]()
