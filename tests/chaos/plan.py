"""What a run will do to the system, as a function of its seed."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.chaos import roster

Kind = Literal[
    "kill", "freeze", "outage", "rewind", "twin", "reconcile", "trim", "refuse", "cut", "gap"
]
#: What a run may be made without. Each is something that agents, operators or AWS do to the system:
#: clocks: writers and workers whose clocks are wrong. changes: signals that their writer changes
#: while they are under way. joiners: agents that register right before a signal to all. strangers:
#: writers that never register. quotas: sources with a limit. imports: patterns that come and change
#: in mid-run. bursts: many decisions on one event day. rewrites: decisions written over. rows:
#: agents that delete their inbox rows or write what is not theirs. deadlines: signals that nobody
#: acknowledges in time. echoes: signals sent by handlers that may die meanwhile. refuse: one inbox
#: queue takes nothing. cut: one is deleted and made again. gap: a part of each stream is lost.
Draw = Literal[
    "clocks",
    "changes",
    "joiners",
    "strangers",
    "quotas",
    "imports",
    "bursts",
    "rewrites",
    "rows",
    "deadlines",
    "echoes",
    "refuse",
    "cut",
    "gap",
]
DRAWS: frozenset[Draw] = frozenset(get_args(Draw))

PIPELINE_SERVICES = ("pump", "deliver", "status", "promote", "learn", "archive")
RECEIVERS = ("receiver-1", "receiver-2")
CROWD = "crowd"
"""The process that drains the queues of all plain agents."""
#: Kills of each service out of a round; delivery and the pump have most to lose.
_ROUND = (
    *("pump", "deliver", "deliver", "status", "learn", "archive", "promote"),
    *("pump", "deliver", "receiver-1", "learn", "receiver-2", "crowd", "status"),
)
_SERVICES = ("sqs", "dynamodb", "dynamodbstreams")
_LAST = 0.97
#: Agents write over records only between these. A table that is fed again while a change is on its
#: way to be refused, or a gap that hides both, leaves nobody to say what was admitted.
CHANGES_FROM, CHANGES_UNTIL = 0.35, 0.5
_FED_AGAIN_UNTIL, _GAPS_FROM = 0.3, 0.7
_REPEATING = frozenset({"rewind", "twin", "reconcile", "trim", "gap"})


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much a run does.

    Attributes:
        signals: signals that are sent.
        kills: processes killed while they are.
        seconds: over which they are spread; what the pipeline has not kept up with by then is not
            sent.
        visibility_s: how long a dead process hides its messages.
        freezes: processes stopped for longer than that, and let go on.
        crowd: plain agents with a queue each, beside those on the SDK; an audience may be all.
        joiners: agents that register while signals are sent.
        burst: decisions written at once on one event day.
        ahead_s: how far ahead the fastest clock is.
        neglects: leave some signals unacknowledged, which end a minute or two after their deadline.
    """

    signals: int
    kills: int
    seconds: float
    visibility_s: int = 4
    freezes: int = 2
    crowd: int = 0
    joiners: int = 0
    burst: int = 0
    ahead_s: float = 0.0
    neglects: bool = False


QUICK = Scale(
    signals=120, kills=6, seconds=12.0, visibility_s=3, crowd=60, joiners=3, burst=60, ahead_s=5.0
)
CONTROL = Scale(signals=140, kills=7, seconds=8.0, visibility_s=3)
#: Five of these are to make 100,000 deliveries and 500 kills and freezes in half an hour on two
#: cores. A process that starts costs seconds of a core, one that sleeps nothing; an audience of
#: hundreds costs its signal, decisions and memories once.
FULL = Scale(
    signals=1_200,
    kills=45,
    seconds=300.0,
    freezes=55,
    crowd=280,
    joiners=12,
    burst=1_000,
    ahead_s=290.0,
    neglects=True,
)


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
    draws: frozenset[Draw] = frozenset()
    router: Literal["pump", "lambda"] = "pump"

    def schedule(self) -> dict[str, int]:
        """Count the strikes by kind."""
        return dict(sorted(Counter(strike.kind for strike in self.strikes).items()))


