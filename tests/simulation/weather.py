"""How bad a history gets, and what its agents are up to: all drawn from the seed.

Each seed draws a few themes and leaves the others out. A history in which everything happens at
once hides as much as one in which nothing does.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

#: What the agents of a theme do, by the names of their acts; repeated names come up more often.
THEMES: dict[str, tuple[str, ...]] = {
    "signals": ("send", "send", "send", "answer", "answer", "answer", "repeat_signal"),
    "urgency": ("send", "send_to_some", "send_to_some", "receive", "receive", "answer"),
    "broadcasts": ("join", "broadcast", "broadcast", "join_and_broadcast", "answer", "leave"),
    "crowds": ("send_to_many", "send_to_many", "change_signal", "answer", "join"),
    "tampering": (
        *("send", "send", "change_signal", "remove_signal", "send_badly", "reuse_key"),
        "spoil_mirror",
    ),
    "quotas": ("send_within_quota", "send_within_quota", "send_beyond_quota", "answer"),
    "outages": ("send", "send", "send_to_some", "break_inbox", "answer", "wait"),
    "deadlines": ("send_briefly", "send_briefly", "answer", "wait", "answer_late"),
    "delays": ("send_to_many_too_late", "send_briefly", "answer", "wait"),
    "rows": ("send", "answer", "acknowledge_oddly", "spoil_row", "overwrite_row", "drop_row"),
    "forgeries": ("send", "forge_row", "forge_row", "answer", "send_to_some", "forge_row"),
    "counting": ("decide", "decide", "resolve", "resolve", "revise_badly", "edit_pattern"),
    "clocks": ("decide", "import_pattern", "edit_pattern", "decide", "resolve", "decide"),
    "rates": ("decide_many", "decide_many", "decide_by_strangers", "resolve", "edit_pattern"),
    "cycles": ("decide_in_cycles", "decide_in_cycles", "resolve", "resolve", "rewrite", "decide"),
    "lives": (
        "import_with_base",
        "wait",
        "wait_a_day",
        "decide_many",
        "decide_many",
        "impersonate",
    ),
    "candidates": (
        "find_candidate",
        "find_candidate",
        "find_candidate",
        "give_up_candidate",
        "decide_many",
        "decide_in_cycles",
        "decide",
        "resolve",
        "resolve",
        "rewrite",
        "edit_pattern",
        "wait",
    ),
    "seasons": (
        *("live_a_day",) * 16,
        *("correct", "grant_or_revoke", "grant_or_revoke", "put_aside", "take_a_break", "meddle"),
    ),
    "days": ("decide_on_days", "decide_on_days", "decide_absurdly", "resolve", "rewrite"),
    "memory": ("remember", "remember", "touch", "learn_more", "remember_badly"),
    "bulk": ("remember", "remember_much", "remember", "learn_more"),
    "episodes": ("decide", "decide_briefly", "resolve", "forget", "wait_a_day"),
    "strangers": ("decide_by_strangers", "remember_by_strangers", "resolve", "send"),
    "gaps": ("send", "decide", "resolve", "remember", "answer", "gap", "reconcile"),
    "versions": ("send", "answer", "decide", "resolve", "mix_versions", "remember"),
}
#: Drawn apart: each of these comes to the other themes of one history in eight.
APART = ("candidates",)

#: It takes a history of its own: weeks, and rules by which they suffice for a verdict.
SEASONS = "seasons"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad it gets.

    Attributes:
        themes: what the agents are up to.
        agents: how many there are from the start.
        actions: how many things they do.
        crash_rate: share of port calls at which the process dies.
        refusal_rate: share of port calls that are not answered.
        replay_rate: share of pages of a stream that are read twice.
        nest_rate: share of port calls before which something else happens.
        freeze_rate: share of port calls before which a worker stands still for long.
        stall_rate: share of acts after which a queue or a stream stands still for long.
        skews: how far each worker process's clock is off, in seconds.
        offsets: how far agents' clocks are off, in seconds.
        burst: decisions of one day that come at once, or 0.
        abreast_rate: share of messages that are handled at the same time as others, call by call.
        ttl_rate: share of acts after which time removes what has expired.
        small_slots: whether slots of a ledger close after a few elements and not after hundreds.
        discovery: whether sweeps look for patterns, a few decisions at a time.
        death: the call of the whole history at which a process dies, and whether after its effect.
    """

    themes: tuple[str, ...]
    agents: int = 4
    actions: int = 30
    crash_rate: float = 0.0
    refusal_rate: float = 0.0
    replay_rate: float = 0.0
    nest_rate: float = 0.0
    freeze_rate: float = 0.0
    stall_rate: float = 0.0
    skews: tuple[float, ...] = (0.0, 0.0, 0.0)
    offsets: tuple[float, ...] = (0.0,)
    burst: int = 0
    abreast_rate: float = 0.0
    ttl_rate: float = 0.0
    small_slots: bool = False
    discovery: bool = False
    death: tuple[int, bool] | None = None

    @property
    def is_punctual(self) -> bool:
        """Say whether nothing holds the pipeline up but the work itself."""
        return not (self.freeze_rate or self.stall_rate or self.crash_rate or self.refusal_rate)

    @property
    def acts(self) -> list[str]:
        """List what the agents may do, by name."""
        return [act for theme in self.themes for act in THEMES[theme]]


