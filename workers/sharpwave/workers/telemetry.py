"""What a worker says of its work: figures for CloudWatch on its output, or for Prometheus; spans.

Figures are for alarms and pictures only: a message that is handled twice counts twice here, and
nowhere else.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal

import dramatiq
from dramatiq.middleware import Middleware

from sharpwave.workers import emf
from sharpwave.workers.settings import Misconfigured

Metrics = Literal["none", "emf", "prometheus"]

#: Figures of a minute share a line: CloudWatch keeps a point a minute anyway.
_EVERY_S = 60.0
#: CloudWatch takes a hundred values of one metric in a line.
_MOST_VALUES = 100
#: Milliseconds are told to two digits, so that equal ones share a value.
_DIGITS = 2


class Emf(Middleware):
    """Writes what was processed in CloudWatch's embedded metric format: a JSON line a minute.

    `Processed`, `Failed` and `Duration` in ms, by deployment and queue.
    """

    def __init__(
        self,
        *,
        prefix: str,
        every_s: float = _EVERY_S,
        write: Callable[[str], object] = lambda line: print(line, flush=True),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Write a line for each queue of which something was done, every `every_s` seconds."""
        self._deployment, self._every_s = prefix or "default", every_s
        self._write, self._clock = write, clock
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._failed: Counter[str] = Counter()
        self._took: dict[str, Counter[float]] = {}
        self._stop = threading.Event()

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Begin to write."""
        threading.Thread(target=self._run, name="emf", daemon=True).start()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Write what is left."""
        self._stop.set()
        self.flush()

    def before_process_message(
        self, broker: dramatiq.Broker, message: "dramatiq.MessageProxy"
    ) -> None:
        """Note when a message began."""
        self._began[message.message_id] = time.perf_counter()

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: "dramatiq.MessageProxy",
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Count a message that came to its end, or failed."""
        began = self._began.pop(message.message_id, None)
        took_ms = 0.0 if began is None else 1000 * (time.perf_counter() - began)
        queue = message.queue_name
        with self._lock:
            self._took.setdefault(queue, Counter())[float(f"{took_ms:.{_DIGITS}g}")] += 1
            self._failed[queue] += exception is not None

    def after_skip_message(self, broker: dramatiq.Broker, message: "dramatiq.MessageProxy") -> None:
        """Forget a message that was not processed."""
        self._began.pop(message.message_id, None)

    def flush(self) -> None:
        """Write the figures since the last time."""
        with self._lock:
            took, self._took = self._took, {}
            failed, self._failed = self._failed, Counter()
        for queue, times in sorted(took.items()):
            values = sorted(times)
            for at in range(0, len(values), _MOST_VALUES):
                part = values[at : at + _MOST_VALUES]
                counts = [times[value] for value in part]
                line = emf.line(
                    self._clock(),
                    {"Deployment": self._deployment, "Queue": queue},
                    {"Processed": "Count", "Failed": "Count", "Duration": "Milliseconds"},
                    {
                        "Processed": sum(counts),
                        # Once, or each line would add them again.
                        "Failed": 0 if at else failed[queue],
                        "Duration": {"Values": part, "Counts": counts},
                    },
                )
                self._write(line)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            # A closed pipe must not end the thread: the reader may be started again.
            with suppress(OSError):
                self.flush()


class Spans(Middleware):
    """Makes an OpenTelemetry span of each message that is processed, by the messaging conventions.

    Where spans go is said by OpenTelemetry's own variables and set up by whoever starts the
    process (`opentelemetry-instrument dramatiq ...`). The contexts that signals carry are links of
    the span, not its parent: a message holds signals of many.
    """

    def __init__(self) -> None:
        """Take the process's tracer.

        Raises:
            ModuleNotFoundError: opentelemetry-api is not installed.
        """
        from opentelemetry import trace

        self._trace = trace
        self._tracer = trace.get_tracer("sharpwave.workers")
        self._open: dict[str, Any] = {}

    def before_process_message(
        self, broker: dramatiq.Broker, message: "dramatiq.MessageProxy"
    ) -> None:
        """Begin a span in this thread."""
        attributes: dict[str, str | int] = {
            "messaging.system": "aws_sqs",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": message.queue_name,
            "messaging.message.id": message.message_id,
            "messaging.batch.message_count": len(message.kwargs.get("entries", ())) or 1,
            "sharpwave.actor": message.actor_name,
        }
        manager = self._tracer.start_as_current_span(
            f"process {message.queue_name}",
            kind=self._trace.SpanKind.CONSUMER,
            attributes=attributes,
        )
        manager.__enter__()
        self._open[message.message_id] = manager

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: "dramatiq.MessageProxy",
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """End it, with the exception if there was one."""
        if manager := self._open.pop(message.message_id, None):
            kind = None if exception is None else type(exception)
            # It records an exception and raises it again, which is Dramatiq's to do.
            with suppress(BaseException):
                manager.__exit__(kind, exception, exception and exception.__traceback__)

    def after_skip_message(self, broker: dramatiq.Broker, message: "dramatiq.MessageProxy") -> None:
        """End the span of a message that was not processed."""
        self.after_process_message(broker, message)


def link(contexts: Iterable[object]) -> None:
    """Link the span of the message in hand, if there is one, to the contexts of its signals.

    Args:
        contexts: `traceparent` of each, as its writer gave it; what is none is passed over.
    """
    # Without OpenTelemetry in the process there is nothing to link, and nothing is imported.
    if "opentelemetry.sdk.trace" not in sys.modules:
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    span, propagator = trace.get_current_span(), TraceContextTextMapPropagator()
    for text in contexts:
        if isinstance(text, str):
            found = trace.get_current_span(propagator.extract({"traceparent": text}))
            if (context := found.get_span_context()).is_valid:
                span.add_link(context)


def middlewares(metrics: Metrics, *, prefix: str, traces: bool) -> Sequence[Middleware]:
    """Give what surrounds actors for the settings of one process.

    Raises:
        Misconfigured: a library that they need is not installed.
    """
    made: list[Middleware] = []
    extra = "traces"
    try:
        if traces:
            made.append(Spans())
        extra = "metrics"
        if metrics == "emf":
            made.append(Emf(prefix=prefix))
        elif metrics == "prometheus":
            from dramatiq.middleware.prometheus import Prometheus

            made.append(Prometheus())
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"SHARPWAVE_{extra.upper()} needs {error.name}, which is not installed; install"
            f" sharpwave[{extra}], or unset it"
        ) from error
    return made
