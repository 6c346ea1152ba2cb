"""A worker process that booted no longer has its collector walk what it keeps for good."""

import gc
from collections.abc import Iterator
from threading import Event
from typing import Any
from unittest.mock import Mock

import pytest

from sharpwave.infra.local import stack
from sharpwave.workers import heap, main
from sharpwave.workers.heap import SettledHeap
from sharpwave.workers.sqs import SQSBroker
from tests.world.sqs import MemorySqs


class Model:
    """One of the many objects that live as long as their process."""


class Knot:
    """What only a collection can remove: it holds itself."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture
def broker() -> Iterator[SQSBroker]:
    before = gc.get_threshold()
    made = SQSBroker(client=MemorySqs(), middleware=[SettledHeap()])
    yield made
    made.close()
    gc.set_threshold(*before)
    gc.unfreeze()


def walked(thing: object) -> bool:
    return any(each is thing for each in gc.get_objects())


def test_what_was_there_at_boot_is_not_walked_again(broker: SQSBroker) -> None:
    early = Model()
    assert walked(early)
    broker.emit_after("process_boot")
    late = Model()
    assert (walked(early), walked(late)) == (False, True)


def test_garbage_of_the_boot_goes_first_and_later_garbage_still_goes(broker: SQSBroker) -> None:
    Knot()
    broker.emit_after("process_boot")
    Knot()
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Knot]
    gc.unfreeze()
    assert not [each for each in gc.get_objects() if type(each) is Knot]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask nothing of a backend, and let what is put together change nothing of this process."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("dramatiq.set_broker", Mock())
    monkeypatch.setattr("sharpwave.workers.logs.set_up", Mock())


@pytest.mark.usefixtures("alone")
def test_a_worker_is_put_together_so() -> None:
    made = main.build()
    made.close()

    assert [each for each in made.middleware if isinstance(each, SettledHeap)]


@pytest.mark.usefixtures("alone")
def test_a_pump_sets_aside_what_it_was_put_together_of_before_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = Mock()

    def built(*_: Any, **__: Any) -> Any:
        steps.build()
        return steps

    monkeypatch.setattr(main, "build_pump", built)
    monkeypatch.setattr(heap, "settle", steps.settle)
    monkeypatch.setattr(stack, "until_signalled", lambda work: work(Event()))

    stack.run_pump()

    assert [name for name, *_ in steps.method_calls] == ["build", "settle", "run"]
