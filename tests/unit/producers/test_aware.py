"""Instances of one agent that meet leave each other's work alone."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.producers import AsyncMemoryAwareAgent, MemoryAwareAgent
from sharpwave.producers.aware import WORKED
from sharpwave.producers.call import Identity
from sharpwave.producers.drivers import AsyncDriver, Driver
from sharpwave.producers.errors import OutcomeConflict, StateConflict
from sharpwave.producers.operations import state
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire, item_to_wire

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
    """A table whose state others change before each of the first saves."""

    def __init__(self, conflicts: int, *, worked: str = "d1") -> None:
        self.conflicts, self.saved = conflicts, dict[str, Any]()
        self.version, self.seen, self.worked = 0, 0, worked

    def get_item(self, **_: Any) -> dict[str, Any]:
        item = {
            **keys.current_state("counter").item(),
            "agent_id": "counter",
            "state_type": "CURRENT",
            "last_updated": 1,
            "version": self.version + 1,
            "state": {"seen": self.seen, WORKED: [self.worked]},
        }
        return {"Item": item_to_wire(item)}

    def put_item(self, **params: Any) -> dict[str, Any]:
        if self.conflicts:
            self.conflicts -= 1
            self.version, self.seen = self.version + 1, self.seen + 1
            fault = {"Error": {"Code": "ConditionalCheckFailedException"}}
            raise ClientError(fault, "PutItem")  # type: ignore[arg-type]
        item = item_from_wire(params["Item"])
        assert item["version"] == self.version + 2
        self.saved = item["state"]
        return {}


def advancing(stored: Stored) -> Callable[[], None]:
    def update_state(change: Any) -> Any:
        operation = state.update_state(Identity("counter"), change)
        return Driver({"dynamodb": stored}).run(operation)

    counter = Counter(update_state=update_state)
    return lambda: counter._drive(counter._advance(DELIVERY, None))


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_FIRST_PAUSE_S", 0)


def test_a_state_that_others_changed_is_read_and_changed_again() -> None:
    stored = Stored(conflicts=3)

    advancing(stored)()

    assert stored.saved == {"seen": 4, WORKED: ["d1", "d2"]}


def test_a_state_that_others_keep_changing_is_left_to_the_next_delivery() -> None:
    with pytest.raises(StateConflict):
        advancing(Stored(conflicts=100))()


def test_a_delivery_that_the_state_holds_already_changes_nothing() -> None:
    stored = Stored(conflicts=0, worked="d2")

    advancing(stored)()

    assert stored.saved == {}


def test_a_hook_that_is_a_coroutine_is_awaited_each_time() -> None:
    stored = Stored(conflicts=2)

    class Client:
        async def get_item(self, **params: Any) -> Any:
            return stored.get_item(**params)

        async def put_item(self, **params: Any) -> Any:
            return stored.put_item(**params)

    class AsyncCounter(AsyncMemoryAwareAgent):
        agent_id = "counter"

        def __init__(self) -> None:
            self.agent: Any = SimpleNamespace(update_state=self.update_state)

        async def update_state(self, change: Any) -> Any:
            driver = AsyncDriver({"dynamodb": Client()})
            return await driver.run(state.update_state(Identity("counter"), change))

        async def advance(self, state: dict[str, Any], delivery: Any, intent: Any) -> Any:
            return {"seen": state.get("seen", 0) + 1}

    counter = AsyncCounter()
    asyncio.run(counter._drive(counter._advance(DELIVERY, None)))

    assert stored.saved == {"seen": 3, WORKED: ["d1", "d2"]}


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
