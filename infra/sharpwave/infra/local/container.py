"""LocalStack in a container, where a Docker engine answers."""

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from sharpwave.infra.local.errors import BackendDown, BackendUnavailable
from sharpwave.infra.local.ports import REGION, local_environment
from sharpwave.infra.local.server import HOST, free_port

if TYPE_CHECKING:
    from testcontainers.community.localstack import LocalStackContainer

IMAGE = "localstack/localstack:4.14.0"
"""The last release that starts without an account token."""

SERVICES = ("dynamodb", "dynamodbstreams", "sqs", "s3", "iam", "sts", "cloudwatch", "lambda")
PROMPT_STREAMS = {"KINESIS_LATENCY": "0"}
"""Without it a new table's stream takes half a second, and LocalStack drops what comes before."""

EDGE_PORT = 4566
READY_WITHIN_S = 180.0


class LocalStackBackend:
    """LocalStack by testcontainers, on this machine's engine, removed when stopped."""

    name = "localstack"

    def __init__(self) -> None:
        self._port: int | None = None
        self._container: LocalStackContainer | None = None

    @property
    def endpoint_url(self) -> str:
        """Where it answers; see `Backend`."""
        if self._port is None:
            raise RuntimeError(f"backend {self.name!r} was not started; call start() first")
        return f"http://{HOST}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own variables for a process that shall use it; see `Backend`."""
        return local_environment(self.endpoint_url)

    def alive(self) -> bool:
        """Say whether its container runs."""
        if self._container is None:
            return False
        container = self._container.get_wrapped_container()
        container.reload()
        return bool(container.status == "running")

    def start(self) -> Self:
        """Start the container and wait until it is ready; see `Backend`."""
        if self._container is None:
            container = self._prepare()
            try:
                container.start(timeout=READY_WITHIN_S)
            except Exception as error:
                container.stop()
                raise BackendDown(self.name, f"did not start: {error}", log_tail="") from error
            self._container = container
        return self

    def stop(self) -> None:
        """Stop and remove the container."""
        if self._container is not None:
            self._container.stop()
            self._container = None

    def restart(self) -> None:
        """Start a new container at the same address; nothing of the old one is kept."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def _prepare(self) -> "LocalStackContainer":
        try:
            from testcontainers.community.localstack import LocalStackContainer
            from testcontainers.core.docker_client import DockerClient
        except ImportError as error:
            raise BackendUnavailable(
                self.name, f"{error.name} is not installed; pip install testcontainers"
            ) from error
        try:
            DockerClient().client.ping()
        except Exception as error:  # docker's own, or its HTTP library's
            raise BackendUnavailable(
                self.name, f"no Docker engine answers ({error}); start one"
            ) from error
        self._port = self._port or free_port()
        container = LocalStackContainer(image=IMAGE, region_name=REGION)
        container.with_services(*SERVICES)
        for variable, value in PROMPT_STREAMS.items():
            container.with_env(variable, value)
        # Their type knows a bare port only, which Docker would open on every interface.
        cast(dict[str, Any], container.ports)[str(EDGE_PORT)] = (HOST, self._port)
        return container
