"""One thread per agent that takes signals from its inbox and lets the agent react."""

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from sharpwave.infra.demo.errors import AgentFailed
from sharpwave.infra.demo.ports import Agent, Delivery

#: Longest wait of one receive, in seconds: a stop takes this long.
WAIT_S = 2

Handle = Callable[[str, Delivery], None]


class Receivers:
    """Receives for all agents between entering and leaving a `with` block."""

    def __init__(self, agents: Mapping[str, Agent], handle: Handle) -> None:
        self._handle = handle
        self._stop = threading.Event()
        self._failures: list[AgentFailed] = []
        self._threads = [
            threading.Thread(target=self._receive, args=pair, name=pair[0], daemon=True)
            for pair in agents.items()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S * 5)

    def check(self) -> None:
        """Raise what an agent raised.

        Raises:
            AgentFailed: an agent could not handle a signal, and receives no more.
        """
        if self._failures:
            raise self._failures[0]

    def _receive(self, agent_id: str, agent: Agent) -> None:
        try:
            for delivery in agent.inbox(wait_s=WAIT_S, until=self._stop.is_set):
                with delivery:
                    self._handle(agent_id, delivery)
        except Exception as error:
            failure = AgentFailed(agent_id, error)
            failure.__cause__ = error
            self._failures.append(failure)
