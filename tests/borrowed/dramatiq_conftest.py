"""Stands for the conftest.py of dramatiq's own tests: its StubBroker is our broker here.

Only tests that have a stub broker run; those with Redis or Memcached behind them do not.
"""

import logging
import random
from collections.abc import Iterator
from typing import Any

import dramatiq
import dramatiq.brokers.stub
import pytest
from dramatiq import Worker
from dramatiq.rate_limits import backends as rate_limits
from dramatiq.results import backends as results
from stand_in import StandIn

dramatiq.brokers.stub.StubBroker = StandIn  # type: ignore[misc, assignment]
random.seed(1337)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has no broker of ours in it."""
    without = []
    for item in items:
        needed = " ".join(getattr(item, "fixturenames", ()))
        if "stub_broker" not in needed or "redis" in needed or "memcached" in needed:
            without.append(item)
    config.hook.pytest_deselected(items=without)
    items[:] = [item for item in items if item not in set(without)]


@pytest.fixture
def stub_broker() -> Iterator[StandIn]:
    broker = StandIn()
    broker.emit_after("process_boot")
    dramatiq.set_broker(broker)
    yield broker
    broker.flush_all()
    broker.close()


@pytest.fixture
def stub_worker(stub_broker: StandIn) -> Iterator[Worker]:
    worker = Worker(stub_broker, worker_timeout=100, worker_threads=32)
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
def info_logging() -> Iterator[None]:
    logger = logging.getLogger()
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(logging.DEBUG)


@pytest.fixture
def stub_rate_limiter_backend() -> Any:
    made: Any = rate_limits.StubBackend
    return made()


@pytest.fixture
def stub_result_backend() -> Any:
    made: Any = results.StubBackend
    return made()


@pytest.fixture
def rate_limiter_backends(stub_rate_limiter_backend: Any) -> Any:
    return {"stub": stub_rate_limiter_backend}


@pytest.fixture(params=["stub"])
def rate_limiter_backend(request: pytest.FixtureRequest, rate_limiter_backends: Any) -> Any:
    return rate_limiter_backends[request.param]


@pytest.fixture
def result_backends(stub_result_backend: Any) -> Any:
    return {"stub": stub_result_backend}


@pytest.fixture(params=["stub"])
def result_backend(request: pytest.FixtureRequest, result_backends: Any) -> Any:
    return result_backends[request.param]
