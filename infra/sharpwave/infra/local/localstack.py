"""LocalStack: in a container where a Docker engine answers, or without one as a child process.

Without Docker it is its own runtime on a Python that can run it: a gateway and providers in Python,
over a server for Kinesis (for the streams of tables) and Amazon's DynamoDB Local (for the tables).
The first two are installed from pinned locks. The last is under a licence that only a user can
accept, so its place is taken by ministack unless SHARPWAVE_DYNAMODB_LOCAL names a folder where a
user unpacked it. LocalStack itself is not changed: it finds in its library folder what it would
download.
"""

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from sharpwave.infra.local.backend import (
    HOST,
    LOCAL_CREDENTIALS,
    REGION,
    Backend,
    BackendDown,
    BackendUnavailable,
    LocalServer,
    free_port,
)
from sharpwave.infra.local.environment import LOCKS, ensure, ensure_node, find_python, node_command
from sharpwave.infra.local.processes import tail

if TYPE_CHECKING:
    from testcontainers.community.localstack import LocalStackContainer

IMAGE = "localstack/localstack:4.14.0"
"""The last release that starts without an account token."""

SERVICES = ("dynamodb", "dynamodbstreams", "sqs", "s3", "iam", "sts", "cloudwatch", "lambda")
PROMPT_STREAMS = {"KINESIS_LATENCY": "0"}
"""Without it a new table's stream takes half a second, and LocalStack drops what comes before."""

EDGE_PORT = 4566
READY_WITHIN_S = 180.0
PYTHONS: Final = ("3.13",)
"""It imports what 3.13 brought (`warnings.deprecated`); what it depends on has none for 3.14."""

#: Services of the container that need an engine or packages which have no wheel.
NEEDING_MORE: Final = frozenset({"cloudwatch", "lambda"})
STORAGE: Final = "SHARPWAVE_DYNAMODB_LOCAL"
JAR: Final = "DynamoDBLocal.jar"
LAUNCHER: Final = LOCKS / "localstack_loopback.py"
KINESIS: Final = "kinesis-local/0.5.2"

#: What LocalStack starts as `java`; it asks for a port, and gets ministack there.
SUBSTITUTE = """#!/bin/sh
while [ "$1" != -port ]; do shift; done
# Of LocalStack's own variables it would obey some.
exec env -i PATH="$PATH" HOME="$HOME" TMPDIR="$TMPDIR" LANG="$LANG" BIND_HOST={host} \\
  GATEWAY_PORT="$2" AUTH=false PERSIST_STATE=0 LOG_LEVEL=WARNING {ministack}
"""
#: The agent that LocalStack adds lifts a limit of indexes, and would have to be downloaded.
GENUINE = """#!/bin/sh
for each; do
  shift
  case "$each" in -javaagent:*) ;; *) set -- "$@" "$each" ;; esac
done
exec {java} "$@" -disableTelemetry
"""


class LocalStackBackend(Backend):
    """LocalStack by testcontainers, on this machine's engine, removed when stopped."""

    name = "localstack"

    def __init__(self) -> None:
        self._container: LocalStackContainer | None = None

    def alive(self) -> bool:
        """Say whether its container runs."""
        if self._container is None:
            return False
        container = self._container.get_wrapped_container()
        container.reload()
        return bool(container.status == "running")

    def start(self) -> Self:
        """Start the container and wait until it is ready; see `Backend`."""
        if self._container is not None:
            return self
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
        try:
            container.start(timeout=READY_WITHIN_S)
        except Exception as error:
            # What started half would keep its port.
            container.stop()
            raise BackendDown(self.name, f"did not start: {error}", log_tail="") from error
        self._container = container
        return self

    def stop(self) -> None:
        """Stop and remove the container."""
        if self._container is not None:
            self._container.stop()
            self._container = None


