"""Memory and state by our library; workers have made facts of the entries before."""

import boto3
from drill import ORDERS, WANTED, Calls, drill  # type: ignore[import-not-found]

from sharpwave.producers import Agent
from sharpwave.schemas.records import StateRecord

CALLS = Calls()


class Ours:
    """One process's agents: its own, and one that all processes are."""

    def __init__(self, number: int) -> None:
        session = boto3.Session()
        session.events.register("before-send.dynamodb", CALLS.count)
        self._own, self._shared = (
            Agent(name, prefix=ORDERS["prefix"], session=session)
            for name in (f"agent-{number}", "shared")
        )
        self._recalling = Agent(ORDERS["agent"], prefix=ORDERS["prefix"], session=session)
        self._version = 0

    def recall(self) -> int:
        """Read the newest facts."""
        return len(self._recalling.recall("NOTE", limit=WANTED))

    def save(self, number: int) -> None:
        """Save the whole state, on the version that was saved last."""
        self._version = self._own.save_state(
            {"number": number}, expected_version=self._version
        ).version

    def add(self) -> None:
        """Add one to what is stored, anew for whatever others saved meanwhile."""
        self._shared.update_state(_one_more, attempts=1000)

    def total(self) -> int:
        """Read what was added."""
        found = self._shared.state()
        return int(found.state["number"]) if found else 0


def _one_more(found: StateRecord | None) -> dict[str, int]:
    return {"number": int(found.state["number"]) + 1 if found else 1}


if __name__ == "__main__":
    drill(Ours, CALLS)
