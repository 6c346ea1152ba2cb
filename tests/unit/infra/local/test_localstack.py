"""LocalStack without Docker finds its parts on this machine, or names what is missing."""

import os
import subprocess
from pathlib import Path

import pytest

from sharpwave.infra.local import BackendUnavailable, NativeLocalStackBackend, localstack

ASKED = ["-Xmx256m", "-javaagent:/lib/loader.jar", "-jar", "/lib/DynamoDBLocal.jar", "-port", "81"]


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to furnish, while programs and packages are stand-ins in another."""
    tools = tmp_path / "it's tools"
    tools.mkdir()
    program(tools / "ministack", "env | sort")
    program(tools / "java", 'for each; do echo "$each"; done')
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv(localstack.STORAGE, raising=False)
    monkeypatch.setattr(localstack, "ensure", lambda name, **_: tools)
    monkeypatch.setattr(localstack, "ensure_node", lambda name: tools)
    return tmp_path / "library"


def started_as_java(library: Path) -> list[str]:
    """Give what is said by the program that LocalStack starts as java."""
    java = library / "java" / "21" / "bin" / "java"
    env = {**os.environ, "SERVICES": "sqs", "PERSISTENCE": "1", "HOME": "/h", "TMPDIR": "/t"}
    return subprocess.run(
        [java, *ASKED], env={**env, "LANG": "C"}, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_in_place_of_the_licensed_engine_ministack_gets_its_port_and_no_setting_of_localstacks(
    library: Path,
) -> None:
    backend = NativeLocalStackBackend()
    backend.furnish(library)

    said = dict(line.split("=", 1) for line in started_as_java(library))

    assert (said["BIND_HOST"], said["GATEWAY_PORT"]) == ("127.0.0.1", "81")
    assert (said["HOME"], said["TMPDIR"]) == ("/h", "/t")
    assert not {"SERVICES", "PERSISTENCE"} & said.keys()
    assert (library / "dynamodb-local" / "2" / "DynamoDBLocal.jar").read_bytes() == b""
    assert backend.storage == "ministack, in place of DynamoDB Local"


def test_an_engine_that_a_user_brings_runs_without_what_would_be_downloaded(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = tmp_path / "brought"
    brought.mkdir()
    (brought / "DynamoDBLocal.jar").write_bytes(b"jar")
    monkeypatch.setenv(localstack.STORAGE, str(brought))
    backend = NativeLocalStackBackend()
    backend.furnish(library)

    said = started_as_java(library)

    assert said == [each for each in ASKED if "javaagent" not in each] + ["-disableTelemetry"]
    assert (library / "dynamodb-local" / "2" / "DynamoDBLocal.jar").read_bytes() == b"jar"
    assert backend.storage == f"DynamoDB Local in {brought}"


def test_a_folder_without_the_engine_is_named(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(localstack.STORAGE, str(tmp_path))

    with pytest.raises(BackendUnavailable, match=rf"{tmp_path}, which has no DynamoDBLocal\.jar"):
        NativeLocalStackBackend().furnish(library)


def test_an_engine_without_java_to_run_it_is_refused(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "DynamoDBLocal.jar").touch()
    monkeypatch.setenv(localstack.STORAGE, str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BackendUnavailable, match="java is not on the PATH"):
        NativeLocalStackBackend().furnish(library)


def test_without_a_python_that_can_run_it_the_versions_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localstack, "PYTHONS", ("3.99", "3.98"))
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(BackendUnavailable, match=r"needs python3\.99 or python3\.98"):
        NativeLocalStackBackend().start()
