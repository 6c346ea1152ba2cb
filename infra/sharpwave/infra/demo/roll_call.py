"""Before the replay starts: every agent is registered, and every worker knows it.

A signal to everyone, or to the subscribers, reaches whom the workers know at that moment. So one
of each is sent until all have answered; these are no part of the replay and of its figures.
"""

import threading
from collections.abc import Mapping

from sharpwave.infra.demo.drafts import AGENTS, READY_CHECK, SENTIMENT_ANALYZER
from sharpwave.infra.demo.errors import PipelineNotReady
from sharpwave.infra.demo.ports import Agent
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS

AGAIN_S = 1.0
_ASKED = (EVERYONE, SUBSCRIBERS)


class RollCall:
    """Who has answered; safe from several threads."""

    def __init__(self) -> None:
        self._answered = threading.Condition()
        self._present: set[tuple[str, str]] = set()

    def answer(self, agent_id: str, asked: str) -> None:
        """Note that a check addressed to `asked` reached an agent."""
        with self._answered:
            self._present.add((asked, agent_id))
            self._answered.notify_all()

    def hold(self, agents: Mapping[str, Agent], *, deadline_s: float) -> None:
        """Ask until every agent has answered both kinds of check.

        Raises:
            PipelineNotReady: somebody has not within `deadline_s` seconds.
        """
        for _ in range(max(1, int(deadline_s / AGAIN_S))):
            for asked in sorted({asked for asked, _ in self._missing()}):
                agents[SENTIMENT_ANALYZER].signal(READY_CHECK, to=asked, data={"to": asked})
            with self._answered:
                if self._answered.wait_for(lambda: not self._missing(), AGAIN_S):
                    return
        silent = ", ".join(sorted({agent_id for _, agent_id in self._missing()}))
        raise PipelineNotReady(f"no signal has reached {silent}", waited_s=deadline_s)

    def _missing(self) -> set[tuple[str, str]]:
        wanted = {(asked, agent) for asked in _ASKED for agent in AGENTS}
        return {pair for pair in wanted if pair[1] != SENTIMENT_ANALYZER} - self._present
