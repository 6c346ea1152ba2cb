"""Instances of one agent that meet leave each other's work alone."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sharpwave.producers import MemoryAwareAgent
from sharpwave.producers.aware import WORKED
from sharpwave.producers.errors import OutcomeConflict, StateConflict

DELIVERY = SimpleNamespace(delivery_id="d2")


class Counter(MemoryAwareAgent):
    agent_id = "counter"

    def __init__(self, **agent: Any) -> None:
        self.agent: Any = SimpleNamespace(**agent)

    def advance(self, state: dict[str, Any], delivery: Any, intent: Any) -> dict[str, Any]:
        return {"seen": state.get("seen", 0) + 1}

    def judge(self, decision: Any) -> Any:
        return {"success": True} if decision != "open" else None


class Stored:
    """A state that others change before each of the first saves."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts, self.saved = conflicts, dict[str, Any]()
        self.version, self.seen = 0, 0

    def state(self) -> Any:
        state = {"seen": self.seen, WORKED: ["d1"]}
        return SimpleNamespace(version=self.version, state=state)

    def save_state(self, state: dict[str, Any], *, expected_version: int) -> None:
        if self.conflicts:
            self.conflicts -= 1
            self.version, self.seen = self.version + 1, self.seen + 1
            raise StateConflict("no", stored=self.version, expected=expected_version)
        assert expected_version == self.version
        self.saved = state


def advancing(stored: Stored) -> Callable[[], None]:
    counter = Counter(state=stored.state, save_state=stored.save_state)
    return lambda: counter._drive(counter._advance(DELIVERY, None))


def test_a_state_that_others_changed_is_read_and_changed_again() -> None:
    stored = Stored(conflicts=3)

    advancing(stored)()

    assert stored.saved == {"seen": 4, WORKED: ["d1", "d2"]}


def test_a_state_that_others_keep_changing_is_left_to_the_next_delivery() -> None:
    with pytest.raises(StateConflict):
        advancing(Stored(conflicts=100))()


def test_an_outcome_that_another_instance_knew_first_stands() -> None:
    told: list[str] = []

    def record_outcome(decision: str, *, success: bool) -> None:
        if decision == "known":
            raise OutcomeConflict("no")
        told.append(decision)

    counter = Counter(decisions=lambda **_: ["known", "open", "new"], record_outcome=record_outcome)
    counter._drive(counter._owed())
    counter._drive(counter._owed())

    # The second came too soon.
    assert told == ["new"]


class Chooser(MemoryAwareAgent):
    agent_id = "chooser"

    def about(self, delivery: Any) -> Any:
        return {"context": delivery.data} if delivery.data else None

    def decide(self, delivery: Any, recalled: Any) -> Any:
        return {"decision_type": "ENTRY", "reasoning": {"n": len(recalled)}}


def worked(data: dict[str, int]) -> tuple[Any, list[str]]:
    done: list[str] = []

    def decided(**parts: Any) -> Any:
        done.append("decide")
        return parts

    delivery: Any = SimpleNamespace(
        data=data, is_settled=False, ack=lambda: done.append("ack"), decide=decided
    )

    def recall(**about: Any) -> list[Any]:
        done.append("recall")
        return [about]

    agent: Any = SimpleNamespace(recall=recall)
    return Chooser(agent).work(delivery), done


def test_who_has_nothing_to_decide_recalls_nothing_and_acknowledges() -> None:
    decision, done = worked({})

    assert decision is None
    assert done == ["ack"]


def test_working_a_delivery_gives_what_was_decided() -> None:
    decision, done = worked({"whales": 1})

    assert decision == {"decision_type": "ENTRY", "reasoning": {"n": 1}}
    assert done == ["recall", "decide"]
