"""The system under test: the local stack whose processes work through the fault proxy."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sharpwave.infra.agents_admin import add_agent
from sharpwave.infra.chaos import roster
from sharpwave.infra.chaos.controls import BUILDS, Control
from sharpwave.infra.chaos.plan import RECEIVERS
from sharpwave.infra.connection import Deployment
from sharpwave.infra.embedded import Backend
from sharpwave.infra.processes import Backoff, Service
from sharpwave.infra.provision import provision
from sharpwave.infra.stack import Stack, StackOptions

_RECEIVERS_STAGE = 3
_CACHE_S, _SKEW_S = 0.5, 0.5
#: Each tick costs the workers about a hundred calls, so it must not come too often here.
PROMOTE_AFTER_S, TICK_S = 3.0, 4.0
#: A careless agent must be caught in the act, so it dies more often.
_CARELESS = ("--careless", "--dies", "0.005")


class System(Stack):
    """A stack with the agents' processes beside it.

    Args:
        backend: started, and stopped by its owner.
        faults: variables that lead the pipeline through the fault proxies.
        folder: for logs, the archive and the history.
        visibility_s: how long a dead process hides its messages.
        control: run the workers that this control names, instead of the real ones.
    """

    def __init__(
        self,
        backend: Backend,
        faults: Mapping[str, str],
        *,
        folder: Path,
        visibility_s: int,
        control: Control | None = None,
    ) -> None:
        options = StackOptions(
            prefix=roster.PREFIX,
            threads=32,
            tick_s=TICK_S,
            folder=folder,
            settings=_settings(visibility_s),
            backoff=Backoff(first_s=0.2, most_s=0.5),
        )
        super().__init__(backend, options)
        self._faults, self._visibility_s, self._control = faults, visibility_s, control

    @property
    def history(self) -> Path:
        """Say where the agents write what they did and saw."""
        return self.folder / "history"

    def services(self) -> list[Service]:
        """List the pipeline's processes, behind the proxy, and the agents', before it."""
        build = BUILDS[self._control] if self._control else None
        pipeline = [
            replace(
                service,
                env={**service.env, **self._faults},
                argv=[build if build and ":build" in word else word for word in service.argv],
            )
            for service in super().services()
        ]
        return [*pipeline, *(self._receiver(name) for name in RECEIVERS)]

    def _provision(self, deployment: Deployment) -> None:
        provision(deployment)
        for agent, wishes in roster.AGENTS.items():
            add_agent(deployment, agent, wishes)

    def _receiver(self, name: str) -> Service:
        argv = [sys.executable, "-m", "sharpwave.infra.chaos.receiver", "--name", name]
        argv += ["--history", str(self.history), "--visibility", str(self._visibility_s)]
        argv += _CARELESS if self._control == "no-marks" else ()
        service = self._service(name, [*argv, *roster.AGENTS], _RECEIVERS_STAGE)
        return replace(service, grace_s=3.0)


def _settings(visibility_s: int) -> dict[str, str]:
    return {
        "SHARPWAVE_VISIBILITY_TIMEOUT_S": str(visibility_s),
        "SHARPWAVE_PROMOTE_AFTER_S": str(PROMOTE_AFTER_S),
        "SHARPWAVE_PATTERN_CACHE_S": str(_CACHE_S),
        "SHARPWAVE_CLOCK_SKEW_S": str(_SKEW_S),
        "SHARPWAVE_REGISTRATION_CACHE_S": "0.5",
        "SHARPWAVE_ARCHIVE_LINGER_S": "0.2",
        "SHARPWAVE_HEARTBEAT_S": "2",
    }
