"""Every operation of an agent, written once for the sync and the async surface."""

from sharpwave.producers.operations import (
    analytics,
    asking,
    decisions,
    learnt,
    limits,
    lineage,
    memory,
    peers,
    registration,
    signals,
    state,
    timings,
)

__all__ = [
    "analytics",
    "asking",
    "decisions",
    "learnt",
    "limits",
    "lineage",
    "memory",
    "peers",
    "registration",
    "signals",
    "state",
    "timings",
]
