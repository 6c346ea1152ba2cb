"""A worker process that booted no longer has its collector walk what it keeps for good."""

import gc
from collections.abc import Iterator

import pytest

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
