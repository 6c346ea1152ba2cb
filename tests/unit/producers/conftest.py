"""Operations played against answers written in the test, without any client."""

from collections.abc import Callable
from typing import Any

import pytest

from sharpwave.producers.call import Call, Identity, Operation, Pause, Step

NOW = 1_800_000_000


class Played:
    """What an operation gave back, and the calls it made on the way."""

    def __init__(self, result: Any, steps: list[Step]) -> None:
        self.result = result
        self.calls = [step for step in steps if isinstance(step, Call)]
        self.pauses = [step.seconds for step in steps if isinstance(step, Pause)]

    @property
    def operations(self) -> list[str]:
        return [call.operation for call in self.calls]


def _play(operation: Operation[Any], *answers: dict[str, Any] | Exception) -> Played:
    left, steps = list(answers), list[Step]()
    try:
        step = next(operation)
        while True:
            steps.append(step)
            if isinstance(step, Pause):
                step = operation.send({})
                continue
            assert left, f"no answer left for {step}"
            answer = left.pop(0)
            if isinstance(answer, Exception):
                step = operation.throw(answer)
            else:
                step = operation.send(answer)
    except StopIteration as done:
        assert not left, f"unused answers: {left}"
        return Played(done.value, steps)


@pytest.fixture
def play() -> Callable[..., Played]:
    """Run an operation; each call takes the next answer, and all must be used."""
    return _play


@pytest.fixture
def me() -> Identity:
    """The agent `risk`, at a fixed moment."""
    return Identity("risk", clock=lambda: NOW + 0.25)
