"""What a run will do to the system, as a function of its seed."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["kill", "freeze", "outage", "rewind", "twin", "reconcile", "trim"]

PIPELINE_SERVICES = ("pump", "deliver", "status", "promote", "learn", "archive")
RECEIVERS = ("receiver-1", "receiver-2")
#: Kills of each service out of a round; delivery and the pump have most to lose.
_ROUND = (
    *("pump", "deliver", "deliver", "status", "learn", "archive", "promote"),
    *("pump", "deliver", "receiver-1", "learn", "receiver-2"),
)
_SERVICES = ("sqs", "dynamodb", "dynamodbstreams")
_LAST = 0.97
_REPEATING = frozenset({"rewind", "twin", "reconcile", "trim"})


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much a run does.

    Attributes:
        signals: signals that are sent.
        kills: processes killed while they are.
        seconds: over which they are spread; what the pipeline has not kept up with by then is not
            sent.
        visibility_s: how long a dead process hides its messages.
    """

    signals: int
    kills: int
    seconds: float
    visibility_s: int = 4


QUICK = Scale(signals=150, kills=6, seconds=12.0, visibility_s=3)
CONTROL = Scale(signals=140, kills=7, seconds=8.0, visibility_s=3)
FULL = Scale(signals=12_000, kills=50, seconds=360.0)


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One blow at the system.

    Attributes:
        at: when, as the share of the load that is written, 0 to 1.
        kind: what is done.
        service: to whom; for an outage which AWS service fails.
        whole: kill the service's whole process group, not only its innermost process.
        seconds: how long it lasts, where it lasts.
    """

    at: float
    kind: Kind
    service: str
    whole: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Front:
    """The weather from a moment on: how often calls fail, as a multiple of the usual."""

    at: float
    intensity: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a run does by chance, decided beforehand."""

    seed: int
    scale: Scale
    strikes: Sequence[Strike] = ()
    fronts: Sequence[Front] = field(default_factory=tuple)

    def schedule(self) -> dict[str, int]:
        """Count the strikes by kind."""
        return dict(sorted(Counter(strike.kind for strike in self.strikes).items()))


def make_plan(seed: int, scale: Scale, *, repeats: bool = True) -> Plan:
    """Draw the strikes and the weather of a run; the same arguments give the same.

    Without `repeats` no record is fed to the pipeline twice, which would mend what it lost.
    """
    rng = random.Random(f"sharpwave chaos {seed}")
    strikes = _kills(rng, scale.kills) + _others(rng, scale)
    strikes = [strike for strike in strikes if repeats or strike.kind not in _REPEATING]
    fronts = [Front(at=at / 6, intensity=rng.choice((0.5, 1.0, 1.0, 2.0))) for at in range(6)]
    return Plan(
        seed=seed,
        scale=scale,
        strikes=sorted(strikes, key=lambda strike: strike.at),
        fronts=fronts,
    )


def _kills(rng: random.Random, count: int) -> list[Strike]:
    victims: list[str] = []
    while len(victims) < count:
        victims += rng.sample(_ROUND, len(_ROUND))
    return [
        Strike(at=rng.uniform(0.02, _LAST), kind="kill", service=name, whole=rng.random() < 0.4)
        for name in victims[:count]
    ]


def _others(rng: random.Random, scale: Scale) -> list[Strike]:
    def when(latest: float = _LAST) -> float:
        return rng.uniform(0.05, latest)

    some = max(1, scale.kills // 12)
    frozen = [rng.choice((*PIPELINE_SERVICES, *RECEIVERS)) for _ in range(2 * some)]
    hold_s = scale.visibility_s + 2.0
    # A whole table is fed again by the last two, so they come while tables are small.
    return [
        *(Strike(at=when(), kind="freeze", service=name, seconds=hold_s) for name in frozen),
        *(_outage(rng, when()) for _ in range(2 * some)),
        *(Strike(at=when(), kind="rewind", service="pump") for _ in range(some)),
        *(Strike(at=when(), kind="twin", service="pump", seconds=3.0) for _ in range(some)),
        Strike(at=when(0.3), kind="reconcile", service="every table"),
        Strike(at=when(0.3), kind="trim", service="pump"),
    ]


def _outage(rng: random.Random, at: float) -> Strike:
    return Strike(
        at=at, kind="outage", service=rng.choice(_SERVICES), seconds=rng.uniform(0.8, 2.0)
    )