def make_plan(
    seed: int, scale: Scale, *, draws: frozenset[Draw] = DRAWS, repeats: bool = True
) -> Plan:
    """Draw the strikes and the weather of a run; the same arguments give the same.

    Without `repeats` no record is fed to the pipeline twice, which would mend what it lost.
    """
    rng = random.Random(f"sharpwave chaos {seed}")
    strikes = _kills(rng, scale.kills) + _others(rng, scale) + _drawn(rng, scale)
    unwanted = (DRAWS - draws) | (frozenset() if repeats else _REPEATING)
    fronts = [Front(at=at / 6, intensity=rng.choice((0.5, 1.0, 1.0, 2.0))) for at in range(6)]
    return Plan(
        seed=seed,
        scale=scale,
        strikes=sorted(
            (strike for strike in strikes if strike.kind not in unwanted),
            key=lambda strike: strike.at,
        ),
        fronts=fronts,
        draws=draws,
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

    some = max(1, scale.kills // 20)
    victims = (*PIPELINE_SERVICES, *RECEIVERS, CROWD)
    frozen = [rng.choice(victims) for _ in range(scale.freezes)]
    hold_s = scale.visibility_s + 2.0
    # A whole table is fed again by the last two, so they come while tables are small.
    return [
        *(Strike(at=when(), kind="freeze", service=name, seconds=hold_s) for name in frozen),
        *(_outage(rng, when()) for _ in range(3 * some)),
        *(Strike(at=when(), kind="rewind", service="pump") for _ in range(some)),
        *(Strike(at=when(), kind="twin", service="pump", seconds=3.0) for _ in range(some)),
        Strike(at=when(_FED_AGAIN_UNTIL), kind="reconcile", service="every table"),
        Strike(at=when(_FED_AGAIN_UNTIL), kind="trim", service="pump"),
    ]


def _drawn(rng: random.Random, scale: Scale) -> list[Strike]:
    """Draw what happens to single inbox queues, and what the streams lose."""
    some = max(1, scale.kills // 25) if scale.crowd else 0
    hold_s = 2.0 * scale.visibility_s

    def victim() -> str:
        return roster.plain(rng.randrange(scale.crowd))

    return [
        *(
            Strike(at=rng.uniform(0.1, 0.9), kind="refuse", service=victim(), seconds=hold_s)
            for _ in range(some)
        ),
        *(
            Strike(at=rng.uniform(0.1, 0.9), kind="cut", service=victim(), seconds=hold_s)
            for _ in range(some)
        ),
        *(
            Strike(at=rng.uniform(_GAPS_FROM, 0.9), kind="gap", service="pump", seconds=0.5)
            for _ in range(some)
        ),
    ]


def _outage(rng: random.Random, at: float) -> Strike:
    return Strike(
        at=at, kind="outage", service=rng.choice(_SERVICES), seconds=rng.uniform(0.8, 2.0)
    )


#: What a record from the future makes the pipeline wait for must end with the run, so only what is
#: written early in it may lie further ahead than this.
NEAR_S, EARLY = 20.0, 0.15
#: Workers' clocks are kept by their operators, but not to the second.
WORKER_OFF_S = 1.5

#: Seconds by which a clock is ahead, negative if it is behind, by who has it.
Offsets = Mapping[str, float]


def agent_clocks(plan: Plan) -> Offsets:
    """Draw how wrong the clock of each agent is that stamps records of its own."""
    names = [*roster.AGENTS, *roster.STRANGERS]
    if "clocks" not in plan.draws:
        return dict.fromkeys(names, 0.0)
    rng = random.Random(f"clocks {plan.seed}")
    near, far = min(NEAR_S, plan.scale.ahead_s), plan.scale.ahead_s
    drawn = [rng.choice((0.0, 0.0, rng.uniform(1, near), -rng.uniform(1, 600))) for _ in names]
    # One agent that writes all kinds of records is as fast as a record may be.
    drawn[rng.randrange(2, len(roster.AGENTS))] = far
    return dict(zip(names, (round(each, 3) for each in drawn), strict=True))


def worker_clocks(plan: Plan, services: Sequence[str]) -> Offsets:
    """Draw how wrong the clocks of worker services are."""
    if "clocks" not in plan.draws:
        return {}
    rng = random.Random(f"worker clocks {plan.seed}")
    return {name: round(rng.uniform(-WORKER_OFF_S, WORKER_OFF_S), 3) for name in services}
