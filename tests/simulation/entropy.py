"""One seed, one history: whatever the product draws from the machine is drawn from the seed."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from unittest.mock import patch


@contextmanager
def drawn_from(seed: int, clock: Callable[[], float]) -> Iterator[None]:
    """Let random bytes and the time of the machine follow a seed and a virtual clock."""
    source = Random(f"entropy-{seed}")

    def urandom(size: int) -> bytes:
        return source.randbytes(size)

    state = random.getstate()
    random.seed(seed)
    try:
        with (
            patch("os.urandom", urandom),
            patch("random._urandom", urandom),
            patch("time.time", clock),
            patch("time.time_ns", lambda: int(clock() * 1e9)),
        ):
            yield
    finally:
        random.setstate(state)
