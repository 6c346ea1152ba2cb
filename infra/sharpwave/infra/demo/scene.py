"""What an agent of the demo is shown, and what it may claim about the days that follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sharpwave.infra.demo.market import Features, MarketDay
from sharpwave.producers import Agent, Delivery, MemoryAwareAgent, Recalled
from sharpwave.schemas.patterns import PatternDefinition

DOMAIN = "markets"
#: A move of this size, or twice what was asked for, counts as a perfect or a hopeless call.
FULL_MARKS = 0.05
#: What agents have learnt is read again after so many seconds, in which days go by.
FRESH_S = 3.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What an agent sees: the day before, the day, and how many days into the history it is."""

    yesterday: Features
    today: Features
    index: int

    def context(self, claim: "Claim") -> dict[str, Any]:
        """Give what a decision records about its surroundings.

        The outcomes of claims about a week overlap from day to day, so that days would count as
        evidence that they are not: all claims of one week are of one cycle, which counts once.
        """
        market = {"trend": self.today.trend, "volatility": self.today.regime}
        cycle = self.index // claim.horizon
        return {"market": market, "cycle": cycle, "trading_hours": "american"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a claim: `quality` is 0 to 1, `move` is what decided it, as a share."""

    success: bool
    quality: float
    move: float


@dataclass(frozen=True, slots=True)
class Claim:
    """What a decision says about the S&P 500 over the next `horizon` trading days.

    rises, falls: from close to close.
    drops: at some close it lies more than `threshold` below.
    moves: by more than `threshold` in either direction, from close to close.
    nasdaq_leads, sp500_leads: that index moves more than the other, in either direction.
    beats_crude: it returns more than crude, up to the first quote of crude from then on.

    With `mark`, its verdict after so many days is recorded first, and corrected if it proves wrong.
    """

    what: Literal["rises", "falls", "drops", "moves", "nasdaq_leads", "sp500_leads", "beats_crude"]
    horizon: int
    threshold: float = 0.0
    mark: int | None = None

    def verdict(
        self, days: Sequence[MarketDay], index: int, *, early: bool = False
    ) -> Verdict | None:
        """Judge the claim made on the day at `index`, knowing `days` and nothing later.

        Returns:
            None while the days known do not decide it; with `early` the verdict of its mark.
        """
        end = index + (self.mark if early and self.mark else self.horizon)
        if end >= len(days):
            return None
        today, last = days[index], days[end]
        move = last.sp500.close / today.sp500.close - 1
        lead = abs(last.nasdaq.close / today.nasdaq.close - 1) - abs(move)
        # By how much the claim held; 0 or less if it did not.
        match self.what:
            case "rises":
                edge = move
            case "falls":
                edge = -move
            case "drops":
                lowest = min(day.sp500.close for day in days[index + 1 : end + 1])
                edge = 1 - self.threshold - lowest / today.sp500.close
            case "moves":
                edge = abs(move) - self.threshold
            case "nasdaq_leads":
                edge = lead
            case "sp500_leads":
                edge = -lead
            case "beats_crude":
                later = next((day for day in days[end:] if day.wti is not None), None)
                if today.wti is None or later is None or later.wti is None:
                    return None
                edge = later.sp500.close / today.sp500.close - later.wti / today.wti
        quality = min(1.0, max(0.0, 0.5 + edge / (2 * FULL_MARKS)))
        return Verdict(edge > 0, round(quality, 4), round(edge, 6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What an agent is about to decide, before it asks its memory.

    Attributes:
        decision_type: the decision's.
        claim: what it says about the days that follow.
        inputs: the decision's.
        reasons: the agent's own.
        against: decisions of another type whose success speaks against this one's.
    """

    decision_type: str
    claim: Claim
    inputs: Mapping[str, Any]
    reasons: Mapping[str, Any]
    against: str | None = None


#: The method for each type of signal.
Reactions = Mapping[str, Callable[[Any, Delivery, Scene], Intent | None]]


class MarketAgent(MemoryAwareAgent):
    """An agent of the demo: for each type of signal it has a method that says what to decide.

    Such a method is given the delivery and the scene of its day. It writes what it has to say to
    others, and gives its intent, or None; a signal it has no method for only informs. The decision
    is taken last, after a look at what was learnt.
    """

    domain = DOMAIN
    reactions: ClassVar[Reactions] = {}
    #: What it starts with.
    patterns: ClassVar[Sequence[PatternDefinition]] = ()

    def __init__(self, agent: Agent, scene_of: Callable[[Delivery], Scene]) -> None:
        """Act through `agent`, on what `scene_of` shows of a signal's day."""
        super().__init__(agent)
        self.scene_of = scene_of
        self.intent: Intent | None = None

    def about(self, delivery: Delivery) -> Mapping[str, Any] | None:
        """React to a signal, and say what is about to be decided."""
        self.intent = None
        if delivery.signal_type not in self.reactions:
            delivery.ack(reason="for information")
            return None
        scene = self.scene_of(delivery)
        intent = self.intent = self.reactions[delivery.signal_type](self, delivery, scene)
        if intent is None:
            return None
        return {
            "context": scene.context(intent.claim),
            "inputs": intent.inputs,
            "reasoning": intent.reasons,
            "max_age_s": FRESH_S,
        }

    def decide(self, delivery: Delivery, recalled: list[Recalled]) -> Mapping[str, Any]:
        """Give the decision, with the weight that what the agent learnt gives it.

        The weight is 1 for as long as nothing proven covers the decision. A proven pattern doubles
        it; one to avoid, or one of the type that speaks against it, takes it away. It changes what
        is at stake and never the claim, so that a pattern goes on being judged by what it says.
        """
        intent, scene = self.intent, self.scene_of(delivery)
        assert intent is not None
        types = (intent.decision_type, intent.against)
        proven = [one for one in recalled if one.is_proven and one.decision_type in types]
        doubted = any(one.avoid or one.decision_type == intent.against for one in proven)
        weight = 0 if doubted else 2 if proven else 1
        return {
            "decision_type": intent.decision_type,
            "context": scene.context(intent.claim),
            "inputs": intent.inputs,
            "reasoning": {
                **intent.reasons,
                "patterns_applied": sorted({one.pattern_id for one in proven}),
                "weight": weight,
                "memory_influenced": weight != 1,
            },
            "event_time": scene.today.day,
        }


def known(**values: Any) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in values.items() if value is not None}


def lore(
    pattern_id: str,
    decision_type: str,
    agent_id: str | None,
    *conditions: tuple[str, str, Any],
    shared_with: Sequence[str] = (),
) -> PatternDefinition:
    """Define a pattern of market lore, some of it true.

    What it is worth shows only as decisions get their outcomes. Market regimes last for months:
    half of the evidence is older than half a year.
    """
    listed = [{"path": path, "op": op, "value": value} for path, op, value in conditions]
    return PatternDefinition.model_validate(
        {
            "pattern_id": pattern_id,
            "agent_id": agent_id,
            "domain": DOMAIN,
            "decision_type": decision_type,
            "conditions": listed or None,
            "half_life_days": 180.0,
            "shared_with": list(shared_with),
        }
    )
