"""The whole flow keeps its invariants through crashes, duplicates and reordering.

Agents write well and badly, streams repeat pages, up to three handlers run at once call by call,
and any call may be a process's last. At rest a checker asks: was every signal delivered or ended
with its reason, do mirrors say what rows say, do counts equal the archive, is every memory
promoted once, did every bad record's owner hear of it, and did no worker's write start anything.
Broken handlers fail in the same simulation.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from sharpwave.workers.signals.deliver import Courier
from sharpwave.workers.signals.mirror import Statuses
from tests.world.agents import Agents
from tests.world.simulation import Weather, run
from tests.world.stories import exhaust

STORMY = Weather(crash_rate=0.06, refusal_rate=0.03, replay_rate=0.3, workers=4)
#: Histories in which a flaw has to show at least once.
PATIENCE = 12


def everything(crowd: Agents) -> None:
    """Let one of each thing happen."""
    for act in (
        crowd.send,
        crowd.send,
        crowd.send_badly,
        crowd.decide,
        crowd.resolve,
        crowd.remember,
    ):
        act()
    crowd.world.clock.advance(1)


def is_caught(weather: Weather) -> bool:
    return any(run(seed, actions=25, weather=weather).violations for seed in range(PATIENCE))


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_broken_where_little_goes_wrong(seed: int) -> None:
    assert run(seed, actions=40).violations == []


@pytest.mark.parametrize("seed", range(100, 104))
def test_nothing_is_broken_in_a_storm(seed: int) -> None:
    report = run(seed, actions=30, weather=STORMY)

    assert report.violations == []
    assert report.crashes > 0


def test_a_seed_gives_one_history() -> None:
    assert run(7, actions=15) == run(7, actions=15)


def test_a_crash_at_many_calls_in_turn_breaks_nothing() -> None:
    report = exhaust(everything, stride=17)

    assert report.violations == []
    assert report.crashes > 5


def test_acknowledging_a_message_before_its_effect_is_caught() -> None:
    assert is_caught(Weather(crash_rate=0.05, acknowledges_first=True))


def test_marking_a_delivery_before_its_effect_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def carry_out(courier: Courier, plans: Sequence[Any], unheard: Any = ()) -> int:
        posts = courier._insert_rows(plans)
        for plan, post in posts:
            plan.sent.add(post.target)
        courier._mark(plans)
        courier.inboxes.send([post for _, post in posts])
        return len(posts)

    monkeypatch.setattr(Courier, "_carry_out", carry_out)

    assert is_caught(Weather(crash_rate=0.1, workers=1))


def test_delivering_without_a_mark_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Courier, "_mark", unmarked)

    assert is_caught(Weather.calm())


def unmarked(courier: Courier, plans: Sequence[Any]) -> list[tuple[Any, Statuses]]:
    return [(plan, {}) for plan in plans]
