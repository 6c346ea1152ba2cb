"""What the agents of a simulation did, as they remember it."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sharpwave.schemas.keys import Key
from sharpwave.workers.ports import Item


class Refused(NamedTuple):
    """A record that the pipeline has to refuse."""

    table: str
    key: Key
    owner: str | None


class State(NamedTuple):
    """An admitted state of a decision."""

    revision: int
    success: bool | None


@dataclass(slots=True)
class Book:
    """The truth that the pipeline's results are compared with.

    Attributes:
        agents: those registered before anything else, with what their registration says.
        signals: the valid ones, as first written.
        decisions: the admitted states of each decision, and the decision as first written.
        memories: the valid ones, as first written.
        refused: what must have been refused.
        resent: deliveries that were sent although they were acknowledged.
    """

    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    signals: dict[Key, Item] = field(default_factory=dict)
    decisions: dict[Key, tuple[Item, list[State]]] = field(default_factory=dict)
    memories: dict[Key, Item] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    resent: list[str] = field(default_factory=list)
