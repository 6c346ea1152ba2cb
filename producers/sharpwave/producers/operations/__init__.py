"""Every operation of an agent, written once for the sync and the async surface."""

from sharpwave.producers.operations import (
    decisions,
    learnt,
    limits,
    memory,
    registration,
    signals,
    state,
)

__all__ = ["decisions", "learnt", "limits", "memory", "registration", "signals", "state"]
