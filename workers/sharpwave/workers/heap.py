"""What a process keeps for good is looked through once, and not with each collection of garbage."""

import gc

import dramatiq
from dramatiq.middleware import Middleware

#: So many new objects start a collection of the youngest; Python's own 700 are those of a few
#: signals, which the messages in hand still need.
_YOUNG = 10_000


def settle() -> None:
    """Set aside all that is there, for a process that was put together and works from now on.

    A full collection would walk all of botocore's models again and again, while no thread does
    anything.
    """
    # What is garbage by now would else stay for good.
    gc.collect()
    gc.freeze()
    _, middle, old = gc.get_threshold()
    gc.set_threshold(_YOUNG, middle, old)


class SettledHeap(Middleware):
    """Keeps Python's collector of cycles to what came after a worker process was put together."""

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        """Set aside all that is there."""
        settle()
