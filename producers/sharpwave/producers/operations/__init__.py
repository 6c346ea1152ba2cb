"""Every operation of an agent, written once for the sync and the async surface."""

from sharpwave.producers.operations import (
    asking,
    decisions,
    learnt,
    limits,
    lineage,
    memory,
    registration,
    signals,
    state,
)

__all__ = [
    "asking",
    "decisions",
    "learnt",
    "limits",
    "lineage",
    "memory",
    "registration",
    "signals",
    "state",
]
