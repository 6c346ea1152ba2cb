"""A cluster in front of the session's backend, and Amazon's client of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sharpwave.infra.local import Backend
from sharpwave.infra.local.dax import CacheSettings, DaxServer, dynamodb_client
from tests.dax import create_table, official_client
from tests.world import VirtualClock

SETTINGS = CacheSettings(item_ttl_s=300, query_ttl_s=60)


@pytest.fixture(scope="session")
def dynamodb(backend: Backend) -> Any:
    """The tables beside the cluster."""
    return dynamodb_client(backend.endpoint_url)


@pytest.fixture(scope="module")
def shared_table(dynamodb: Any) -> str:
    return create_table(dynamodb)


@pytest.fixture
def table(dynamodb: Any) -> str:
    """A table of this test's own."""
    return create_table(dynamodb)


@pytest.fixture
def clock() -> VirtualClock:
    """The time of the cluster's memory."""
    return VirtualClock(0.0)


@pytest.fixture
def start(dynamodb: Any, clock: VirtualClock) -> Iterator[Callable[..., DaxServer]]:
    """Start clusters, which end with the test."""
    started: list[DaxServer] = []

    def start(**options: Any) -> DaxServer:
        cluster = DaxServer(dynamodb, **{"settings": SETTINGS, "clock": clock, **options})
        started.append(cluster.start())
        return cluster

    yield start
    for cluster in started:
        cluster.stop()


@pytest.fixture
def cluster(start: Callable[..., DaxServer]) -> DaxServer:
    """One node."""
    return start()


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Connect Amazon's client; it is closed with the test."""
    made: list[Any] = []

    def connect(cluster: DaxServer, **options: Any) -> Any:
        made.append(official_client(cluster.endpoint, **options))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def client(cluster: DaxServer, connect: Callable[..., Any]) -> Any:
    return connect(cluster)
