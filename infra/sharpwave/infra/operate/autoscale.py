"""How many instances of a worker service its backlog needs, by the rule of the stacks for AWS.

There target tracking keeps `waiting / tasks` near a target; here the number that does so is taken
at once. Fewer are run only when fewer would have done for a while, so that a backlog that comes
and goes does not make processes do so.
"""

from collections import deque
from math import ceil

from sharpwave.infra.mailbox import Depth
from sharpwave.infra.operate.queues import Wanted

CALM_S = 30.0


class Autoscaler:
    """Follows the backlog of one queue."""

    def __init__(self, *, calm_s: float = CALM_S) -> None:
        """Run fewer instances when fewer sufficed for `calm_s` seconds."""
        self._calm_s = calm_s
        self._needed: deque[tuple[float, int]] = deque()

    def instances(self, wanted: Wanted, depth: Depth, now: float) -> int:
        """Say how many to run.

        Args:
            wanted: the bounds.
            depth: of the queue at this moment.
            now: seconds on a clock that never goes back.
        """
        needed = ceil(depth.ready / wanted.per_instance)
        # Whoever works on the last messages is not sent home before they are done.
        needed = max(needed, 1 if depth.in_flight else 0)
        self._needed.append((now, min(max(needed, wanted.least), wanted.most)))
        while self._needed[0][0] < now - self._calm_s:
            self._needed.popleft()
        return min(max(number for _, number in self._needed), wanted.most)
