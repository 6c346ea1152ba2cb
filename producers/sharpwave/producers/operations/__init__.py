"""Every operation of an agent, written once for the sync and the async surface."""

from sharpwave.producers.operations import (
    decisions,
    inbox_rows,
    memory,
    outcomes,
    patterns,
    registration,
    signals,
    state,
)

__all__ = [
    "decisions",
    "inbox_rows",
    "memory",
    "outcomes",
    "patterns",
    "registration",
    "signals",
    "state",
]
