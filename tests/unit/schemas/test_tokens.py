"""A bucket gives no more than its rate and its burst, whatever clocks say, and blocks nobody."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.schemas.tokens import Bucket, Rate, Watched

RATE = Rate(per_minute=60, burst=10)
HOUR_MS = 3_600_000


class Step(NamedTuple):
    """Time passes, a process's clock jumps, and it draws all that it finds; or it starts anew."""

    process: int
    passes_ms: int
    jump_ms: int
    starts: bool


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(0, 2),
        st.integers(0, 20_000),
        st.sampled_from([0, 0, 0, HOUR_MS, -HOUR_MS, 7_000, -7_000]),
        st.booleans(),
    ),
    max_size=40,
)


class Naive(Watched):
    """What is wrong on purpose: it believes the clock on the wall, and stores what that says."""

    def see(self, bucket: Bucket | None, *, now_ms: int, watch_ms: int) -> None:
        stored = bucket or Bucket(self.rate.burst * 1000, now_ms)
        filled = self.rate.refilled(stored, max(0, now_ms - stored.at_ms))
        self._seen = filled._replace(at_ms=now_ms), watch_ms


class Fleet:
    """Three processes with a clock each, one stored bucket, and the true time."""

    def __init__(self, made: type[Watched] = Watched) -> None:
        self.made = made
        self.time_ms, self.granted = 0, 0
        self.jumps = [0, 0, 0]
        self.watched = [made(RATE) for _ in range(3)]
        self.stored: Bucket | None = None

    def draw(self, process: int, most: int = RATE.burst) -> int:
        watched, now_ms = self.watched[process], 10**12 + self.time_ms + self.jumps[process]
        watched.see(self.stored, now_ms=now_ms, watch_ms=self.time_ms)
        level = watched.standing(self.time_ms)
        drawn = min(level.tokens_milli // 1000, most)
        if drawn or watched.is_set_back:
            self.stored = level._replace(tokens_milli=level.tokens_milli - drawn * 1000)
            watched.drawn(self.stored, self.time_ms)
        self.granted += drawn
        return drawn

    def live(self, steps: list[Step]) -> int:
        """Take the steps; gives how often a clock may have given a burst too many."""
        excuses = 0
        for step in steps:
            self.time_ms += step.passes_ms
            self.jumps[step.process] += step.jump_ms
            # A new process knows nothing but its clock, whether that jumps or did so before.
            if step.starts:
                self.watched[step.process] = self.made(RATE)
            excuses += step.jump_ms != 0 or (step.starts and any(self.jumps))
            self.draw(step.process)
        return excuses


@given(STEPS)
def test_processes_with_one_clock_never_draw_more_than_rate_and_burst(steps: list[Step]) -> None:
    fleet = Fleet()

    fleet.live([step._replace(jump_ms=0) for step in steps])

    assert fleet.granted * 1000 <= RATE.burst * 1000 + fleet.time_ms * RATE.per_minute // 60


@given(STEPS)
def test_a_clock_that_jumps_gives_a_burst_at_most(steps: list[Step]) -> None:
    fleet = Fleet()

    excuses = fleet.live(steps)

    at_rate = fleet.time_ms * RATE.per_minute / 60_000
    assert fleet.granted <= RATE.burst * (1 + excuses) + at_rate


@given(STEPS, st.integers(0, 2))
def test_nobody_waits_longer_than_the_rate_makes_them(steps: list[Step], process: int) -> None:
    fleet = Fleet()
    fleet.live(steps)

    fleet.draw(process)
    fleet.time_ms += RATE.wait_ms(1000)

    assert fleet.draw(process) >= 1


@given(STEPS)
def test_processes_that_live_for_one_question_wait_no_longer_than_a_bucket_fills(
    steps: list[Step],
) -> None:
    """Each begins anew with a right clock, after a wrong one stored its moment."""
    fleet = Fleet()
    fleet.live(steps)
    fleet.jumps = [0, 0, 0]

    drawn = 0
    for _ in range(2 * RATE.burst + 2):
        fleet.watched[0] = Watched(RATE)
        drawn += fleet.draw(0)
        fleet.time_ms += RATE.wait_ms(1000)

    assert drawn >= 1


@pytest.mark.parametrize(("made", "is_kept"), [(Watched, True), (Naive, False)])
def test_two_clocks_that_disagree_do_not_fill_a_bucket_twice(
    made: type[Watched], is_kept: bool
) -> None:
    """The second is the control: an arithmetic that believes the clock fails this."""
    fleet = Fleet(made)
    fleet.jumps = [HOUR_MS, 0, 0]

    for _ in range(60):
        fleet.draw(0, 1), fleet.draw(1, 1)
        fleet.time_ms += 1000

    assert (fleet.granted <= 2 * RATE.burst + 60) is is_kept


@pytest.mark.parametrize("given", [{"per_minute": 0}, {"burst": -1}, {"burst": 1.5}])
def test_a_rate_that_cannot_be_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give a whole number, 1 or more"):
        Rate(**{"per_minute": 1, "burst": 1, **given})