def draw(chance: Random) -> Weather:
    """Draw the weather of one history."""
    mixed = sorted(THEMES.keys() - {SEASONS, *APART})
    themes = tuple(sorted(chance.sample(mixed, chance.choice([1, 1, 2, 2, 3]))))
    burst = chance.choice([3_500, 4_000]) if chance.random() < 0.002 else 0
    # Thousands of messages that die again and again would say nothing more, for minutes.
    is_calm = chance.random() < 0.3 or burst > 0
    return Weather(
        themes=themes,
        agents=chance.choice([2, 3, 3, 4, 5]),
        actions=chance.choice([5, 8, 12, 18]),
        crash_rate=0 if is_calm else chance.choice([0, 0.01, 0.03, 0.06]),
        refusal_rate=0 if is_calm else chance.choice([0, 0.01, 0.03]),
        replay_rate=chance.choice([0, 0.1, 0.3]),
        nest_rate=chance.choice([0, 0.02, 0.1]),
        freeze_rate=0 if is_calm else chance.choice([0, 0, 0.002, 0.01]),
        stall_rate=0 if is_calm else chance.choice([0, 0, 0.1]),
        skews=chance.choice([(0.0, 0.0, 0.0), (0.0, 2.0, -2.0), (1.5, -0.5, 0.0)]),
        offsets=chance.choice([(0.0,), (0.0, 0.0, 290.0, -300.0), (0.0, 120.0, 30.0, -4000.0)]),
        burst=burst,
        abreast_rate=chance.choice([0, 0, 0.3]),
        ttl_rate=chance.choice([0, 0, 0.1]),
        small_slots=chance.random() < 0.5 and not burst,
    )


def only(theme: str, drawn: Weather) -> Weather:
    """Let a history be of one theme: seasons last for weeks, at which less dies."""
    if theme != SEASONS:
        return replace(drawn, themes=(theme,))
    return replace(
        drawn,
        themes=(theme,),
        agents=2,
        actions=26 + drawn.actions // 2,
        crash_rate=min(drawn.crash_rate, 0.03),
        abreast_rate=min(drawn.abreast_rate, 0.1),
        burst=0,
        ttl_rate=0.0,
    )


#: Weather in which no process dies and every call is answered; and no message is even told twice.
CALM = {"crash_rate": 0.0, "refusal_rate": 0.0, "freeze_rate": 0.0, "stall_rate": 0.0}
QUIET: dict[str, Any] = {**CALM, "nest_rate": 0.0, "abreast_rate": 0.0, "replay_rate": 0.0}
