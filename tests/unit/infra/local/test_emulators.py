"""A backend is chosen by name; one that cannot run here says why and what to do."""

import socket
from pathlib import Path

import pytest

from sharpwave.infra.local import (
    BackendUnavailable,
    EmbeddedBackend,
    ExternalBackend,
    FauxqsBackend,
    LocalStackBackend,
    MotoBackend,
    NativeLocalStackBackend,
    PairedBackend,
    open_backend,
)
from sharpwave.infra.local.backend import HOST, free_port


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("embedded", EmbeddedBackend),
        ("moto", MotoBackend),
        ("localstack", LocalStackBackend),
        ("localstack-native", NativeLocalStackBackend),
        ("embedded+fauxqs", PairedBackend),
        ("moto+fauxqs", PairedBackend),
    ],
)
def test_each_name_opens_its_backend(name: str, kind: type) -> None:
    backend = open_backend(name)

    assert isinstance(backend, kind)
    assert backend.name == name


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BackendUnavailable, match=r"embedded, .*external.*localstack.*moto"):
        open_backend("dynalite")


def test_an_external_backend_needs_an_address() -> None:
    with pytest.raises(BackendUnavailable, match="AWS_ENDPOINT_URL"):
        open_backend("external")


def test_an_external_address_without_a_host_is_refused() -> None:
    with pytest.raises(BackendUnavailable, match="http://HOST:PORT"):
        open_backend("external", endpoint_url="localhost")


def test_an_external_backend_that_answers_is_used_and_left_running() -> None:
    with socket.create_server((HOST, 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        with open_backend("external", endpoint_url=url) as backend:
            variables = backend.environment

        assert backend.alive()
    assert variables["AWS_ENDPOINT_URL"] == url
    assert variables["AWS_ACCESS_KEY_ID"] == "test"


def test_an_external_backend_that_does_not_answer_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(BackendUnavailable, match=f"nothing answers at {url}"):
        ExternalBackend(url).start()


def test_an_endpoint_elsewhere_keeps_the_callers_own_credentials() -> None:
    variables = ExternalBackend("https://dynamodb.example.com").environment

    assert variables == {"AWS_ENDPOINT_URL": "https://dynamodb.example.com"}


def test_localstack_without_an_engine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port()}")

    with pytest.raises(BackendUnavailable, match="no Docker engine answers"):
        LocalStackBackend().start()


def test_fauxqs_without_node_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BackendUnavailable, match=r"needs Node\.js 20 or newer"):
        FauxqsBackend().start()


def test_fauxqs_with_an_old_node_names_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for program in ("node", "npm"):
        (tmp_path / program).write_text("#!/bin/sh\necho v18.4.0\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BackendUnavailable, match=r"'v18\.4\.0'"):
        FauxqsBackend().start()


def test_a_pair_sends_queues_to_the_second_and_the_rest_to_the_first() -> None:
    pair = PairedBackend(ExternalBackend("http://127.0.0.1:1"), ExternalBackend("http://[::1]:2"))

    assert pair.endpoint_url == "http://127.0.0.1:1"
    assert pair.environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert pair.environment["AWS_ENDPOINT_URL_SQS"] == "http://[::1]:2"


def test_half_a_pair_is_not_left_running() -> None:
    with socket.create_server((HOST, 0)) as listener:
        first = Recorded(f"http://127.0.0.1:{listener.getsockname()[1]}")

        with pytest.raises(BackendUnavailable):
            PairedBackend(first, ExternalBackend(f"http://127.0.0.1:{free_port()}")).start()

    assert first.stops == 1


class Recorded(ExternalBackend):
    stops = 0

    def stop(self) -> None:
        self.stops += 1
