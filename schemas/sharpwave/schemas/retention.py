"""How long agents keep what they write: a deployment's settings, read by each agent as it starts.

From the environment, as the workers' settings are: an agent may read none but its own items, and
one that starts must not wait for a table. A record's `ttl` stays as it was written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from sharpwave.schemas.records import (
    DECISION_TTL_S,
    MAX_DECISION_TTL_S,
    MAX_MEMORY_TTL_S,
    MAX_SIGNAL_TTL_S,
    MEMORY_EXPIRES_S,
    MEMORY_TTL_S,
    SIGNAL_TTL_S,
)
from sharpwave.schemas.times import DAY_S

#: Fewest and most days of each; a memory entry outlives the day after which it is promoted.
_BOUNDS = {
    "decision": (1, MAX_DECISION_TTL_S // DAY_S),
    "signal": (1, MAX_SIGNAL_TTL_S // DAY_S),
    "memory": (MEMORY_EXPIRES_S // DAY_S + 1, MAX_MEMORY_TTL_S // DAY_S),
}


def variable(kind: str) -> str:
    """Name the variable that sets the days of a kind of record."""
    return f"SHARPWAVE_{kind.upper()}_DAYS"


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Days from a record's time to its removal; of a signal, until its deliveries expire.

    Raises:
        ValueError: a number of days cannot be.
    """

    decision: int = DECISION_TTL_S // DAY_S
    signal: int = SIGNAL_TTL_S // DAY_S
    memory: int = MEMORY_TTL_S // DAY_S

    def __post_init__(self) -> None:
        for kind, (least, most) in _BOUNDS.items():
            days = getattr(self, kind)
            if not least <= days <= most:
                text = f"{variable(kind)} is {days}; give {least} to {most} days"
                raise ValueError(text)

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Read what the environment sets; the rest is as it is by itself.

        Raises:
            ValueError: a variable holds no number of days that can be.
        """
        given = {}
        for kind, (least, most) in _BOUNDS.items():
            text = environ.get(variable(kind), "")
            if text and not (text.isascii() and text.isdigit()):
                raise ValueError(f"{variable(kind)} is {text!r}; give {least} to {most} days")
            if text:
                given[kind] = int(text)
        return cls(**given)
