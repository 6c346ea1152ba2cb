"""The system under test: the local stack whose processes work through the fault proxy."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sharpwave.infra.local import Backend
from sharpwave.infra.local.processes import Backoff, Service
from sharpwave.infra.local.stack import Stack, StackOptions
from sharpwave.infra.operate.agents import add_agent
from sharpwave.infra.provision.structure import provision
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from tests.chaos import roster
from tests.chaos.controls import BUILDS, OFF_BY, OFF_CLOCK, Control
from tests.chaos.history import History
from tests.chaos.plan import CROWD, RECEIVERS, WORKER_OFF_S, Plan, agent_clocks, worker_clocks

_RECEIVERS_STAGE = 3
#: Clocks of workers and operators differ by less than this.
CACHE_S, SKEW_S = 0.5, 2 * WORKER_OFF_S + 0.5
PROMOTE_AFTER_S = 3.0
TICK_S = 4.0
#: A careless agent must be caught in the act, so it dies more often.
_CARELESS = ("--careless", "--dies", "0.005")


class StackUnderTest(Stack):
    """A stack with the agents' processes beside it.

    Args:
        backend: started, and stopped by its owner.
        faults: variables that lead the pipeline through the fault proxies.
        folder: for logs, the archive and the history.
        plan: who takes part, and how wrong their clocks are.
        control: run the workers that this control names, instead of the real ones.
    """

    def __init__(
        self,
        backend: Backend,
        faults: Mapping[str, str],
        *,
        folder: Path,
        plan: Plan,
        control: Control | None = None,
    ) -> None:
        options = StackOptions(
            prefix=roster.PREFIX,
            threads=32,
            tick_s=TICK_S,
            folder=folder,
            settings=_settings(plan.scale.visibility_s),
            router=plan.router,
            backoff=Backoff(first_s=0.2, most_s=0.5),
        )
        super().__init__(backend, options)
        self._faults, self._plan, self._control = faults, plan, control
        self._offsets = agent_clocks(plan)

    @property
    def agents(self) -> list[str]:
        """Name every agent that has a queue, or will have one by the end."""
        return [*roster.AGENTS, *self._plain_agents()]

    @property
    def history(self) -> Path:
        """Say where the agents write what they did and saw."""
        return self.folder / "history"

    def services(self) -> list[Service]:
        """List the pipeline's processes, behind the proxy, and the agents', before it."""
        pipeline = [self._behind_the_proxy(service) for service in super().services()]
        agents = [self._receiver(name) for name in RECEIVERS]
        return [*pipeline, *agents, *([self._crowd()] if self._plain_agents() else [])]

    def _behind_the_proxy(self, service: Service) -> Service:
        """Send a service of the pipeline through the proxy, in the build that the run wants."""
        env, build = {**service.env, **self._faults}, None
        offsets = worker_clocks(self._plan, WORK_QUEUE_NAMES)
        if self._control:
            build = BUILDS[self._control]
        elif service.name in offsets:
            build = OFF_CLOCK
            env[OFF_BY] = str(offsets[service.name])
        argv = [build if build and ":build" in word else word for word in service.argv]
        return replace(service, env=env, argv=argv)

    def provision(self) -> None:
        provision(self.deployment)
        scale = self._plan.scale
        with History(self.history, "operator") as history:
            for agent, wishes in roster.registered(scale.crowd, limits=self._has_limits).items():
                began = time.time()
                add_agent(self.deployment, agent, wishes)
                history.note(agent, "registered", began=began, **wishes.attributes())
        self.deploy_router({**self.environment, **self._faults})

    @property
    def _has_limits(self) -> bool:
        return "quotas" in self._plan.draws

    def _plain_agents(self) -> list[str]:
        scale = self._plan.scale
        joiners = scale.joiners if "joiners" in self._plan.draws else 0
        return roster.plain_agents(scale.crowd, joiners, limits=self._has_limits)

    def _receiver(self, name: str) -> Service:
        argv = [sys.executable, "-m", "tests.chaos.receiver", "--name", name]
        argv += self._told()
        argv += ["--offsets", json.dumps({each: self._offsets[each] for each in roster.AGENTS})]
        argv += ["--echoes"] if "echoes" in self._plan.draws else []
        argv += _CARELESS if self._control == "no-marks" else ()
        service = self._service(name, [*argv, *roster.AGENTS], _RECEIVERS_STAGE)
        return replace(service, grace_s=3.0)

    def _crowd(self) -> Service:
        names = self.folder / "crowd.txt"
        names.write_text("\n".join(self._plain_agents()))
        argv = [sys.executable, "-m", "tests.chaos.crowd", "--names", str(names)]
        argv += self._told()
        argv += ["--spoils"] if "rows" in self._plan.draws else []
        is_neglectful = "deadlines" in self._plan.draws and self._plan.scale.neglects
        argv += ["--neglects"] if is_neglectful else []
        return replace(self._service(CROWD, argv, _RECEIVERS_STAGE), grace_s=3.0)

    def _told(self) -> list[str]:
        visibility = str(self._plan.scale.visibility_s)
        return ["--history", str(self.history), "--visibility", visibility]


def _settings(visibility_s: int) -> dict[str, str]:
    return {
        "SHARPWAVE_VISIBILITY_TIMEOUT_S": str(visibility_s),
        "SHARPWAVE_PROMOTE_AFTER_S": str(PROMOTE_AFTER_S),
        "SHARPWAVE_PATTERN_CACHE_S": str(CACHE_S),
        "SHARPWAVE_CLOCK_SKEW_S": str(SKEW_S),
        "SHARPWAVE_REGISTRATION_CACHE_S": "0.5",
        "SHARPWAVE_ARCHIVE_LINGER_S": "0.2",
        "SHARPWAVE_HEARTBEAT_S": "2",
        # Acknowledgements of one signal share a look at its rows, of which there are many here.
        "SHARPWAVE_LINGER_S": "1",
    }
