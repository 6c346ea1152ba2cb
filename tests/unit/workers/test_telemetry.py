"""A worker says how much it does, how long it took and whose work it was; nothing counts on it."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sharpwave.workers.settings import Misconfigured
from sharpwave.workers.telemetry import Emf, Spans, link, middlewares

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def work(observer: Middleware, actor: Callable[..., None], *calls: Any) -> None:
    """Let a worker run an actor once for each argument, in one thread, to the end."""
    broker = StubBroker(middleware=[observer])
    broker.emit_after("process_boot")
    worked = dramatiq.actor(broker=broker, queue_name="deliver", actor_name="on_signals")(actor)
    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    try:
        for each in calls:
            worked.send(entries=each)
        broker.join("deliver", fail_fast=False)
        worker.join()
    finally:
        worker.stop()


def fail_on_two(entries: list[Any]) -> None:
    if len(entries) == 2:
        raise ValueError("two")


def test_emf_tells_how_many_were_processed_failed_and_how_long_they_took() -> None:
    lines: list[str] = []

    work(Emf(prefix="prod", write=lines.append, clock=lambda: 1.5), fail_on_two, [1], [1, 2], [3])

    [line] = map(json.loads, lines)
    assert line["_aws"]["Timestamp"] == 1500
    [metrics] = line["_aws"]["CloudWatchMetrics"]
    assert metrics["Dimensions"] == [["Deployment", "Queue"]]
    assert all(each["Name"] in line for each in metrics["Metrics"])
    assert all(name in line for name in metrics["Dimensions"][0])
    assert (line["Deployment"], line["Queue"]) == ("prod", "deliver")
    assert (line["Processed"], line["Failed"]) == (3, 1)
    assert sum(line["Duration"]["Counts"]) == 3
    assert len(line["Duration"]["Values"]) == len(line["Duration"]["Counts"]) <= 100


def test_emf_says_nothing_of_a_queue_of_which_nothing_was_done() -> None:
    lines: list[str] = []
    emf = Emf(prefix="", write=lines.append)

    work(emf, fail_on_two, [1])
    emf.flush()

    assert len(lines) == 1
    assert json.loads(lines[0])["Deployment"] == "default"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    made, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    # A process has one, for good.
    trace.set_tracer_provider(provider)
    return made


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Callable[[], tuple[ReadableSpan, ...]]:
    exporter.clear()
    return exporter.get_finished_spans


def test_each_message_is_a_span_linked_to_the_contexts_of_its_signals(
    spans: Callable[[], tuple[ReadableSpan, ...]],
) -> None:
    def linked(entries: list[Any]) -> None:
        link(entries)

    work(Spans(), linked, [TRACE, None, "nonsense", 7])

    [span] = spans()
    assert span.name == "process deliver"
    assert span.kind is trace.SpanKind.CONSUMER
    assert span.attributes
    assert span.attributes["messaging.system"] == "aws_sqs"
    assert span.attributes["messaging.batch.message_count"] == 4
    assert span.parent is None
    [only] = span.links
    assert f"{only.context.trace_id:032x}" == TRACE.split("-")[1]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_span_of_a_failure_says_so(spans: Callable[[], tuple[ReadableSpan, ...]]) -> None:
    work(Spans(), fail_on_two, [1, 2], [1])

    failed, done = spans()
    assert (failed.status.is_ok, done.status.is_unset) == (False, True)
    [event] = failed.events
    assert event.attributes
    assert event.attributes["exception.message"] == "two"


def test_without_opentelemetry_a_link_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.sdk.trace")

    def unread() -> Iterator[object]:
        raise AssertionError
        yield

    link(unread())


def test_a_library_that_is_missing_is_named_with_what_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert middlewares("none", prefix="", traces=False) == []
    assert [type(each) for each in middlewares("emf", prefix="", traces=False)] == [Emf]
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setitem(sys.modules, "dramatiq.middleware.prometheus", None)

    with pytest.raises(Misconfigured, match=r"SHARPWAVE_TRACES needs .*sharpwave\[traces\]"):
        middlewares("none", prefix="", traces=True)
    with pytest.raises(Misconfigured, match=r"SHARPWAVE_METRICS needs .*sharpwave\[metrics\]"):
        middlewares("prometheus", prefix="", traces=False)
