"""The trace that an agent's own code is in, if it has OpenTelemetry; nothing is imported for it."""

import sys


def active_traceparent() -> str | None:
    """Give the active span of OpenTelemetry as W3C trace context, or None without one.

    A span that is not sampled is given too: its flag says so to whoever reads it.
    """
    # Whoever began a span has imported this, and nobody else has to pay for it.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