class NativeLocalStackBackend(LocalServer):
    """LocalStack of the release that the container has, without a container.

    Args:
        port: where to listen; without it, a free one.
        log: its outputs are appended here.
    """

    name = "localstack-native"
    health_path = "/_localstack/health"

    def __init__(self, *, port: int | None = None, log: Path | None = None) -> None:
        # Its first start reads the descriptions of all services and compiles all modules.
        super().__init__(port=port, log=log, ready_within_s=180.0)

    @property
    def storage(self) -> str:
        """Name what keeps the tables, to be said wherever results are shown."""
        folder = os.environ.get(STORAGE)
        return f"DynamoDB Local in {folder}" if folder else "ministack, in place of DynamoDB Local"

    @classmethod
    def install(cls) -> Path:
        """Install what it is made of, and give the `bin` folder of its environment.

        Raises:
            BackendUnavailable: Python or Node.js is missing, or a package cannot be fetched.
        """
        python = find_python(cls.name, PYTHONS)
        node_command(cls.name)
        ensure_node("kinesis-local")
        ensure("ministack")
        return ensure("localstack", python=python)

    def command(self, port: int) -> list[str]:
        """The runtime of its pinned environment; see `LocalServer`."""
        python = self.install() / "python"
        self.furnish(Path(str(self._scratch)) / "var" / "lib" / "localstack" / "lib")
        return [str(python), str(LAUNCHER), HOST]

    def variables(self, port: int) -> Mapping[str, str]:
        """What it shall do, and where it may write."""
        return {
            "OVERRIDE_IN_DOCKER": "0",  # a container of ours is none of its own
            "FILESYSTEM_ROOT": str(self._scratch),
            "GATEWAY_LISTEN": f"{HOST}:{port}",
            "SERVICES": ",".join(each for each in SERVICES if each not in NEEDING_MORE),
            "STRICT_SERVICE_LOADING": "1",
            "EAGER_SERVICE_LOADING": "1",  # ready means ready
            "PERSISTENCE": "0",
            "DNS_ADDRESS": "0",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            # Else records are lost until a new table's stream is active, and for half a second a
            # table that was deleted cannot be made again.
            **PROMPT_STREAMS,
            # A stream of a table takes a shard, and 100 are soon used up.
            "KINESIS_SHARD_LIMIT": "10000",
            "NODE_OPTIONS": f"--require={ensure_node('kinesis-local') / 'loopback.cjs'}",
        }

    def furnish(self, library: Path) -> None:
        """Put into LocalStack's library folder what it would download."""
        engine, java = library / "dynamodb-local" / "2", library / "java" / "21" / "bin" / "java"
        for folder in (engine.parent, java.parent, (library / KINESIS).parent):
            folder.mkdir(parents=True)
        (library / KINESIS).symlink_to(ensure_node("kinesis-local"))
        if brought := os.environ.get(STORAGE):
            java_command = shutil.which("java")
            if not (Path(brought) / JAR).is_file():
                raise BackendUnavailable(
                    self.name, f"{STORAGE} names {brought}, which has no {JAR}"
                )
            if java_command is None:
                raise BackendUnavailable(
                    self.name, "java is not on the PATH; DynamoDB Local needs it"
                )
            script = GENUINE.format(java=shlex.quote(java_command))
            engine.symlink_to(Path(brought).absolute())
        else:
            ministack = shlex.quote(str(ensure("ministack") / "ministack"))
            script = SUBSTITUTE.format(host=HOST, ministack=ministack)
            engine.mkdir()
            (engine / JAR).touch()
        java.write_text(script)
        java.chmod(0o755)

    def _await_ready(self, port: int, log: Path) -> None:
        super()._await_ready(port, log)
        # The server of streams starts with the first table that has one: seconds, for one call.
        client = boto3.client(
            "kinesis",
            endpoint_url=f"http://{HOST}:{port}",
            region_name=REGION,
            aws_access_key_id=LOCAL_CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=LOCAL_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        try:
            client.list_streams()
        except (BotoCoreError, ClientError) as error:
            what = f"has no streams ({error})"
            raise BackendDown(self.name, what, log_tail=tail(log)) from error
        finally:
            client.close()

    def stop(self) -> None:
        """Stop it at once, for it keeps nothing."""
        self.kill()
        super().stop()
