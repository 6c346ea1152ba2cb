"""What an agent writes carries the trace it is in, unless one is given; who has none pays not."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import TraceFlags, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sharpwave.producers.call import Identity
from sharpwave.producers.operations import asking, decisions, signals
from sharpwave.producers.operations.signals import Draft
from sharpwave.producers.tracing import active_traceparent

Play = Callable[..., Any]
GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def tracer() -> Iterator[Callable[[Sampler], Tracer]]:
    """Give tracers of a sampler, without the one that the process may have."""
    made: list[TracerProvider] = []

    def make(sampler: Sampler) -> Tracer:
        made.append(TracerProvider(sampler=sampler))
        return made[-1].get_tracer("agent")

    yield make
    for each in made:
        each.shutdown()


@pytest.fixture
def write(me: Identity, play: Play) -> Callable[..., list[str | None]]:
    """Send and decide in each way there is, and give the context of each record."""

    def write(**given: Any) -> list[str | None]:
        sent = play(signals.signal(me, "WHALE", to="bob", **given), {}).result
        many = play(signals.signal_many(me, [Draft(signal_type="A", to="bob", **given)]), {})
        decided = play(decisions.decide(me, "PICK", **given), {}).result
        question = asking.ask(me, "bob", "ASK", timeout_s=60, **given)
        first: Any = next(question)
        asked = first.params["Item"].get("traceparent", {}).get("S")
        question.close()
        traced = (decided.model_extra or {}).get("traceparent")
        return [sent.traceparent, many.result[0].traceparent, traced, asked]

    return write


def as_opentelemetry_writes_it() -> str:
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier["traceparent"]


def test_the_active_span_goes_with_what_is_written(
    tracer: Callable[[Sampler], Tracer], write: Callable[..., list[str | None]]
) -> None:
    with tracer(ALWAYS_ON).start_as_current_span("turn"):
        found, written = write(), as_opentelemetry_writes_it()

    assert found == [written] * 4


def test_one_that_is_given_goes_before(
    tracer: Callable[[Sampler], Tracer], write: Callable[..., list[str | None]]
) -> None:
    with tracer(ALWAYS_ON).start_as_current_span("turn"):
        assert write(traceparent=GIVEN) == [GIVEN] * 4


def test_without_a_span_nothing_is_carried(write: Callable[..., list[str | None]]) -> None:
    assert "opentelemetry.trace" in sys.modules
    assert write() == [None] * 4


def test_a_span_that_is_not_sampled_says_so(tracer: Callable[[Sampler], Tracer]) -> None:
    with tracer(ALWAYS_OFF).start_as_current_span("turn"):
        found, written = active_traceparent(), as_opentelemetry_writes_it()

    assert found == written
    assert not int(written[-2:], 16) & TraceFlags.SAMPLED


def test_nothing_of_opentelemetry_is_imported_for_it() -> None:
    script = (
        "import sys; from sharpwave.producers import Agent, AsyncAgent\n"
        "from sharpwave.producers.tracing import active_traceparent\n"
        "from sharpwave.producers.call import Identity\n"
        "from sharpwave.producers.operations import signals\n"
        "next(signals.signal(Identity('risk'), 'WHALE', to='bob'))\n"
        "assert active_traceparent() is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (said.returncode, said.stdout.strip()) == (0, "[]"), said.stderr
