"""Every operation of an agent, written once for the sync and the async surface."""

from sharpwave.producers.operations import (
    analytics,
    decisions,
    learnt,
    memory,
    registration,
    signals,
    state,
)

__all__ = ["analytics", "decisions", "learnt", "memory", "registration", "signals", "state"]
